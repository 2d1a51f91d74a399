//! By what hosts are looked for: the notation of `--ping`.

use std::{fmt, str::FromStr};

use crate::{PortError, PortSet, space::ProbeKind};

/// What is sent to find out whether a host is there.
///
/// Parsed from a list as `icmp,timestamp,tcp:443,tcp-ack:80,udp:53,sctp:2905,arp,nd`, with port lists as in
/// `tcp:22,tcp:80` or `tcp:22+80+8000-8010`. On attached networks ARP and neighbour discovery come first whatever the
/// list says, since frames need hardware addresses; `arp` and `nd` alone send nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostProbes {
    kinds: Vec<ProbeKind>,
}

/// A piece of such a list that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostProbeError {
    /// Nothing known by this name.
    #[error(
        "{piece:?} is no way to look for hosts; use icmp, timestamp, tcp:PORT, tcp-ack:PORT, udp:PORT, sctp:PORT, arp or nd"
    )]
    Unknown {
        /// The piece.
        piece: String,
    },
    /// The ports cannot be read.
    #[error(transparent)]
    Ports(#[from] PortError),
}

impl HostProbes {
    /// Ports that are most often open, asked where a host's being there is in question.
    const TCP_PORTS: [u16; 5] = [22, 80, 135, 443, 445];

    pub(crate) fn kinds(&self) -> Vec<ProbeKind> {
        self.kinds.clone()
    }

    /// Whether datagrams to UDP ports are among them.
    pub fn has_udp(&self) -> bool {
        self.kinds.iter().any(|kind| matches!(kind, ProbeKind::Udp(_)))
    }

    /// The first that ordinary sockets cannot send, by its name.
    pub(crate) fn beyond_sockets(&self) -> Option<&'static str> {
        self.kinds.iter().find_map(|kind| match kind {
            ProbeKind::Ack(_) => Some("tcp-ack"),
            ProbeKind::Sctp(_) => Some("sctp"),
            ProbeKind::Timestamp => Some("timestamp"),
            ProbeKind::Echo | ProbeKind::Tcp(_) | ProbeKind::Udp(_) => None,
        })
    }
}

impl Default for HostProbes {
    /// An echo request and SYNs to a few common ports.
    fn default() -> Self {
        let ports = Self::TCP_PORTS.into_iter().map(ProbeKind::Tcp);
        let mut kinds: Vec<_> = ports.chain([ProbeKind::Echo]).collect();
        kinds.sort_unstable();
        Self { kinds }
    }
}

impl FromStr for HostProbes {
    type Err = HostProbeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut kinds = Vec::new();
        for piece in text.split([',', ' ']).filter(|piece| !piece.is_empty()) {
            let unknown = || HostProbeError::Unknown { piece: piece.to_owned() };
            let (name, ports) =
                piece.split_once(':').map_or((piece, None), |(name, ports)| (name, Some(ports)));
            let with_port: fn(u16) -> ProbeKind = match (name.to_ascii_lowercase().as_str(), ports) {
                ("arp" | "nd", None) => continue,
                ("echo" | "icmp", None) => {
                    kinds.push(ProbeKind::Echo);
                    continue;
                }
                ("timestamp", None) => {
                    kinds.push(ProbeKind::Timestamp);
                    continue;
                }
                ("sctp", Some(_)) => ProbeKind::Sctp,
                ("tcp" | "tcp-syn", Some(_)) => ProbeKind::Tcp,
                ("tcp-ack", Some(_)) => ProbeKind::Ack,
                ("udp", Some(_)) => ProbeKind::Udp,
                _ => return Err(unknown()),
            };
            let ports: PortSet = ports.unwrap_or_default().replace('+', ",").parse()?;
            if ports.is_empty() || ports.tcp().len() != ports.len() {
                return Err(unknown());
            }
            kinds.extend(ports.tcp().map(with_port));
        }
        kinds.sort_unstable();
        kinds.dedup();
        Ok(Self { kinds })
    }
}

impl fmt::Display for HostProbes {
    /// Reads back as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kinds.is_empty() {
            return f.write_str("arp,nd");
        }
        for (number, kind) in self.kinds.iter().enumerate() {
            let separator = if number == 0 { "" } else { "," };
            match kind {
                ProbeKind::Ack(port) => write!(f, "{separator}tcp-ack:{port}")?,
                ProbeKind::Echo => write!(f, "{separator}icmp")?,
                ProbeKind::Sctp(port) => write!(f, "{separator}sctp:{port}")?,
                ProbeKind::Tcp(port) => write!(f, "{separator}tcp:{port}")?,
                ProbeKind::Timestamp => write!(f, "{separator}timestamp")?,
                ProbeKind::Udp(port) => write!(f, "{separator}udp:{port}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_read_and_written_back() {
        let probes: HostProbes =
            "icmp,timestamp,tcp:443,tcp-ack:80,udp:53,sctp:2905,arp,nd".parse().expect("valid");
        assert_eq!(probes.kinds.len(), 6);
        assert_eq!(probes.to_string().parse(), Ok(probes));
        let ports: HostProbes = "tcp:22+8000-8002".parse().expect("valid");
        assert_eq!(ports.to_string(), "tcp:22,tcp:8000,tcp:8001,tcp:8002");
        let neighbours: HostProbes = "arp,nd".parse().expect("valid");
        assert_eq!((neighbours.kinds.len(), neighbours.to_string().parse()), (0, Ok(neighbours)));
        assert_eq!(HostProbes::default().to_string().parse(), Ok(HostProbes::default()));
    }

    #[test]
    fn what_is_none_is_named() {
        for text in ["ping", "tcp", "tcp:", "icmp:3", "tcp:x", "tcp:U:53", "tcp-ack:99999"] {
            let error = format!("icmp,{text}").parse::<HostProbes>().expect_err(text).to_string();
            assert!(error.contains(text.split(':').next_back().expect("a piece")), "{text}: {error}");
        }
    }

    #[test]
    fn ordinary_sockets_cannot_send_all_of_them() {
        assert_eq!(HostProbes::default().beyond_sockets(), None);
        assert_eq!("tcp-ack:80".parse::<HostProbes>().expect("valid").beyond_sockets(), Some("tcp-ack"));
    }
}
