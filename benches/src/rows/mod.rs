//! What is measured. Each row is one kind of work; each of its entries is a competitor.

mod flood;
mod generate;
mod jobs;
mod memory;
mod pace;
mod receive;
mod start;
mod transmit;

use crate::{
    Outcome,
    job::Values,
    session::{Bench, Entry},
    tool::{Tool, Tools, Work},
};

/// One kind of work.
pub struct Row {
    /// As `--only` takes it.
    pub name: &'static str,
    /// What is done.
    pub title: &'static str,
    /// The value that competitors are compared by.
    pub headline: &'static str,
    /// Whether a greater one is the better one.
    pub more_is_better: bool,
    /// Other values that the table shows.
    pub shown: &'static [&'static str],
    /// The competitors.
    pub entries: fn() -> Vec<Entry>,
}

impl Row {
    /// How many rounds it takes where others take so many: single rounds of senders at full speed differ by a half.
    pub fn rounds(&self, usual: u32) -> u32 {
        if self.name == transmit::NAME { usual.saturating_mul(3) } else { usual }
    }
}

/// All rows, the decisive ones first.
pub fn all() -> Vec<Row> {
    let mut rows = transmit::rows();
    rows.extend(jobs::rows());
    rows.push(receive::row());
    rows.extend(pace::rows());
    rows.extend(start::rows());
    rows.push(memory::row());
    rows.push(generate::row());
    rows.extend(flood::rows());
    rows
}

/// No limit but the session's.
const ALWAYS: u32 = u32::MAX;

/// An entry for a tool: absent where the tool is, else measured by `measure`.
fn entry(tool: Tool, rounds: u32, measure: impl Fn(&mut Bench, &Tool) -> Outcome<Values> + 'static) -> Entry {
    let label = tool.label();
    let measure = Box::new(move |bench: &mut Bench| {
        bench.tools.available(&tool)?;
        measure(bench, &tool)
    });
    Entry { label, rounds, measure }
}

/// The one command line of a tool that needs no more than one.
fn single_command(
    tools: &Tools,
    tool: &Tool,
    work: &Work,
    bench: &Bench,
) -> Outcome<Vec<std::ffi::OsString>> {
    let folder = bench.fresh_folder()?;
    Ok(tools.commands(tool, work, &folder).into_iter().next().ok_or("no command")?)
}
