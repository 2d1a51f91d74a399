//! Hosts on which everything answers: SYN proxies, tarpits and traps.
//!
//! The order of the probes is random, so what a host has answered so far is a fair sample of its ports. Once it
//! has opened more than a number, and more than half of those that can have been asked, it is judged: its ports
//! mean nothing. It is reported as one suspicious host, and its open ports from there on are counted and not
//! reported. How it answered tells what it is: a SYN-ACK without options or with a window that no one can work
//! with is not a real system's.
//!
//! All ports of a short list may well be open. A host on which they are is asked, when the list is through, for a few
//! *control ports*: numbers by chance from those that nobody is given for good (RFC 6335 6), none of them on the list.
//! If most of them are open too, its ports mean nothing.

use std::{collections::HashMap, net::IpAddr};

use portreeve_model::{Observation, PortState, SynAckTraits, Transport};

use crate::{Permutation, PortSet};

/// Why a host's open ports mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// Nearly every port that was asked accepts, as a SYN proxy in front of a host makes it look.
    AnswersEverything,
    /// It accepts everywhere and leaves no room to send anything: it wants to hold connections.
    Tarpit,
}

impl Suspicion {
    /// In words for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnswersEverything => "answers on every port, as a SYN proxy does",
            Self::Tarpit => "answers on every port and lets nothing be sent, as a tarpit does",
        }
    }
}

/// A host whose open ports mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspiciousHost {
    /// Its address.
    pub address: IpAddr,
    /// Why.
    pub suspicion: Suspicion,
    /// Open ports that were seen, most of which have not been reported.
    pub open_ports: u32,
}

/// What becomes of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Report,
    /// The host has just been recognised.
    Suspect(SuspiciousHost),
    /// It is known that this means nothing.
    Leave,
}

/// The ports that hosts are asked for on which everything else was open.
pub(crate) fn control_ports(listed: &PortSet, seed: u64) -> Vec<u16> {
    const FIRST: u16 = 49_152;
    let order = Permutation::new(u64::from(u16::MAX - FIRST) + 1, seed);
    let ports = (0..order.len()).filter_map(|position| Some(FIRST + order.at(position)? as u16));
    ports.filter(|&port| !listed.contains(Transport::Tcp, port)).take(Watch::CONTROLS).collect()
}

/// Judges hosts by the open ports that they show.
#[derive(Debug)]
pub(crate) struct Watch {
    tcp_ports: usize,
    control_ports: Vec<u16>,
    /// Open control ports of all hosts.
    control_answers: u64,
    hosts: HashMap<IpAddr, Shown>,
}

/// What a host has shown.
#[derive(Debug, Default)]
struct Shown {
    open: u32,
    /// Control ports that are open.
    open_controls: u32,
    /// Of both, SYN-ACKs that nothing could be sent after.
    useless: u32,
    suspicion: Option<Suspicion>,
}

impl Watch {
    /// So many open ports a host may have before it is judged: servers with more are rare, and have more closed.
    const UNSUSPICIOUS: u32 = 64;
    /// A window with less room than this is of no use.
    const USELESS_WINDOW: u16 = 16;

    /// Of fewer ports than this, which all are open, nothing is thought.
    const FEW: usize = 4;
    /// Control ports, and how many of them are open by no accident.
    const CONTROLS: usize = 8;
    const ENOUGH_CONTROLS: u32 = 6;
    /// Hosts that are asked for control ports, at most.
    const MOST_CANDIDATES: usize = 4_096;

    pub(crate) fn new(ports: &PortSet, seed: u64) -> Self {
        Self {
            tcp_ports: ports.tcp().len(),
            control_ports: control_ports(ports, seed),
            control_answers: 0,
            hosts: HashMap::new(),
        }
    }

    /// Judges an observation; `share` of all targets has been asked by now, 0-1.
    pub(crate) fn judge(&mut self, observation: &Observation, share: f64) -> Judgement {
        if observation.state != PortState::Open || observation.transport != Transport::Tcp {
            return Judgement::Report;
        }
        let shown = self.hosts.entry(observation.address).or_default();
        let is_control = self.control_ports.contains(&observation.port);
        shown.open += u32::from(!is_control);
        shown.open_controls += u32::from(is_control);
        shown.useless += u32::from(observation.syn_ack.is_some_and(is_useless));
        self.control_answers += u64::from(is_control);
        if shown.suspicion.is_some() {
            return Judgement::Leave;
        }
        let asked = (self.tcp_ports as f64 * share.clamp(0.0, 1.0)).max(f64::from(Self::UNSUSPICIOUS));
        let too_many = shown.open > Self::UNSUSPICIOUS && f64::from(shown.open) * 2.0 > asked;
        if too_many || shown.open_controls >= Self::ENOUGH_CONTROLS {
            return Judgement::Suspect(shown.suspect(observation.address));
        }
        if is_control { Judgement::Leave } else { Judgement::Report }
    }

    /// The hosts to be asked for control ports: all that were asked for is open there.
    pub(crate) fn candidates(&self) -> Vec<IpAddr> {
        let is_candidate = |shown: &Shown| {
            self.tcp_ports >= Self::FEW && shown.open as usize >= self.tcp_ports && shown.suspicion.is_none()
        };
        let candidates = self.hosts.iter().filter(|(_, shown)| is_candidate(shown));
        candidates.map(|(&address, _)| address).take(Self::MOST_CANDIDATES).collect()
    }

    /// Open control ports, which are no findings.
    pub(crate) fn control_answers(&self) -> u64 {
        self.control_answers
    }

    /// The hosts that were recognised, by address.
    pub(crate) fn suspects(&self) -> Vec<SuspiciousHost> {
        let suspects = self.hosts.iter().filter_map(|(&address, shown)| {
            shown.suspicion.map(|suspicion| SuspiciousHost { address, suspicion, open_ports: shown.open })
        });
        let mut suspects: Vec<_> = suspects.collect();
        suspects.sort_unstable_by_key(|suspect| suspect.address);
        suspects
    }
}

impl Shown {
    fn suspect(&mut self, address: IpAddr) -> SuspiciousHost {
        let tarpit = self.useless * 2 > self.open + self.open_controls;
        let suspicion = if tarpit { Suspicion::Tarpit } else { Suspicion::AnswersEverything };
        self.suspicion = Some(suspicion);
        SuspiciousHost { address, suspicion, open_ports: self.open }
    }
}

/// Whether nothing can be sent after this SYN-ACK: LaBrea and its kin answer so.
fn is_useless(traits: SynAckTraits) -> bool {
    traits.window < Watch::USELESS_WINDOW && traits.option_kinds.iter().all(|&kind| kind == 0 || kind == 2)
}

#[cfg(test)]
mod tests {
    use portreeve_model::{Reason, Timestamp};

    use super::*;

    fn open(port: u16, window: u16) -> Observation {
        Observation {
            address: "10.99.0.5".parse().expect("address"),
            port,
            transport: Transport::Tcp,
            state: PortState::Open,
            reason: Reason::SynAck,
            ttl: Some(64),
            rtt_us: None,
            seen_at_ms: Timestamp(0),
            syn_ack: Some(SynAckTraits {
                window,
                mss: None,
                window_scale: None,
                sack_permitted: false,
                timestamps: false,
                option_kinds: [0; 8],
                dont_fragment: false,
            }),
        }
    }

    fn watching(ports: &str) -> Watch {
        Watch::new(&ports.parse().expect("ports"), 7)
    }

    /// How many of `ports` open ports are reported, if all ports of `asked` are asked evenly meanwhile.
    fn reported(watch: &mut Watch, ports: u16, asked: f64, window: u16) -> usize {
        (0..ports)
            .filter(|&port| {
                let share = f64::from(port + 1) / f64::from(ports) * asked / 65_536.0;
                watch.judge(&open(port, window), share) == Judgement::Report
            })
            .count()
    }

    #[test]
    fn a_host_on_which_everything_answers_is_recognised_early() {
        let mut watch = watching("0-65535");
        assert_eq!(reported(&mut watch, 20_000, 20_000.0, 64_240), 64);
        let suspect = watch.suspects()[0];
        assert_eq!((suspect.suspicion, suspect.open_ports), (Suspicion::AnswersEverything, 20_000));
    }

    #[test]
    fn a_tarpit_is_told_by_its_window() {
        let mut watch = watching("0-65535");
        assert_eq!(reported(&mut watch, 1_000, 1_200.0, 5), 64);
        assert_eq!(watch.suspects()[0].suspicion, Suspicion::Tarpit);
    }

    #[test]
    fn a_host_with_many_services_is_none() {
        let mut watch = watching("0-65535");
        assert_eq!(reported(&mut watch, 5_000, 65_536.0, 64_240), 5_000);
        assert_eq!(watch.suspects(), []);
        // All of a short list may well be open.
        let mut watch = watching("0-39");
        assert_eq!(reported(&mut watch, 40, 65_536.0, 64_240), 40);
        assert_eq!(watch.suspects(), []);
    }

    #[test]
    fn control_ports_tell_a_busy_host_from_one_that_answers_everything() {
        for (open_controls, window, suspicion) in [
            (2, 64_240, None),
            (7, 64_240, Some(Suspicion::AnswersEverything)),
            (8, 5, Some(Suspicion::Tarpit)),
        ] {
            let mut watch = watching("22,80,443,8080");
            for port in [22, 80, 443] {
                assert_eq!(watch.judge(&open(port, window), 1.0), Judgement::Report);
            }
            assert_eq!(watch.candidates(), [] as [IpAddr; 0], "one port is not open");
            assert_eq!(watch.judge(&open(8080, window), 1.0), Judgement::Report);
            assert_eq!(watch.candidates().len(), 1);
            let ports = control_ports(&"22,80,443,8080".parse().expect("ports"), 7);
            assert_eq!(ports.len(), 8);
            let judged = ports.iter().take(open_controls).map(|&port| watch.judge(&open(port, window), 1.0));
            assert!(judged.into_iter().all(|judgement| judgement != Judgement::Report));
            assert_eq!(watch.control_answers(), open_controls as u64);
            assert_eq!(watch.suspects().first().map(|suspect| suspect.suspicion), suspicion);
        }
        // Two ports that are both open are nothing special.
        let mut watch = watching("80,443");
        assert_eq!(reported(&mut watch, 2, 2.0, 64_240), 2);
        assert_eq!(watch.candidates(), [] as [IpAddr; 0]);
    }

    #[test]
    fn control_ports_are_none_of_those_that_are_asked_for() {
        let all = "1-65535".parse().expect("ports");
        assert_eq!(control_ports(&all, 1), [] as [u16; 0]);
        let ports = control_ports(&"49152-65000".parse().expect("ports"), 1);
        assert!(ports.len() == 8 && ports.iter().all(|&port| port > 65_000), "{ports:?}");
    }

    #[test]
    fn only_open_tcp_ports_count() {
        let mut watch = watching("0-999");
        for port in 0..1_000 {
            let closed = Observation { state: PortState::Closed, ..open(port, 0) };
            let udp = Observation { transport: Transport::Udp, ..open(port, 0) };
            assert_eq!(watch.judge(&closed, 1.0), Judgement::Report);
            assert_eq!(watch.judge(&udp, 1.0), Judgement::Report);
        }
        assert_eq!(watch.suspects(), []);
    }
}
