//! Points in time as people and programs write them in a query.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

/// Reads RFC 3339, the same without a zone (then UTC), or a date alone (then its midnight).
pub fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    // A plus sign that was not escaped arrives as a blank.
    let zoned =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc3339(&text.replace(' ', "+")));
    zoned
        .map(|time| time.to_utc())
        .ok()
        .or_else(|| {
            let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
            forms
                .iter()
                .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
                .map(|time| time.and_utc())
        })
        .or_else(|| {
            NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0).map(|time| time.and_utc())
        })
        .ok_or_else(|| "Input should be a valid datetime, as 2026-01-31T13:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_usual_forms_mean_the_same() {
        let noon = "2026-01-31T12:00:00+00:00";
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31T13:00:00+01:00",
            "2026-01-31T13:00:00 01:00",
            "2026-01-31 12:00:00",
            "2026-01-31T12:00",
            "2026-01-31T12:00:00.000Z",
        ] {
            assert_eq!(parse_time(text).unwrap().to_rfc3339(), noon, "{text}");
        }
        assert_eq!(parse_time("2026-01-31").unwrap().to_rfc3339(), "2026-01-31T00:00:00+00:00");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "yesterday", "2026-13-01", "2026-01-31T25:00:00"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
