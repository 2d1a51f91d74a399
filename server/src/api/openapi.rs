//! `/api/openapi.json` and `/api/docs`: what the API is, for programs and for people.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::routes;

use super::{ApiRouter, Detail, FieldError, Json, ProblemBody};
use crate::{auth::Access, live};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Public, routes!(json))
        .route(Access::Public, routes!(page))
        .route(Access::Public, routes!(script))
        .route(Access::Public, routes!(style))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portreeve",
        description = "Open-port and network-inventory monitor. Times are RFC 3339 in UTC. Errors are \
            `application/problem+json`; `detail` is a sentence, or for 422 a list of what is wrong where. \
            `x-permission` of an operation says who may call it: a permission (also the scope that an API key \
            needs), `agent`, or `public`.",
        license(name = "see the repository"),
    ),
    components(schemas(ProblemBody, Detail, FieldError, live::Event)),
    modifiers(&Security),
)]
struct Base;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = |description: &str| {
            let mut scheme = Http::new(HttpAuthScheme::Bearer);
            scheme.description = Some(description.to_owned());
            SecurityScheme::Http(scheme)
        };
        components.add_security_scheme(
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("portreeve"))),
        );
        components
            .add_security_scheme("bearer", bearer("A session's token from /api/auth/login, or an API key."));
        components.add_security_scheme(
            "api_key",
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))),
        );
        components.add_security_scheme("agent", bearer("An agent's credential, or OPM's access token."));
    }
}

/// The document, made from the routes themselves.
pub fn document() -> utoipa::openapi::OpenApi {
    super::routes().openapi(Base::openapi())
}

/// Describe the API (OpenAPI 3.1).
#[utoipa::path(get, path = "/api/openapi.json", tag = "server", operation_id = "openapi",
    responses((status = 200, description = "The document", content_type = "application/json")))]
async fn json() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}

/// Read the API's description.
#[utoipa::path(get, path = "/api/docs", tag = "server", operation_id = "docs",
    responses((status = 200, body = String, content_type = "text/html")))]
async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("docs/index.html"))
}

/// The script of the page.
#[utoipa::path(get, path = "/api/docs/docs.js", tag = "server", operation_id = "docs_script",
    responses((status = 200, body = String, content_type = "text/javascript")))]
async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("docs/docs.js"))
}

/// The style of the page.
#[utoipa::path(get, path = "/api/docs/docs.css", tag = "server", operation_id = "docs_style",
    responses((status = 200, body = String, content_type = "text/css")))]
async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("docs/docs.css"))
}

fn file(media_type: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::TestApp;
    use serde_json::Value;

    #[tokio::test]
    async fn the_document_knows_every_route_and_who_may_call_it() {
        let app = TestApp::new().await;
        let document = app.anonymous().get("/api/openapi.json").await.json();
        assert_eq!(document["info"]["title"], "Portreeve");
        assert_eq!(document["paths"]["/api/users"]["get"]["x-permission"], "users:manage");
        assert_eq!(document["paths"]["/health"]["get"]["x-permission"], "public");
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"].get(name).is_some(),
                "{name} is referred to and not described"
            );
        }
    }

    #[test]
    fn operations_have_names_of_their_own_and_words() {
        let document: Value = serde_json::to_value(document()).unwrap();
        let mut names = std::collections::HashSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{method} {path}: the name {name} is taken");
                assert!(operation["summary"].is_string(), "{method} {path} has no words");
                assert!(operation["x-permission"].is_string(), "{method} {path} says nothing of its access");
            }
        }
    }

    /// Every guarded route refuses whoever shows nothing, and every user route refuses agents.
    #[tokio::test]
    async fn no_guarded_route_lets_strangers_or_the_wrong_audience_in() {
        let app = TestApp::new().await;
        let agent = app.agent("one").await;
        let document: Value = serde_json::to_value(document()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            let concrete = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
            let concrete = concrete.collect::<Vec<_>>().join("/");
            for (method, operation) in item.as_object().unwrap() {
                let permission = operation["x-permission"].as_str().unwrap();
                let method: axum::http::Method = method.to_uppercase().parse().unwrap();
                if permission == "public" {
                    continue;
                }
                let stranger = app.anonymous().call(method.clone(), &concrete, None).await;
                assert_eq!(stranger.status, 401, "{method} {path} lets a stranger in");
                if permission != "agent" {
                    let refused = agent.call(method.clone(), &concrete, None).await;
                    assert_eq!(refused.status, 401, "{method} {path} lets an agent in");
                } else {
                    let admin = app.login(crate::auth::Role::Admin).await;
                    let refused = admin.call(method.clone(), &concrete, None).await;
                    assert_eq!(refused.status, 401, "{method} {path} lets a user in");
                }
            }
        }
    }

    #[tokio::test]
    async fn the_page_to_read_needs_nothing_from_elsewhere() {
        let client = TestApp::new().await.anonymous();
        let page = client.get("/api/docs").await;
        page.assert_status(200);
        assert!(!page.text().contains("http://") && !page.text().contains("https://"));
        for path in ["/api/docs/docs.js", "/api/docs/docs.css"] {
            assert!(page.text().contains(path));
            client.get(path).await.assert_status(200);
        }
    }
}
