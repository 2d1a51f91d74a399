//! Frames made and not sent: order, targets, gate, cookies and checksums on one core.

use super::{ALWAYS, Row, entry};
use crate::{Outcome, job::Values, session::Bench, tool::Tool};

/// All of IPv4 that may be scanned, one port.
const WORK: [&str; 6] = ["scan", "0.0.0.0/0", "-p", "80", "--offline", "--json"];

pub(super) fn row() -> Row {
    Row {
        name: "generate",
        title: "Frames to all of IPv4, made on one core and not sent (--offline)",
        headline: "frames_per_s",
        more_is_better: true,
        shown: &[],
        // zmap's dry run prints what it makes, and masscan's ends with an error.
        entries: || vec![entry(Tool::OURS, ALWAYS, measure)],
    }
}

fn measure(bench: &mut Bench, _: &Tool) -> Outcome<Values> {
    let output = std::process::Command::new(bench.tools.ours()).args(WORK).output()?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let rate = told["made"]["frames_per_second"].as_f64().ok_or("it told no rate")?;
    Ok(Values::from([("frames_per_s", rate)]))
}
