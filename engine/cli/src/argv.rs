//! The flags that users of other scanners type: more than one letter behind a single dash, and names for what has
//! another name here, or is not there at all.

use std::ffi::{OsStr, OsString};

/// Flag, what it stands for, and whether a value follows.
const STAND_FOR: &[(&str, &[&str], bool)] = &[
    // IPv6 addresses are known as such, and names of addresses are never looked up.
    ("-6", &[], false),
    ("-F", &["--top-ports", "100"], false),
    ("-Pn", &["--no-ping"], false),
    ("-b", &["--exclude-file"], true),
    ("-iL", &["--input-file"], true),
    ("-n", &[], false),
    ("-oA", &["--output-all"], true),
    ("-oC", &["--output-csv"], true),
    ("-oD", &["--output-ndjson"], true),
    ("-oG", &["--output-grepable"], true),
    ("-oJ", &["--output-masscan"], true),
    ("-oL", &["--output-list"], true),
    ("-oN", &["--output-table"], true),
    ("-oS", &["--output-json"], true),
    ("-oX", &["--output-xml"], true),
    ("-r", &["--rate"], true),
    ("-w", &["--input-file"], true),
    // The order is always a random one, and the reason always told.
    ("--randomize-hosts", &[], false),
    ("--reason", &[], false),
];

/// The kinds of scan behind `-s`, of which nmap takes several at once.
const KINDS: &[(char, &[&str])] =
    &[('S', &[]), ('T', &["--backend", "connect"]), ('V', &["--identify"]), ('n', &["--no-ports"])];

/// nmap's ways to look for hosts, in the words of `--ping`; the port is the one without a list of them.
const PINGS: &[(&str, &str, Option<&str>)] = &[
    ("-PA", "tcp-ack", Some("80")),
    ("-PE", "icmp", None),
    ("-PP", "timestamp", None),
    ("-PR", "arp", None),
    ("-PS", "tcp", Some("80")),
    ("-PU", "udp", Some("40125")),
    ("-PY", "sctp", Some("80")),
];

/// Flags that nothing here does, and what to do instead.
const ADVICE: &[(&str, &str)] = &[
    ("-A", "-sV says what answers, and which system runs there"),
    ("-B", "the pace is a number of packets: --rate"),
    ("-G", "where frames go is asked of the kernel: `ip route`, `ip neighbour`"),
    ("-O", "which system runs somewhere is told with the services: -sV"),
    ("-S", "the source address is that of the interface: --interface"),
    ("-T", "there are no timing templates; --rate says how fast, --wait how patient"),
    ("-c", "options can be kept in the file that --config names"),
    ("-d", "-v and -vv say more; --dry-run prints every probe and sends none"),
    ("-sA", "TCP acknowledgements look for hosts: --ping=tcp-ack:80"),
    ("-sL", "--offline lists what would be scanned"),
    ("-sO", "protocols are not looked for, only TCP, UDP and SCTP ports"),
    ("-sP", "-sn looks for hosts only"),
    ("-sU", "UDP ports are written with U: before them, as -p U:53,161"),
    ("-sY", "SCTP ports are written with S: before them, as -p S:2905"),
    ("--adapter-ip", "the source address is that of the interface: --interface"),
    ("--adapter-mac", "the source address is that of the interface: --interface"),
    ("--bandwidth", "the pace is a number of packets: --rate"),
    ("--connection-timeout", "--wait says how long an answer is waited for"),
    ("--cooldown-time", "--wait says how long an answer is waited for"),
    ("--echo", "--offline tells what would be done"),
    ("--exclude-ports", "ports are taken out with !, as -p 1-1000,!25"),
    ("--gateway-mac", "where frames go is asked of the kernel: `ip route`, `ip neighbour`"),
    ("--host-timeout", "--wait says how long an answer is waited for; no host holds others up"),
    ("--max-targets", "--shard does a part of the work"),
    ("--min-rate", "--rate is kept exactly, so it is both the least and the most"),
    ("--output-filename", "the file follows its form: -oX, -oG, -oJ, -oL, -oN, -oD, -oC FILE"),
    ("--output-format", "the form has a flag: -oX, -oG, -oJ, -oL, -oN, -oD, -oC FILE"),
    ("--output-module", "the form has a flag: -oX, -oG, -oJ, -oL, -oN, -oD, -oC FILE"),
    ("--router-mac", "where frames go is asked of the kernel: `ip route`, `ip neighbour`"),
    ("--scan-delay", "--rate-per-host says how fast any one host is asked"),
    ("--script", "there are no scripts; --identify, --ssh-audit and --jarm say what is known of services"),
    ("--source-ip", "the source address is that of the interface: --interface"),
    ("--ttl", "the time to live is the system's"),
];

/// Replaces such flags, before clap takes them apart letter by letter. What follows `--` is left alone.
pub(crate) fn translate(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let (mut translated, mut pings, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for argument in arguments {
        if argument == "--" || !rest.is_empty() {
            rest.push(argument);
            continue;
        }
        let text = argument.to_str().unwrap_or_default();
        if let Some(methods) = ping(text) {
            pings.extend(methods);
        } else if let Some(words) = replacement(text) {
            translated.extend(words.into_iter().map(OsString::from));
        } else {
            translated.push(argument);
        }
    }
    if !pings.is_empty() {
        translated.push(format!("--ping={}", pings.join(",")).into());
    }
    translated.extend(rest);
    translated
}

/// What to do instead of the first flag that only other scanners have.
pub(crate) fn advice(arguments: &[OsString]) -> Option<String> {
    let flags = arguments.iter().map(OsString::as_os_str).take_while(|argument| *argument != "--");
    flags.filter_map(OsStr::to_str).find_map(|argument| {
        let (_, advice) = ADVICE.iter().find(|(flag, _)| is_flag(argument, flag))?;
        Some(format!("{argument:?} is another scanner's: {advice}"))
    })
}

/// Whether it is the flag, alone or with a value.
fn is_flag(argument: &str, flag: &str) -> bool {
    argument.strip_prefix(flag).is_some_and(|rest| {
        rest.is_empty()
            || rest.starts_with('=')
            || (!flag.starts_with("--") && rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

fn replacement(argument: &str) -> Option<Vec<&str>> {
    let plain =
        STAND_FOR.iter().find_map(|&(flag, stands_for, takes_value)| match argument.strip_prefix(flag)? {
            "" => Some(stands_for.to_vec()),
            value if takes_value => Some([stands_for, &[value.trim_start_matches('=')]].concat()),
            _ => None,
        });
    plain.or_else(|| kinds(argument))
}

fn kinds(argument: &str) -> Option<Vec<&'static str>> {
    let letters = argument.strip_prefix("-s").filter(|letters| !letters.is_empty())?;
    let kind = |letter| KINDS.iter().find(|(known, _)| *known == letter).map(|(_, flags)| *flags);
    Some(letters.chars().map(kind).collect::<Option<Vec<_>>>()?.concat())
}

fn ping(argument: &str) -> Option<Vec<String>> {
    PINGS.iter().find_map(|&(flag, method, usual)| {
        let ports = argument.strip_prefix(flag)?;
        match usual {
            None => ports.is_empty().then(|| vec![method.to_owned()]),
            Some(usual) => {
                let ports = if ports.is_empty() { usual } else { ports };
                Some(ports.split(',').map(|port| format!("{method}:{port}")).collect())
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn translated(line: &str) -> String {
        let words = translate(words(line));
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
        assert_eq!(translated("scan -sSV -n -6 -r 500"), "scan --identify --rate 500");
        assert_eq!(translated("scan -w hosts -bnever"), "scan --input-file hosts --exclude-file never");
    }

    #[test]
    fn ways_to_look_for_hosts_are_gathered() {
        assert_eq!(
            translated("scan -PE -sn -PS22,80 -PA x -- -PP"),
            "scan --no-ports x --ping=icmp,tcp:22,tcp:80,tcp-ack:80 -- -PP"
        );
    }

    #[test]
    fn everything_else_is_left_alone() {
        for line in ["scan -p 22 -o x", "scan -sVx", "scan -s V", "identify -- -sV", "scan -PEx"] {
            assert_eq!(translated(line), line);
        }
    }

    #[test]
    fn for_what_is_not_here_there_is_advice() {
        let told = |line| advice(&words(line));
        assert!(told("scan -T4 x").expect("advice").contains("--rate"));
        assert!(told("scan x -sU -p 53").expect("advice").contains("U:53"));
        assert!(told("scan --exclude-ports=22 x").expect("advice").contains('!'));
        for line in ["scan x -p 22", "scan -- -T4", "scan --ttlx", "scan -Top"] {
            assert_eq!(told(line), None, "{line}");
        }
        for (flag, _) in ADVICE {
            assert_eq!(translated(flag), *flag, "it is not there");
        }
    }
}
