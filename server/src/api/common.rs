//! What the lists and forms of several parts share.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{FieldError, Json, Problem, at_least, at_most};
use crate::{export::Csv, input::AddressRange};

/// The longest text a filter may hold, in characters.
const FILTER_CHARS: usize = 500;

/// 201 with a body.
#[derive(Debug)]
pub struct Created<T>(pub T);

impl<T: serde::Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

/// The `ip_range` filter; 400 in OPM's words when it is none.
pub fn address_range(text: Option<&str>) -> Result<Option<AddressRange>, Problem> {
    let parsed = text.map(str::parse::<AddressRange>).transpose();
    parsed.map_err(|error| Problem::bad_request(error.to_string()))
}

/// The `port_min` and `port_max` filters.
pub fn port_bounds(min: Option<u16>, max: Option<u16>) -> Result<(), Problem> {
    for (name, port) in [("port_min", min), ("port_max", max)] {
        if let Some(port) = port {
            at_least("query", name, i64::from(port), 1)?;
        }
    }
    match (min, max) {
        (Some(min), Some(max)) if min > max => {
            Err(Problem::bad_request("port_min cannot be greater than port_max"))
        }
        _ => Ok(()),
    }
}

/// The `sort_dir` filter: whether the order runs backwards.
pub fn descending(text: Option<&str>, default: bool) -> Result<bool, Problem> {
    match text {
        None => Ok(default),
        Some("asc") => Ok(false),
        Some("desc") => Ok(true),
        Some(_) => Err(Problem::bad_request("Invalid sort_dir value")),
    }
}

/// A text filter: not empty, not endless, and something that the database can hold.
pub fn filter_text<'a>(name: &str, text: Option<&'a str>) -> Result<Option<&'a str>, Problem> {
    let Some(text) = text else { return Ok(None) };
    check_text("query", name, text, 1, FILTER_CHARS)?;
    Ok(Some(text))
}

/// A text of a body: its length in characters, and no NUL, which PostgreSQL cannot hold.
pub fn body_text(name: &str, text: &str, least: usize, most: usize) -> Result<(), Problem> {
    check_text("body", name, text, least, most)
}

/// A text of a body that may be left out.
pub fn optional_body_text(name: &str, text: Option<&str>, most: usize) -> Result<(), Problem> {
    text.map_or(Ok(()), |text| body_text(name, text, 0, most))
}

fn check_text(place: &str, name: &str, text: &str, least: usize, most: usize) -> Result<(), Problem> {
    text_error(place, name, text, least, most).map_or(Ok(()), |error| Err(Problem::invalid(vec![error])))
}

/// What is wrong with a text, if anything.
pub fn text_error(place: &str, name: &str, text: &str, least: usize, most: usize) -> Option<FieldError> {
    let characters = text.chars().count();
    let plural = |count: usize| if count == 1 { "character" } else { "characters" };
    let (kind, msg) = if characters < least {
        ("string_too_short", format!("String should have at least {least} {}", plural(least)))
    } else if characters > most {
        ("string_too_long", format!("String should have at most {most} {}", plural(most)))
    } else if text.contains('\0') {
        ("value_error", "Value error, text must not contain NUL characters".to_owned())
    } else {
        return None;
    };
    let shown: String = text.chars().take(FILTER_CHARS).collect();
    Some(FieldError { r#type: kind.into(), loc: vec![place.into(), name.into()], msg, input: shown.into() })
}

/// Numbers in a body: at most so many.
pub fn at_most_items(name: &str, count: usize, most: usize) -> Result<(), Problem> {
    at_most("body", name, count as i64, most as i64)
}

/// A table as a download.
pub fn csv_file(name: &str, csv: Csv) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename={name}")),
    ];
    (headers, csv.finish()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status<T: std::fmt::Debug>(result: Result<T, Problem>) -> u16 {
        result.unwrap_err().status().as_u16()
    }

    #[test]
    fn filters_are_refused_as_the_clients_know_it() {
        assert_eq!(status(address_range(Some("banana"))), 400);
        assert_eq!(status(port_bounds(Some(100), Some(1))), 400);
        assert_eq!(status(port_bounds(Some(0), None)), 422);
        assert_eq!(status(descending(Some("up"), false)), 400);
        assert!(descending(None, true).unwrap() && descending(Some("desc"), false).unwrap());
    }

    #[test]
    fn texts_are_bounded_and_storable() {
        assert_eq!(filter_text("service", Some("ssh")).unwrap(), Some("ssh"));
        assert_eq!(status(filter_text("service", Some(""))), 422);
        assert_eq!(status(filter_text("service", Some("a\0b"))), 422);
        assert_eq!(status(filter_text("service", Some(&"x".repeat(501)))), 422);
        let error = text_error("body", "comment", "", 1, 10).unwrap();
        assert_eq!(error.msg, "String should have at least 1 character");
    }
}
