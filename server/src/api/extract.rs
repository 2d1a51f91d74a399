//! Input that is right, or a 422 that says where it is not: in the shape that OPM's clients read.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path as AxumPath, Request, rejection::PathRejection},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{FieldError, Problem};

/// A JSON body, in and out.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_media_type(&request)?;
        let bytes = read_body(request, state).await?;
        parse_json(&bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A JSON body that may be missing or `null`.
#[derive(Clone, Copy, Debug)]
pub struct OptionalJson<T>(pub Option<T>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_media_type(&request)?;
        let bytes = read_body(request, state).await?;
        if bytes.is_empty() { Ok(Self(None)) } else { parse_json(&bytes).map(Self) }
    }
}

/// The query string. Numbers and choices as usual; for truth values use [`lax_bool`].
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(deserializer).map(Self).map_err(|error| {
            let name = error.path().to_string();
            let given = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| *key == name);
            let input = given.map_or(Value::Null, |(_, value)| json!(value));
            Problem::invalid(vec![explain("query", &error.path().clone(), &error.inner().to_string(), input)])
        })
    }
}

/// The values in the path.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match AxumPath::<T>::from_request_parts(parts, state).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(path_problem(error.into_kind())),
            Err(error) => {
                tracing::error!(%error, "a path was not understood");
                Err(Problem::internal())
            }
        }
    }
}

fn path_problem(kind: axum::extract::path::ErrorKind) -> Problem {
    use axum::extract::path::ErrorKind;
    let (name, input) = match kind {
        ErrorKind::ParseErrorAtKey { key, value, .. } => (key, value),
        ErrorKind::ParseErrorAtIndex { index, value, .. } => (index.to_string(), value),
        ErrorKind::ParseError { value, .. } => ("id".to_owned(), value),
        other => ("path".to_owned(), other.to_string()),
    };
    Problem::invalid(vec![FieldError {
        r#type: "int_parsing".into(),
        loc: vec![json!("path"), json!(name)],
        msg: "Input should be a valid integer, unable to parse string as an integer".to_owned(),
        input: json!(input),
    }])
}

/// Which part of a list: `offset` rows are left out, at most `limit` follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows left out, at least 0.
    pub offset: i64,
    /// Rows at most.
    pub limit: i64,
}

impl Page {
    /// Checks what the query said: `offset` from 0 (default 0), `limit` from 1 to `most` (default 50).
    pub fn new(offset: Option<i64>, limit: Option<i64>, most: i64) -> Result<Self, Problem> {
        let (offset, limit) = (offset.unwrap_or(0), limit.unwrap_or(50));
        at_least("query", "offset", offset, 0)?;
        at_least("query", "limit", limit, 1)?;
        at_most("query", "limit", limit, most)?;
        Ok(Self { offset, limit })
    }
}

/// 422 unless `value` ≥ `least`.
pub fn at_least(place: &str, name: &str, value: i64, least: i64) -> Result<(), Problem> {
    if value >= least {
        return Ok(());
    }
    Err(Problem::invalid(vec![FieldError {
        r#type: "greater_than_equal".into(),
        loc: vec![json!(place), json!(name)],
        msg: format!("Input should be greater than or equal to {least}"),
        input: json!(value),
    }]))
}

/// 422 unless `value` ≤ `most`.
pub fn at_most(place: &str, name: &str, value: i64, most: i64) -> Result<(), Problem> {
    if value <= most {
        return Ok(());
    }
    Err(Problem::invalid(vec![FieldError {
        r#type: "less_than_equal".into(),
        loc: vec![json!(place), json!(name)],
        msg: format!("Input should be less than or equal to {most}"),
        input: json!(value),
    }]))
}

/// Reads an optional truth value in a query: `true/false/1/0/yes/no/on/off`, any case. Use as
/// `#[serde(default, deserialize_with = "lax_bool")] hidden: Option<bool>`.
pub fn lax_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Ok(Some(true)),
        "0" | "false" | "f" | "no" | "n" | "off" => Ok(Some(false)),
        _ => Err(serde::de::Error::custom("invalid type: string, expected a boolean")),
    }
}

/// Tells "left out" (`None`) from "null" (`Some(None)`) in a body. Use as
/// `#[serde(default, deserialize_with = "present")] schedule: Option<Option<String>>`.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A form or a plain-text body would be taken from any web page; JSON makes the browser ask first.
fn check_media_type(request: &Request) -> Result<(), Problem> {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else { return Ok(()) };
    let media_type = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json")
        || media_type.to_ascii_lowercase().ends_with("+json")
    {
        return Ok(());
    }
    let detail = format!("The body is declared as {media_type:?}; send application/json");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large for this route")
        }
        status => Problem::new(status, "The body could not be read to its end"),
    })
}

/// A value from JSON text, or the 422 that says what is wrong where.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.is_empty() {
        return Err(Problem::invalid(vec![missing(vec![json!("body")], Value::Null)]));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| body_problem(bytes, &error))?;
    deserializer.end().map_err(|error| syntax_problem(bytes, &error))?;
    Ok(value)
}

fn body_problem(bytes: &[u8], error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    if !error.inner().is_data() {
        return syntax_problem(bytes, error.inner());
    }
    let whole: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let input = whole.pointer(&pointer(error.path())).cloned().unwrap_or_default();
    let text = error.inner().to_string();
    // serde_json adds " at line 1 column 2".
    let text = text.split(" at line ").next().unwrap_or_default();
    Problem::invalid(vec![explain("body", error.path(), text, input)])
}

fn syntax_problem(bytes: &[u8], error: &serde_json::Error) -> Problem {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    Problem::invalid(vec![FieldError {
        r#type: "json_invalid".into(),
        loc: vec![json!("body"), json!(before + error.column().saturating_sub(1))],
        msg: format!("JSON decode error: {error}"),
        input: json!({}),
    }])
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter().filter_map(segment).fold(String::new(), |pointer, part| match part {
        Value::String(key) => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
        other => format!("{pointer}/{other}"),
    })
}

fn segment(segment: &serde_path_to_error::Segment) -> Option<Value> {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => Some(json!(index)),
        Segment::Map { key } => Some(json!(key)),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// Serde's message in the words that OPM's clients know. `input` is what stands at `path`.
fn explain(place: &str, path: &serde_path_to_error::Path, message: &str, input: Value) -> FieldError {
    let mut loc = vec![json!(place)];
    loc.extend(path.iter().filter_map(segment));
    if let Some(field) = quoted_after(message, "missing field `") {
        loc.push(json!(field));
        return missing(loc, input);
    }
    let (kind, msg) = known_words(message);
    FieldError { r#type: kind.into(), loc, msg, input }
}

fn missing(loc: Vec<Value>, input: Value) -> FieldError {
    FieldError { r#type: "missing".into(), loc, msg: "Field required".to_owned(), input }
}

fn quoted_after<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.strip_prefix(start)?.split('`').next()
}

fn known_words(message: &str) -> (&'static str, String) {
    if message.starts_with("unknown variant") {
        let choices = message.split_once("expected ").map_or("", |(_, choices)| choices);
        let choices = choices.trim_start_matches("one of ").replace('`', "'");
        let choices =
            choices.rsplit_once(", ").map_or(choices.clone(), |(first, last)| format!("{first} or {last}"));
        return ("enum", format!("Input should be {choices}"));
    }
    let expected = message.split_once(", expected ").map_or("", |(_, expected)| expected);
    let is_wrong_type = message.starts_with("invalid type");
    match expected {
        "a string" | "a borrowed string" if is_wrong_type => {
            ("string_type", "Input should be a valid string".to_owned())
        }
        "a boolean" if is_wrong_type => {
            ("bool_parsing", "Input should be a valid boolean, unable to interpret input".to_owned())
        }
        "a sequence" if is_wrong_type => ("list_type", "Input should be a valid list".to_owned()),
        "f32" | "f64" if is_wrong_type => ("float_type", "Input should be a valid number".to_owned()),
        "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => {
            ("int_type", "Input should be a valid integer".to_owned())
        }
        _ if message.contains("invalid digit found in string")
            || message.contains("cannot parse integer") =>
        {
            (
                "int_parsing",
                "Input should be a valid integer, unable to parse string as an integer".to_owned(),
            )
        }
        _ if is_wrong_type && expected.starts_with("struct ") => (
            "model_attributes_type",
            "Input should be a valid dictionary or object to extract fields from".to_owned(),
        ),
        _ => ("value_error", format!("Value error, {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Rule {
        port: String,
        kind: Kind,
        #[serde(default)]
        rate: Option<i32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Allow,
        Block,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Rules {
        rules: Vec<Rule>,
    }

    async fn error(body: &str) -> Value {
        let problem = parse_json::<Rules>(body.as_bytes()).unwrap_err();
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        body["detail"][0].clone()
    }

    #[tokio::test]
    async fn says_what_is_wrong_where() {
        assert_eq!(
            error(r#"{"rules":[{"port":"1","kind":"allow"},{"port":22,"kind":"allow"}]}"#).await,
            json!({"type":"string_type","loc":["body","rules",1,"port"],"msg":"Input should be a valid string","input":22})
        );
        assert_eq!(
            error(r#"{"rules":[{"port":"1"}]}"#).await,
            json!({"type":"missing","loc":["body","rules",0,"kind"],"msg":"Field required","input":{"port":"1"}})
        );
        assert_eq!(
            error(r#"{"rules":[{"port":"1","kind":"deny"}]}"#).await,
            json!({"type":"enum","loc":["body","rules",0,"kind"],"msg":"Input should be 'allow' or 'block'","input":"deny"})
        );
        assert_eq!(
            error(r#"{"rules":[{"port":"1","kind":"block","rate":"x"}]}"#).await["type"],
            json!("int_type")
        );
        assert_eq!(error("{\n\"rules\": ]").await["type"], json!("json_invalid"));
        assert_eq!(error("{\n\"rules\": ]").await["loc"], json!(["body", 11]));
        assert_eq!(error("").await["loc"], json!(["body"]));
        assert_eq!(error("[]").await["loc"], json!(["body"]));
    }
}
