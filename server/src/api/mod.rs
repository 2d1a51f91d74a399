//! The REST API.
//!
//! # How to add an endpoint
//!
//! 1. A file named after its path (`networks.rs` for `/api/networks`), with: the request and response types
//!    (`Deserialize`/`Serialize` + `ToSchema`, documented: the words end up in the OpenAPI document), one
//!    handler a method of 10-30 lines with `#[utoipa::path(…)]` (with `params(…)` for path and query), `pub fn routes() -> ApiRouter`, and tests below.
//!    [`users`] is the pattern.
//! 2. `routes()` says who may call each handler ([`Access`](crate::auth::Access)); it is checked before the handler
//!    runs, and the document is told. 401 and 403 need no line in the handler.
//! 3. One line in [`routes`] below.
//!
//! Handlers take `State(app): State<AppState>`, [`Caller`](crate::auth::Caller) (or
//! [`AgentCaller`](crate::auth::AgentCaller) on agent routes), and [`Path`], [`Query`], [`Json`] of this module, which
//! answer wrong input with OPM's 422. They return `Result<Json<T>, Problem>`; `?` turns an [`sqlx::Error`] into 500 or 503,
//! [`OnConstraint`] a broken rule into what the user did wrong. What a limited user may not see is 404.
//! Mutations of rights, agents, networks and rules write an [`audit::Entry`](crate::audit::Entry) in their transaction.

#![expect(
    unused_qualifications,
    reason = "utoipa::path qualifies the types of a handler's query, at the handler's span"
)]

pub mod agent_protocol;
mod alerts;
pub mod api_keys;
pub mod audit;
mod changes;
mod common;
#[cfg(test)]
mod conformance;
mod dashboard;
pub mod events;
mod extract;
#[cfg(test)]
mod fixtures;
mod global_ports;
pub mod health;
mod hosts;
pub mod login;
mod networks;
pub mod openapi;
mod policy;
mod ports;
mod problem;
mod router;
pub mod scanner_contract;
pub mod scanners;
mod scans;
pub mod schedule;
mod settings;
pub mod setup;
mod ssh;
mod trends;
pub mod users;

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use std::net::SocketAddr;
use tower_http::{
    catch_panic::CatchPanicLayer, compression::CompressionLayer, csrf::CsrfLayer, trace::TraceLayer,
};

pub use extract::{Json, OptionalJson, Page, Path, Query, at_least, at_most, lax_bool, parse_json, present};
pub use problem::{Detail, FieldError, OnConstraint, Problem, ProblemBody};
pub use router::ApiRouter;

use crate::{auth::ClientAddress, metrics, state::AppState, web};

/// The largest body of an ordinary request, in bytes.
const BODY_LIMIT: usize = 2 << 20;
/// The largest body of OPM's agents, which hand in a whole scan at once.
const AGENT_BODY_LIMIT: usize = 256 << 20;

/// Every route of the server.
pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .merge(agent_protocol::routes())
        .merge(alerts::routes())
        .merge(api_keys::routes())
        .merge(audit::routes())
        .merge(changes::routes())
        .merge(dashboard::routes())
        .merge(events::routes())
        .merge(global_ports::routes())
        .merge(health::routes())
        .merge(hosts::routes())
        .merge(login::routes())
        .merge(networks::routes())
        .merge(openapi::routes())
        .merge(policy::routes())
        .merge(ports::routes())
        .merge(scanner_contract::routes())
        .merge(scanners::routes())
        .merge(scans::routes())
        .merge(schedule::routes())
        .merge(settings::routes())
        .merge(setup::routes())
        .merge(ssh::routes())
        .merge(trends::routes())
        .merge(users::routes())
}

/// The whole application: routes, guards, limits and what every answer has in common.
pub fn app(state: &AppState) -> Router {
    let router = routes().guarded(state).with_state(state.clone());
    router
        .fallback(web::serve)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(metrics::measure))
        .layer(middleware::from_fn(body_limit))
        .layer(CsrfLayer::new().with_rejection_response(|_| cross_site()))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(middleware::from_fn_with_state(state.clone(), client_address))
        .layer(TraceLayer::new_for_http())
}

async fn method_not_allowed() -> Problem {
    Problem::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// A page of another site tried to make the browser send this.
fn cross_site() -> Response<Body> {
    Problem::forbidden("This request was started by another site; open Portreeve's own page and try again")
        .into_response()
}

/// Sets how much of a body may be read, by who may send it.
async fn body_limit(mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_agent = path.starts_with("/api/scanner/") || path.starts_with("/api/agent/");
    let limit = if is_agent { AGENT_BODY_LIMIT } else { BODY_LIMIT };
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        let detail = format!("The body has more than {limit} bytes");
        return Problem::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, detail).into_response();
    }
    DefaultBodyLimit::apply(DefaultBodyLimit::max(limit), &mut request);
    next.run(request).await
}

/// Finds out where the request came from, for throttling, audit and lists of sessions.
async fn client_address(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        let address = ClientAddress::find(peer, request.headers(), &state.config.trusted_proxies);
        request.extensions_mut().insert(address);
    }
    let mut response = next.run(request).await;
    // What a signed-in user reads must not stay in a shared cache.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    web::secure(&mut response);
    response
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, Bytes},
        http::{Method, Request, header},
    };
    use futures_util::stream;
    use serde_json::json;

    use super::{AGENT_BODY_LIMIT, BODY_LIMIT};
    use crate::{auth::Role, test_support::TestApp};

    fn put(path: &str, media_type: &str) -> axum::http::request::Builder {
        Request::builder().method(Method::PUT).uri(path).header(header::CONTENT_TYPE, media_type)
    }

    /// A JSON string of so many bytes, in pieces whose sum nobody says beforehand.
    fn streamed(bytes: usize) -> Body {
        const PIECE: usize = 64 << 10;
        let text = Bytes::from(format!("\"{}\"", "a".repeat(bytes - 2)));
        let pieces = (0..bytes).step_by(PIECE).map(move |at| text.slice(at..bytes.min(at + PIECE)));
        Body::from_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn long_bodies_are_refused_whether_their_length_is_declared_or_not() {
        const PATH: &str = "/api/settings/ssh-alert-defaults";
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let json = || put(PATH, "application/json");

        let declared = json().header(header::CONTENT_LENGTH, BODY_LIMIT + 1).body(Body::empty());
        let reply = admin.send(declared.expect("a request")).await;
        reply.assert_problem(413, "The body has more than 2097152 bytes");
        let reply = admin.send(json().body(streamed(BODY_LIMIT + 1)).expect("a request")).await;
        reply.assert_problem(413, "The body is too large for this route");
        // At the limit it is read, and then judged by what it says.
        admin.send(json().body(streamed(BODY_LIMIT)).expect("a request")).await.assert_status(422);
    }

    #[tokio::test]
    async fn agents_may_send_more_but_not_anything() {
        let app = TestApp::new().await;
        let agent = app.agent("a").await;
        let path = format!("/api/agent/v1/jobs/{}/batches/0", uuid::Uuid::nil());
        let sent = async |length: usize| {
            let request = put(&path, "application/x-ndjson").header(header::CONTENT_LENGTH, length);
            agent.send(request.body(Body::empty()).expect("a request")).await
        };
        sent(AGENT_BODY_LIMIT + 1).await.assert_problem(413, "The body has more than 268435456 bytes");
        assert_ne!(sent(BODY_LIMIT + 1).await.status.as_u16(), 413);
    }

    #[tokio::test]
    async fn bodies_of_another_media_type_are_refused() {
        const PATH: &str = "/api/settings/ssh-alert-defaults";
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let body = json!({ "ssh_weak_kex": true }).to_string();
        for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
            let request = put(PATH, media_type).body(Body::from(body.clone()));
            let detail = format!("The body is declared as {media_type:?}; send application/json");
            admin.send(request.expect("a request")).await.assert_problem(415, &detail);
        }
        assert_eq!(admin.get(PATH).await.json()["ssh_weak_kex"], false);
        for media_type in ["application/json; charset=utf-8", "application/merge-patch+json"] {
            let request = put(PATH, media_type).body(Body::from(body.clone()));
            admin.send(request.expect("a request")).await.assert_status(200);
        }
        let broken = put(PATH, "application/json").body(Body::from("{\"ssh_weak_kex\": tr"));
        admin.send(broken.expect("a request")).await.assert_status(422);
    }
}
