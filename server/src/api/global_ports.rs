//! `/api/global-ports`: every endpoint ever seen open, over all networks.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{ApiRouter, Json, Path, Problem, Query, ports::PortsQuery};
use crate::{
    auth::{Access, Caller, Permission},
    input::PortCursor,
    state::AppState,
    store::{
        global_ports::{self as store, GlobalPort},
        ports::PortSort,
    },
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_global_ports))
        .route(Access::Needs(Permission::InventoryRead), routes!(show_global_port))
}

/// Endpoints.
#[derive(Debug, Serialize, ToSchema)]
struct GlobalPortList {
    /// In the order asked for.
    ports: Vec<GlobalPort>,
    /// How many the filter finds.
    total: i64,
    /// Where the next page begins; null at the end and in orders without cursor.
    next_cursor: Option<String>,
}

/// Lists every endpoint ever seen open, the last seen first.
#[utoipa::path(get, path = "/api/global-ports", tag = "ports",
    params(PortsQuery),
    responses((status = 200, body = GlobalPortList), (status = 400, description = "Wrong range or order")))]
async fn list_global_ports(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PortsQuery>,
) -> Result<Json<GlobalPortList>, Problem> {
    let filter = query.filter(PortSort::LastSeenAt, true)?;
    let (ports, total) = store::list(&state.pool, caller.visible_networks(), &filter).await?;
    let last = ports.last().map(|port| PortCursor { address: port.ip, port: port.port, id: port.id });
    let next_cursor = filter.next_cursor(last, ports.len());
    Ok(Json(GlobalPortList { ports, total, next_cursor }))
}

/// Shows one endpoint.
#[utoipa::path(get, path = "/api/global-ports/{port_id}", tag = "ports",
    params(("port_id" = i64, Path, description = "Number of the endpoint")),
    responses((status = 200, body = GlobalPort), (status = 404, description = "No such endpoint")))]
async fn show_global_port(
    State(state): State<AppState>,
    caller: Caller,
    Path(port_id): Path<i64>,
) -> Result<Json<GlobalPort>, Problem> {
    let port = store::find(&state.pool, caller.visible_networks(), port_id).await?;
    port.map(Json).ok_or_else(|| Problem::not_found("Global open port not found"))
}
