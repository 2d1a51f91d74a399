//! `/health`, `/api/version`, `/metrics`: for machines that watch the server.

use axum::{extract::State, http::HeaderMap};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{ApiRouter, Json, Problem, ProblemBody};
use crate::{
    auth::{Access, Caller, ClientAddress, Permission},
    state::AppState,
    store,
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Public, routes!(health))
        .route(Access::Public, routes!(version))
        .route(Access::Public, routes!(figures))
}

/// The server works.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthResponse {
    /// Always `ok`.
    status: &'static str,
}

/// Which program answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionResponse {
    /// As `0.1.0`.
    version: &'static str,
    /// Always `backend`, as OPM's clients expect.
    component: &'static str,
    /// The product.
    product: &'static str,
}

/// Say whether the server and its database work.
#[utoipa::path(get, path = "/health", tag = "server", operation_id = "health",
    responses((status = 200, body = HealthResponse), (status = 503, body = ProblemBody)))]
async fn health(State(app): State<AppState>) -> Result<Json<HealthResponse>, Problem> {
    store::server_version(&app.pool).await?;
    Ok(Json(HealthResponse { status: "ok" }))
}

/// Name the version.
#[utoipa::path(get, path = "/api/version", tag = "server", operation_id = "version",
    responses((status = 200, body = VersionResponse)))]
async fn version() -> Json<VersionResponse> {
    Json(VersionResponse { version: env!("CARGO_PKG_VERSION"), component: "backend", product: "Portreeve" })
}

/// Show the figures for Prometheus: to programs on this machine, and to admins.
#[utoipa::path(get, path = "/metrics", tag = "server", operation_id = "metrics",
    responses((status = 200, body = String, content_type = "text/plain"), (status = 401, body = ProblemBody)))]
async fn figures(
    State(app): State<AppState>,
    address: Option<ClientAddress>,
    headers: HeaderMap,
) -> Result<String, Problem> {
    if !is_local(address, &headers) {
        let caller = Caller::find(&app, &headers, address).await?;
        if !caller.may(Permission::SettingsManage) {
            return Err(Problem::forbidden("Admin access required"));
        }
    }
    metrics::gauge!("portreeve_database_connections").set(f64::from(app.pool.size()));
    metrics::gauge!("portreeve_database_connections_idle").set(app.pool.num_idle() as f64);
    Ok(app.metrics.render())
}

/// From this machine, and not through a proxy on it: that would make everyone local.
fn is_local(address: Option<ClientAddress>, headers: &HeaderMap) -> bool {
    let is_forwarded =
        ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
    address.is_some_and(|address| address.0.is_loopback()) && !is_forwarded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn anyone_may_ask_how_the_server_is() {
        let app = TestApp::new().await;
        assert_eq!(app.anonymous().get("/health").await.json(), serde_json::json!({"status": "ok"}));
        assert_eq!(app.anonymous().get("/api/version").await.json()["component"], "backend");
    }

    #[tokio::test]
    async fn without_its_database_the_server_is_not_well() {
        let app = TestApp::new().await;
        app.pool().close().await;
        app.anonymous().get("/health").await.assert_status(503);
    }

    #[tokio::test]
    async fn figures_are_for_admins_and_local_programs() {
        let app = TestApp::new().await;
        app.anonymous().get("/metrics").await.assert_status(401);
        app.login(Role::Operator).await.get("/metrics").await.assert_status(403);
        app.login(Role::Admin).await.get("/metrics").await.assert_status(200);

        let local = Some(ClientAddress("127.0.0.1".parse().unwrap()));
        let mut headers = HeaderMap::new();
        assert!(is_local(local, &headers));
        assert!(!is_local(Some(ClientAddress("192.0.2.1".parse().unwrap())), &headers));
        headers.insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
        assert!(!is_local(local, &headers));
    }
}
