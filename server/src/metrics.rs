//! Figures for Prometheus. Labels are bounded: routes by their pattern, statuses by their class, never a value that a
//! client chooses.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds of the duration histogram, in seconds.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The figures of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Collects what the whole process measures. Once a process.
    pub fn install() -> Result<Self, BuildError> {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?;
        let handle = builder.install_recorder()?;
        metrics::describe_counter!(
            "portreeve_http_requests_total",
            "Requests by route, method and class of status"
        );
        metrics::describe_histogram!(
            "portreeve_http_request_duration_seconds",
            "Time to the answer's first byte, by route"
        );
        Ok(Self(handle))
    }

    /// Collects nothing: for tests, which share a process.
    pub fn detached() -> Self {
        Self(PrometheusBuilder::new().build_recorder().handle())
    }

    /// The figures as Prometheus reads them.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps the histograms small; call now and then.
    pub fn tidy(&self) {
        self.0.run_upkeep();
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Counts and times every request.
pub async fn measure(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let method = known_method(request.method());
    let start = Instant::now();
    let response = next.run(request).await;
    count(route, method, response.status().as_u16(), start.elapsed());
    response
}

fn count(route: String, method: &'static str, status: u16, time: Duration) {
    let class = match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    metrics::counter!("portreeve_http_requests_total", "route" => route.clone(), "method" => method, "status" => class)
        .increment(1);
    metrics::histogram!("portreeve_http_request_duration_seconds", "route" => route).record(time);
}

/// A client may send any word as a method.
fn known_method(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        _ => "other",
    }
}
