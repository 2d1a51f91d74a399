//! The filter that runs in the kernel: a classic BPF program, assembled for each scan.

use std::ops::RangeInclusive;

use portreeve_wire::{ethernet::EtherType, ip::Protocol, ipv6};
use socket2::SockFilter;

use super::LinkKind;

/// Lets through what can be a reply to a probe, and nothing else:
///
/// * TCP with ACK or RST, UDP and SCTP to one of our ports;
/// * ICMP and ICMPv6 echo replies and errors, ICMP timestamp replies;
/// * ARP replies and neighbour advertisements, on Ethernet;
/// * and of these only frames to this machine: neither our own nor those to others.
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
const TCP_ACK_OR_RST: u32 = 0x14;
const ARP_REPLY: u32 = 2;

impl ReplyFilter {
    /// The program for a device of this kind.
    pub(super) fn program(&self, link: LinkKind) -> Vec<SockFilter> {
        let assembled = self.assemble(link);
        assembled.iter().map(|insn| SockFilter::new(insn.code as u16, insn.yes, insn.no, insn.k)).collect()
    }

    fn assemble(&self, link: LinkKind) -> Vec<Instruction> {
        let mut a = Assembler::default();
        a.load_word(Offset::Ancillary(libc::SKF_AD_PKTTYPE));
        a.unless_equal(u32::from(libc::PACKET_HOST), Label::Refuse);
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
