//! The filter that runs in the kernel: a classic BPF program, assembled for each scan.

use std::ops::RangeInclusive;

use portreeve_wire::{
    ethernet::{EtherType, VlanId},
    ip::Protocol,
    ipv6,
};
use socket2::SockFilter;

use super::LinkKind;

/// Lets through what can be a reply to a probe, and nothing else:
///
/// * TCP with ACK or RST, UDP and SCTP to one of our ports;
/// * ICMP and ICMPv6 echo replies and errors, ICMP timestamp replies;
/// * ARP replies and neighbour advertisements, on Ethernet;
/// * and of these only frames to this machine, in the VLAN asked for: neither our own nor those to others.
///
/// IPv4 fragments other than the first have no ports and are refused; so is IPv6 with extension headers, which
/// no reply to a probe has reason to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyFilter {
    /// Our source ports.
    pub ports: RangeInclusive<u16>,
}

/// Bytes of a frame that the kernel keeps: all of any frame.
const KEEP: u32 = 0x0004_0000;

const ICMP_REPLIES: [u8; 4] = [0, 3, 11, 14];
const ICMPV6_REPLIES: [u8; 5] = [1, 2, 3, 129, 136];
/// Of linux/filter.h.
const SKF_AD_VLAN_TAG: i32 = 44;
const SKF_AD_VLAN_TAG_PRESENT: i32 = 48;

const TCP_ACK_OR_RST: u32 = 0x14;
const ARP_REPLY: u32 = 2;

impl ReplyFilter {
    /// The program for a device of this kind and frames with this tag, or with none.
    pub(super) fn program(&self, link: LinkKind, vlan: Option<VlanId>) -> Vec<SockFilter> {
        let assembled = self.assemble(link, vlan);
        assembled.iter().map(|insn| SockFilter::new(insn.code as u16, insn.yes, insn.no, insn.k)).collect()
    }

    fn assemble(&self, link: LinkKind, vlan: Option<VlanId>) -> Vec<Instruction> {
        let mut a = Assembler::default();
        a.load_word(Offset::Ancillary(libc::SKF_AD_PKTTYPE));
        a.unless_equal(u32::from(libc::PACKET_HOST), Label::Refuse);
        // The kernel has taken the tag off and keeps it beside the frame. One with identifier 0 says nothing but a
        // priority (IEEE 802.1Q 9.6).
        a.load_word(Offset::Ancillary(SKF_AD_VLAN_TAG_PRESENT));
        a.if_equal(0, Label::Untagged);
        a.load_word(Offset::Ancillary(SKF_AD_VLAN_TAG));
        a.and(0x0fff);
        a.place(Label::Untagged);
        a.unless_equal(vlan.map_or(0, |vlan| u32::from(vlan.get())), Label::Refuse);
        let network = match link {
            LinkKind::Ethernet | LinkKind::Loopback => {
                a.load_half(12);
                a.if_equal(u32::from(EtherType::IPV4.0), Label::V4);
                a.if_equal(u32::from(EtherType::IPV6.0), Label::V6);
                a.unless_equal(u32::from(EtherType::ARP.0), Label::Refuse);
                a.load_half(14 + 6);
                a.if_equal(ARP_REPLY, Label::Accept);
                a.jump(Label::Refuse);
                14
            }
            LinkKind::Layer3 => {
                a.load_byte(0);
                a.and(0xf0);
                a.if_equal(0x40, Label::V4);
                a.if_equal(0x60, Label::V6);
                a.jump(Label::Refuse);
                0
            }
        };
        a.place(Label::V4);
        a.load_half(network + 6);
        a.if_any_set(0x1fff, Label::Refuse);
        a.load_ipv4_header_len_to_x(network);
        a.load_byte(network + 9);
        a.if_equal(u32::from(Protocol::ICMPV4.0), Label::Icmp);
        a.jump(Label::Transport);

        a.place(Label::V6);
        a.load_x(ipv6::HEADER_LEN as u32);
        a.load_byte(network + 6);
        a.if_equal(u32::from(Protocol::ICMPV6.0), Label::Icmpv6);

        // From here X is the length of the network header.
        a.place(Label::Transport);
        a.if_equal(u32::from(Protocol::UDP.0), Label::Ports);
        a.if_equal(u32::from(Protocol::SCTP.0), Label::Ports);
        a.unless_equal(u32::from(Protocol::TCP.0), Label::Refuse);
        a.load_byte_behind_x(network + 13);
        a.unless_any_set(TCP_ACK_OR_RST, Label::Refuse);
        a.place(Label::Ports);
        a.load_half_behind_x(network + 2);
        a.if_greater(u32::from(*self.ports.end()), Label::Refuse);
        a.unless_at_least(u32::from(*self.ports.start()), Label::Refuse);
        a.jump(Label::Accept);

        a.place(Label::Icmp);
        a.load_byte_behind_x(network);
        for kind in ICMP_REPLIES {
            a.if_equal(u32::from(kind), Label::Accept);
        }
        a.jump(Label::Refuse);
        a.place(Label::Icmpv6);
        a.load_byte_behind_x(network);
        for kind in ICMPV6_REPLIES {
            a.if_equal(u32::from(kind), Label::Accept);
        }
        a.place(Label::Refuse);
        a.finish(0);
        a.place(Label::Accept);
        a.finish(KEEP);
        a.resolve()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Accept,
    Icmp,
    Icmpv6,
    Ports,
    Refuse,
    Transport,
    Untagged,
    V4,
    V6,
}

enum Offset {
    /// A fact about the frame that is not in its bytes.
    Ancillary(i32),
}

/// One instruction; the jumps count instructions, forward from the next.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u32,
    yes: u8,
    no: u8,
    k: u32,
}

/// Collects instructions whose jumps name labels, and resolves these at the end.
#[derive(Default)]
struct Assembler {
    instructions: Vec<Instruction>,
    jumps: Vec<(usize, Way, Label)>,
    places: Vec<(Label, usize)>,
}

/// Which of a jump's outcomes goes to the label.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Always,
    No,
    Yes,
}

impl Assembler {
    fn load_word(&mut self, offset: Offset) {
        let Offset::Ancillary(offset) = offset;
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_AD_OFF + offset) as u32);
    }

    fn load_half(&mut self, offset: u32) {
        self.push(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, offset);
    }

    fn load_byte(&mut self, offset: u32) {
        self.push(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, offset);
    }

    fn load_half_behind_x(&mut self, offset: u32) {
        self.push(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, offset);
    }

    fn load_byte_behind_x(&mut self, offset: u32) {
        self.push(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, offset);
    }

    fn load_x(&mut self, value: u32) {
        self.push(libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM, value);
    }

    fn load_ipv4_header_len_to_x(&mut self, offset: u32) {
        self.push(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, offset);
    }

    fn and(&mut self, mask: u32) {
        self.push(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask);
    }

    fn if_equal(&mut self, value: u32, label: Label) {
        self.branch(libc::BPF_JEQ, value, Way::Yes, label);
    }

    fn unless_equal(&mut self, value: u32, label: Label) {
        self.branch(libc::BPF_JEQ, value, Way::No, label);
    }

    fn if_any_set(&mut self, mask: u32, label: Label) {
        self.branch(libc::BPF_JSET, mask, Way::Yes, label);
    }

    fn unless_any_set(&mut self, mask: u32, label: Label) {
        self.branch(libc::BPF_JSET, mask, Way::No, label);
    }

    fn if_greater(&mut self, value: u32, label: Label) {
        self.branch(libc::BPF_JGT, value, Way::Yes, label);
    }

    fn unless_at_least(&mut self, value: u32, label: Label) {
        self.branch(libc::BPF_JGE, value, Way::No, label);
    }

    fn jump(&mut self, label: Label) {
        self.branch(libc::BPF_JA, 0, Way::Always, label);
    }

    fn finish(&mut self, keep_bytes: u32) {
        self.push(libc::BPF_RET | libc::BPF_K, keep_bytes);
    }

    fn place(&mut self, label: Label) {
        self.places.push((label, self.instructions.len()));
    }

    fn branch(&mut self, operation: u32, k: u32, way: Way, label: Label) {
        self.jumps.push((self.instructions.len(), way, label));
        self.push(libc::BPF_JMP | libc::BPF_K | operation, k);
    }

    fn push(&mut self, code: u32, k: u32) {
        self.instructions.push(Instruction { code, yes: 0, no: 0, k });
    }

    /// Fills in the distances. The program has less than 256 instructions, so each fits a byte.
    fn resolve(mut self) -> Vec<Instruction> {
        for (from, way, label) in self.jumps {
            let place = self.places.iter().find(|(placed, _)| *placed == label);
            let (Some((_, to)), Some(instruction)) = (place, self.instructions.get_mut(from)) else {
                continue;
            };
            let distance = to.saturating_sub(from + 1);
            match way {
                Way::Always => instruction.k = distance as u32,
                Way::No => instruction.no = distance as u8,
                Way::Yes => instruction.yes = distance as u8,
            }
        }
        self.instructions
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PORTS: RangeInclusive<u16> = 40_000..=40_063;

    /// What the kernel does with the program: the bytes it keeps. Loads beyond the frame refuse it.
    fn run(program: &[Instruction], frame: &[u8], packet_type: u8) -> u32 {
        run_tagged(program, frame, packet_type, None)
    }

    /// The same for a frame that came with this tag.
    fn run_tagged(program: &[Instruction], frame: &[u8], packet_type: u8, tag: Option<u16>) -> u32 {
        let load = |at: u32, size: u32| -> Option<u32> {
            match at.wrapping_sub(libc::SKF_AD_OFF as u32) as i32 {
                libc::SKF_AD_PKTTYPE => return Some(u32::from(packet_type)),
                SKF_AD_VLAN_TAG => return Some(u32::from(tag.unwrap_or(0))),
                SKF_AD_VLAN_TAG_PRESENT => return Some(u32::from(tag.is_some())),
                _ => {}
            }
            let bytes = frame.get(at as usize..)?.get(..if size == libc::BPF_B { 1 } else { 2 })?;
            Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
        };
        let (mut a, mut x, mut at) = (0_u32, 0_u32, 0_usize);
        loop {
            let Instruction { code, yes, no, k } = program[at];
            at += 1;
            let loaded = match code & 0x07 {
                libc::BPF_LD if code & 0xe0 == libc::BPF_IND => {
                    load(x + k, code & 0x18).map(|value| a = value)
                }
                libc::BPF_LD => load(k, code & 0x18).map(|value| a = value),
                libc::BPF_LDX if code & 0xe0 == libc::BPF_MSH => {
                    load(k, libc::BPF_B).map(|value| x = 4 * (value & 0x0f))
                }
                libc::BPF_LDX => {
                    x = k;
                    Some(())
                }
                libc::BPF_ALU => {
                    a &= k;
                    Some(())
                }
                libc::BPF_RET => return k,
                _ => {
                    let holds = match code & 0xf0 {
                        libc::BPF_JA => {
                            at += k as usize;
                            continue;
                        }
                        libc::BPF_JEQ => a == k,
                        libc::BPF_JGT => a > k,
                        libc::BPF_JGE => a >= k,
                        _ => a & k != 0,
                    };
                    at += usize::from(if holds { yes } else { no });
                    Some(())
                }
            };
            if loaded.is_none() {
                return 0;
            }
        }
    }

    /// The rule of [`ReplyFilter`], written down a second time over the packet formats of the wire crate.
    fn is_plausible(packet: &[u8]) -> Option<bool> {
        use portreeve_wire::{ip::Packet, ipv4, tcp::Flags};
        let (protocol, payload) = match packet.first()? >> 4 {
            4 => {
                let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
                if fragment != 0 {
                    return Some(false);
                }
                let header_len = usize::from(packet.first()? & 0x0f) * 4;
                (Protocol(*packet.get(9)?), packet.get(header_len..)?)
            }
            _ => (Protocol(*packet.get(6)?), packet.get(ipv6::HEADER_LEN..)?),
        };
        // Where the wire crate reads the packet, both read the same.
        if let Ok(Packet::V4(parsed)) = Packet::parse(packet) {
            assert_eq!(parsed.protocol(), protocol);
            assert!(packet.len() >= ipv4::HEADER_LEN);
        }
        let to_us =
            |payload: &[u8]| Some(PORTS.contains(&u16::from_be_bytes([*payload.get(2)?, *payload.get(3)?])));
        let v4 = packet.first()? >> 4 == 4;
        match protocol {
            Protocol::TCP => Some(payload.get(13)? & (Flags::ACK | Flags::RST).0 != 0 && to_us(payload)?),
            Protocol::UDP | Protocol::SCTP => to_us(payload),
            Protocol::ICMPV4 if v4 => Some([0, 3, 11, 14].contains(payload.first()?)),
            Protocol::ICMPV6 if !v4 => Some([1, 2, 3, 129, 136].contains(payload.first()?)),
            _ => Some(false),
        }
    }

    fn packets() -> impl Strategy<Value = Vec<u8>> {
        let protocol = prop_oneof![Just(1_u8), Just(6), Just(17), Just(58), Just(132), any::<u8>()];
        let port = prop_oneof![39_999_u16..40_066, any::<u16>()];
        let kind = prop_oneof![0_u8..16, 125_u8..140, any::<u8>()];
        let fragment = prop_oneof![3 => Just(0x4000_u16), 1 => any::<u16>()];
        let rest = proptest::collection::vec(any::<u8>(), 0..40);
        (any::<bool>(), 5_u8..16, protocol, port, kind, fragment, rest).prop_map(
            |(v4, words, protocol, port, kind, fragment, rest)| {
                let mut packet = vec![0; if v4 { usize::from(words) * 4 } else { ipv6::HEADER_LEN }];
                if v4 {
                    packet[0] = 0x40 | words;
                    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
                    packet[9] = protocol;
                } else {
                    packet[0] = 0x60;
                    packet[6] = protocol;
                }
                packet.push(kind);
                packet.push(0);
                packet.extend_from_slice(&port.to_be_bytes());
                packet.extend_from_slice(&rest);
                packet
            },
        )
    }

    fn framed(packet: &[u8]) -> Vec<u8> {
        let ether_type: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        [&[0; 12], ether_type.as_slice(), packet].concat()
    }

    proptest! {
        #[test]
        fn keeps_what_the_rule_keeps(packet in packets()) {
            let filter = ReplyFilter { ports: PORTS };
            let expected = if is_plausible(&packet).unwrap_or(false) { KEEP } else { 0 };
            let host = libc::PACKET_HOST;
            prop_assert_eq!(run(&filter.assemble(LinkKind::Layer3, None), &packet, host), expected);
            prop_assert_eq!(run(&filter.assemble(LinkKind::Ethernet, None), &framed(&packet), host), expected);
            prop_assert_eq!(run(&filter.assemble(LinkKind::Loopback, None), &framed(&packet), host), expected);
            for other in [libc::PACKET_OUTGOING, libc::PACKET_OTHERHOST, libc::PACKET_BROADCAST] {
                prop_assert_eq!(run(&filter.assemble(LinkKind::Ethernet, None), &framed(&packet), other), 0);
            }
        }

        #[test]
        fn keeps_frames_of_its_own_vlan_only(packet in packets(), asked in 0_u16..4, tag in 0_u16..4, priority: u16) {
            let filter = ReplyFilter { ports: PORTS };
            let asked = VlanId::new(asked).filter(|id| id.get() != 0);
            let program = filter.assemble(LinkKind::Ethernet, asked);
            let plausible = is_plausible(&packet).unwrap_or(false);
            let kept = |tag| run_tagged(&program, &framed(&packet), libc::PACKET_HOST, tag) == KEEP;
            prop_assert_eq!(kept(None), plausible && asked.is_none());
            let ours = asked.map_or(0, VlanId::get) == tag;
            prop_assert_eq!(kept(Some(priority & 0xf000 | tag)), plausible && ours);
        }

        #[test]
        fn ends_on_any_bytes(frame in proptest::collection::vec(any::<u8>(), 0..80), ports: (u16, u16)) {
            for link in [LinkKind::Ethernet, LinkKind::Layer3, LinkKind::Loopback] {
                let kept = run(&ReplyFilter { ports: ports.0..=ports.1 }.assemble(link, None), &frame, libc::PACKET_HOST);
                prop_assert!(kept == 0 || kept == KEEP);
            }
        }
    }
}
