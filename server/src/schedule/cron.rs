//! Cron lines as people know them, evaluated in civil time and then mapped to a time zone.
//!
//! The `cron` crate keeps the sets of minutes, hours and days and steps from one matching time to the next.
//! What it lacks or does its own way is done here:
//!
//! * five fields (`minute hour day-of-month month day-of-week`); a sixth in front is the second;
//! * 0 and 7 are Sunday, 1 is Monday; the crate counts from Sunday = 1;
//! * when both day fields are restricted a day matching either counts; the crate wants both;
//! * the crate reads the clock of the zone and so runs a 02:30 job twice in autumn and not at all in spring.
//!   Here the crate sees civil time only, a clock without changes, and the zone comes after:
//!   - a job that runs at set hours runs once for each civil time: a time that the spring change skips
//!     runs at the first moment after the gap, one that comes twice in autumn runs the first time;
//!   - a job for every hour (`*` or all of 0-23 as the hour) follows elapsed time: it runs in both of the
//!     repeated hours and has nothing to do in a skipped one. "Every ten minutes" stays that.

use std::{collections::BTreeSet, fmt, str::FromStr};

use chrono::{DateTime, Duration, LocalResult, NaiveDate, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

/// When a job runs, in civil time. Keeps the line it was made from.
#[derive(Clone, Debug)]
pub struct CronLine {
    text: String,
    /// A time matches when any of these does: two when both day fields are restricted, else one.
    any_of: Vec<cron::Schedule>,
    every_hour: bool,
    pub(super) fields: Fields,
}

/// Values of each field, in cron's own numbering (0 = Sunday).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub seconds: BTreeSet<u32>,
    pub minutes: BTreeSet<u32>,
    pub hours: BTreeSet<u32>,
    /// `None`: not restricted.
    pub days_of_month: Option<BTreeSet<u32>>,
    pub months: BTreeSet<u32>,
    pub days_of_week: Option<BTreeSet<u32>>,
}

/// Why a text is no cron line. Each message names the field and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Neither five nor six fields.
    #[error(
        "a schedule needs five fields (minute hour day-of-month month day-of-week) or six with the second in front; \
         this has {0}"
    )]
    FieldCount(usize),
    /// A word where a number or a name should be.
    #[error(
        "{field}: {item:?} is not understood; use *, a number, a range as 1-5, a step as */15, or a list of those"
    )]
    Malformed {
        /// Which field.
        field: &'static str,
        /// The part of it that is wrong.
        item: String,
    },
    /// A number that the field cannot hold.
    #[error("{field}: {value} is out of range ({min}-{max})")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// The number.
        value: String,
        /// Smallest allowed.
        min: u32,
        /// Largest allowed.
        max: u32,
    },
    /// A range that runs backwards.
    #[error("{field}: the range {item:?} runs backwards")]
    Reversed {
        /// Which field.
        field: &'static str,
        /// The range.
        item: String,
    },
    /// `*/0`.
    #[error("{field}: a step must be at least 1 in {item:?}")]
    ZeroStep {
        /// Which field.
        field: &'static str,
        /// The item.
        item: String,
    },
    /// `@…` that is not known.
    #[error("{0:?} is not known; use @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually")]
    Nickname(String),
    /// `30 2 30 2 *`.
    #[error("day-of-month: no month of this schedule has such a day, so it would never run")]
    Never,
}

impl fmt::Display for CronLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for CronLine {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let fields = Fields::parse(expand_nickname(text)?)?;
        let line = Self {
            text: text.to_owned(),
            any_of: fields.schedules(),
            every_hour: fields.hours.len() == 24,
            fields,
        };
        // Any leap year will do to find the 29th of February.
        let start = NaiveDate::from_ymd_opt(2000, 1, 1).and_then(|day| day.and_hms_opt(0, 0, 0));
        match start.and_then(|start| line.next_civil(start)) {
            Some(_) => Ok(line),
            None => Err(CronError::Never),
        }
    }
}

impl CronLine {
    /// The first run strictly after a moment; `None` only beyond the year 2100.
    pub fn next_after(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        if self.every_hour { self.next_by_elapsed_time(after, zone) } else { self.next_by_clock(after, zone) }
    }

    /// The runs strictly after a moment, in order.
    pub fn runs_after(&self, after: DateTime<Utc>, zone: Tz) -> impl Iterator<Item = DateTime<Utc>> {
        std::iter::successors(self.next_after(after, zone), move |last| self.next_after(*last, zone))
    }

    /// Mapping civil time to moments the way a job at set hours needs it never runs backwards, so the first civil
    /// time whose moment is late enough is the answer.
    fn next_by_clock(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let mut civil = after.with_timezone(&zone).naive_local();
        loop {
            civil = self.next_civil(civil)?;
            let moment = match zone.from_local_datetime(&civil) {
                LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => moment.to_utc(),
                LocalResult::None => end_of_gap(civil, zone)?,
            };
            if moment > after {
                return Some(moment);
            }
        }
    }

    fn next_by_elapsed_time(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let here = after.with_timezone(&zone);
        let mut civil = here.naive_local();
        let ahead = loop {
            civil = self.next_civil(civil)?;
            match zone.from_local_datetime(&civil) {
                LocalResult::Single(moment) => break moment.to_utc(),
                LocalResult::Ambiguous(first, _) if first.to_utc() > after => break first.to_utc(),
                LocalResult::Ambiguous(_, second) => break second.to_utc(),
                LocalResult::None => {}
            }
        };
        // From inside the first of two repeated hours the civil walk steps over the second.
        let LocalResult::Ambiguous(first, second) = zone.from_local_datetime(&here.naive_local()) else {
            return Some(ahead);
        };
        if first.to_utc() < after {
            return Some(ahead);
        }
        let repeat = start_of_repeat(first.to_utc(), second.to_utc(), zone);
        let civil = self.next_civil(repeat.with_timezone(&zone).naive_local() - Duration::seconds(1))?;
        let repeated = match zone.from_local_datetime(&civil) {
            LocalResult::Ambiguous(_, second) => second.to_utc(),
            _ => ahead,
        };
        Some(ahead.min(repeated))
    }

    /// The first matching civil time strictly after one.
    fn next_civil(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        // UTC serves as a clock without changes; these are not moments.
        let after = after.and_utc();
        self.any_of
            .iter()
            .filter_map(|schedule| schedule.after(&after).next())
            .min()
            .map(|next| next.naive_utc())
    }
}

/// The first moment after the gap in which a civil time lies. Gaps are a whole number of minutes and at most a day.
fn end_of_gap(civil: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    let minute = civil - Duration::seconds(i64::from(chrono::Timelike::second(&civil)));
    (1..=24 * 60)
        .find_map(|step| zone.from_local_datetime(&(minute + Duration::minutes(step))).earliest())
        .map(|at| at.to_utc())
}

/// The moment at which the clock goes back, for a civil time that comes at both `first` and `second`.
fn start_of_repeat(first: DateTime<Utc>, second: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
    let offset = |at: DateTime<Utc>| at.with_timezone(&zone).offset().fix();
    let summer = offset(first);
    let (mut before, mut from) = (first, second);
    while from - before > Duration::seconds(1) {
        let middle = before + (from - before) / 2;
        let middle = DateTime::from_timestamp(middle.timestamp(), 0).unwrap_or(middle);
        if offset(middle) == summer { before = middle } else { from = middle }
    }
    from
}

fn expand_nickname(text: &str) -> Result<&str, CronError> {
    match text {
        "@annually" | "@yearly" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ if text.starts_with('@') => Err(CronError::Nickname(text.to_owned())),
        _ => Ok(text),
    }
}

/// What one field may hold.
struct FieldKind {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const SECOND: FieldKind = FieldKind { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: FieldKind = FieldKind { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: FieldKind = FieldKind { name: "hour", min: 0, max: 23, names: &[] };
const DAY_OF_MONTH: FieldKind = FieldKind { name: "day-of-month", min: 1, max: 31, names: &[] };
const MONTH: FieldKind = FieldKind {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const DAY_OF_WEEK: FieldKind = FieldKind {
    name: "day-of-week",
    min: 0,
    max: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Fields {
    fn parse(text: &str) -> Result<Self, CronError> {
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let (second, [minute, hour, day, month, weekday]) = match *words.as_slice() {
            [minute, hour, day, month, weekday] => ("0", [minute, hour, day, month, weekday]),
            [second, minute, hour, day, month, weekday] => (second, [minute, hour, day, month, weekday]),
            _ => return Err(CronError::FieldCount(words.len())),
        };
        Ok(Self {
            seconds: SECOND.parse(second)?,
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days_of_month: DAY_OF_MONTH.parse_day(day)?,
            months: MONTH.parse(month)?,
            days_of_week: DAY_OF_WEEK
                .parse_day(weekday)?
                .map(|days| days.into_iter().map(|day| day % 7).collect()),
        })
    }

    fn schedules(&self) -> Vec<cron::Schedule> {
        let days_of_month = self.days_of_month.as_ref().map(list);
        // The crate's Sunday is 1.
        let days_of_week =
            self.days_of_week.as_ref().map(|days| list(&days.iter().map(|day| day + 1).collect()));
        let either = match (&days_of_month, &days_of_week) {
            (Some(day), Some(weekday)) => vec![(day.as_str(), "*"), ("*", weekday.as_str())],
            (day, weekday) => vec![(day.as_deref().unwrap_or("*"), weekday.as_deref().unwrap_or("*"))],
        };
        let [seconds, minutes, hours, months] =
            [&self.seconds, &self.minutes, &self.hours, &self.months].map(list);
        either
            .into_iter()
            .filter_map(|(day, weekday)| {
                format!("{seconds} {minutes} {hours} {day} {months} {weekday}").parse().ok()
            })
            .collect()
    }
}

fn list(values: &BTreeSet<u32>) -> String {
    values.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

impl FieldKind {
    /// A day field: `*`, `?` and their steps of 1 do not restrict.
    fn parse_day(&self, text: &str) -> Result<Option<BTreeSet<u32>>, CronError> {
        let values = self.parse(text)?;
        Ok((!matches!(text, "*" | "?" | "*/1")).then_some(values))
    }

    fn parse(&self, text: &str) -> Result<BTreeSet<u32>, CronError> {
        let mut values = BTreeSet::new();
        for item in text.split(',') {
            values.extend(self.item(item)?);
        }
        Ok(values)
    }

    /// `*`, `5`, `1-5`, each with a step behind `/`; `5/15` means from 5 to the end.
    fn item(&self, item: &str) -> Result<impl Iterator<Item = u32> + use<>, CronError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step, item)?)),
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (self.min, self.last_day_once()),
            Some((first, last)) => (self.value(first, item)?, self.value(last, item)?),
            None if step.is_some() => (self.value(range, item)?, self.last_day_once()),
            None => (self.value(range, item)?, self.value(range, item)?),
        };
        // Friday to Sunday may be written FRI-SUN.
        let last = if self.max == 7 && first > last && last == 0 { 7 } else { last };
        if first > last {
            return Err(CronError::Reversed { field: self.name, item: item.to_owned() });
        }
        Ok((first..=last).step_by(step.unwrap_or(1)))
    }

    /// The field's end for `*`: Sunday counts once, as 0.
    fn last_day_once(&self) -> u32 {
        if self.max == 7 { 6 } else { self.max }
    }

    fn step(&self, digits: &str, item: &str) -> Result<usize, CronError> {
        let malformed = || CronError::Malformed { field: self.name, item: item.to_owned() };
        match number(digits).ok_or_else(malformed)? {
            0 => Err(CronError::ZeroStep { field: self.name, item: item.to_owned() }),
            step => Ok(step as usize),
        }
    }

    fn value(&self, text: &str, item: &str) -> Result<u32, CronError> {
        let named = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        if let Some(position) = named {
            return Ok(self.min + position as u32);
        }
        let malformed = || CronError::Malformed { field: self.name, item: item.to_owned() };
        let number = number(text).ok_or_else(malformed)?;
        if !(self.min..=self.max).contains(&number) {
            return Err(CronError::OutOfRange {
                field: self.name,
                value: text.to_owned(),
                min: self.min,
                max: self.max,
            });
        }
        Ok(number)
    }
}

/// Digits only: `parse` alone would take a sign. Numbers too large for the type are out of every range.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use chrono_tz::{America, Asia, Australia, Europe};
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> CronLine {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).expect("a time").to_utc()
    }

    /// The next runs, as the zone's clock shows them.
    fn runs(text: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
        let runs = line(text);
        let shown = |run: DateTime<Utc>| run.with_timezone(&zone).format("%Y-%m-%dT%H:%M%:z").to_string();
        runs.runs_after(at(after), zone).take(count).map(shown).collect()
    }

    #[test]
    fn sunday_is_0_and_7_and_monday_is_1() {
        // 2026-11-21 is a Saturday.
        for (text, day) in [
            ("0 2 * * 0", 22),
            ("0 2 * * 7", 22),
            ("0 2 * * SUN", 22),
            ("0 2 * * 1", 23),
            ("0 2 * * mon", 23),
        ] {
            let next = line(text).next_after(at("2026-11-21T12:00:00Z"), Tz::UTC);
            assert_eq!(next, Some(at(&format!("2026-11-{day}T02:00:00Z"))), "{text}");
        }
        assert_eq!(line("0 2 * * 5-7").fields.days_of_week, Some(BTreeSet::from([0, 5, 6])));
        assert_eq!(line("0 2 * * FRI-SUN").fields.days_of_week, Some(BTreeSet::from([0, 5, 6])));
    }

    #[test]
    fn restricted_days_are_alternatives() {
        let next = runs("0 9 15 * 1", Tz::UTC, "2026-11-10T00:00:00Z", 3);
        assert_eq!(next, ["2026-11-15T09:00+00:00", "2026-11-16T09:00+00:00", "2026-11-23T09:00+00:00"]);
        let only_day = runs("0 9 15 * *", Tz::UTC, "2026-11-10T00:00:00Z", 2);
        assert_eq!(only_day, ["2026-11-15T09:00+00:00", "2026-12-15T09:00+00:00"]);
    }

    #[test]
    fn a_sixth_field_in_front_is_the_second() {
        let next = line("30 15 2 * * *").next_after(at("2026-11-21T00:00:00Z"), Tz::UTC);
        assert_eq!(next, Some(at("2026-11-21T02:15:30Z")));
    }

    #[test]
    fn nicknames_are_known() {
        let next = |text: &str| line(text).next_after(at("2026-11-21T12:34:56Z"), Tz::UTC).expect("a run");
        assert_eq!(next("@hourly"), at("2026-11-21T13:00:00Z"));
        assert_eq!(next("@daily"), at("2026-11-22T00:00:00Z"));
        assert_eq!(next("@midnight"), next("@daily"));
        assert_eq!(next("@weekly"), at("2026-11-22T00:00:00Z"));
        assert_eq!(next("@monthly"), at("2026-12-01T00:00:00Z"));
        assert_eq!(next("@yearly"), at("2027-01-01T00:00:00Z"));
        assert_eq!(next("@annually"), next("@yearly"));
    }

    #[test]
    fn errors_name_the_field() {
        let message = |text: &str| text.parse::<CronLine>().expect_err(text).to_string();
        assert_eq!(message("99 * * * *"), "minute: 99 is out of range (0-59)");
        assert_eq!(message("0 24 * * *"), "hour: 24 is out of range (0-23)");
        assert_eq!(message("0 0 0 * *"), "day-of-month: 0 is out of range (1-31)");
        assert_eq!(message("0 0 * 13 *"), "month: 13 is out of range (1-12)");
        assert_eq!(message("0 0 * * 8"), "day-of-week: 8 is out of range (0-7)");
        assert_eq!(message("0 99999999999 * * *"), "hour: 99999999999 is out of range (0-23)");
        assert!(message("0 x * * *").starts_with("hour: \"x\" is not understood"));
        assert!(message("0 +1 * * *").starts_with("hour: \"+1\" is not understood"));
        assert!(message("0, * * * *").starts_with("minute: \"\" is not understood"));
        assert_eq!(message("*/0 * * * *"), "minute: a step must be at least 1 in \"*/0\"");
        assert_eq!(message("0 0 * * 5-1"), "day-of-week: the range \"5-1\" runs backwards");
        assert!(message("0 0 * *").ends_with("this has 4"));
        assert!(message("").ends_with("this has 0"));
        assert!(message("@reboot").starts_with("\"@reboot\" is not known"));
        assert!(message("0 0 30 2 *").starts_with("day-of-month: no month"));
        assert!(message("0 0 31 4,6,9,11 *").starts_with("day-of-month: no month"));
    }

    #[test]
    fn a_time_skipped_in_spring_runs_once_after_the_gap() {
        // In 2026 Berlin goes from 02:00 to 03:00 on 29 March.
        let next = runs("30 2 * * *", Europe::Berlin, "2026-03-28T12:00:00Z", 2);
        assert_eq!(next, ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]);
        // Two civil times that fall on one moment are one run.
        let next = runs("0 2,3 * * *", Europe::Berlin, "2026-03-28T12:00:00Z", 3);
        assert_eq!(next, ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00", "2026-03-30T03:00+02:00"]);
        // Chile's gap starts at midnight.
        let next = runs("15 0 * * *", America::Santiago, "2026-09-05T12:00:00Z", 2);
        assert_eq!(next, ["2026-09-06T01:00-03:00", "2026-09-07T00:15-03:00"]);
        // Lord Howe's is half an hour long.
        let next = runs("10 2 * * *", Australia::Lord_Howe, "2026-10-03T00:00:00Z", 1);
        assert_eq!(next, ["2026-10-04T02:30+11:00"]);
    }

    #[test]
    fn a_time_that_comes_twice_in_autumn_runs_once() {
        let next = runs("30 2 * * *", Europe::Berlin, "2026-10-24T12:00:00Z", 2);
        assert_eq!(next, ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]);
        // Asked from within the second of the two hours.
        let next = runs("45 2 * * *", Europe::Berlin, "2026-10-25T01:10:00Z", 1);
        assert_eq!(next, ["2026-10-26T02:45+01:00"]);
    }

    #[test]
    fn every_half_hour_stays_half_an_hour() {
        let autumn = runs("*/30 * * * *", Europe::Berlin, "2026-10-24T23:45:00Z", 6);
        assert_eq!(
            autumn,
            [
                "2026-10-25T02:00+02:00",
                "2026-10-25T02:30+02:00",
                "2026-10-25T02:00+01:00",
                "2026-10-25T02:30+01:00",
                "2026-10-25T03:00+01:00",
                "2026-10-25T03:30+01:00"
            ]
        );
        let spring = runs("*/30 * * * *", Europe::Berlin, "2026-03-29T00:15:00Z", 3);
        assert_eq!(spring, ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"]);
    }

    const ZONES: [Tz; 10] = [
        Europe::Berlin,
        Europe::London,
        Europe::Chisinau,
        America::New_York,
        America::Sao_Paulo,
        America::Santiago,
        Australia::Lord_Howe,
        Asia::Kolkata,
        Asia::Beirut,
        Tz::UTC,
    ];

    /// Every moment from 2020 to 2035 at which a zone's offset changes, to the second.
    fn transitions(zone: Tz) -> Vec<DateTime<Utc>> {
        let offset = |at: DateTime<Utc>| at.with_timezone(&zone).offset().fix();
        let (mut now, end) = (at("2020-01-01T00:00:00Z"), at("2036-01-01T00:00:00Z"));
        let mut found = Vec::new();
        while now < end {
            let next = now + Duration::hours(6);
            if offset(now) != offset(next) {
                let (mut before, mut from) = (now, next);
                while from - before > Duration::seconds(1) {
                    let middle = before + Duration::seconds((from - before).num_seconds() / 2);
                    if offset(middle) == offset(before) { before = middle } else { from = middle }
                }
                found.push(from);
            }
            now = next;
        }
        found
    }

    /// What croner, an independent implementation, makes of a line for `days` days. It runs a job with one set
    /// time of day as we do; a job with several is, for it, that many jobs.
    fn oracle(parts: &[String], zone: Tz, after: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let mut runs = BTreeSet::new();
        for part in parts {
            let schedule: croner::Cron = part.parse().expect("croner reads it");
            let times = schedule.iter_after(after.with_timezone(&zone)).map(|run| run.to_utc());
            runs.extend(times.take_while(|run| *run <= until));
        }
        runs.into_iter().collect()
    }

    #[test]
    fn croner_agrees_at_every_clock_change_from_2020_to_2035() {
        let every_hour = ["*/30 * * * *", "7 * * * *", "*/7 * * * *", "0,15 * 1-15 * 1", "0 * * * *"];
        let set_hours: [(&str, &[&str]); 5] = [
            ("30 2 * * *", &["30 2"]),
            ("0,30 1-3 * * *", &["0 1", "30 1", "0 2", "30 2", "0 3", "30 3"]),
            ("10 0 * * *", &["10 0"]),
            ("45 23 * * 0,6", &["45 23"]),
            (
                "0 */2 * * *",
                &["0 0", "0 2", "0 4", "0 6", "0 8", "0 10", "0 12", "0 14", "0 16", "0 18", "0 20", "0 22"],
            ),
        ];
        let mut compared = 0;
        for zone in ZONES {
            for change in transitions(zone) {
                let (after, until) = (change - Duration::hours(30), change + Duration::hours(30));
                let mut check = |text: &str, parts: &[String]| {
                    let ours: Vec<_> =
                        line(text).runs_after(after, zone).take_while(|run| *run <= until).collect();
                    assert_eq!(ours, oracle(parts, zone, after, until), "{text} in {zone} at {change}");
                    compared += ours.len();
                };
                for text in every_hour {
                    check(text, &[text.to_owned()]);
                }
                for (text, times) in set_hours {
                    let days: Vec<_> = text.split(' ').skip(2).collect();
                    let parts: Vec<_> =
                        times.iter().map(|time| format!("{time} {}", days.join(" "))).collect();
                    check(text, &parts);
                }
            }
        }
        assert!(compared > 50_000, "only {compared} runs were compared");
    }

    #[test]
    fn croner_agrees_on_days_over_sixteen_years() {
        for text in
            ["0 9 15 * 1", "0 0 29 2 *", "30 4 1,31 */2 *", "0 12 * * 5-7", "5 5 * 3-5 MON-WED", "0 3 31 * *"]
        {
            let after = at("2020-01-01T00:00:00Z");
            let until = at("2035-12-31T23:59:59Z");
            let ours: Vec<_> =
                line(text).runs_after(after, Tz::UTC).take_while(|run| *run <= until).collect();
            let text = text.replace("5-7", "5,6,0");
            assert_eq!(ours, oracle(std::slice::from_ref(&text), Tz::UTC, after, until), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_is_answered_and_runs_lie_ahead(
            text in "[0-9*/,\\-a-z@? ]{0,24}",
            after in 1_577_836_800_i64..2_082_758_400,
            zone in 0..ZONES.len(),
        ) {
            if let Ok(line) = text.parse::<CronLine>() {
                let after = DateTime::from_timestamp(after, 0).expect("in range");
                let runs: Vec<_> = line.runs_after(after, ZONES[zone]).take(3).collect();
                prop_assert!(runs.iter().all(|run| *run > after));
                prop_assert!(runs.is_sorted_by(|one, next| one < next));
            }
        }
    }
}
