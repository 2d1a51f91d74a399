//! The frames of probes: templates made once for each way and pass, patched for each target.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use portreeve_wire::{
    ip::Address,
    tcp::{SeqNumber, SynOptions},
    template::{
        AckTemplate, Echo, EchoTemplate, Init, InitTemplate, Link, Path, Syn, SynTemplate, TimestampTemplate,
        Udp, UdpTemplate,
    },
};

use crate::{
    PortSet, UdpPayloads,
    cookie::{CookieKey, EchoCookie, SourcePorts},
    space::{ProbeKind, Target},
};

/// The longest frame of any probe, with room for a VLAN tag.
pub(crate) const MAX_FRAME_BYTES: usize = 1_300;

/// Targets that are dealt with at a time where much is made of them.
pub(crate) const ROW: usize = 64;

/// Time to live of our packets: what common systems send, and enough for any path.
const HOP_LIMIT: u8 = 64;

/// Window of our SYNs: a common one.
const WINDOW: u16 = 64_240;

/// The datagrams to be sent, each kept once.
#[derive(Debug)]
pub(crate) struct Payloads {
    /// The first is empty.
    distinct: Vec<Arc<[u8]>>,
    /// Which one each port gets; ports that are not listed get the first.
    of_port: Vec<(u16, u16)>,
}

impl Default for Payloads {
    /// Empty datagrams only.
    fn default() -> Self {
        Self { distinct: vec![Arc::from([])], of_port: Vec::new() }
    }
}

impl Payloads {
    /// Asks for the payload of each UDP port of the set.
    pub(crate) fn collect(ports: &PortSet, payloads: &UdpPayloads) -> Self {
        let Self { mut distinct, mut of_port } = Self::default();
        for port in ports.udp() {
            let Some(payload) = payloads.get(port) else { continue };
            let known = distinct.iter().position(|known| *known == payload).unwrap_or_else(|| {
                distinct.push(payload);
                distinct.len() - 1
            });
            of_port.push((port, known as u16));
        }
        Self { distinct, of_port }
    }

    fn index(&self, port: u16) -> usize {
        let found = self.of_port.binary_search_by_key(&port, |&(port, _)| port).ok();
        found.and_then(|place| self.of_port.get(place)).map_or(0, |&(_, index)| usize::from(index))
    }
}

/// What the frames of some probes have in common: all but addresses, ports and cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mould {
    Ack,
    /// With the payload of this number.
    Datagram(u16),
    Echo,
    Syn,
    Timestamp,
}

impl Payloads {
    /// What the probe of a kind is made from; `None` for an INIT, whose checksum is no sum.
    pub(crate) fn mould(&self, kind: ProbeKind) -> Option<Mould> {
        match kind {
            ProbeKind::Ack(_) => Some(Mould::Ack),
            ProbeKind::Echo => Some(Mould::Echo),
            ProbeKind::Sctp(_) => None,
            ProbeKind::Tcp(_) => Some(Mould::Syn),
            ProbeKind::Timestamp => Some(Mould::Timestamp),
            ProbeKind::Udp(port) => Some(Mould::Datagram(self.index(port) as u16)),
        }
    }

    /// How many bytes of payload the frames of a mould carry.
    pub(crate) fn bytes_in(&self, mould: Mould) -> usize {
        match mould {
            Mould::Datagram(number) => self.distinct.get(usize::from(number)).map_or(0, |bytes| bytes.len()),
            Mould::Ack | Mould::Echo | Mould::Syn | Mould::Timestamp => 0,
        }
    }
}

/// Makes the frames of one pass on one way.
pub(crate) enum Emitter<'p> {
    V4(Templates<'p, Ipv4Addr>, TimestampTemplate),
    V6(Templates<'p, Ipv6Addr>),
}

impl<'p> Emitter<'p> {
    pub(crate) fn new(link: Link, source: IpAddr, payloads: &'p Payloads) -> Self {
        // The MSS is what fits Ethernet (RFC 9293 3.7.1).
        match source {
            IpAddr::V4(source) => {
                let timestamp = TimestampTemplate::new(Path { link, source, hop_limit: HOP_LIMIT });
                Self::V4(Templates::new(link, source, 1460, payloads), timestamp)
            }
            IpAddr::V6(source) => Self::V6(Templates::new(link, source, 1440, payloads)),
        }
    }

    /// Writes a frame in which everything that differs from probe to probe is 0, so that its checksums are those of the
    /// rest, and returns its length; `None` if it does not fit, or if the family has no such probe.
    pub(crate) fn emit_blank(&self, buffer: &mut [u8], mould: Mould) -> Option<usize> {
        match self {
            Self::V4(_, timestamp) if mould == Mould::Timestamp => {
                let blank = Echo { destination: Ipv4Addr::UNSPECIFIED, identifier: 0, sequence: 0 };
                timestamp.emit(buffer, &blank).ok()
            }
            Self::V4(templates, _) => templates.emit_blank(buffer, mould, Ipv4Addr::UNSPECIFIED),
            Self::V6(templates) => templates.emit_blank(buffer, mould, Ipv6Addr::UNSPECIFIED),
        }
    }

    /// Writes the probe to `target` into `buffer` and returns its length; `None` if the target is of the other
    /// family, or if that has no such probe.
    #[inline]
    pub(crate) fn emit(
        &self,
        buffer: &mut [u8],
        target: &Target,
        attempt: u8,
        key: &CookieKey,
        ports: SourcePorts,
    ) -> Option<usize> {
        let source_port = ports.port(attempt);
        self.write(buffer, target, source_port, self.cookie(target, attempt, key, source_port))
    }

    /// What the probe to `target` is known again by: a sequence number, an Initiate Tag, or identifier and sequence
    /// number. Nothing (0) for a datagram.
    #[inline]
    pub(crate) fn cookie(&self, target: &Target, attempt: u8, key: &CookieKey, source_port: u16) -> u32 {
        let source = match self {
            Self::V4(templates, _) => templates.source.into(),
            Self::V6(templates) => templates.source.into(),
        };
        match target.kind {
            ProbeKind::Tcp(port) | ProbeKind::Ack(port) => {
                key.syn((source, source_port), (target.address, port))
            }
            ProbeKind::Udp(_) => 0,
            ProbeKind::Sctp(port) => key.sctp((source, source_port), (target.address, port)),
            ProbeKind::Timestamp => key.timestamp(source, target.address, attempt).to_bits(),
            ProbeKind::Echo => key.echo(source, target.address, attempt).to_bits(),
        }
    }

    /// [`Emitter::cookie`] of each target, at its place; in a row they cost less.
    pub(crate) fn cookies(
        &self,
        targets: &[Target],
        attempt: u8,
        key: &CookieKey,
        source_port: u16,
        cookies: &mut [u64],
    ) {
        let syn = |target: &Target| match (target.address, target.kind) {
            (IpAddr::V4(address), ProbeKind::Tcp(port)) => {
                Some(u64::from(address.to_bits()) << 16 | u64::from(port))
            }
            _ => None,
        };
        let mut syns = 0;
        for (cookie, syn) in cookies.iter_mut().zip(targets.iter().map_while(syn)) {
            *cookie = syn;
            syns += 1;
        }
        match (self, cookies.get_mut(..syns)) {
            (Self::V4(templates, _), Some(row)) if syns == targets.len() => {
                key.syns_v4((templates.source, source_port), row);
            }
            _ => {
                for (target, cookie) in targets.iter().zip(cookies) {
                    *cookie = self.cookie(target, attempt, key, source_port).into();
                }
            }
        }
    }

    /// The second half of [`Emitter::emit`], for whoever has the cookie already.
    #[inline]
    pub(crate) fn write(
        &self,
        buffer: &mut [u8],
        target: &Target,
        source_port: u16,
        cookie: u32,
    ) -> Option<usize> {
        match (self, target.address) {
            (Self::V4(_, timestamp), IpAddr::V4(destination)) if target.kind == ProbeKind::Timestamp => {
                let EchoCookie { identifier, sequence } = EchoCookie::from_bits(cookie);
                timestamp.emit(buffer, &Echo { destination, identifier, sequence }).ok()
            }
            (Self::V4(templates, _), IpAddr::V4(address)) => {
                templates.write(buffer, address, target.kind, source_port, cookie)
            }
            (Self::V6(templates), IpAddr::V6(address)) => {
                templates.write(buffer, address, target.kind, source_port, cookie)
            }
            _ => None,
        }
    }
}

/// The templates of one family.
pub(crate) struct Templates<'p, A> {
    syn: SynTemplate<A>,
    ack: AckTemplate<A>,
    init: InitTemplate<A>,
    echo: EchoTemplate<A>,
    udp: Vec<UdpTemplate<'p, A>>,
    payloads: &'p Payloads,
    source: A,
}

impl<'p, A: Address> Templates<'p, A> {
    fn new(link: Link, source: A, mss: u16, payloads: &'p Payloads) -> Self {
        let path = Path { link, source, hop_limit: HOP_LIMIT };
        // All that common systems offer: only who is offered an option shows whether he knows it.
        let options =
            SynOptions { mss: Some(mss), window_scale: Some(7), sack_permitted: true, timestamps: Some(1) };
        Self {
            syn: SynTemplate::new(path, WINDOW, options),
            ack: AckTemplate::new(path, WINDOW),
            init: InitTemplate::new(path),
            echo: EchoTemplate::new(path),
            udp: payloads.distinct.iter().filter_map(|payload| UdpTemplate::new(path, payload)).collect(),
            payloads,
            source,
        }
    }

    fn emit_blank(&self, buffer: &mut [u8], mould: Mould, destination: A) -> Option<usize> {
        let (source_port, destination_port) = (0, 0);
        let segment = Syn { destination, source_port, destination_port, sequence: SeqNumber(0) };
        let written = match mould {
            Mould::Ack => self.ack.emit(buffer, &segment),
            Mould::Datagram(number) => {
                let template = self.udp.get(usize::from(number))?;
                template.emit(buffer, &Udp { destination, source_port, destination_port })
            }
            Mould::Echo => self.echo.emit(buffer, &Echo { destination, identifier: 0, sequence: 0 }),
            Mould::Syn => self.syn.emit(buffer, &segment),
            Mould::Timestamp => return None,
        };
        written.ok()
    }

    #[inline]
    fn write(
        &self,
        buffer: &mut [u8],
        destination: A,
        kind: ProbeKind,
        source_port: u16,
        cookie: u32,
    ) -> Option<usize> {
        let sequence = SeqNumber(cookie);
        let written = match kind {
            ProbeKind::Tcp(destination_port) => {
                self.syn.emit(buffer, &Syn { destination, source_port, destination_port, sequence })
            }
            ProbeKind::Udp(destination_port) => {
                let template = self.udp.get(self.payloads.index(destination_port))?;
                template.emit(buffer, &Udp { destination, source_port, destination_port })
            }
            ProbeKind::Ack(destination_port) => {
                self.ack.emit(buffer, &Syn { destination, source_port, destination_port, sequence })
            }
            ProbeKind::Sctp(destination_port) => {
                let init = Init { destination, source_port, destination_port, initiate_tag: cookie };
                self.init.emit(buffer, &init)
            }
            // Made by whoever has the template of the only version of IP that knows it.
            ProbeKind::Timestamp => return None,
            ProbeKind::Echo => {
                let EchoCookie { identifier, sequence } = EchoCookie::from_bits(cookie);
                self.echo.emit(buffer, &Echo { destination, identifier, sequence })
            }
        };
        written.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_kept_once_and_found_by_port() {
        let ports: PortSet = "U:53,123,161,5353".parse().expect("ports");
        let payloads = UdpPayloads::new(|port| match port {
            53 | 5353 => Some(Arc::from(*b"dns")),
            161 => Some(Arc::from(*b"snmp")),
            _ => None,
        });
        let collected = Payloads::collect(&ports, &payloads);
        assert_eq!(collected.distinct.len(), 3);
        let payload = |port| collected.distinct[collected.index(port)].to_vec();
        assert_eq!((payload(53), payload(5353)), (b"dns".to_vec(), b"dns".to_vec()));
        assert_eq!((payload(161), payload(123)), (b"snmp".to_vec(), vec![]));
    }
}
