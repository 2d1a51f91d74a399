//! What goes wrong, as the client reads it.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// The media type of problems (RFC 9457).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One thing that is wrong with the input.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldError {
    /// What kind of mistake, as `missing`, `string_type`, `value_error`.
    pub r#type: Cow<'static, str>,
    /// Where: `body`, `query`, `path` or `header`, then names and positions.
    #[schema(value_type = Vec<String>)]
    pub loc: Vec<Value>,
    /// The mistake, in words.
    pub msg: String,
    /// What was given there.
    pub input: Value,
}

impl FieldError {
    /// A value that is well-formed and not allowed. `loc` as `["body", "cidr"]`.
    pub fn value(loc: &[&str], message: impl std::fmt::Display, input: impl Into<Value>) -> Self {
        let loc = loc.iter().map(|part| json!(part)).collect();
        Self {
            r#type: "value_error".into(),
            loc,
            msg: format!("Value error, {message}"),
            input: input.into(),
        }
    }
}

/// The text of a problem, or for 422 its list of mistakes: the two shapes that OPM's clients read.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Detail {
    /// The mistakes in the input.
    Fields(Vec<FieldError>),
    /// A sentence.
    Text(String),
}

/// A request that was not carried out, and why (RFC 9457).
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: Option<&'static str>,
    detail: Detail,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

/// How a [`Problem`] is written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Always `about:blank`: the status says what kind of problem it is.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What went wrong.
    detail: Detail,
    /// A name for programs, where the status does not say enough, as `lease-lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

impl Problem {
    /// Any status with a sentence.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, code: None, detail: Detail::Text(detail.into()), headers: Vec::new() }
    }

    /// 400: the request cannot be carried out as it stands.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: who are you?
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403: not with these rights.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: no such thing, or none that the caller may see.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409: not in the state things are in.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 422: the input is wrong, with everything that is wrong.
    pub fn invalid(fields: Vec<FieldError>) -> Self {
        Self { detail: Detail::Fields(fields), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "") }
    }

    /// 422: one value is not allowed. `loc` as `["body", "cidr"]`.
    pub fn invalid_value(loc: &[&str], message: impl std::fmt::Display, input: impl Into<Value>) -> Self {
        Self::invalid(vec![FieldError::value(loc, message, input)])
    }

    /// 429: not so fast; try again after so many seconds.
    pub fn too_many(detail: impl Into<String>, retry_after_seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
            .header(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds))
    }

    /// 500: our fault. What happened goes to the log, never to the client; log it before.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    }

    /// 503: not now; try again.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// Adds a name for programs.
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Adds a header to the answer.
    pub fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code,
        };
        let body = serde_json::to_string(&body).unwrap_or_default();
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))];
        let mut response = (self.status, content_type, body).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

/// PostgreSQL's code for a file that cannot grow.
const DISK_FULL: &str = "53100";

/// Database errors that no handler expected: ours, or a database that is away.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::Io(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::Tls(_) => {
                tracing::warn!(%error, "the database cannot be reached");
                Self::unavailable("The database cannot be reached at the moment; try again shortly")
            }
            // The server ends (57P0x) or starts (57P03), or a standby took over.
            sqlx::Error::Database(database)
                if database.code().is_some_and(|code| code.starts_with("57P")) =>
            {
                tracing::warn!(error = %database, "the database is going down or coming up");
                Self::unavailable("The database is restarting; try again shortly")
            }
            // The transaction is undone: whoever asked may ask again.
            sqlx::Error::Database(database) if database.code().is_some_and(|code| code == DISK_FULL) => {
                tracing::error!(error = %database, "the database's disk is full; free space on it");
                Self::unavailable(
                    "The disk of the server's database is full, so nothing of this request was kept; \
                     free space there and try again",
                )
                .code("disk-full")
                .header(header::RETRY_AFTER, HeaderValue::from_static("30"))
            }
            error => {
                tracing::error!(%error, "a query failed");
                Self::internal()
            }
        }
    }
}

impl From<crate::auth::PasswordError> for Problem {
    fn from(error: crate::auth::PasswordError) -> Self {
        tracing::error!(%error, "a password could not be hashed or checked");
        Self::internal()
    }
}

/// Tells a broken rule of the schema that is the user's mistake from one that is ours.
pub trait OnConstraint<T> {
    /// If the error is this constraint's, the problem to answer with instead.
    fn on_constraint(self, name: &str, problem: impl FnOnce() -> Problem) -> Result<T, Problem>;
}

impl<T> OnConstraint<T> for sqlx::Result<T> {
    fn on_constraint(self, name: &str, problem: impl FnOnce() -> Problem) -> Result<T, Problem> {
        self.map_err(|error| match error.as_database_error().and_then(|error| error.constraint()) {
            Some(constraint) if constraint == name => problem(),
            _ => error.into(),
        })
    }
}
