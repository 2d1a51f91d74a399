//! The flags that users of other scanners type: more than one letter behind a single dash.

use std::ffi::OsString;

/// Flag, what it stands for, and whether a value follows.
const STAND_FOR: &[(&str, &[&str], bool)] = &[
    ("-F", &["--top-ports", "100"], false),
    ("-Pn", &["--no-ping"], false),
    ("-iL", &["--input-file"], true),
    ("-oA", &["--output-all"], true),
    ("-oC", &["--output-csv"], true),
    ("-oD", &["--output-ndjson"], true),
    ("-oG", &["--output-grepable"], true),
    ("-oJ", &["--output-masscan"], true),
    ("-oL", &["--output-list"], true),
    ("-oN", &["--output-table"], true),
    ("-oS", &["--output-json"], true),
    ("-oX", &["--output-xml"], true),
    ("-sS", &[], false),
    ("-sT", &["--backend", "connect"], false),
    ("-sV", &["--identify"], false),
    ("-sn", &["--no-ports"], false),
];

/// Replaces such flags, before clap takes them apart letter by letter. What follows `--` is left alone.
pub(crate) fn translate(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut translated = Vec::new();
    let mut literal = false;
    for argument in arguments {
        literal |= argument == "--";
        match argument.to_str().filter(|_| !literal).and_then(replacement) {
            Some((flags, value)) => {
                translated.extend(flags.iter().map(OsString::from));
                translated.extend(value.map(OsString::from));
            }
            None => translated.push(argument),
        }
    }
    translated
}

fn replacement(argument: &str) -> Option<(&'static [&'static str], Option<&str>)> {
    STAND_FOR.iter().find_map(|&(flag, stands_for, takes_value)| {
        let rest = argument.strip_prefix(flag)?;
        match rest {
            "" => Some((stands_for, None)),
            value if takes_value => Some((stands_for, Some(value.trim_start_matches('=')))),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> String {
        let words = translate(line.split(' ').map(OsString::from));
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn flags_of_other_scanners_are_understood() {
        assert_eq!(
            translated("scan -sV -iL hosts -oJ out"),
            "scan --identify --input-file hosts --output-masscan out"
        );
        assert_eq!(translated("scan -sS -Pn -F -oX - x"), "scan --no-ping --top-ports 100 --output-xml - x");
        assert_eq!(translated("scan -iLhosts -oC=out"), "scan --input-file hosts --output-csv out");
    }

    #[test]
    fn everything_else_is_left_alone() {
        for line in ["scan -p 22 -o x", "scan -sVx", "scan -s V", "identify -- -sV"] {
            assert_eq!(translated(line), line);
        }
    }
}
