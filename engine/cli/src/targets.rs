//! Targets from the command line and from files; host names are looked up here.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    net::{IpAddr, ToSocketAddrs},
    path::{Path, PathBuf},
};

use portreeve_scan::{
    TargetSet, TargetSetBuilder,
    targets::{TargetError, parse_line},
};

use crate::{args::TargetArgs, environment, exit::Failure, stderr};

/// The addresses that are meant, without what is excluded.
pub(crate) fn target_set(arguments: &TargetArgs, always_excluded: &[String]) -> Result<TargetSet, Failure> {
    let mut builder = TargetSetBuilder::new().allow_reserved(arguments.allow_reserved);
    for text in &arguments.targets {
        builder = include(builder, text)?;
    }
    for path in &arguments.input_file {
        for (number, line) in read(path)?.lines().enumerate() {
            builder = include(builder, line).map_err(|failure| in_line(path, number, &failure))?;
        }
    }
    for text in arguments.exclude.iter().chain(always_excluded).chain(&environment::excluded()) {
        builder = exclude(builder, text)?;
    }
    let from_environment = environment::value(environment::EXCLUDE_FILE).map(PathBuf::from);
    for path in arguments.exclude_file.iter().chain(&from_environment) {
        for (number, line) in read(path)?.lines().enumerate() {
            builder = exclude(builder, line).map_err(|failure| in_line(path, number, &failure))?;
        }
    }
    for range in builder.sampled() {
        say!(
            "{range} is too large to be tried one by one: of each network in it the lowest addresses are tried; name hosts \
             that are elsewhere"
        );
    }
    Ok(builder.build()?)
}

/// Adds the targets of one line. What is no address may be a name, which stands for the first of its addresses.
fn include(mut builder: TargetSetBuilder, line: &str) -> Result<TargetSetBuilder, Failure> {
    for word in words(line) {
        builder = if is_name(word) {
            builder.include(&resolve(word)?.to_string())?
        } else {
            builder.include(word)?
        };
    }
    Ok(builder)
}

/// Takes out what one line excludes. A name stands for all of its addresses.
fn exclude(mut builder: TargetSetBuilder, line: &str) -> Result<TargetSetBuilder, Failure> {
    for word in words(line) {
        if is_name(word) {
            for address in addresses(word)? {
                builder = builder.exclude(&address.to_string())?;
            }
        } else {
            builder = builder.exclude(word)?;
        }
    }
    Ok(builder)
}

fn in_line(path: &Path, number: usize, failure: &Failure) -> Failure {
    Failure::usage(format!("{}, line {}: {failure}", path.display(), number + 1))
}

/// The words of a line without its comment.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let line = line.split('#').next().unwrap_or_default();
    line.split([',', ' ', '\t', '\r']).filter(|word| !word.is_empty())
}

fn is_name(word: &str) -> bool {
    matches!(parse_line(word), Err(TargetError::Malformed { .. })) && may_be_name(word)
}

fn may_be_name(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    word.len() <= 253 && word.bytes().all(allowed) && word.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// The first address of a name.
pub(crate) fn resolve(name: &str) -> Result<IpAddr, Failure> {
    Ok(addresses(name)?.swap_remove(0))
}

/// All addresses of a name, of which there is one at least.
fn addresses(name: &str) -> Result<Vec<IpAddr>, Failure> {
    let unknown = |why: String| {
        Failure::usage(format!(
            "{name:?} is neither an address, a block nor a range, nor a name that is known: {why}"
        ))
    };
    let found = (name, 0).to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
    let addresses: Vec<_> = found.map(|address| address.ip()).collect();
    if addresses.is_empty() { Err(unknown("it has no address".to_owned())) } else { Ok(addresses) }
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).map(drop)
    } else {
        fs::read_to_string(path).map(|content| text = content)
    };
    read.map_err(|error| Failure::usage(format!("cannot read targets from {}: {error}", path.display())))?;
    Ok(text)
}

/// Scanning the networks of others can be an offence: asks, unless every address is a local one.
pub(crate) fn confirm(targets: &TargetSet, yes: bool) -> Result<(), Failure> {
    let public = targets
        .ranges()
        .find(|(first, last)| !(is_local(*first) && is_local(*last) && same_block(*first, *last)));
    let Some((first, last)) = public else { return Ok(()) };
    if yes {
        return Ok(());
    }
    let shown = if first == last { first.to_string() } else { format!("{first}-{last}") };
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "the targets hold public addresses ({shown}); add --yes if you may scan them"
        )));
    }
    say!(
        "The targets hold public addresses ({shown}). Scanning networks without permission can be an offence."
    );
    match targets.len() {
        1 => stderr::print(format_args!("Type yes if you may scan it: ")),
        count => stderr::print(format_args!("Type yes if you may scan all {count} of them: ")),
    }
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let answered = io::stdin().read_line(&mut answer);
    if answered.is_ok() && answer.trim() == "yes" {
        Ok(())
    } else {
        Err(Failure::usage("not confirmed; nothing was sent"))
    }
}

/// Whether an address belongs to nobody's public network: loopback, private, shared, link-local.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether a range that begins and ends at local addresses is local throughout: the local blocks are far
/// apart, so it is if both ends share the first octet (the first 7 bits in IPv6).
fn same_block(first: IpAddr, last: IpAddr) -> bool {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => first.octets()[0] == last.octets()[0],
        (IpAddr::V6(first), IpAddr::V6(last)) => first.octets()[0] & 0xfe == last.octets()[0] & 0xfe,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(targets: &[&str]) -> Result<TargetSet, Failure> {
        let targets = targets.iter().map(|&text| text.to_owned()).collect();
        target_set(&TargetArgs { targets, ..TargetArgs::default() }, &["10.0.0.9".to_owned()])
    }

    #[test]
    fn names_addresses_and_blocks_are_targets_and_exclusions_win() {
        let targets = set(&["10.0.0.8/30", "localhost, ::1  # comment"]).expect("targets");
        assert_eq!(
            targets.ranges().filter(|(first, _)| first.is_ipv4()).count(),
            2 + usize::from(targets.contains([127, 0, 0, 1].into()))
        );
        assert!(targets.contains("::1".parse().expect("address")));
        assert!(!targets.contains([10, 0, 0, 9].into()));
    }

    #[test]
    fn a_name_is_excluded_with_all_of_its_addresses() {
        let targets = ["127.0.0.0/29", "::1"].map(str::to_owned).to_vec();
        let arguments =
            TargetArgs { targets, exclude: vec!["localhost".to_owned()], ..TargetArgs::default() };
        let left = target_set(&arguments, &[]).expect("targets");
        for address in addresses("localhost").expect("known everywhere") {
            assert!(!left.contains(address), "{address}");
        }
    }

    #[test]
    fn what_is_no_target_is_named() {
        for text in ["10.0.0.0/33", "10.0.0.300", "10.0.0.9-3", "no such name", "no-such-name.invalid"] {
            let failure = set(&[text]).expect_err(text);
            assert!(failure.message.contains(text.split(' ').next().expect("a word")), "{failure}");
        }
    }

    #[test]
    fn public_targets_need_a_word() {
        for local in ["127.0.0.1", "10.0.0.0/8", "192.168.0.0/16", "fd00::/120"] {
            assert!(confirm(&set(&[local]).expect("targets"), false).is_ok(), "{local}");
        }
        for public in ["8.8.8.8", "9.255.255.0-10.0.0.3", "169.254.255.0-169.255.0.9", "2a00::1"] {
            let targets = set(&[public]).expect("targets");
            assert!(confirm(&targets, true).is_ok(), "{public}");
            if !io::stdin().is_terminal() {
                let failure = confirm(&targets, false).expect_err(public);
                assert!(failure.message.contains("--yes"), "{failure}");
            }
        }
    }

    #[test]
    fn public_addresses_are_told_from_local_ones() {
        for text in ["127.0.0.1", "10.1.2.3", "100.64.0.1", "169.254.0.1", "::1", "fd00::1", "fe80::1"] {
            assert!(is_local(text.parse().expect("address")), "{text}");
        }
        for text in ["8.8.8.8", "100.128.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert!(!is_local(text.parse().expect("address")), "{text}");
        }
    }
}
