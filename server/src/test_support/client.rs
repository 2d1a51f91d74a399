//! Calls routes as someone, and looks at the answers.

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header},
};
use serde_json::Value;
use tower::ServiceExt;

/// Someone who calls routes.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    headers: HeaderMap,
    user: Option<(i64, String)>,
    agent: Option<i64>,
}

impl Client {
    pub(super) fn new(router: Router) -> Self {
        Self { router, headers: HeaderMap::new(), user: None, agent: None }
    }

    /// The same client with a header in each request.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// The same client with this bearer token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(super) fn user(mut self, id: i64, email: String) -> Self {
        self.user = Some((id, email));
        self
    }

    pub(super) fn agent(mut self, id: i64) -> Self {
        self.agent = Some(id);
        self
    }

    /// The user's number.
    pub(crate) fn user_id(&self) -> i64 {
        self.user.as_ref().expect("a signed-in client").0
    }

    /// The user's e-mail address.
    pub(crate) fn email(&self) -> &str {
        &self.user.as_ref().expect("a signed-in client").1
    }

    /// The agent's number.
    pub(crate) fn agent_id(&self) -> i64 {
        self.agent.expect("an agent's client")
    }

    /// A header that the client sends.
    pub(crate) fn header_value(&self, name: &str) -> &str {
        self.headers[name].to_str().expect("text")
    }

    /// Any request; the client's headers are added where the request has none of that name.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Reply {
        for (name, value) in &self.headers {
            request.headers_mut().entry(name).or_insert(value.clone());
        }
        let response = self.router.clone().oneshot(request).await.expect("routes never fail");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.expect("a body");
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// A request with a JSON body, or none.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let request = Request::builder().method(method).uri(path);
        let request = match body {
            Some(body) => {
                request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string()))
            }
            None => request.body(Body::empty()),
        };
        self.send(request.expect("a request")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, None).await
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The status is this one; the reply itself, for more.
    #[track_caller]
    pub(crate) fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// The reply is a problem with this status and sentence.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, detail: &str) {
        self.assert_status(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.json()["detail"], detail);
        assert_eq!(self.json()["status"], status);
    }
}
