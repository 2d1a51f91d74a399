//! A cron line in plain words, so that a user sees what was understood.

use std::collections::BTreeSet;

use super::cron::{CronLine, Fields};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl CronLine {
    /// The line in a sentence, as `At 02:30, on Monday`.
    pub fn describe(&self) -> String {
        let Fields { days_of_month, months, days_of_week, .. } = &self.fields;
        let mut sentence = times(&self.fields);
        match (days_of_month, days_of_week) {
            (None, None) if self.fields.hours.len() < 24 && months.len() == 12 => {
                sentence.push_str(" every day");
            }
            (None, None) => {}
            (Some(days), None) => sentence.push_str(&format!(", on {}", month_days(days))),
            (None, Some(days)) => sentence.push_str(&format!(", on {}", weekdays(days))),
            (Some(days), Some(weekday)) => {
                sentence.push_str(&format!(", on {} or on {}", month_days(days), weekdays(weekday)));
            }
        }
        if months.len() < 12 {
            let names = months
                .iter()
                .filter_map(|month| MONTHS.get(*month as usize - 1).map(|name| (*name).to_owned()));
            sentence.push_str(&format!(", in {}", join(names)));
        }
        sentence
    }
}

fn times(fields: &Fields) -> String {
    let Fields { seconds, minutes, hours, .. } = fields;
    let at_second = if seconds.iter().eq([&0]) {
        String::new()
    } else {
        match step(seconds, 60) {
            Some(1) => "every second of ".to_owned(),
            Some(step) => format!("every {step} seconds of "),
            None => format!("at second {} of ", join(seconds.iter().map(u32::to_string))),
        }
    };
    if at_second.is_empty() && minutes.len() * hours.len() <= 6 {
        let clock =
            hours.iter().flat_map(|hour| minutes.iter().map(move |minute| format!("{hour:02}:{minute:02}")));
        return format!("At {}", join(clock));
    }
    let minute = match step(minutes, 60) {
        Some(1) => "every minute".to_owned(),
        Some(step) => format!("every {step} minutes"),
        None if minutes.len() == 1 => format!("at minute {}", join(minutes.iter().map(u32::to_string))),
        None => format!("at minutes {}", join(minutes.iter().map(u32::to_string))),
    };
    let hour = match step(hours, 24) {
        Some(1) if minutes.len() == 1 || step(minutes, 60).is_none() => " of every hour".to_owned(),
        Some(1) => String::new(),
        Some(step) => format!(" of every {step}th hour").replace(" 2th", " 2nd").replace(" 3th", " 3rd"),
        None => format!(" of hours {}", join(hours.iter().map(u32::to_string))),
    };
    capitalised(&format!("{at_second}{minute}{hour}"))
}

/// The distance between values that cover the whole field evenly, starting at 0.
fn step(values: &BTreeSet<u32>, size: u32) -> Option<u32> {
    let count = u32::try_from(values.len()).ok().filter(|count| *count > 1)?;
    let step = size.div_ceil(count);
    values.iter().copied().eq((0..size).step_by(step as usize)).then_some(step)
}

fn month_days(days: &BTreeSet<u32>) -> String {
    let word = if days.len() == 1 { "day" } else { "days" };
    format!("{word} {} of the month", join(days.iter().map(u32::to_string)))
}

fn weekdays(days: &BTreeSet<u32>) -> String {
    join(days.iter().filter_map(|day| DAYS.get(*day as usize).map(|name| (*name).to_owned())))
}

/// `a`, `a and b`, `a, b and c`.
fn join(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<_> = words.collect();
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} and {last}", words.join(", ")),
        Some(last) => last,
        None => String::new(),
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_as_sentences() {
        for (line, sentence) in [
            ("30 2 * * *", "At 02:30 every day"),
            ("30 2 * * 1", "At 02:30, on Monday"),
            ("0 2,14 * * 1-5", "At 02:00 and 14:00, on Monday, Tuesday, Wednesday, Thursday and Friday"),
            ("0 9 15 * 1", "At 09:00, on day 15 of the month or on Monday"),
            ("0 0 1 1,7 *", "At 00:00, on day 1 of the month, in January and July"),
            ("*/15 * * * *", "Every 15 minutes"),
            ("* * * * *", "Every minute"),
            ("@hourly", "At minute 0 of every hour"),
            ("0 */6 * * *", "At 00:00, 06:00, 12:00 and 18:00 every day"),
            ("0 */2 * * *", "At minute 0 of every 2nd hour every day"),
            (
                "*/10 8-17 * * *",
                "Every 10 minutes of hours 8, 9, 10, 11, 12, 13, 14, 15, 16 and 17 every day",
            ),
            ("5,35 * * * *", "At minutes 5 and 35 of every hour"),
            ("*/20 * * * * *", "Every 20 seconds of every minute"),
        ] {
            assert_eq!(line.parse::<CronLine>().expect(line).describe(), sentence, "{line}");
        }
    }
}
