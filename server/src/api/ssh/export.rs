//! `/api/ssh/export/csv`: SSH servers as a table.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::weak_names;
use crate::{
    api::{ApiRouter, Problem, Query, common::csv_file},
    auth::{Access, Caller, Permission},
    export::Csv,
    input::parse_version,
    state::AppState,
    store::{
        settings::ssh_alert_defaults,
        ssh::{self as store, SshAudit, SshFilter},
    },
};

/// Lines of the table.
const MOST_ROWS: i64 = 100_000;

const COLUMNS: [&str; 15] = [
    "IP",
    "Port",
    "SSH Version",
    "Publickey Auth",
    "Password Auth",
    "Keyboard-Interactive Auth",
    "Auth Status",
    "Ciphers (Weak)",
    "KEX Algorithms (Weak)",
    "Cipher Status",
    "KEX Status",
    "Version Status",
    "Overall Compliance",
    "Network",
    "Last Scanned",
];

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(export_ssh_csv))
}

/// Which servers.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// Audited in one network.
    network_id: Option<i64>,
}

/// Downloads SSH servers with their newest audit as CSV, in order of address; at most 100000.
#[utoipa::path(get, path = "/api/ssh/export/csv", tag = "exports",
    params(ExportQuery),
    responses((status = 200, content_type = "text/csv", body = String)))]
async fn export_ssh_csv(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let filter = SshFilter { network_id: query.network_id, limit: MOST_ROWS, ..SshFilter::default() };
    let (servers, _) = store::latest(&state.pool, caller.visible_networks(), &filter).await?;
    // The same threshold that raises alerts, so that table and alerts agree.
    let threshold = ssh_alert_defaults(&state.pool).await?.ssh_version_threshold;
    let mut csv = Csv::with_columns(&COLUMNS);
    for server in servers {
        write_row(&mut csv, &server.now, &threshold);
    }
    Ok(csv_file(&format!("ssh-security-{}.csv", state.clock.now().format("%Y-%m-%d")), csv))
}

fn write_row(csv: &mut Csv, audit: &SshAudit, threshold: &str) {
    let yes = |value| if value { "Yes" } else { "No" };
    let joined = |names: Vec<&str>| names.join(", ");
    let insecure_auth = audit.password_enabled || audit.keyboard_interactive_enabled;
    let version = version_status(audit.ssh_version.as_deref(), threshold);
    let weak_ciphers: Vec<_> = weak_names(audit.supported_ciphers.as_ref()).collect();
    let weak_kex: Vec<_> = weak_names(audit.kex_algorithms.as_ref()).collect();
    let fails =
        insecure_auth || !weak_ciphers.is_empty() || !weak_kex.is_empty() || version.starts_with("Outdated");
    csv.value(audit.host_ip).value(audit.port).text(audit.ssh_version.as_deref().unwrap_or_default());
    csv.value(yes(audit.publickey_enabled)).value(yes(audit.password_enabled));
    csv.value(yes(audit.keyboard_interactive_enabled)).value(if insecure_auth {
        "Insecure"
    } else {
        "Secure"
    });
    let status = |weak: &[&str]| if weak.is_empty() { "Secure" } else { "Weak" };
    let (cipher_status, kex_status) = (status(&weak_ciphers), status(&weak_kex));
    csv.text(&joined(weak_ciphers)).text(&joined(weak_kex)).value(cipher_status).value(kex_status);
    csv.value(version).value(if fails { "Non-Compliant" } else { "Compliant" });
    csv.text(&audit.network_name).value(audit.timestamp.format("%Y-%m-%d %H:%M:%S"));
    csv.end_row();
}

fn version_status(version: Option<&str>, threshold: &str) -> &'static str {
    match (version.and_then(parse_version), parse_version(threshold)) {
        (Some(version), Some(threshold)) if version < threshold => "Outdated",
        (Some(_), Some(_)) => "Current",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn servers_are_a_table() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let scan = lab.scan(office, "completed").await;
        lab.ssh(office, scan, "10.99.0.10", "OpenSSH_9.6p1", false, &[]).await;
        lab.ssh(office, scan, "10.99.0.9", "OpenSSH_7.4", true, &["aes128-cbc", "3des-cbc"]).await;
        lab.ssh(office, scan, "fd99::1", "dropbear_2022.82", false, &[]).await;
        let viewer = app.login(Role::Viewer).await;
        let reply = viewer.get("/api/ssh/export/csv").await;
        assert_eq!(
            reply.header("content-disposition"),
            Some("attachment; filename=ssh-security-2026-01-01.csv")
        );
        let expected = [
            super::COLUMNS.join(",").as_str(),
            "10.99.0.9,22,OpenSSH_7.4,Yes,Yes,No,Insecure,\"aes128-cbc, 3des-cbc\",,Weak,Secure,Outdated,Non-Compliant,Office,2026-01-01 00:00:00",
            "10.99.0.10,22,OpenSSH_9.6p1,Yes,No,No,Secure,,,Secure,Secure,Current,Compliant,Office,2026-01-01 00:00:00",
            "fd99::1,22,dropbear_2022.82,Yes,No,No,Secure,,,Secure,Secure,Unknown,Compliant,Office,2026-01-01 00:00:00",
            "",
        ]
        .join("\r\n");
        assert_eq!(reply.text(), expected);
        assert_eq!(viewer.get("/api/ssh/export/csv?network_id=99").await.text().lines().count(), 1);
    }
}
