//! Where results go: any number of files, and standard output.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use portreeve_model::protocol::Record;

use super::{
    Form, Results, csv::Csv, grepable::Grepable, json::Json, json::Ndjson, masscan::MasscanJson,
    masscan::MasscanList, nmap_xml::NmapXml, table::Table,
};
use crate::{
    args::OutputArgs,
    exit::{Exit, Failure},
};

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Grepable,
    Json,
    List,
    MasscanJson,
    Ndjson,
    Table,
    Xml,
}

/// What `-oA` writes: the forms and the ends of the files' names.
const ALL: [(Format, &str); 4] =
    [(Format::Table, "txt"), (Format::Xml, "xml"), (Format::Grepable, "gnmap"), (Format::Json, "json")];

impl Format {
    fn form(self, to: Place) -> Box<dyn Form> {
        match self {
            Self::Csv => Box::new(Csv),
            Self::Grepable => Box::new(Grepable),
            Self::Json => Box::new(Json),
            Self::List => Box::new(MasscanList),
            Self::MasscanJson => Box::new(MasscanJson),
            Self::Ndjson => Box::new(Ndjson),
            Self::Table => Box::new(Table { colour: to == Place::Terminal, remarks: to == Place::File }),
            Self::Xml => Box::new(NmapXml),
        }
    }
}

/// What stands at the end of an output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    File,
    Pipe,
    /// One that shows colours.
    Terminal,
}

/// One output.
struct Sink {
    format: Format,
    form: Box<dyn Form>,
    out: BufWriter<Box<dyn Write + Send>>,
    name: String,
    /// Why nothing more is written.
    lost: Option<Lost>,
}

/// Why an output takes nothing any more.
enum Lost {
    /// Who read it has seen enough.
    Closed,
    Failed(Failure),
}

impl Sink {
    /// A file is made at once: what cannot be written is better known before the scan.
    fn open(format: Format, path: Option<&Path>, no_color: bool) -> Result<Self, Failure> {
        let (place, out, name): (_, Box<dyn Write + Send>, _) = match path {
            Some(path) => (Place::File, Box::new(create(path)?), path.display().to_string()),
            None if io::stdout().is_terminal() && !no_color => {
                (Place::Terminal, Box::new(io::stdout()), STDOUT.to_owned())
            }
            None => (Place::Pipe, Box::new(io::stdout()), STDOUT.to_owned()),
        };
        Ok(Self { format, form: format.form(place), out: BufWriter::new(out), name, lost: None })
    }

    /// Writes, unless that has failed before.
    fn write(&mut self, write: impl FnOnce(&mut dyn Form, &mut dyn Write) -> io::Result<()>) {
        if self.lost.is_none() {
            let written = write(self.form.as_mut(), &mut self.out).and_then(|()| self.out.flush());
            self.lost = written.err().map(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Lost::Closed,
                _ => Lost::Failed(unwritable(&self.name, &error)),
            });
        }
    }
}

const STDOUT: &str = "standard output";

/// The outputs that a command line names.
pub(crate) struct Wanted {
    forms: Vec<(Format, Option<PathBuf>)>,
    no_color: bool,
}

impl Wanted {
    /// Whether any of them is a file.
    pub(crate) fn has_files(&self) -> bool {
        self.forms.iter().any(|(_, path)| path.is_some())
    }

    /// Opens them; files of these names are emptied.
    pub(crate) fn open(self) -> Result<Output, Failure> {
        let forms = self.forms.iter();
        let sinks = forms.map(|(format, path)| Sink::open(*format, path.as_deref(), self.no_color));
        Ok(Output { sinks: sinks.collect::<Result<_, _>>()? })
    }
}

/// All outputs of a command. One that fails does not keep the others from being written.
pub(crate) struct Output {
    sinks: Vec<Sink>,
}

impl Output {
    /// What the command line names; a table on standard output if it names nothing.
    pub(crate) fn choose(arguments: &OutputArgs) -> Result<Wanted, Failure> {
        let no_color =
            arguments.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let forms = wanted(arguments);
        let on_stdout = forms.iter().filter(|(_, path)| path.is_none()).count();
        if on_stdout > 1 {
            return Err(Failure::usage(format!(
                "{on_stdout} outputs go to standard output; name a file for all but one"
            )));
        }
        Ok(Wanted { forms, no_color })
    }

    /// Writes records at once, where the form allows it.
    pub(crate) fn stream(&mut self, records: &[Record]) {
        for sink in &mut self.sinks {
            sink.write(|form, out| records.iter().try_for_each(|record| form.record(out, record)));
        }
    }

    /// Whether any of them still takes something.
    pub(crate) fn is_wanted(&self) -> bool {
        self.sinks.iter().any(|sink| sink.lost.is_none())
    }

    /// Writes everything that was not written yet, and tells what has failed first. That a reader had seen enough is no
    /// failure.
    pub(crate) fn finish(&mut self, results: &Results<'_>) -> Result<(), Failure> {
        for sink in &mut self.sinks {
            sink.write(|form, out| form.finish(out, results));
        }
        self.first_failure()
    }

    /// Adds plain text below tables.
    pub(crate) fn below_tables(&mut self, text: &str) -> Result<(), Failure> {
        for sink in self.sinks.iter_mut().filter(|sink| sink.format == Format::Table) {
            sink.write(|_, out| out.write_all(text.as_bytes()));
        }
        self.first_failure()
    }

    fn first_failure(&mut self) -> Result<(), Failure> {
        let failed = self.sinks.iter_mut().find(|sink| matches!(sink.lost, Some(Lost::Failed(_))));
        match failed.and_then(|sink| sink.lost.replace(Lost::Closed)) {
            Some(Lost::Failed(failure)) => Err(failure),
            _ => Ok(()),
        }
    }
}

/// Prints plain text to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| unwritable(STDOUT, &error))
}

/// The forms that the command line names, each with its file; none is standard output.
fn wanted(arguments: &OutputArgs) -> Vec<(Format, Option<PathBuf>)> {
    let files = [
        (Format::Csv, &arguments.output_csv),
        (Format::Grepable, &arguments.output_grepable),
        (Format::Json, &arguments.output_json),
        (Format::List, &arguments.output_list),
        (Format::MasscanJson, &arguments.output_masscan),
        (Format::Ndjson, &arguments.output_ndjson),
        (Format::Table, &arguments.output_table),
        (Format::Xml, &arguments.output_xml),
    ];
    let named = files.into_iter().filter_map(|(format, path)| Some((format, file(path.as_deref()?))));
    let mut wanted: Vec<_> = named.collect();
    if let Some(base) = &arguments.output_all {
        wanted.extend(ALL.iter().map(|&(format, end)| (format, Some(with_end(base, end)))));
    }
    let main = match arguments {
        OutputArgs { json: true, .. } => Some(Format::Json),
        OutputArgs { ndjson: true, .. } => Some(Format::Ndjson),
        OutputArgs { csv: true, .. } => Some(Format::Csv),
        _ if arguments.output.is_some() || wanted.is_empty() => Some(Format::Table),
        _ => None,
    };
    wanted.extend(main.map(|format| (format, arguments.output.as_deref().and_then(file))));
    wanted
}

/// The file of this name; none is standard output.
fn file(path: &Path) -> Option<PathBuf> {
    (path != Path::new("-")).then(|| path.to_owned())
}

/// `base` with `.end` behind, whatever dots it has.
fn with_end(base: &Path, end: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    name.into()
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| {
        Failure::usage(format!("cannot write to {}: {error}; name another file with -o", path.display()))
    })
}

fn unwritable(name: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot write to {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{args::Cli, args::Command, argv};

    fn wanted_by(line: &str) -> Vec<(Format, Option<String>)> {
        let words =
            argv::translate(format!("portreeve scan 10.0.0.1 {line}").split_whitespace().map(Into::into));
        let Command::Scan(scan) = Cli::try_parse_from(words).expect(line).command else { panic!("{line}") };
        let shown = |path: PathBuf| path.to_string_lossy().into_owned();
        wanted(&scan.output).into_iter().map(|(format, path)| (format, path.map(shown))).collect()
    }

    #[test]
    fn several_outputs_at_once() {
        let file = |name: &str| Some(name.to_owned());
        assert_eq!(wanted_by(""), [(Format::Table, None)]);
        assert_eq!(wanted_by("-oX -"), [(Format::Xml, None)]);
        assert_eq!(wanted_by("--json -o out"), [(Format::Json, file("out"))]);
        assert_eq!(
            wanted_by("-oX a.xml -oJ a.json -oL=a.list --ndjson"),
            [
                (Format::List, file("a.list")),
                (Format::MasscanJson, file("a.json")),
                (Format::Xml, file("a.xml")),
                (Format::Ndjson, None)
            ]
        );
        let all: Vec<_> = wanted_by("-oA net.10").into_iter().filter_map(|(_, path)| path).collect();
        assert_eq!(all, ["net.10.txt", "net.10.xml", "net.10.gnmap", "net.10.json"]);
    }
}
