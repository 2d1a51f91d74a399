//! The environment's say in the options.
//!
//! clap takes a variable for a flag that was given. Two of the rules that follow from "a flag, else the environment" are
//! therefore kept here: a flag wins over the variables of options that it rules out, and an empty variable is none.

use std::{collections::HashSet, env, ffi::OsString};

use clap::{Arg, ArgMatches, Command, Id, parser::ValueSource};

/// Excludes targets, whatever flags say: what somebody wrote down so as never to be sent to must not be forgotten
/// because somebody else excludes more.
pub(crate) const EXCLUDE: &str = "PORTREEVE_EXCLUDE";
/// A file of such targets.
pub(crate) const EXCLUDE_FILE: &str = "PORTREEVE_EXCLUDE_FILE";

/// The value of a variable that is not empty.
pub(crate) fn value(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// What [`EXCLUDE`] excludes.
pub(crate) fn excluded() -> Vec<String> {
    let value = value(EXCLUDE).unwrap_or_default();
    let targets = value.to_string_lossy().into_owned();
    targets.split(',').filter(|target| !target.trim().is_empty()).map(str::to_owned).collect()
}

/// `command` without the variables that do not count with these words.
pub(crate) fn heeding(command: Command, words: &[OsString]) -> Command {
    let bare = without(command.clone(), &|_, _| true);
    // What is wrong with the words is told when they are read for good.
    let flags = bare.try_get_matches_from(words).map(|matches| flags(&matches)).unwrap_or_default();
    without(command, &|command, option| {
        let is_empty = option.get_env().is_some_and(|name| value(&name.to_string_lossy()).is_none());
        is_empty
            || command
                .get_arguments()
                .any(|other| flags.contains(other.get_id()) && exclude_each_other(command, option, other))
    })
}

/// The options that the command line itself names.
fn flags(matches: &ArgMatches) -> HashSet<Id> {
    let here = matches.ids().filter(|id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine));
    let mut all: HashSet<Id> = here.cloned().collect();
    if let Some((_, below)) = matches.subcommand() {
        all.extend(flags(below));
    }
    all
}

fn exclude_each_other(command: &Command, one: &Arg, other: &Arg) -> bool {
    let excludes = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|found| found.get_id() == other.get_id())
    };
    excludes(one, other) || excludes(other, one)
}

/// `command` and those below it without the variables that `is_void` names.
fn without(command: Command, is_void: &dyn Fn(&Command, &Arg) -> bool) -> Command {
    let void: HashSet<Id> = command
        .get_arguments()
        .filter(|option| option.get_env().is_some() && is_void(&command, option))
        .map(|option| option.get_id().clone())
        .collect();
    let below: Vec<_> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let command = command.mut_args(|option| {
        if void.contains(option.get_id()) { option.env(None::<&'static str>) } else { option }
    });
    below
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |below| without(below, is_void)))
}
