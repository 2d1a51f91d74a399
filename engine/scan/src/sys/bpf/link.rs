//! Programs on devices.

use std::{io, os::fd::OwnedFd};

use super::{
    Program,
    call::{LinkCreate, make},
};

/// Where on the way in an XDP program stands, by its flag of linux/if_link.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum XdpMode {
    /// In the kernel's stack, on any device: slower.
    Generic = 1 << 1,
    /// In the driver.
    Native = 1 << 2,
}

/// BPF_XDP of `enum bpf_attach_type`.
const ATTACH_XDP: u32 = 37;

/// A program on a device. Nobody else can put one there meanwhile, and dropping this takes it off; so does the end
/// of the process, however it ends, since nothing but its descriptor holds the link.
#[derive(Debug)]
pub struct Link {
    _descriptor: OwnedFd,
}

impl Link {
    /// Puts `program` on the device with this number; [`io::ErrorKind::ResourceBusy`] if there is one already.
    pub fn attach(program: &Program, device: u32, mode: XdpMode) -> io::Result<Self> {
        let mut attributes =
            LinkCreate { program: program.number(), device, attach_type: ATTACH_XDP, flags: mode as u32 };
        // SAFETY: there are no addresses among the attributes, and the command returns a descriptor.
        unsafe { make(&mut attributes) }.map(|descriptor| Self { _descriptor: descriptor })
    }
}
