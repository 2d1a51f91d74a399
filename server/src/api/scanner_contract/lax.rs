//! Numbers and times as OPM's server reads them: also as text.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

/// A whole number, also as text: OPM's server takes both.
pub fn lax_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
    match &value {
        Value::Number(number) => {
            number.as_i64().or_else(|| whole(number.as_f64()?)).ok_or_else(|| wrong_type(&value, "i64"))
        }
        Value::String(text) => text.trim().parse().map_err(D::Error::custom),
        _ => Err(wrong_type(&value, "i64")),
    }
}

/// A number, also as text.
pub fn lax_float<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| wrong_type(&value, "f64"))
}

/// A time with an offset or without (then UTC), or seconds since 1970.
pub fn lax_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let time = match &value {
        Value::Number(number) => number.as_f64().and_then(epoch),
        Value::String(text) => DateTime::parse_from_rfc3339(text)
            .map(|time| time.to_utc())
            .ok()
            .or_else(|| text.parse::<chrono::NaiveDateTime>().ok().map(|time| time.and_utc()))
            .or_else(|| text.trim().parse().ok().and_then(epoch)),
        _ => None,
    };
    let in_range = time.filter(|time| (0..=253_402_300_799).contains(&time.timestamp()));
    in_range.ok_or_else(|| D::Error::custom("Input should be a valid datetime"))
}

fn epoch(seconds: f64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis((seconds * 1000.0) as i64)
}

fn wrong_type<E: serde::de::Error>(value: &Value, expected: &str) -> E {
    let kind = match value {
        Value::Array(_) => "sequence",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
        Value::Number(_) => "number",
        Value::Object(_) => "map",
        Value::String(_) => "string",
    };
    E::custom(format!("invalid type: {kind}, expected {expected}"))
}
