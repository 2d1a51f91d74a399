//! `/api/networks/{network_id}/scans` and its neighbour: the runs of one network.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::find;
use crate::{
    api::{ApiRouter, Json, Page, Path, Problem, Query},
    auth::{Access, Caller, Permission},
    state::AppState,
    store::scans::{self as store, Scan, ScanFilter},
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_network_scans))
        .route(Access::Needs(Permission::InventoryRead), routes!(list_host_discovery_scans))
}

/// Scans of a network.
#[derive(Debug, Serialize, ToSchema)]
struct NetworkScanList {
    /// Newest first, hidden ones included.
    scans: Vec<Scan>,
    /// How many there are.
    total: i64,
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PartQuery {
    /// Scans to skip.
    offset: Option<i64>,
    /// Scans at most, 1-200; left out, 50.
    limit: Option<i64>,
}

/// Lists the scans of a network, newest first.
#[utoipa::path(get, path = "/api/networks/{network_id}/scans", tag = "networks",
    params(("network_id" = i64, Path, description = "Number of the network"), PartQuery),
    responses((status = 200, body = NetworkScanList), (status = 404, description = "No such network")))]
async fn list_network_scans(
    State(state): State<AppState>,
    caller: Caller,
    Path(network_id): Path<i64>,
    Query(query): Query<PartQuery>,
) -> Result<Json<NetworkScanList>, Problem> {
    list_of_kind(&state, &caller, network_id, &query, "scan").await
}

/// Lists the searches for hosts in a network, newest first.
#[utoipa::path(get, path = "/api/networks/{network_id}/host-discovery-scans", tag = "networks",
    params(("network_id" = i64, Path, description = "Number of the network"), PartQuery),
    responses((status = 200, body = NetworkScanList), (status = 404, description = "No such network")))]
async fn list_host_discovery_scans(
    State(state): State<AppState>,
    caller: Caller,
    Path(network_id): Path<i64>,
    Query(query): Query<PartQuery>,
) -> Result<Json<NetworkScanList>, Problem> {
    list_of_kind(&state, &caller, network_id, &query, "discovery").await
}

async fn list_of_kind(
    state: &AppState,
    caller: &Caller,
    network_id: i64,
    query: &PartQuery,
    kind: &'static str,
) -> Result<Json<NetworkScanList>, Problem> {
    let page = Page::new(query.offset, query.limit, 200)?;
    find(state, caller, network_id).await?;
    let filter = ScanFilter {
        network_id: Some(network_id),
        kind: Some(kind),
        status: None,
        include_hidden: true,
        offset: page.offset,
        limit: page.limit,
    };
    let (scans, total) = store::list(&state.pool, caller.visible_networks(), &filter).await?;
    Ok(Json(NetworkScanList { scans, total }))
}
