//! A picture of the rows: a bar for each competitor's median, a line from its least to its greatest.

use std::fmt::Write;

use crate::{
    report::{Measured, number},
    statistics::Spread,
};

const WIDTH: f64 = 860.0;
/// Left of the bars: names. Right of them: figures.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 170.0;
const LINE: f64 = 20.0;
const HEAD: f64 = 44.0;
const OURS: &str = "#2f6fb0";
const THEIRS: &str = "#9aa3ad";

/// As SVG, readable on light and dark ground.
pub fn svg(rows: &[Measured]) -> String {
    let height: f64 = rows.iter().map(height_of).sum::<f64>() + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let mut top = 0.0;
    for row in rows {
        panel(&mut text, row, top);
        top += height_of(row);
    }
    text.push_str("</svg>\n");
    text
}

fn height_of(row: &Measured) -> f64 {
    HEAD + row.samples.labels().len() as f64 * LINE
}

fn panel(text: &mut String, row: &Measured, top: f64) {
    let more = if row.more_is_better { "more is better" } else { "less is better" };
    let _ = writeln!(
        text,
        "<text x=\"10\" y=\"{:.0}\" font-weight=\"bold\" fill=\"#111\">{}</text>\
         <text x=\"10\" y=\"{:.0}\" font-size=\"10\" fill=\"#555\">{}, {more}</text>",
        top + 18.0,
        escape(row.title),
        top + 32.0,
        row.headline.replace('_', " "),
    );
    let spreads = row.samples.labels().into_iter().filter_map(|label| Some((label, row.headline_of(label)?)));
    let spreads: Vec<_> = spreads.collect();
    let most = spreads.iter().map(|(_, spread)| spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    for (at, (label, spread)) in spreads.iter().enumerate() {
        let y = top + HEAD + at as f64 * LINE;
        let colour = if label.starts_with("portreeve") { OURS } else { THEIRS };
        let [low, middle, high] =
            [spread.min, spread.median, spread.max].map(|value| LEFT + value.max(0.0) * scale);
        let _ = writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#111\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{:.0}\" width=\"{:.1}\" height=\"13\" fill=\"{colour}\"/>\
             <path d=\"M{low:.1} {:.1}H{high:.1}\" stroke=\"#111\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\" fill=\"#111\">{}</text>",
            LEFT - 6.0,
            y + 11.0,
            escape(label),
            y,
            (middle - LEFT).max(1.0),
            y + 6.5,
            high.max(middle) + 6.0,
            y + 11.0,
            number(spread.median) + &remark(row, label),
        );
    }
}

/// A time means little without what was found in it.
fn remark(row: &Measured, label: &str) -> String {
    let found = Spread::of(row.samples.values(label, "found_percent").map(|(_, share)| share));
    match found {
        Some(found) if found.median < 99.995 && row.headline != "found_percent" => {
            format!(" (found {} %)", number(found.median))
        }
        _ => String::new(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
