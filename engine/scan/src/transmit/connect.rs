//! Probing with ordinary sockets: needs no rights, says less (no TTL, no SYN-ACK), costs a socket a probe.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portreeve_model::{PortState, Reason};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Pass, Transmit};
use crate::{
    ScanError, UdpPayloads,
    receive::{DropCause, Reply},
    space::{ProbeKind, Target},
};

/// The backend `connect`.
#[derive(Debug)]
pub(crate) struct ConnectTransmit {
    wait: Duration,
    payloads: UdpPayloads,
    in_flight: Vec<Attempt>,
    limit: usize,
}

/// A socket on its way.
#[derive(Debug)]
struct Attempt {
    socket: Socket,
    target: Target,
    position: u64,
    started: Duration,
}

/// What a socket says about its target.
enum Outcome {
    Answer(PortState, Reason),
    /// Not yet.
    Pending,
    /// Nothing came in time.
    Silence,
    /// The fault is ours: no descriptors, no local ports, no memory. Worth another try.
    Exhausted,
    /// An error that says nothing about the target.
    Useless,
}

impl ConnectTransmit {
    /// Sockets open at the same time, if the process may have that many.
    const MAX_IN_FLIGHT: usize = 512;
    /// Descriptors left to the rest of the process.
    const SPARE_DESCRIPTORS: u64 = 64;

    /// Waits `wait` for each answer.
    pub(crate) fn new(wait: Duration, payloads: UdpPayloads) -> Self {
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
            .map_or(256, |(soft, _)| soft)
            .saturating_sub(Self::SPARE_DESCRIPTORS)
            .clamp(1, Self::MAX_IN_FLIGHT as u64) as usize;
        Self { wait, payloads, in_flight: Vec::with_capacity(limit), limit }
    }

    /// Opens a socket to the target; false if the system has none to give at the moment.
    fn launch(&mut self, position: u64, target: Target, pass: &Pass<'_>) -> bool {
        // The last gate, as for frames.
        if !pass.space.targets().permits(target.address) {
            pass.tally.common.drops.add(DropCause::NotAllowed, 1);
            return true;
        }
        pass.tally.common.control.add_sent(1);
        match self.open(&target) {
            Ok((socket, Outcome::Pending)) => {
                self.in_flight.push(Attempt { socket, target, position, started: pass.time.elapsed() });
            }
            Ok((_, outcome)) => return self.settle_at_once(&outcome, target, pass),
            Err(error) => return self.settle_at_once(&outcome_of(&error, target.kind), target, pass),
        }
        true
    }

    fn settle_at_once(&self, outcome: &Outcome, target: Target, pass: &Pass<'_>) -> bool {
        match outcome {
            // Sockets under way will give back what is missing; without any, waiting would be for ever.
            Outcome::Exhausted if !self.in_flight.is_empty() => return false,
            Outcome::Exhausted => pass.tally.common.drops.add(DropCause::SocketError, 1),
            _ => settle(outcome, target, Some(0), pass),
        }
        true
    }

    fn open(&self, target: &Target) -> io::Result<(Socket, Outcome)> {
        let domain = if target.address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        match target.kind {
            ProbeKind::Tcp(port) => {
                let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
                // Closing resets: no TIME_WAIT here, no half-closed connection there.
                socket.set_linger(Some(Duration::ZERO))?;
                let outcome = match socket.connect(&SocketAddr::new(target.address, port).into()) {
                    Ok(()) => Outcome::Answer(PortState::Open, Reason::ConnectAccepted),
                    Err(error) => outcome_of(&error, target.kind),
                };
                Ok((socket, outcome))
            }
            ProbeKind::Udp(port) => {
                let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
                socket.connect(&SocketAddr::new(target.address, port).into())?;
                socket.send(self.payloads.get(port).as_deref().unwrap_or_default())?;
                Ok((socket, Outcome::Pending))
            }
            // A scan that needs these does not get this backend.
            ProbeKind::Ack(_) | ProbeKind::Sctp(_) | ProbeKind::Timestamp => {
                Err(ErrorKind::Unsupported.into())
            }
            ProbeKind::Echo => {
                let (protocol, kind) = match target.address {
                    IpAddr::V4(_) => (Protocol::ICMPV4, 8),
                    IpAddr::V6(_) => (Protocol::ICMPV6, 128),
                };
                // Ping sockets: the kernel fills in identifier and checksum.
                let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol))?;
                socket.connect(&SocketAddr::new(target.address, 0).into())?;
                socket.send(&[kind, 0, 0, 0, 0, 0, 0, 1])?;
                Ok((socket, Outcome::Pending))
            }
        }
    }

    /// Waits at most `timeout` for any socket, then settles what is ready or out of time.
    fn collect(&mut self, timeout: Duration, pass: &Pass<'_>) -> Result<(), ScanError> {
        let millis = u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX);
        let mut ready: Vec<PollFd<'_>> = self
            .in_flight
            .iter()
            .map(|attempt| {
                let events = match attempt.target.kind {
                    ProbeKind::Tcp(_) => PollFlags::POLLOUT,
                    _ => PollFlags::POLLIN,
                };
                PollFd::new(attempt.socket.as_fd(), events)
            })
            .collect();
        match poll(&mut ready, PollTimeout::from(millis)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(ScanError::io("cannot wait for sockets")(error.into())),
        }
        let fired: Vec<bool> = ready.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(ready);
        let now = pass.time.elapsed();
        let wait = self.wait;
        let mut fired = fired.into_iter();
        self.in_flight.retain(|attempt| {
            let age = now.saturating_sub(attempt.started);
            let outcome = if fired.next().unwrap_or(false) { ask(attempt) } else { Outcome::Pending };
            match outcome {
                Outcome::Pending if age < wait => return true,
                outcome => {
                    let rtt_us = u32::try_from(age.as_micros()).ok();
                    settle(&outcome, attempt.target, rtt_us, pass);
                }
            }
            false
        });
        Ok(())
    }
}

/// How long sockets are waited for while there is nothing to send.
const LONGEST_IDLE: Duration = Duration::from_millis(20);

impl Transmit for ConnectTransmit {
    fn send_pass(&mut self, pass: &mut Pass<'_>) -> Result<u64, ScanError> {
        while !(pass.tally.common.control.is_cancelled() || pass.is_over() && self.in_flight.is_empty()) {
            let begun = pass.positions.start;
            while self.in_flight.len() < self.limit && pass.pace.grant(pass.time.elapsed(), 1) == 1 {
                let Some((position, target)) = pass.take(pass.time.elapsed()) else {
                    pass.pace.give_back(1);
                    break;
                };
                if !self.launch(position, target, pass) {
                    pass.put_back(position, target);
                    break;
                }
                pass.sent += 1;
            }
            pass.dealt_with(pass.positions.start - begun);
            pass.publish(self.in_flight.iter().map(|attempt| attempt.position).min());
            let idle = if pass.is_over() || self.in_flight.len() >= self.limit {
                LONGEST_IDLE
            } else {
                pass.pace
                    .wait(pass.time.elapsed())
                    .max(pass.ceilings.wait(pass.time.elapsed()).min(LONGEST_IDLE))
            };
            self.collect(idle, pass)?;
        }
        self.in_flight.clear();
        Ok(pass.reached())
    }

    fn settles_itself(&self) -> bool {
        true
    }
}

/// Asks a socket that has news.
fn ask(attempt: &Attempt) -> Outcome {
    let kind = attempt.target.kind;
    match kind {
        ProbeKind::Tcp(_) => match attempt.socket.take_error() {
            Ok(None) => Outcome::Answer(PortState::Open, Reason::ConnectAccepted),
            Ok(Some(error)) | Err(error) => outcome_of(&error, kind),
        },
        _ => {
            let mut datagram = [std::mem::MaybeUninit::uninit(); 1];
            match attempt.socket.recv(&mut datagram) {
                Ok(_) => Outcome::Answer(PortState::Open, Reason::UdpReply),
                Err(error) => outcome_of(&error, kind),
            }
        }
    }
}

/// What an error of connect(2), send(2) or recv(2) says about the target.
fn outcome_of(error: &io::Error, kind: ProbeKind) -> Outcome {
    match error.kind() {
        ErrorKind::ConnectionRefused => match kind {
            ProbeKind::Tcp(_) => Outcome::Answer(PortState::Closed, Reason::ConnectRefused),
            _ => Outcome::Answer(PortState::Closed, Reason::PortUnreachable),
        },
        ErrorKind::HostUnreachable => Outcome::Answer(PortState::Unreachable, Reason::HostUnreachable),
        ErrorKind::NetworkUnreachable => Outcome::Answer(PortState::Unreachable, Reason::NetworkUnreachable),
        // A packet filter on the way says so with ICMP, one on this machine with EPERM.
        ErrorKind::PermissionDenied if kind != ProbeKind::Echo => {
            Outcome::Answer(PortState::Filtered, Reason::AdminProhibited)
        }
        ErrorKind::ConnectionReset => Outcome::Answer(PortState::Closed, Reason::Reset),
        ErrorKind::TimedOut => Outcome::Silence,
        ErrorKind::WouldBlock => Outcome::Pending,
        ErrorKind::AddrNotAvailable | ErrorKind::OutOfMemory => Outcome::Exhausted,
        _ => match nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            nix::errno::Errno::EINPROGRESS => Outcome::Pending,
            nix::errno::Errno::EMFILE | nix::errno::Errno::ENFILE | nix::errno::Errno::ENOBUFS => {
                Outcome::Exhausted
            }
            _ => Outcome::Useless,
        },
    }
}

fn settle(outcome: &Outcome, target: Target, rtt_us: Option<u32>, pass: &Pass<'_>) {
    match *outcome {
        Outcome::Answer(state, reason) => {
            let reply = Reply {
                target,
                attempt: Some(pass.attempt),
                state,
                reason,
                from_target: matches!(state, PortState::Open | PortState::Closed),
                ttl: None,
                rtt_us,
                syn_ack: None,
            };
            pass.tally.take(reply, None);
        }
        Outcome::Useless => pass.tally.common.drops.add(DropCause::SocketError, 1),
        Outcome::Exhausted | Outcome::Pending | Outcome::Silence => {}
    }
}
