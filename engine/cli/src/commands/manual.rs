//! `completions` and `manual`: made from the table of options, so that they cannot drift from it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{
    args::Cli,
    exit::{Exit, Failure},
    output::print,
};

/// `portreeve completions`.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut completed(), "portreeve", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// The commands that are typed; the generators offer hidden ones too.
fn completed() -> Command {
    let whole = Cli::command();
    Command::new("portreeve")
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned())
        .subcommands(whole.get_subcommands().filter(|below| !below.is_hide_set()).cloned())
}

/// `portreeve manual`: the page of the command itself to standard output, or all pages into a folder.
pub(crate) fn manual(folder: Option<&Path>) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    let Some(folder) = folder else {
        let page = rendered(&command).map_err(|error| failed(Path::new("standard output"), &error))?;
        return print(&String::from_utf8_lossy(&page));
    };
    for (name, page) in pages(&command, "portreeve").map_err(|error| failed(folder, &error))? {
        let path = folder.join(name);
        fs::write(&path, page).map_err(|error| failed(&path, &error))?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot write {}: {error}", path.display()))
}

/// The page of a command and those of its subcommands, as `portreeve-scan.1`.
fn pages(command: &Command, name: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let page = rendered(command)?;
    let mut all = vec![(PathBuf::from(format!("{name}.1")), page)];
    let typed = command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set());
    for subcommand in typed {
        all.extend(pages(subcommand, &format!("{name}-{}", subcommand.get_name()))?);
    }
    Ok(all)
}

fn rendered(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let mut command = Cli::command();
        command.build();
        let pages = pages(&command, "portreeve").expect("rendered");
        let page = |name: &str| {
            let (_, page) = pages.iter().find(|(path, _)| path == Path::new(name)).expect(name);
            String::from_utf8(page.clone()).expect("UTF-8")
        };
        assert!(page("portreeve.1").contains("Exit codes"), "{}", page("portreeve.1"));
        let scan = page("portreeve-scan.1");
        for option in ["rate", "exclude", "output\\-xml", "source\\-port", "top\\-ports"] {
            assert!(scan.contains(option), "{option} is not in {scan}");
        }
        assert!(pages.iter().any(|(path, _)| path == Path::new("portreeve-db-test.1")));
        assert!(!pages.iter().any(|(path, _)| path == Path::new("portreeve-job.1")), "nobody types it");
    }

    #[test]
    fn what_is_completed_is_what_is_typed() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut completed(), "portreeve", &mut text);
            let text = String::from_utf8(text).expect("UTF-8");
            assert!(text.contains("selftest") && text.contains("user-database"), "{shell}: {text}");
            assert!(!text.contains("Carry one job"), "{shell}: {text}");
            assert!(!text.contains("portreeve,job)"), "{shell}: {text}");
        }
    }
}
