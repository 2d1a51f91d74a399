//! The harness, as `cargo xtask bench` starts it. See the library.

#![forbid(unsafe_code)]

use std::{
    fs,
    path::{self, Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use portreeve_benches::{
    Outcome,
    machine::{self, Boost},
    plot,
    report::{Document, Measured, number},
    rows::{self, Row},
    session::{self, Bench, Sample},
    tool::Tools,
};

const HELP: &str = "\
Usage: cargo xtask bench [OPTIONS]      (root; it makes network namespaces)

  --only NAME[,NAME]  measure these rows alone; a wrong name lists them
  --rounds N          rounds, of which figures are the medians (default 5; three times as many
                      of the row `transmit`, whose single rounds differ most)
  --quick             one round, short windows: does it work?
  --no-peers          ours alone
  --json FILE         write results there, and beside it FILE with .md and .svg
";

struct Options {
    /// The binary under test.
    binary: PathBuf,
    only: Vec<String>,
    rounds: u32,
    window: Duration,
    peers: bool,
    json: Option<PathBuf>,
}

impl Options {
    /// The first word is the binary; xtask puts it there.
    fn parse() -> Outcome<Option<Self>> {
        let mut words = std::env::args().skip(1);
        let binary: PathBuf = words.next().ok_or(HELP)?.into();
        if !binary.is_file() {
            return Err(format!("{} is no binary to be measured\n\n{HELP}", binary.display()).into());
        }
        let mut options = Self {
            binary,
            only: Vec::new(),
            rounds: 5,
            window: Duration::from_secs(2),
            peers: true,
            json: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--only" => options.only.extend(value()?.split(',').map(str::to_owned)),
                "--rounds" => options.rounds = value()?.parse()?,
                "--quick" => (options.rounds, options.window) = (1, Duration::from_millis(700)),
                "--no-peers" => options.peers = false,
                "--json" => options.json = Some(value()?.into()),
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unknown option {other:?}\n\n{HELP}").into()),
            }
        }
        Ok(Some(options))
    }
}

fn main() -> ExitCode {
    let outcome = Options::parse().and_then(|options| match options {
        Some(options) => bench(options),
        None => {
            print!("{HELP}");
            Ok(())
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: Options) -> Outcome {
    let rows = chosen(&options.only)?;
    let tools = Tools::find(&options.binary, options.peers);
    let versions = tools.versions();
    let facts = machine::facts();
    for (name, text) in
        facts.iter().map(|(name, fact)| (name.as_str(), fact)).chain(versions.iter().map(|(n, v)| (*n, v)))
    {
        println!("{name}: {text}");
    }
    // Beside the binary: a folder that nobody else can write to.
    let folder = path::absolute(options.binary.with_file_name("bench-work"))?;
    let _boost = Boost::new();
    let mut bench = Bench::new("bench", tools, &folder, options.window)?;
    let mut document = Document::new(facts, versions, options.rounds);
    for row in &rows {
        println!("\n== {} ({})", row.title, row.name);
        let mut tell = |sample: &Sample| print_sample(row, sample);
        let samples = session::run(&mut bench, &(row.entries)(), row.rounds(options.rounds), &mut tell);
        let measured = Measured::new(row, samples);
        println!("\n{}", measured.table());
        let chosen = bench.chosen.iter().cloned().collect::<Vec<_>>().join(", ");
        document.facts.insert("backend that ours chose".to_owned(), chosen);
        document.add(measured);
        if let Some(path) = &options.json {
            // After each row: what was measured before an interruption is kept.
            write(&document, path)?;
        }
    }
    println!("{}", document.markdown());
    Ok(())
}

fn write(document: &Document, path: &Path) -> Outcome {
    fs::write(path, serde_json::to_string_pretty(document)? + "\n")?;
    fs::write(path.with_extension("md"), document.markdown())?;
    fs::write(path.with_extension("svg"), plot::svg(&document.rows))?;
    Ok(())
}

fn chosen(names: &[String]) -> Outcome<Vec<Row>> {
    let all = rows::all();
    let known: Vec<&str> = all.iter().map(|row| row.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no row {unknown:?}; there are: {}", known.join(" ")).into());
    }
    if names.is_empty() {
        return Ok(all);
    }
    let named = |row: &Row| names.iter().position(|name| name == row.name);
    let mut rows: Vec<Row> = all.into_iter().filter(|row| named(row).is_some()).collect();
    // In the order that was asked for.
    rows.sort_by_key(named);
    Ok(rows)
}

fn print_sample(row: &Row, sample: &Sample) {
    let values = std::iter::once(&row.headline).chain(row.shown);
    let values = values.filter_map(|name| Some(format!("{name} {}", number(*sample.values.get(name)?))));
    let around = sample.surroundings;
    println!(
        "  {} {:<22} {}  [load {:.1}, stolen {:.1} %]",
        sample.round,
        sample.label,
        values.collect::<Vec<_>>().join(", "),
        around.load,
        around.stolen * 100.0
    );
}
