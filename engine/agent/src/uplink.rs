//! The calls to the server, typed. One call is one attempt; who calls decides about trying again.

use std::time::Duration;

use portreeve_model::protocol::{
    BASE_PATH, BatchResponse, EnrollRequest, EnrollResponse, FinishRequest, Hello, HelloResponse,
    LEASE_HEADER, LeaseRequest, LeasedJob, Limits, LogsRequest, RenewRequest, RenewResponse,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::client::{CALL_TIMEOUT, ServerUrl};

/// No answer of the server is read beyond this.
const ANSWER_BYTES: usize = 16 << 20;
/// Nor is an error's text.
const DETAIL_BYTES: usize = 2048;

/// What can become of a call.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// 401: the credential is not, or no longer, accepted.
    #[error("the server does not accept this agent's credential: {0}")]
    Unauthorized(String),
    /// 409: the job is no longer ours.
    #[error("the lease is lost: {0}")]
    LeaseLost(String),
    /// 404 or 410: the job, or the whole route, does not exist there.
    #[error("the server knows nothing of it: {0}")]
    Gone(String),
    /// 409 on finishing: the server lacks batches that were numbered.
    #[error("the server lacks batches of this job: {0}")]
    BatchesMissing(String),
    /// 413: the batch is too large for the server.
    #[error("the batch is too large for the server")]
    TooLarge,
    /// 400 or 422: the server refuses the content.
    #[error("the server refuses it: {0}")]
    Malformed(String),
    /// 429 or 5xx: later may be better.
    #[error("the server is not ready ({status}): {detail}")]
    Busy {
        /// The status.
        status: StatusCode,
        /// What the server said.
        detail: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server was not reached, or not heard to the end.
    #[error("cannot reach the server: {0}")]
    Transport(String),
    /// A status or an answer that the protocol does not have.
    #[error("the server answered what no Portreeve server answers: {0}")]
    Unexpected(String),
}

impl UplinkError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Transport(_) | Self::Unexpected(_))
    }

    /// How long the server asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A server that this agent is enrolled at.
#[derive(Clone)]
pub struct Uplink {
    client: Client,
    server: ServerUrl,
    credential: String,
}

impl Uplink {
    /// Nothing is sent yet.
    pub fn new(client: Client, server: ServerUrl, credential: String) -> Self {
        Self { client, server, credential }
    }

    /// Turns a one-time token into a credential.
    pub async fn enroll(
        client: &Client,
        server: &ServerUrl,
        request: &EnrollRequest,
    ) -> Result<EnrollResponse, UplinkError> {
        let url = server.route(&format!("{BASE_PATH}/enroll"));
        json(send(client.post(url).json(request)).await?).await
    }

    /// Says what this agent is and can do.
    pub async fn hello(&self, hello: &Hello) -> Result<HelloResponse, UplinkError> {
        json(send(self.post("/hello").json(hello)).await?).await
    }

    /// Asks for a job and waits up to `wait` for one.
    pub async fn lease(&self, free_slots: u32, wait: Duration) -> Result<Option<LeasedJob>, UplinkError> {
        let wait_seconds = wait.as_secs().min(u64::from(Limits::LEASE_WAIT_SECONDS));
        let request = self
            .post(&format!("/lease?wait_seconds={wait_seconds}"))
            .timeout(CALL_TIMEOUT + Duration::from_secs(wait_seconds))
            .json(&LeaseRequest { free_slots });
        let response = send(request).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        json(response).await.map(Some)
    }

    /// Keeps a lease.
    pub async fn renew(&self, job_id: Uuid, request: &RenewRequest) -> Result<RenewResponse, UplinkError> {
        json(send(self.post(&format!("/jobs/{job_id}/renew")).json(request)).await?).await
    }

    /// Hands in a batch: NDJSON, compressed with zstd.
    pub async fn batch(
        &self,
        job_id: Uuid,
        number: u32,
        lease_token: Uuid,
        body: Vec<u8>,
    ) -> Result<BatchResponse, UplinkError> {
        let url = self.server.route(&format!("{BASE_PATH}/jobs/{job_id}/batches/{number}"));
        let request = self
            .client
            .put(url)
            .bearer_auth(&self.credential)
            .header(LEASE_HEADER, lease_token.to_string())
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header(header::CONTENT_ENCODING, "zstd")
            .body(body);
        json(send(request).await?).await
    }

    /// Adds lines to the scan's log.
    pub async fn logs(&self, job_id: Uuid, request: &LogsRequest) -> Result<(), UplinkError> {
        send(self.post(&format!("/jobs/{job_id}/logs")).json(request)).await.map(drop)
    }

    /// Ends a job.
    pub async fn finish(&self, job_id: Uuid, request: &FinishRequest) -> Result<(), UplinkError> {
        send(self.post(&format!("/jobs/{job_id}/finish")).json(request)).await.map(drop)
    }

    fn post(&self, path_and_query: &str) -> RequestBuilder {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let mut url = self.server.route(&format!("{BASE_PATH}{path}"));
        if !query.is_empty() {
            url.set_query(Some(query));
        }
        self.client.post(url).bearer_auth(&self.credential)
    }
}

/// Sends, and turns every status but success into an error.
async fn send(request: RequestBuilder) -> Result<Response, UplinkError> {
    let response =
        request.send().await.map_err(|error| UplinkError::Transport(crate::chain(&error.without_url())))?;
    if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
}

async fn refusal(response: Response) -> UplinkError {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let body = body(response, DETAIL_BYTES).await.unwrap_or_default();
    let problem = Problem::read(status, &body);
    match status {
        StatusCode::UNAUTHORIZED => UplinkError::Unauthorized(problem.detail),
        StatusCode::CONFLICT if problem.code.contains("batches-missing") => {
            UplinkError::BatchesMissing(problem.detail)
        }
        StatusCode::CONFLICT => UplinkError::LeaseLost(problem.detail),
        StatusCode::NOT_FOUND | StatusCode::GONE => UplinkError::Gone(problem.detail),
        StatusCode::PAYLOAD_TOO_LARGE => UplinkError::TooLarge,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => UplinkError::Malformed(problem.detail),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            UplinkError::Busy { status, detail: problem.detail, retry_after }
        }
        _ if status.is_server_error() => UplinkError::Busy { status, detail: problem.detail, retry_after },
        _ => UplinkError::Unexpected(format!("{status}: {}", problem.detail)),
    }
}

/// The parts of a problem document (RFC 9457) that an agent reads.
#[derive(Default, serde::Deserialize)]
struct RawProblem {
    #[serde(default)]
    detail: serde_json::Value,
    #[serde(default)]
    code: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// The same, made harmless.
struct Problem {
    detail: String,
    /// The problem's name, as `batches-missing`.
    code: String,
}

impl Problem {
    fn read(status: StatusCode, body: &[u8]) -> Self {
        let raw = serde_json::from_slice::<RawProblem>(body).unwrap_or_default();
        let detail = match &raw.detail {
            serde_json::Value::Null => crate::plain(body),
            serde_json::Value::String(text) => crate::plain(text.as_bytes()),
            other => crate::plain(other.to_string().as_bytes()),
        };
        let detail = if detail.is_empty() { status.to_string() } else { detail };
        Self { detail, code: if raw.code.is_empty() { raw.kind } else { raw.code } }
    }
}

async fn json<T: DeserializeOwned>(response: Response) -> Result<T, UplinkError> {
    let body = body(response, ANSWER_BYTES).await?;
    serde_json::from_slice(&body).map_err(|error| UplinkError::Unexpected(error.to_string()))
}

/// Reads at most `limit` bytes of an answer.
async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, UplinkError> {
    let mut bytes = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| UplinkError::Transport(crate::chain(&error.without_url())))?
    {
        if bytes.len() + chunk.len() > limit {
            return Err(UplinkError::Unexpected(format!("an answer of more than {limit} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_read_in_any_shape() {
        let status = StatusCode::CONFLICT;
        let read = |body: &str| Problem::read(status, body.as_bytes()).detail;
        assert_eq!(read(r#"{"type":"about:blank","detail":"no such job"}"#), "no such job");
        assert_eq!(read(r#"{"detail":[{"msg":"bad line"}]}"#), r#"[{"msg":"bad line"}]"#);
        assert_eq!(read("gate\u{1b}way"), "gate\u{fffd}way");
        assert_eq!(read(""), "409 Conflict");
        let named = |body: &str| Problem::read(status, body.as_bytes()).code;
        assert_eq!(
            named(r#"{"type":"about:blank","code":"batches-missing","detail":"x"}"#),
            "batches-missing"
        );
        assert_eq!(named(r#"{"type":"https://x/batches-missing"}"#), "https://x/batches-missing");
    }
}
