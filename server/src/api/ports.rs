//! `/api/ports`: what is open now, and since when.
//!
//! The state of a network, not of its newest scan: a scan that failed, that looked at one host only or that
//! is still running takes nothing away.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use portreeve_model::{Service, Transport};

use super::{
    ApiRouter, Json, Page, Path, Problem, Query,
    common::{Created, address_range, descending, filter_text, port_bounds},
    networks::rules::{add_network_rule, check_rule},
};
use crate::{
    auth::{Access, Caller, Permission},
    input::PortCursor,
    policy::weakness::{self, Weakness},
    state::AppState,
    store::{
        ports::{self as store, Port, PortFilter, PortInterval, PortSort, SamePlace},
        rules::{PortRule, RuleType},
    },
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_ports))
        .route(Access::Needs(Permission::InventoryRead), routes!(show_port))
        .route(Access::Needs(Permission::PolicyManage), routes!(allow_port))
}

/// Which ports, in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PortsQuery {
    /// Seen in one network.
    network_id: Option<i64>,
    /// From this port on.
    port_min: Option<u16>,
    /// Up to this port.
    port_max: Option<u16>,
    /// A block (`192.0.2.0/24`) or a range (`192.0.2.10-192.0.2.50`).
    ip_range: Option<String>,
    /// Part of the service's name.
    service: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    #[param(value_type = Option<String>)]
    protocol: Option<Transport>,
    /// Part of address, host name, service, product, version or banner.
    search: Option<String>,
    /// `ip`, `port`, `first_seen_at` or `last_seen_at`.
    sort_by: Option<String>,
    /// `asc` or `desc`.
    sort_dir: Option<String>,
    /// `next_cursor` of the page before; only in the order `ip` `asc`, and quicker than `offset`.
    cursor: Option<String>,
    /// Ports to skip.
    offset: Option<i64>,
    /// Ports at most, 1-10000; left out, 50.
    limit: Option<i64>,
}

/// What the ports show.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FingerprintQuery {
    /// A fingerprint as details have it: `ssh-key:SHA256:…`, `cert:…` (SHA-256), `hassh:…`, `jarm:…`, `ja3s:…` or
    /// `favicon:…` (MurmurHash3).
    fingerprint: Option<String>,
}

impl PortsQuery {
    /// The filter, or what is wrong with the query.
    pub(super) fn filter(
        &self,
        default_sort: PortSort,
        default_descending: bool,
    ) -> Result<PortFilter<'_>, Problem> {
        let page = Page::new(self.offset, self.limit, 10_000)?;
        port_bounds(self.port_min, self.port_max)?;
        let sort = match self.sort_by.as_deref() {
            None => default_sort,
            Some(text) => {
                PortSort::parse(text).ok_or_else(|| Problem::bad_request("Invalid sort_by value"))?
            }
        };
        let default_descending = default_descending && self.sort_by.is_none();
        let descending = descending(self.sort_dir.as_deref(), default_descending)?;
        let after = self.cursor.as_deref().map(str::parse::<PortCursor>).transpose();
        let after = after.map_err(Problem::bad_request)?;
        if after.is_some() && (sort != PortSort::Ip || descending) {
            return Err(Problem::bad_request(
                "cursor goes with sort_by=ip and sort_dir=asc only; use offset",
            ));
        }
        Ok(PortFilter {
            network_id: self.network_id,
            port_min: self.port_min,
            port_max: self.port_max,
            range: address_range(self.ip_range.as_deref())?,
            service: filter_text("service", self.service.as_deref())?,
            protocol: self.protocol.map(Transport::as_str),
            search: filter_text("search", self.search.as_deref())?,
            fingerprint: None,
            sort,
            descending,
            after,
            offset: page.offset,
            limit: page.limit,
        })
    }
}

impl PortFilter<'_> {
    /// Where the next page begins, if this one is full and in the order that cursors know.
    pub(super) fn next_cursor(&self, last: Option<PortCursor>, rows: usize) -> Option<String> {
        let full = i64::try_from(rows) == Ok(self.limit);
        let in_order = self.sort == PortSort::Ip && !self.descending;
        last.filter(|_| full && in_order).map(|cursor| cursor.to_string())
    }
}

/// Open ports.
#[derive(Debug, Serialize, ToSchema)]
struct PortList {
    /// In the order asked for.
    ports: Vec<Port>,
    /// How many the filter finds.
    total: i64,
    /// Where the next page begins; null at the end and in orders without cursor.
    next_cursor: Option<String>,
}

/// A port with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
struct PortDetail {
    #[serde(flatten)]
    port: Port,
    /// The whole finding about the service: TLS, SSH, HTTP, evidence.
    #[schema(value_type = Option<Service>)]
    service: Option<Value>,
    /// What is wrong with the service by what it shows, worst first.
    weaknesses: Vec<Weakness>,
    /// Other open places with the same SSH host key or certificate, for each at most 20.
    also_on: Vec<SamePlace>,
    /// When it was open, newest first, at most 100.
    intervals: Vec<PortInterval>,
}

/// A port to be allowed in its network.
#[derive(Debug, Deserialize, ToSchema)]
struct PortAllow {
    /// The network.
    network_id: i64,
    /// One address; left out, all.
    #[serde(default)]
    ip: Option<String>,
    /// `80`, `80-443`, or `*` for all.
    port: String,
    /// `tcp`, `udp` or `sctp`; left out, all.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    protocol: Option<Transport>,
    /// Why.
    #[serde(default)]
    description: Option<String>,
}

/// Lists the ports that are open now.
#[utoipa::path(get, path = "/api/ports", tag = "ports",
    params(PortsQuery, FingerprintQuery),
    responses((status = 200, body = PortList), (status = 400, description = "Wrong range or order")))]
async fn list_ports(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PortsQuery>,
    Query(shown): Query<FingerprintQuery>,
) -> Result<Json<PortList>, Problem> {
    let mut filter = query.filter(PortSort::Ip, false)?;
    filter.fingerprint = filter_text("fingerprint", shown.fingerprint.as_deref())?;
    let (ports, total) = store::list(&state.pool, caller.visible_networks(), &filter).await?;
    let last = ports.last().map(|port| PortCursor { address: port.ip, port: port.port, id: port.id });
    let next_cursor = filter.next_cursor(last, ports.len());
    Ok(Json(PortList { ports, total, next_cursor }))
}

/// Shows a port with all that is known of the service behind it and when it was open.
#[utoipa::path(get, path = "/api/ports/{port_id}", tag = "ports",
    params(("port_id" = i64, Path, description = "Number of the stretch of being open, `id` in lists")),
    responses((status = 200, body = PortDetail), (status = 404, description = "No such port")))]
async fn show_port(
    State(state): State<AppState>,
    caller: Caller,
    Path(port_id): Path<i64>,
) -> Result<Json<PortDetail>, Problem> {
    let scope = caller.visible_networks();
    let port = store::find(&state.pool, scope, port_id).await?;
    let port = port.ok_or_else(|| Problem::not_found("Open port not found"))?;
    let service = store::service_detail(&state.pool, port_id).await?;
    let intervals = store::intervals(&state.pool, scope, port.global_port_id).await?;
    // What an older version stored, and can no longer be read, is shown without being judged.
    let known = service.as_ref().and_then(|service| Service::deserialize(service).ok());
    let weaknesses = known.map_or_else(Vec::new, |known| weakness::of(&known, state.clock.now()));
    let also_on = store::also_on(&state.pool, scope, port_id).await?;
    Ok(Json(PortDetail { port, service, weaknesses, also_on, intervals }))
}

/// Allows a port in its network: makes a rule.
#[utoipa::path(post, path = "/api/ports/whitelist", tag = "ports", request_body = PortAllow,
    responses((status = 201, body = PortRule), (status = 404, description = "No such network"),
              (status = 422, description = "Wrong input")))]
async fn allow_port(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<PortAllow>,
) -> Result<Created<PortRule>, Problem> {
    let fields = check_rule(
        body.ip.as_deref(),
        &body.port,
        body.protocol,
        RuleType::Allow,
        body.description.as_deref(),
    )?;
    super::networks::find(&state, &caller, body.network_id).await?;
    let mut tx = state.pool.begin().await?;
    let rule = add_network_rule(&mut tx, &state, &caller, body.network_id, &fields).await?;
    tx.commit().await?;
    Ok(Created(rule))
}

#[cfg(test)]
mod tests {
    use portreeve_model::{DeviceInfo, SshAudit, SshHostKey, protocol::Record};
    use serde_json::{Value, json};

    use crate::{
        api::fixtures::{Lab, assert_times_are_utc},
        auth::Role,
        test_support::{
            Client, TestApp,
            scans::{Worker, network, open, service},
        },
    };

    async fn listed(client: &Client, query: &str) -> Vec<String> {
        let reply = client.get(&format!("/api/ports?{query}")).await;
        let ports = reply.assert_status(200).json()["ports"].as_array().unwrap().clone();
        ports.iter().map(|port| format!("{}:{}", port["ip"].as_str().unwrap(), port["port"])).collect()
    }

    #[tokio::test]
    async fn addresses_are_sorted_as_numbers() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let scan = lab.scan(office, "completed").await;
        for (ip, port) in [("fd99::1", 22), ("10.99.0.10", 80), ("10.99.0.9", 443), ("10.99.0.9", 80)] {
            lab.port(office, scan, ip, port, "x").await;
        }
        let viewer = app.login(Role::Viewer).await;
        assert_eq!(
            listed(&viewer, "").await,
            ["10.99.0.9:80", "10.99.0.9:443", "10.99.0.10:80", "fd99::1:22"]
        );
        assert_eq!(listed(&viewer, "sort_dir=desc&limit=2").await, ["fd99::1:22", "10.99.0.10:80"]);
        assert_eq!(
            listed(&viewer, "sort_by=port").await,
            ["fd99::1:22", "10.99.0.9:80", "10.99.0.10:80", "10.99.0.9:443"]
        );
        assert_eq!(listed(&viewer, "sort_by=port&sort_dir=desc").await[0], "10.99.0.9:443");
        for order in ["first_seen_at", "last_seen_at"] {
            assert_eq!(listed(&viewer, &format!("sort_by={order}&sort_dir=desc")).await.len(), 4);
            assert_eq!(listed(&viewer, &format!("sort_by={order}")).await.len(), 4);
        }
    }

    #[tokio::test]
    async fn filters_narrow_the_list_and_the_total() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (office, plant) =
            (lab.network("Office", "10.99.0.0/24").await, lab.network("Plant", "10.99.1.0/24").await);
        let scan = lab.scan(office, "completed").await;
        lab.port(office, scan, "10.99.0.9", 22, "ssh").await;
        lab.port(office, scan, "10.99.0.10", 80, "100%_http").await;
        lab.port(plant, scan, "10.99.1.1", 2222, "OpenSSH").await;
        let viewer = app.login(Role::Viewer).await;
        assert_eq!(listed(&viewer, &format!("network_id={plant}")).await, ["10.99.1.1:2222"]);
        assert_eq!(listed(&viewer, "service=SSH").await, ["10.99.0.9:22", "10.99.1.1:2222"]);
        assert_eq!(listed(&viewer, "service=%25_").await, ["10.99.0.10:80"]);
        assert_eq!(listed(&viewer, "port_min=23&port_max=100").await, ["10.99.0.10:80"]);
        assert_eq!(listed(&viewer, "ip_range=10.99.0.8/29").await, ["10.99.0.9:22", "10.99.0.10:80"]);
        assert_eq!(
            listed(&viewer, "ip_range=10.99.0.10-10.99.1.1").await,
            ["10.99.0.10:80", "10.99.1.1:2222"]
        );
        assert_eq!(listed(&viewer, "protocol=udp").await, [""; 0]);
        assert_eq!(listed(&viewer, "search=1.1").await, ["10.99.1.1:2222"]);
        let reply = viewer.get("/api/ports?service=ssh&limit=1").await.json();
        assert_eq!((&reply["total"], reply["ports"].as_array().unwrap().len()), (&json!(2), 1));
        assert_times_are_utc(&reply);
    }

    #[tokio::test]
    async fn wrong_queries_are_told_as_clients_know_it() {
        let app = TestApp::new().await;
        let viewer = app.login(Role::Viewer).await;
        for (query, sentence) in [
            (
                "ip_range=banana",
                "Invalid ip_range; expected CIDR (e.g., 192.168.1.0/24) or range (e.g., 192.168.1.10-192.168.1.50)",
            ),
            ("sort_by=banana", "Invalid sort_by value"),
            ("sort_dir=up", "Invalid sort_dir value"),
            ("port_min=100&port_max=1", "port_min cannot be greater than port_max"),
            ("cursor=banana", "Invalid cursor; use next_cursor of the page before"),
        ] {
            viewer.get(&format!("/api/ports?{query}")).await.assert_problem(400, sentence);
            viewer.get(&format!("/api/global-ports?{query}")).await.assert_problem(400, sentence);
        }
        for query in [
            "port_min=0",
            "port_min=abc",
            "port_max=70000",
            "limit=10001",
            "limit=0",
            "offset=-1",
            "service=",
            "search=%00",
        ] {
            viewer.get(&format!("/api/ports?{query}")).await.assert_status(422);
        }
    }

    #[tokio::test]
    async fn cursors_walk_the_whole_list_once() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (office, twin) =
            (lab.network("Office", "10.99.0.0/24").await, lab.network("Twin", "10.99.0.0/25").await);
        let scan = lab.scan(office, "completed").await;
        for port in 1..=5 {
            lab.port(office, scan, "10.99.0.9", port, "x").await;
        }
        let other = lab.scan(twin, "completed").await;
        lab.port(twin, other, "10.99.0.9", 2, "x").await;
        let viewer = app.login(Role::Viewer).await;
        for base in ["/api/ports?limit=2&sort_by=ip", "/api/global-ports?limit=2&sort_by=ip"] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = viewer.get(&format!("{base}{cursor}")).await.assert_status(200).json();
                seen.extend(
                    page["ports"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|port| (port["port"].as_i64(), port["id"].as_i64())),
                );
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            let expected = if base.contains("global") { 5 } else { 6 };
            assert_eq!(seen.len(), expected, "{seen:?}");
            assert!(seen.is_sorted());
            seen.dedup();
            assert_eq!(seen.len(), expected);
        }
        viewer.get("/api/ports?sort_by=port&cursor=10.99.0.9_1_1").await.assert_status(400);
    }

    #[tokio::test]
    async fn failed_and_single_host_scans_take_nothing_away() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let good = lab.scan(office, "completed").await;
        lab.port(office, good, "10.99.0.9", 22, "ssh").await;
        let gone = lab.port(office, good, "10.99.0.9", 23, "telnet").await;
        lab.scan(office, "failed").await;
        let single = lab.scan(office, "completed").await;
        sqlx::query("update scans set target_address = '10.99.0.77' where id = $1")
            .bind(single)
            .execute(app.pool())
            .await
            .unwrap();
        lab.close(gone).await;
        let viewer = app.login(Role::Viewer).await;
        assert_eq!(listed(&viewer, "").await, ["10.99.0.9:22"]);

        let path = format!("/api/ports/{gone}");
        let closed = viewer.get(&path).await.assert_status(200).json();
        assert_eq!(closed["intervals"][0]["closed_at"], "2026-01-01T00:00:00Z");
        viewer.get("/api/ports/999").await.assert_problem(404, "Open port not found");
        let endpoint = viewer.get(&format!("/api/global-ports/{}", closed["global_port_id"])).await.json();
        assert_eq!((&endpoint["is_open"], &endpoint["seen_by_networks"]), (&json!(false), &json!([office])));
        viewer.get("/api/global-ports/999").await.assert_problem(404, "Global open port not found");
    }

    #[tokio::test]
    async fn what_a_service_shows_is_judged_and_found_elsewhere() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "n", worker.client.agent_id()).await;
        let key = SshHostKey {
            kind: "ssh-rsa".into(),
            bits: Some(1024),
            fingerprint: "SHA256:abc".into(),
            is_weak: true,
            notes: Vec::new(),
        };
        let audit = SshAudit {
            keys: vec![key],
            hassh: Some("ab".repeat(16)),
            auth_methods: Some(vec!["password".into()]),
            ..SshAudit::default()
        };
        let mut records = Vec::new();
        for ip in ["10.99.0.7", "10.99.0.8"] {
            let mut ssh = service(&app, ip, 22, "ssh", "OpenSSH", "9.2p1");
            ssh.hostname = Some(format!("host-{ip}").into());
            ssh.ssh = Some(audit.clone());
            records.extend([open(&app, ip, 22), Record::Service(Box::new(ssh))]);
        }
        let mut other = service(&app, "10.99.0.9", 22, "ssh", "OpenSSH", "9.2p1");
        other.ssh = Some(SshAudit { hassh: Some("ab".repeat(16)), ..SshAudit::default() });
        other.announced = Some(DeviceInfo { name: Some("printer-3".into()), ..DeviceInfo::default() });
        records.extend([open(&app, "10.99.0.9", 22), Record::Service(Box::new(other))]);
        worker.scan(network_id, &records).await;

        let viewer = app.login(Role::Viewer).await;
        let with = async |fingerprint: &str| listed(&viewer, &format!("fingerprint={fingerprint}")).await;
        assert_eq!(with("ssh-key:SHA256:abc").await, ["10.99.0.7:22", "10.99.0.8:22"]);
        let hassh = format!("hassh:{}", "ab".repeat(16));
        assert_eq!(with(&hassh).await.len(), 3);
        assert!(with("ssh-key:SHA256:ab").await.is_empty(), "only the whole value counts");

        let found = viewer.get("/api/ports?fingerprint=ssh-key:SHA256:abc").await.json();
        assert_eq!(found["total"], 2);
        let shown = viewer.get(&format!("/api/ports/{}", found["ports"][0]["id"])).await.json();
        assert_eq!(shown["service"]["ssh"]["keys"][0]["bits"], 1024);
        let kinds: Vec<_> =
            shown["weaknesses"].as_array().unwrap().iter().map(|weakness| &weakness["kind"]).collect();
        assert_eq!(kinds, ["ssh_insecure_auth", "ssh_weak_host_key"]);
        // What many servers of one make have in common says nothing of who they are.
        assert_eq!(
            shown["also_on"],
            json!([{ "fingerprint": "ssh-key:SHA256:abc", "port_id": found["ports"][1]["id"], "protocol": "tcp",
                     "host_id": found["ports"][1]["host_id"], "hostname": "host-10.99.0.8", "ip": "10.99.0.8",
                     "port": 22 }])
        );

        let overview = async |id: &Value| viewer.get(&format!("/api/hosts/{id}/overview")).await.json();
        let host = overview(&found["ports"][0]["host_id"]).await;
        let evidence: Vec<_> =
            host["identifiers"].as_array().unwrap().iter().map(|one| (&one["kind"], &one["value"])).collect();
        assert_eq!(
            evidence,
            [(&json!("name"), &json!("host-10.99.0.7")), (&json!("ssh_host_key"), &json!("SHA256:abc"))]
        );
        assert_eq!(host["announcements"][0]["hostname"], "host-10.99.0.7");
        let printer = viewer.get("/api/ports?ip_range=10.99.0.9/32").await.json();
        let announced = overview(&printer["ports"][0]["host_id"]).await;
        assert_eq!(announced["announcements"][0]["announced"]["name"], "printer-3");
        let audits = viewer.get("/api/ssh/hosts/10.99.0.7").await.json();
        assert_eq!(audits["total"], 1);
    }

    #[tokio::test]
    async fn limited_users_see_the_ports_of_their_networks() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (mine, other) =
            (lab.network("Mine", "10.99.0.0/24").await, lab.network("Other", "10.99.0.0/16").await);
        let scan = lab.scan(mine, "completed").await;
        lab.port(mine, scan, "10.99.0.9", 22, "ssh").await;
        let shared = lab.scan(other, "completed").await;
        lab.port(other, shared, "10.99.0.9", 22, "ssh").await;
        let hidden = lab.port(other, shared, "10.99.0.10", 80, "http").await;
        let limited = app.login_limited(Role::Viewer, &[mine]).await;
        assert_eq!(listed(&limited, "").await, ["10.99.0.9:22"]);
        limited.get(&format!("/api/ports/{hidden}")).await.assert_status(404);
        let endpoints = limited.get("/api/global-ports").await.json();
        assert_eq!(
            (&endpoints["total"], &endpoints["ports"][0]["seen_by_networks"]),
            (&json!(1), &json!([mine]))
        );
        let all = app.login(Role::Viewer).await.get("/api/global-ports?sort_by=ip").await.json();
        assert_eq!((&all["total"], &all["ports"][0]["seen_by_networks"]), (&json!(2), &json!([mine, other])));
    }

    #[tokio::test]
    async fn allowing_a_port_makes_a_rule_of_the_network() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let operator = app.login(Role::Operator).await;
        let body = json!({ "network_id": office, "ip": "10.99.0.11", "port": "8080", "description": "ok" });
        let rule = operator.post("/api/ports/whitelist", body.clone()).await.assert_status(201).json();
        assert_eq!(
            (&rule["rule_type"], &rule["port"], &rule["protocol"]),
            (&json!("allow"), &json!("8080"), &Value::Null)
        );
        let unknown = json!({ "network_id": 99, "port": "8080" });
        operator.post("/api/ports/whitelist", unknown).await.assert_problem(404, "Network not found");
        let number = json!({ "network_id": office, "port": 8080 });
        operator.post("/api/ports/whitelist", number).await.assert_status(422);
        app.login(Role::Analyst).await.post("/api/ports/whitelist", body).await.assert_status(403);
    }
}
