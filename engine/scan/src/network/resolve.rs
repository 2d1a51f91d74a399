//! Asking attached networks who has which address: ARP (RFC 826) and neighbour discovery (RFC 4861).

use std::{collections::HashMap, net::IpAddr, thread, time::Duration};

use portreeve_model::{HostReason, MacAddress};
use portreeve_wire::{
    arp, ethernet,
    ethernet::EtherType,
    icmpv6,
    ip::{Packet, Protocol},
    ndp,
};

use super::{Network, NextHop, Paths};
use crate::{
    ScanError, TargetSet, pace::Pace, receive::Common, route::Hop, sys::Received, transmit::Stopwatch,
};

/// How neighbours are asked.
pub(crate) struct Inquiry<'a> {
    pub(crate) targets: &'a TargetSet,
    pub(crate) common: &'a Common,
    pub(crate) pace: &'a mut Pace,
    pub(crate) time: Stopwatch,
    /// How often silent ones are asked.
    pub(crate) rounds: u8,
    /// How long to wait for answers after each round.
    pub(crate) wait: Duration,
    /// Ask even those whose hardware address is set by hand: who answers is there.
    pub(crate) confirm: bool,
}

/// Answers so far.
#[derive(Default)]
struct Answers {
    macs: HashMap<IpAddr, MacAddress>,
}

impl Network {
    /// The longest pause between two looks at the rings.
    const POLL: Duration = Duration::from_millis(1);

    /// Finds the hardware addresses of gateways and of targets on attached networks. Who answers is reported as
    /// a host; who does not is left out of the scan.
    pub(crate) fn resolve(&mut self, inquiry: &mut Inquiry<'_>) -> Result<(), ScanError> {
        let mut answers = Answers::default();
        for _ in 0..inquiry.rounds.max(1) {
            let unanswered = self.ask_round(inquiry, &mut answers)?;
            if unanswered == 0 || inquiry.common.control.is_cancelled() {
                break;
            }
            self.await_answers(inquiry, &mut answers, unanswered);
        }
        self.paths.neighbors.extend(answers.macs.into_iter().collect());
        self.paths.settle_gateways()
    }

    /// Asks everyone who has not answered; returns how many were asked.
    fn ask_round(&mut self, inquiry: &mut Inquiry<'_>, answers: &mut Answers) -> Result<usize, ScanError> {
        let mut asked = 0;
        for way in 0..self.paths.ways.len() {
            for (first, last) in self.paths.questions(way) {
                for address in addresses(first, last) {
                    if inquiry.common.control.is_cancelled() {
                        return Ok(asked);
                    }
                    let known = !inquiry.confirm && self.paths.neighbors.get(address).is_some();
                    if known || answers.macs.contains_key(&address) {
                        continue;
                    }
                    while inquiry.pace.grant(inquiry.time.elapsed(), 1) == 0 {
                        self.take_answers(inquiry, answers);
                        thread::sleep(inquiry.pace.wait(inquiry.time.elapsed()).min(Self::POLL));
                    }
                    asked += usize::from(self.ask(way, address)?);
                    inquiry.common.control.add_sent(1);
                }
            }
        }
        Ok(asked)
    }

    fn await_answers(&mut self, inquiry: &Inquiry<'_>, answers: &mut Answers, unanswered: usize) {
        let (until, before) = (inquiry.time.elapsed() + inquiry.wait, answers.macs.len());
        loop {
            self.take_answers(inquiry, answers);
            let all = answers.macs.len() >= before + unanswered;
            if all || inquiry.common.control.is_cancelled() || inquiry.time.elapsed() >= until {
                return;
            }
            thread::sleep(Self::POLL);
        }
    }

    /// Sends one question; false if the way cannot ask it.
    fn ask(&mut self, way: usize, target: IpAddr) -> Result<bool, ScanError> {
        let Some(way) = self.paths.ways.get(way) else { return Ok(false) };
        let (NextHop::Gateway { hardware, .. } | NextHop::OnLink { hardware }) = way.next else {
            return Ok(false);
        };
        let Some(sender) = self.senders.get_mut(way.device) else { return Ok(false) };
        let sink = &mut sender.sink;
        let Some(buffer) = sink.frame() else { return Ok(false) };
        let written = match (way.source, target) {
            (IpAddr::V4(sender), IpAddr::V4(target)) => {
                arp::Request { hardware, sender, target, vlan: way.vlan }.emit(buffer)
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                ndp::Solicit { hardware, source, target, vlan: way.vlan }.emit(buffer)
            }
            _ => return Ok(false),
        };
        let Ok(length) = written else { return Ok(false) };
        sink.commit(length);
        sink.flush().map_err(ScanError::io("cannot ask for a neighbour's hardware address"))?;
        Ok(true)
    }

    fn take_answers(&mut self, inquiry: &Inquiry<'_>, answers: &mut Answers) {
        for (device, receiver) in self.receivers.iter_mut().enumerate() {
            let paths = &self.paths;
            receiver.take_ready(|received| {
                let Some((address, mac, reason)) = read_answer(received) else { return };
                if paths.is_asked(address, device)
                    && answers.macs.insert(address, mac).is_none()
                    && let Some(host) = inquiry.targets.index_of(address)
                {
                    inquiry.common.meet_host(host, address, reason, Some(mac));
                }
            });
        }
    }
}

impl Paths {
    /// Who is to be asked on a way: the gateway, or every target.
    fn questions(&self, way: usize) -> Vec<(IpAddr, IpAddr)> {
        match self.ways.get(way).map(|way| &way.next) {
            Some(NextHop::Gateway { address, .. }) => vec![(*address, *address)],
            Some(NextHop::OnLink { .. }) => self.map.blocks(Hop(way as u16)).collect(),
            Some(NextHop::Kernel { .. }) | None => Vec::new(),
        }
    }

    /// Whether an answer about this address, on this device, was asked for.
    fn is_asked(&self, address: IpAddr, device: usize) -> bool {
        let on_link = self
            .way(address)
            .is_some_and(|(_, way)| way.device == device && matches!(way.next, NextHop::OnLink { .. }));
        on_link
            || self.ways.iter().any(|way| {
                way.device == device
                    && matches!(way.next, NextHop::Gateway { address: gateway, .. } if gateway == address)
            })
    }

    /// Writes the gateways' hardware addresses down; an error if no way is left.
    fn settle_gateways(&mut self) -> Result<(), ScanError> {
        let mut usable = self.ways.is_empty();
        let mut silent = None;
        for way in &mut self.ways {
            match &mut way.next {
                NextHop::Gateway { address, mac, .. } => {
                    *mac = self.neighbors.get(*address);
                    if mac.is_none() {
                        silent = silent.or(Some(*address));
                    }
                    usable |= mac.is_some();
                }
                NextHop::Kernel { .. } | NextHop::OnLink { .. } => usable = true,
            }
        }
        match silent {
            Some(gateway) if !usable => Err(ScanError::NoGateway { gateway }),
            _ => Ok(()),
        }
    }

    /// The targets that are this machine itself, where there are few enough to be its own addresses rather than a
    /// block that it answers for.
    pub(crate) fn local_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        const MANY: usize = 256;
        let local = self
            .ways
            .iter()
            .enumerate()
            .filter(|(_, way)| matches!(way.next, NextHop::Kernel { local: true }));
        local
            .flat_map(|(way, _)| self.map.blocks(Hop(way as u16)))
            .filter(|&(first, last)| addresses(first, last).take(MANY + 1).count() <= MANY)
            .flat_map(|(first, last)| addresses(first, last))
    }
}

/// What an ARP reply or a neighbour advertisement says; `None` for anything else.
fn read_answer(received: &Received<'_>) -> Option<(IpAddr, MacAddress, HostReason)> {
    let (address, mac, reason) = if received.ether_type == EtherType::ARP {
        let reply = arp::Packet::parse(received.packet).ok()?;
        if reply.operation() != arp::Operation::REPLY {
            return None;
        }
        (IpAddr::V4(reply.sender()), reply.sender_hardware(), HostReason::ArpReply)
    } else {
        let packet = Packet::parse(received.packet).ok()?;
        // RFC 4861 7.1.2: 255 shows that no router passed it on.
        if packet.protocol() != Protocol::ICMPV6 || packet.hop_limit() != 255 {
            return None;
        }
        let message = icmpv6::Message::parse(packet.payload()).ok()?;
        let icmpv6::Body::NeighborAdvertisement(bytes) = message.body() else { return None };
        let advertisement = ndp::Advertisement::parse(bytes).ok()?;
        let hardware = advertisement.target_hardware().or(received.source)?;
        (IpAddr::V6(advertisement.target()), hardware, HostReason::NeighborAdvertisement)
    };
    let mac = MacAddress(mac.0);
    (!mac.is_multicast() && mac.0 != ethernet::Address::ZERO.0).then_some((address, mac, reason))
}

/// The addresses of a block.
fn addresses(first: IpAddr, last: IpAddr) -> Box<dyn Iterator<Item = IpAddr>> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Box::new((first.to_bits()..=last.to_bits()).map(|bits| IpAddr::V4(bits.into())))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Box::new((first.to_bits()..=last.to_bits()).map(|bits| IpAddr::V6(bits.into())))
        }
        _ => Box::new(std::iter::empty()),
    }
}
