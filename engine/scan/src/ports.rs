//! Which ports: the notation of port lists.

use std::{fmt, iter, str::FromStr};

use portreeve_model::Transport;

/// Ports to be probed, by transport, sorted, each once.
///
/// Parsed from a list as `22,80,8000-8100,U:53,!25`:
/// * a number, a range (`-1024` from 0, `60000-` up to 65535) or a service's name (`ssh`, `https` …);
/// * `T:`, `U:` or `S:` in front switches to TCP (where a list begins), UDP or SCTP for what follows;
/// * `!` in front takes out: of all transports, or with `!U:53` of one;
/// * `-` alone, or `all`, is 1-65535.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet {
    tcp: Vec<u16>,
    udp: Vec<u16>,
    sctp: Vec<u16>,
}

/// A piece of a port list that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// Neither number, range nor known name.
    #[error(
        "{piece:?} in the port list is not a port (0-65535), a range (8000-8100) or a service known by name"
    )]
    Malformed {
        /// The piece.
        piece: String,
    },
    /// A range with its ends swapped.
    #[error("{piece:?} in the port list ends before it starts; write the lower port first")]
    Backwards {
        /// The piece.
        piece: String,
    },
}

impl PortSet {
    /// No ports: a scan with it looks for hosts only.
    pub fn empty() -> Self {
        Self::default()
    }

    /// TCP ports, in any order.
    pub(crate) fn of_tcp(mut ports: Vec<u16>) -> Self {
        ports.sort_unstable();
        ports.dedup();
        Self { tcp: ports, ..Self::default() }
    }

    /// TCP ports, ascending.
    pub fn tcp(&self) -> impl ExactSizeIterator<Item = u16> + '_ {
        self.tcp.iter().copied()
    }

    /// UDP ports, ascending.
    pub fn udp(&self) -> impl ExactSizeIterator<Item = u16> + '_ {
        self.udp.iter().copied()
    }

    /// SCTP ports, ascending.
    pub fn sctp(&self) -> impl ExactSizeIterator<Item = u16> + '_ {
        self.sctp.iter().copied()
    }

    /// How many ports, over all transports.
    pub fn len(&self) -> usize {
        self.tcp.len() + self.udp.len() + self.sctp.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many ports of a transport.
    pub fn count(&self, transport: Transport) -> usize {
        self.of(transport).len()
    }

    /// The ports of a transport, as `22,8000-8100`.
    pub fn list(&self, transport: Transport) -> String {
        let pieces = runs(self.of(transport))
            .map(|(low, high)| if low == high { low.to_string() } else { format!("{low}-{high}") });
        pieces.collect::<Vec<_>>().join(",")
    }

    /// Whether the port is in the set.
    pub fn contains(&self, transport: Transport, port: u16) -> bool {
        self.of(transport).binary_search(&port).is_ok()
    }

    fn of(&self, transport: Transport) -> &[u16] {
        match transport {
            Transport::Sctp => &self.sctp,
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        }
    }
}

impl FromIterator<(Transport, u16)> for PortSet {
    fn from_iter<I: IntoIterator<Item = (Transport, u16)>>(ports: I) -> Self {
        let mut wanted = Marks::default();
        for (transport, port) in ports {
            wanted.add(transport, port..=port);
        }
        let ports = |transport| wanted.without(&Marks::default(), transport);
        Self { tcp: ports(Transport::Tcp), udp: ports(Transport::Udp), sctp: ports(Transport::Sctp) }
    }
}

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Sctp];

impl FromStr for PortSet {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut wanted = Marks::default();
        let mut excluded = Marks::default();
        let mut current = Transport::Tcp;
        for piece in text.split([',', ' ', '\t', '\n', '\r']).filter(|piece| !piece.is_empty()) {
            if let Some(rest) = piece.strip_prefix('!') {
                let (only, rest) = split_transport(rest);
                let range = parse_piece(piece, rest)?;
                for transport in TRANSPORTS {
                    if only.is_none_or(|only| only == transport) {
                        excluded.add(transport, range.clone());
                    }
                }
            } else {
                let (switch, rest) = split_transport(piece);
                current = switch.unwrap_or(current);
                wanted.add(current, parse_piece(piece, rest)?);
            }
        }
        let remaining = |transport| wanted.without(&excluded, transport);
        Ok(Self {
            tcp: remaining(Transport::Tcp),
            udp: remaining(Transport::Udp),
            sctp: remaining(Transport::Sctp),
        })
    }
}

/// A mark for each port, so that a list which repeats itself takes no more memory.
#[derive(Default)]
struct Marks {
    /// By transport; empty or one mark for each of the 65,536 ports.
    tcp: Vec<bool>,
    udp: Vec<bool>,
    sctp: Vec<bool>,
}

impl Marks {
    fn add(&mut self, transport: Transport, range: std::ops::RangeInclusive<u16>) {
        let marks = match transport {
            Transport::Sctp => &mut self.sctp,
            Transport::Tcp => &mut self.tcp,
            Transport::Udp => &mut self.udp,
        };
        marks.resize(1 << 16, false);
        if let Some(marks) = marks.get_mut(usize::from(*range.start())..=usize::from(*range.end())) {
            marks.fill(true);
        }
    }

    fn of(&self, transport: Transport) -> &[bool] {
        match transport {
            Transport::Sctp => &self.sctp,
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        }
    }

    /// The marked ports, ascending, that are not marked in `excluded`.
    fn without(&self, excluded: &Self, transport: Transport) -> Vec<u16> {
        let excluded = excluded.of(transport).iter().copied().chain(iter::repeat(false));
        let marks = (0..=u16::MAX).zip(self.of(transport)).zip(excluded);
        marks.filter_map(|((port, wanted), excluded)| (*wanted && !excluded).then_some(port)).collect()
    }
}

/// Takes `T:`, `U:` or `S:` off.
fn split_transport(piece: &str) -> (Option<Transport>, &str) {
    let transport = match piece.as_bytes() {
        [b'T' | b't', b':', ..] => Transport::Tcp,
        [b'U' | b'u', b':', ..] => Transport::Udp,
        [b'S' | b's', b':', ..] => Transport::Sctp,
        _ => return (None, piece),
    };
    (Some(transport), piece.get(2..).unwrap_or_default())
}

fn parse_piece(piece: &str, text: &str) -> Result<std::ops::RangeInclusive<u16>, PortError> {
    let malformed = || PortError::Malformed { piece: piece.to_owned() };
    if text == "-" || text.eq_ignore_ascii_case("all") {
        return Ok(1..=u16::MAX);
    }
    if let Some(port) = number(text).or_else(|| service_port(text)) {
        return Ok(port..=port);
    }
    let (low, high) = text.split_once('-').ok_or_else(malformed)?;
    let low = if low.is_empty() { 0 } else { number(low).ok_or_else(malformed)? };
    let high = if high.is_empty() { u16::MAX } else { number(high).ok_or_else(malformed)? };
    if low > high {
        return Err(PortError::Backwards { piece: piece.to_owned() });
    }
    Ok(low..=high)
}

/// A number without a sign.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Names people type, as the IANA registry of services spells them, and the everyday names of a few.
const SERVICES: [(&str, u16); 56] = [
    ("amqp", 5672),
    ("amqps", 5671),
    ("bgp", 179),
    ("cassandra", 9042),
    ("coap", 5683),
    ("dhcp", 67),
    ("dns", 53),
    ("docker", 2375),
    ("domain", 53),
    ("elasticsearch", 9200),
    ("epmd", 4369),
    ("etcd", 2379),
    ("finger", 79),
    ("ftp", 21),
    ("ftps", 990),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("https-alt", 8443),
    ("imap", 143),
    ("imaps", 993),
    ("ipp", 631),
    ("isakmp", 500),
    ("kerberos", 88),
    ("kubernetes", 6443),
    ("ldap", 389),
    ("ldaps", 636),
    ("mdns", 5353),
    ("memcached", 11211),
    ("modbus", 502),
    ("mongodb", 27017),
    ("mqtt", 1883),
    ("mqtts", 8883),
    ("ms-sql", 1433),
    ("mysql", 3306),
    ("netbios-ssn", 139),
    ("nfs", 2049),
    ("ntp", 123),
    ("oracle", 1521),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("rdp", 3389),
    ("redis", 6379),
    ("rsync", 873),
    ("rtsp", 554),
    ("sip", 5060),
    ("smb", 445),
    ("smtp", 25),
    ("smtps", 465),
    ("snmp", 161),
    ("ssh", 22),
    ("submission", 587),
    ("syslog", 514),
    ("telnet", 23),
    ("vnc", 5900),
];

fn service_port(name: &str) -> Option<u16> {
    SERVICES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, port)| port)
}

impl fmt::Display for PortSet {
    /// The shortest list that is read back as the same set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (transport, prefix) in TRANSPORTS.into_iter().zip(["", "U:", "S:"]) {
            if self.count(transport) > 0 {
                write!(f, "{separator}{prefix}{}", self.list(transport))?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// Runs of consecutive numbers, as first and last.
fn runs(sorted: &[u16]) -> impl Iterator<Item = (u16, u16)> + '_ {
    let mut ports = sorted.iter().copied().peekable();
    iter::from_fn(move || {
        let low = ports.next()?;
        let mut high = low;
        while let Some(next) = ports.next_if(|&next| high.checked_add(1) == Some(next)) {
            high = next;
        }
        Some((low, high))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> PortSet {
        text.parse().expect("a valid list")
    }

    /// Found by fuzzing: each piece once took memory of its own, 13 GB for this list.
    #[test]
    fn a_list_that_repeats_itself_costs_no_more() {
        let ports = parsed(&"-,".repeat(100_000));
        assert_eq!(ports.len(), 65_535);
        assert!(parsed(&"!-,-,".repeat(10_000)).is_empty());
    }

    #[test]
    fn the_whole_notation() {
        let ports = parsed("22,80,8000-8003,U:53,161,T:443,S:2905,!25,!8001,!U:161");
        assert_eq!(ports.tcp().collect::<Vec<_>>(), [22, 80, 443, 8000, 8002, 8003]);
        assert_eq!(ports.udp().collect::<Vec<_>>(), [53]);
        assert_eq!(ports.sctp().collect::<Vec<_>>(), [2905]);
        assert_eq!(ports.len(), 8);
        assert_eq!(
            (ports.count(Transport::Tcp), ports.list(Transport::Tcp).as_str()),
            (6, "22,80,443,8000,8002-8003")
        );
        assert_eq!(
            [(Transport::Udp, 53), (Transport::Tcp, 22)].into_iter().collect::<PortSet>(),
            parsed("22,U:53")
        );
        assert!(ports.contains(Transport::Udp, 53) && !ports.contains(Transport::Tcp, 53));
    }

    #[test]
    fn names_and_open_ends() {
        assert_eq!(parsed("ssh, HTTPS,U:dns").to_string(), "22,443,U:53");
        assert_eq!(parsed("-3,65534-").to_string(), "0-3,65534-65535");
        assert_eq!(parsed("-").len(), 65535);
        assert_eq!(parsed("0-65535").len(), 65536);
        assert!(parsed("").is_empty());
        assert!(parsed("22,!22").is_empty());
    }

    #[test]
    fn errors_name_the_piece() {
        for piece in ["65536", "x", "9-1", "1-2-3", "+5", "U:", "!", "U:70000", "!1-x", "é:1"] {
            let error = format!("22,{piece},80").parse::<PortSet>().expect_err(piece).to_string();
            assert!(error.contains(piece), "{error}");
        }
    }

    #[test]
    fn service_names_are_sorted_so_that_a_double_shows() {
        assert!(SERVICES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            tcp in prop::collection::vec(any::<u16>(), 0..50),
            udp in prop::collection::vec(any::<u16>(), 0..50),
        ) {
            let text = |ports: &[u16], prefix: &str| -> String {
                let pieces: Vec<String> = ports.iter().map(|port| format!("{prefix}{port}")).collect();
                pieces.join(",")
            };
            let ports = parsed(&format!("{},{}", text(&udp, "U:"), text(&tcp, "T:")));
            let (mut tcp, mut udp) = (tcp, udp);
            tcp.sort_unstable();
            tcp.dedup();
            udp.sort_unstable();
            udp.dedup();
            prop_assert_eq!(ports.tcp().collect::<Vec<_>>(), tcp);
            prop_assert_eq!(ports.udp().collect::<Vec<_>>(), udp);
            prop_assert_eq!(parsed(&ports.to_string()), ports);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text: String) {
            let _ = text.parse::<PortSet>();
        }
    }
}
