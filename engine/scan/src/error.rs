//! What can keep a scan from running.

use std::{io, net::IpAddr};

use crate::{PortError, TargetError};

/// Why a scan could not be prepared or had to stop. Nothing that a scanned host sends causes one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The backend asked for does not work on a device.
    #[error("the backend asked for does not work on {device}: {why}; the backend `auto` takes one that does")]
    Backend {
        /// The device's name.
        device: String,
        /// Why not.
        why: String,
    },
    /// The named interface does not exist.
    #[error("there is no interface {0:?} here; `ip link` lists those there are")]
    NoInterface(String),
    /// The kernel knows no way to a target.
    #[error("no route to {address}; check `ip route get {address}`")]
    NoRoute {
        /// An address of the block that has no route.
        address: IpAddr,
    },
    /// Neither a right nor a fall-back was there.
    #[error(
        "opening a {direction} socket needs the right CAP_NET_RAW: run as root, or grant it once with \
         `setcap cap_net_raw+ep` on this program, or use the backend `connect`"
    )]
    MissingRight {
        /// What it was for.
        direction: &'static str,
    },
    /// The gateway does not answer, so nothing can be sent through it.
    #[error("the gateway {gateway} does not say which hardware address it has; is the link up?")]
    NoGateway {
        /// The gateway's address.
        gateway: IpAddr,
    },
    /// The system refused something it should not refuse.
    #[error("{operation}: {source}")]
    Io {
        /// What was tried, and on what.
        operation: String,
        /// What the system said.
        source: io::Error,
    },
    /// No block of source ports is free.
    #[error("no free source ports near {first}; choose others with a source port of your own")]
    NoSourcePorts {
        /// The first port tried.
        first: u16,
    },
    /// The ports are malformed.
    #[error(transparent)]
    Ports(#[from] PortError),
    /// The rate allows no probe at all.
    #[error("a rate of 0 packets a second sends nothing; use at least 1")]
    RateZero,
    /// The targets are malformed.
    #[error(transparent)]
    Targets(#[from] TargetError),
    /// A tag was asked for where frames have no room for one.
    #[error(
        "VLAN tags are written on Ethernet, and targets are reached through {device}; leave the tag out, or choose an \
         Ethernet interface"
    )]
    VlanNeedsEthernet {
        /// The device's name.
        device: String,
    },
    /// More addresses than can be remembered by who answered.
    #[error("looking for hosts first works for at most 134,217,728 addresses; scan without it, or in parts")]
    TooManyToPing,
    /// Asked ordinary sockets for a probe that only raw ones can send.
    #[error(
        "probing by {what} needs raw sockets: run as root, or grant the right with `setcap cap_net_raw+ep` on this \
         program, or leave it out"
    )]
    NeedsRawSockets {
        /// The kind of probe.
        what: &'static str,
    },
}

impl ScanError {
    /// An [`Self::Io`] for `operation`.
    pub(crate) fn io(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Io { operation, source }
    }
}
