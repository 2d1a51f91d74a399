//! Hosts on which everything answers: SYN proxies, tarpits and traps.
//!
//! The order of the probes is random, so what a host has answered so far is a fair sample of its ports. Once it
//! has opened more than a number, and more than half of those that can have been asked, it is judged: its ports
//! mean nothing. It is reported as one suspicious host, and its open ports from there on are counted and not
//! reported. How it answered tells what it is: a SYN-ACK without options or with a window that no one can work
//! with is not a real system's.

use std::{collections::HashMap, net::IpAddr};

use portreeve_model::{Observation, PortState, SynAckTraits, Transport};

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

/// Judges hosts by the open ports that they show.
#[derive(Debug)]
pub(crate) struct Watch {
    tcp_ports: usize,
    hosts: HashMap<IpAddr, Shown>,
}

/// What a host has shown.
#[derive(Debug, Default)]
struct Shown {
    open: u32,
    /// Of these, SYN-ACKs that nothing could be sent after.
    useless: u32,
    suspicion: Option<Suspicion>,
}

impl Watch {
    /// So many open ports a host may have before it is judged: servers with more are rare, and have more closed.
    const UNSUSPICIOUS: u32 = 64;
    /// A window with less room than this is of no use.
    const USELESS_WINDOW: u16 = 16;

    pub(crate) fn new(tcp_ports: usize) -> Self {
        Self { tcp_ports, hosts: HashMap::new() }
    }

    /// Judges an observation; `share` of all targets has been asked by now, 0-1.
    pub(crate) fn judge(&mut self, observation: &Observation, share: f64) -> Judgement {
        if observation.state != PortState::Open || observation.transport != Transport::Tcp {
            return Judgement::Report;
        }
        let shown = self.hosts.entry(observation.address).or_default();
        shown.open += 1;
        shown.useless += u32::from(observation.syn_ack.is_some_and(is_useless));
        if shown.suspicion.is_some() {
            return Judgement::Leave;
        }
        let asked = (self.tcp_ports as f64 * share.clamp(0.0, 1.0)).max(f64::from(Self::UNSUSPICIOUS));
        if shown.open <= Self::UNSUSPICIOUS || f64::from(shown.open) * 2.0 <= asked {
            return Judgement::Report;
        }
        let tarpit = shown.useless * 2 > shown.open;
        let suspicion = if tarpit { Suspicion::Tarpit } else { Suspicion::AnswersEverything };
        shown.suspicion = Some(suspicion);
        let (address, open_ports) = (observation.address, shown.open);
        Judgement::Suspect(SuspiciousHost { address, suspicion, open_ports })
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
        let mut watch = Watch::new(65_536);
        assert_eq!(reported(&mut watch, 20_000, 20_000.0, 64_240), 64);
        let suspect = watch.suspects()[0];
        assert_eq!((suspect.suspicion, suspect.open_ports), (Suspicion::AnswersEverything, 20_000));
    }

    #[test]
    fn a_tarpit_is_told_by_its_window() {
        let mut watch = Watch::new(65_536);
        assert_eq!(reported(&mut watch, 1_000, 1_200.0, 5), 64);
        assert_eq!(watch.suspects()[0].suspicion, Suspicion::Tarpit);
    }

    #[test]
    fn a_host_with_many_services_is_none() {
        let mut watch = Watch::new(65_536);
        assert_eq!(reported(&mut watch, 5_000, 65_536.0, 64_240), 5_000);
        assert_eq!(watch.suspects(), []);
        // All of a short list may well be open.
        let mut watch = Watch::new(40);
        assert_eq!(reported(&mut watch, 40, 65_536.0, 64_240), 40);
        assert_eq!(watch.suspects(), []);
    }

    #[test]
    fn only_open_tcp_ports_count() {
        let mut watch = Watch::new(1_000);
        for port in 0..1_000 {
            let closed = Observation { state: PortState::Closed, ..open(port, 0) };
            let udp = Observation { transport: Transport::Udp, ..open(port, 0) };
            assert_eq!(watch.judge(&closed, 1.0), Judgement::Report);
            assert_eq!(watch.judge(&udp, 1.0), Judgement::Report);
        }
        assert_eq!(watch.suspects(), []);
    }
}
