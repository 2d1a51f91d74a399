//! A door for the fuzz targets to what this crate keeps private; built by cargo-fuzz only.

use std::net::IpAddr;

use portreeve_wire::{
    icmpv4, icmpv6,
    ip::{Packet, Protocol},
};

use crate::{
    HostProbes, TargetSetBuilder,
    cookie::{CookieKey, SourcePorts},
    receive::Classifier,
    space::ProbeSpace,
};

const KEY: CookieKey = CookieKey::new([1, 2]);

/// A scan's view on replies.
pub struct Replies {
    ports: ProbeSpace,
    hosts: ProbeSpace,
    source_ports: SourcePorts,
}

impl Default for Replies {
    fn default() -> Self {
        let targets = TargetSetBuilder::new()
            .include("10.99.0.0/24 fd99::/120")
            .and_then(TargetSetBuilder::build)
            .expect("these are targets");
        let ports = "1-1024,U:1-1024,S:1-1024".parse().expect("these are ports");
        let pings: HostProbes = "icmp,timestamp,tcp-ack:1-1024".parse().expect("these are probes");
        Self {
            ports: ProbeSpace::ports(targets.clone(), &ports),
            hosts: ProbeSpace::discovery(targets, &pings),
            source_ports: SourcePorts::new(40_000, 16).expect("these are ports"),
        }
    }
}

impl Replies {
    /// Classifies a packet as it is, and again with the cookies that a packet of ours would have brought back;
    /// returns how many conclusions that led to.
    pub fn classify(&self, packet: &mut [u8]) -> usize {
        let unsigned = self.check(packet);
        sign(packet);
        unsigned + self.check(packet)
    }

    fn check(&self, packet: &[u8]) -> usize {
        let mut conclusions = 0;
        for space in [&self.ports, &self.hosts] {
            let classifier = Classifier { space, key: KEY, ports: self.source_ports };
            let Ok(reply) = classifier.classify(packet) else { continue };
            conclusions += 1;
            assert!(space.targets().contains(reply.target.address), "a reply from outside of the scan");
            assert_eq!(space.find(reply.target.address, reply.target.kind), Some(reply.target));
            if reply.from_target {
                let source = Packet::parse(packet).expect("it was classified").source();
                assert_eq!(source, reply.target.address);
            }
        }
        conclusions
    }
}

/// Writes the cookie that a reply must carry, as far as the packet can carry one.
fn sign(bytes: &mut [u8]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    let (us, them, payload) = (packet.destination(), packet.source(), packet.payload());
    let start = payload.as_ptr() as usize - bytes.as_ptr() as usize;
    match packet.protocol() {
        Protocol::TCP => {
            let Some(ports) = ports(payload) else { return };
            let acknowledged = KEY.syn((us, ports.1), (them, ports.0)).wrapping_add(1);
            let is_bare_reset = payload.get(13).is_some_and(|flags| flags & 0x14 == 0x04);
            if is_bare_reset {
                put(bytes, start + 4, &acknowledged.wrapping_sub(1).to_be_bytes());
            }
            put(bytes, start + 8, &acknowledged.to_be_bytes());
        }
        Protocol::SCTP => {
            let Some(ports) = ports(payload) else { return };
            put(bytes, start + 4, &KEY.sctp((us, ports.1), (them, ports.0)).to_be_bytes());
        }
        Protocol::ICMPV4 | Protocol::ICMPV6 => {
            let kind = payload.first().copied();
            let is_reply = match packet.protocol() {
                Protocol::ICMPV4 if kind == Some(14) => return sign_timestamp(bytes, start, us, them),
                Protocol::ICMPV4 => icmpv4::Message::parse(payload)
                    .is_ok_and(|message| matches!(message.body(), icmpv4::Body::EchoReply(_))),
                _ => icmpv6::Message::parse(payload)
                    .is_ok_and(|message| matches!(message.body(), icmpv6::Body::EchoReply(_))),
            };
            if is_reply {
                sign_echo(bytes, start, us, them);
            } else {
                sign_quote(bytes, start + 8);
            }
        }
        _ => {}
    }
}

/// Signs the probe of ours that an error quotes from `at` on.
fn sign_quote(bytes: &mut [u8], at: usize) {
    let Some(quoted) = bytes.get(at..) else { return };
    let Ok(quote) = portreeve_wire::ip::Quote::parse(quoted) else { return };
    let (us, them, protocol) = (quote.source, quote.destination, quote.protocol);
    let start = quote.transport.as_ptr() as usize - bytes.as_ptr() as usize;
    match (protocol, quote.ports()) {
        (Protocol::TCP, Some((source, destination))) => {
            let cookie = KEY.syn((us, source), (them, destination));
            put(bytes, start + 4, &cookie.to_be_bytes());
        }
        (Protocol::SCTP, Some((source, destination))) => {
            put(bytes, start + 16, &KEY.sctp((us, source), (them, destination)).to_be_bytes());
        }
        (Protocol::ICMPV4, _) if quote.timestamp().is_some() => sign_timestamp(bytes, start, us, them),
        (Protocol::ICMPV4 | Protocol::ICMPV6, _) => sign_echo(bytes, start, us, them),
        _ => {}
    }
}

fn sign_timestamp(bytes: &mut [u8], start: usize, us: IpAddr, them: IpAddr) {
    let cookie = KEY.timestamp(us, them, 3);
    put(bytes, start + 4, &cookie.identifier.to_be_bytes());
    put(bytes, start + 6, &cookie.sequence.to_be_bytes());
}

fn sign_echo(bytes: &mut [u8], start: usize, us: IpAddr, them: IpAddr) {
    let cookie = KEY.echo(us, them, 3);
    put(bytes, start + 4, &cookie.identifier.to_be_bytes());
    put(bytes, start + 6, &cookie.sequence.to_be_bytes());
}

fn ports(payload: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *payload.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(slot) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        slot.copy_from_slice(value);
    }
}
