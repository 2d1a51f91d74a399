//! The pages: files in the program itself, served with the headers that keep them in their cage.

use std::{collections::HashMap, sync::LazyLock};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use crate::{api::Problem, hex};

/// Made by build.rs: name and content of every file.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

/// Only our own files, no inline scripts, no other site, nobody may frame us. Styles may stand in elements, since
/// components measure and place themselves; a style cannot run.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

struct Page {
    content: &'static [u8],
    media_type: &'static str,
    etag: HeaderValue,
    cache: &'static str,
}

static PAGES: LazyLock<HashMap<&str, Page>> =
    LazyLock::new(|| FILES.iter().map(|(name, content)| (*name, Page::new(name, content))).collect());

impl Page {
    fn new(name: &str, content: &'static [u8]) -> Self {
        let digest = hex::encode(&Sha256::digest(content));
        let etag = HeaderValue::try_from(format!("\"{digest}\""))
            .unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        // The builder puts a hash of the content into the names under assets/.
        let cache =
            if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
        Self { content, media_type: media_type(name), etag, cache }
    }

    fn answer(&self, request: &HeaderMap) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.media_type)),
            (header::ETAG, self.etag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static(self.cache)),
        ];
        if is_known(request, &self.etag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.content).into_response()
    }
}

/// A file, or, for a path that the page itself understands, the page.
pub async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return Problem::not_found("Not Found").into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        let allow = HeaderValue::from_static("GET, HEAD");
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
            .header(header::ALLOW, allow)
            .into_response();
    }
    if let Some(page) = PAGES.get(path) {
        return page.answer(&headers);
    }
    let is_file_name = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    match PAGES.get("index.html") {
        Some(page) if !is_file_name => page.answer(&headers),
        _ => Problem::not_found("Not Found").into_response(),
    }
}

/// Puts the headers on every answer, the API's too.
pub fn secure(response: &mut Response<Body>) {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Whether the browser has this very content (RFC 9110 13.1.2; weak comparison, since compression makes tags weak).
fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let Some(tags) = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let known = etag.to_str().unwrap_or_default();
    tags.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == known || tag == "*")
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use crate::test_support::TestApp;

    #[tokio::test]
    async fn the_page_is_there_under_every_path_that_it_understands() {
        let client = TestApp::new().await.anonymous();
        for path in ["/", "/hosts/7", "/setup"] {
            let reply = client.get(path).await;
            reply.assert_status(200);
            assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
            assert_eq!(reply.header("cache-control"), Some("no-cache"));
            let policy = reply.header("content-security-policy").unwrap();
            assert!(
                policy.contains("default-src 'none'") && policy.contains("script-src 'self';"),
                "{policy}"
            );
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_the_page() {
        let client = TestApp::new().await.anonymous();
        client.get("/api/nonsense").await.assert_problem(404, "Not Found");
        client.get("/assets/gone-1234.js").await.assert_problem(404, "Not Found");
        client.post("/", serde_json::json!({})).await.assert_problem(405, "Method Not Allowed");
        client.delete("/health").await.assert_problem(405, "Method Not Allowed");
    }

    #[tokio::test]
    async fn known_content_is_not_sent_again() {
        let client = TestApp::new().await.anonymous();
        let etag = client.get("/").await.header("etag").unwrap().to_owned();
        let reply = client.clone().header("if-none-match", &format!("W/{etag}")).get("/").await;
        reply.assert_status(304);
        assert!(reply.body.is_empty());
    }
}
