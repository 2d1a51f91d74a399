//! Which ports a scan probes: a network's port specification and protocol, as ranges for each transport.
//!
//! The server needs to know them itself: a port may be called closed only by a scan that probed it.

use portreeve_model::Transport;

use crate::input::{check_port_spec, parse_rule_ports};

/// Ports that a scan probes, both ends included, sorted and apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedPorts(Vec<ProbedRange>);

/// Neighbouring ports of one transport, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProbedRange {
    /// Which transport.
    pub transport: Transport,
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

const TRANSPORTS: [(Transport, char); 3] =
    [(Transport::Tcp, 'T'), (Transport::Udp, 'U'), (Transport::Sctp, 'S')];

impl ProbedPorts {
    /// Reads `22,80,8000-8100,U:53,161,!25`. A prefix counts for what follows it; what stands before the first one
    /// is meant for the network's protocol: `tcp`, `udp` or `both`. `!` leaves ports out, of every transport
    /// or, as `!U:53`, of one. Where nothing but exclusions is said, all ports are meant.
    pub fn parse(spec: &str, protocol: &str) -> Result<Self, String> {
        let spec = check_port_spec(spec)?;
        let unprefixed: &[usize] = match protocol {
            "both" => &[0, 1],
            "udp" => &[1],
            _ => &[0],
        };
        let mut included = [(); 3].map(|()| vec![false; 65_536]);
        let mut excluded = included.clone();
        let (mut current, mut any) = (None, false);
        for segment in spec.split(',') {
            let (exclude, rest) = segment.strip_prefix('!').map_or((false, segment), |rest| (true, rest));
            let (prefix, numbers) = match rest.split_once(':') {
                Some((letter, numbers)) => {
                    let named = TRANSPORTS.iter().position(|(_, known)| letter.starts_with(*known));
                    (named, numbers)
                }
                None => (None, rest),
            };
            let range = parse_rule_ports(numbers)?;
            let range = usize::from(range.low)..=usize::from(range.high);
            let own;
            let (ports, transports): (_, &[usize]) = if exclude {
                own = prefix.map(|one| [one]);
                (&mut excluded, own.as_ref().map_or(&[0, 1, 2], |one| one))
            } else {
                current = prefix.or(current);
                any = true;
                own = current.map(|one| [one]);
                (&mut included, own.as_ref().map_or(unprefixed, |one| one))
            };
            for transport in transports {
                fill(ports.get_mut(*transport), range.clone());
            }
        }
        if !any {
            for transport in unprefixed {
                fill(included.get_mut(*transport), 1..=65_535);
            }
        }
        let ranges = TRANSPORTS.iter().zip(included.iter().zip(&excluded));
        Ok(Self(
            ranges
                .flat_map(|((transport, _), (ports, without))| ranges_of(*transport, ports, without))
                .collect(),
        ))
    }

    /// The ranges.
    pub fn ranges(&self) -> &[ProbedRange] {
        &self.0
    }

    /// The specification in the form an agent takes, each part with its prefix.
    pub fn to_spec(&self) -> String {
        let part = |range: &ProbedRange| {
            let letter = TRANSPORTS
                .iter()
                .find(|(known, _)| *known == range.transport)
                .map_or('T', |(_, letter)| *letter);
            match (range.first, range.last) {
                (first, last) if first == last => format!("{letter}:{first}"),
                (first, last) => format!("{letter}:{first}-{last}"),
            }
        };
        self.0.iter().map(part).collect::<Vec<_>>().join(",")
    }
}

fn fill(ports: Option<&mut Vec<bool>>, range: std::ops::RangeInclusive<usize>) {
    if let Some(ports) = ports.and_then(|ports| ports.get_mut(range)) {
        ports.fill(true);
    }
}

fn ranges_of(transport: Transport, ports: &[bool], without: &[bool]) -> Vec<ProbedRange> {
    let mut ranges: Vec<ProbedRange> = Vec::new();
    for (port, _) in ports.iter().zip(without).enumerate().filter(|(_, (on, off))| **on && !**off) {
        let port = port as u16;
        match ranges.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(port) => range.last = port,
            _ => ranges.push(ProbedRange { transport, first: port, last: port }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str, protocol: &str) -> String {
        ProbedPorts::parse(text, protocol).expect(text).to_spec()
    }

    #[test]
    fn specifications_become_ranges_by_transport() {
        for (text, protocol, expected) in [
            ("22,80,81,8000-8100", "tcp", "T:22,T:80-81,T:8000-8100"),
            ("1-100,!25", "tcp", "T:1-24,T:26-100"),
            ("!25", "tcp", "T:1-24,T:26-65535"),
            ("53,23", "both", "T:23,T:53,U:23,U:53"),
            ("53", "udp", "U:53"),
            ("22,U:53,161", "tcp", "T:22,U:53,U:161"),
            ("22,U:53,T:443", "both", "T:22,T:443,U:22,U:53"),
            ("1-10,U:1-10,!U:5,!7", "tcp", "T:1-6,T:8-10,U:1-4,U:6,U:8-10"),
            ("S:2905", "tcp", "S:2905"),
            ("1-65535", "tcp", "T:1-65535"),
        ] {
            assert_eq!(spec(text, protocol), expected, "{text} {protocol}");
        }
    }

    #[test]
    fn its_own_text_reads_the_same_for_any_protocol() {
        let text = spec("22,U:53,161,!8080,8000-9000", "both");
        assert_eq!(spec(&text, "udp"), text);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(ProbedPorts::parse("http", "tcp").is_err());
        assert!(ProbedPorts::parse("", "tcp").is_err());
    }
}
