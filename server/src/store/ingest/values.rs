//! Rust's values as those that PostgreSQL takes.

use chrono::{DateTime, Utc};
use portreeve_model::SafeText;
use serde_json::Value;

use crate::ingest::Origin;

/// One field of all rows.
pub(super) fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// Text, unless it is empty.
pub(super) fn owned(text: Option<&SafeText>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(|text| text.as_str().to_owned())
}

/// Fields that are plain strings in the protocol hold what the agent put in, NUL included.
pub(super) fn safe(text: &str) -> String {
    SafeText::from(text).into_string()
}

/// As JSON that PostgreSQL takes: it has no NUL, and the protocol's plain strings may.
pub(super) fn json(value: impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    disarm(&mut value);
    value
}

fn disarm(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(disarm),
        Value::Object(fields) => fields.values_mut().for_each(disarm),
        Value::String(text) if text.contains('\0') => *text = safe(text),
        _ => {}
    }
}

/// The name a choice has in the protocol.
pub(super) fn name_of(value: impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

/// An agent's time, kept within what is possible.
pub(super) fn time_of(ms: i64, origin: &Origin) -> DateTime<Utc> {
    origin.time_of(portreeve_model::Timestamp(ms))
}
