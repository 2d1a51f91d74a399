//! Packet formats: checked views over received bytes, and templates for bytes to be sent.
//!
//! Nothing here does I/O, asks a clock, allocates or uses `unsafe`; the crate runs without `std`.
//!
//! # The contract
//!
//! **In.** `View::parse(bytes)` checks every length that the header claims against the bytes at hand
//! and answers with a view, or with a [`Malformed`] that names the cause. On a view no accessor
//! panics, whatever the bytes are: each returns a value or an `Option`. A view's `payload()` is what
//! the header says belongs to it; padding behind it (Ethernet's minimum of 60 bytes) is cut off.
//! Nothing is verified that was not asked for: addresses may be nonsense and checksums wrong. Ask
//! `checksum_ok()` where it matters, and not on frames whose checksum the kernel left for the device
//! to fill in, as on loopback.
//!
//! **Out.** A header or template knows its [`len`](tcp::Header::len) before anything is written.
//! `emit` fills the first `len()` bytes of the caller's buffer, every one of them, so nothing of an
//! earlier frame shines through; a shorter buffer is [`BufferTooSmall`] and stays untouched.
//! Checksums are always right after `emit`.
//!
//! **Hot path.** What is constant over a scan is written and summed once, when a template is made
//! ([`template`]); each frame costs one copy, a few patched fields and a folded sum.
//!
//! **Byte order.** The wire is big-endian; every number and address in this crate's interface is in
//! host representation. No caller ever swaps bytes.
//!
//! # Four verbs for every protocol
//!
//! | verb | on | does |
//! |---|---|---|
//! | `parse` | views | checks and borrows |
//! | `payload`, `source_port`, … | views | read one field |
//! | `len` | headers, templates | says how many bytes `emit` writes |
//! | `emit` | headers, templates | writes them |
//!
//! ```
//! use portreeve_wire::{ethernet, ip, tcp, template::{Link, Path, Syn, SynTemplate}};
//! use std::net::Ipv4Addr;
//!
//! let path = Path {
//!     link: Link::Ethernet {
//!         source: ethernet::Address([2, 0, 0, 0, 0, 1]),
//!         destination: ethernet::Address([2, 0, 0, 0, 0, 2]),
//!         vlan: None,
//!     },
//!     source: Ipv4Addr::new(10, 99, 0, 1),
//!     hop_limit: 64,
//! };
//! let template = SynTemplate::new(path, 1024, tcp::SynOptions { mss: Some(1460), ..Default::default() });
//! let mut slot = [0; 128];
//! let length = template.emit(
//!     &mut slot,
//!     &Syn {
//!         destination: Ipv4Addr::new(10, 99, 0, 7),
//!         source_port: 40_000,
//!         destination_port: 443,
//!         sequence: tcp::SeqNumber(0xdead_beef),
//!     },
//! )?;
//!
//! let frame = ethernet::Frame::parse(&slot[..length])?;
//! let packet = ip::Packet::parse(frame.payload())?;
//! let segment = tcp::Segment::parse(packet.payload())?;
//! assert_eq!(segment.destination_port(), 443);
//! assert!(segment.checksum_ok(packet.source(), packet.destination()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

#[cfg(test)]
extern crate std;

pub mod arp;
mod bytes;
pub mod checksum;
mod error;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod sctp;
pub mod tcp;
pub mod template;
pub mod udp;

pub use error::{BufferTooSmall, Malformed};
