//! bpf(2) and the structures it takes.

use std::{
    io,
    mem::size_of,
    os::fd::{FromRawFd, OwnedFd},
};

/// Commands of `enum bpf_cmd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Command {
    MapCreate = 0,
    MapUpdate = 2,
    ProgramLoad = 5,
    ProgramTestRun = 10,
    LinkCreate = 28,
}

/// The head of `union bpf_attr` for one command. The kernel takes shorter structures than its own.
///
/// # Safety
///
/// A C structure without padding, valid for any bit pattern, laid out as the command wants it.
pub(super) unsafe trait Attributes {
    /// What it is for.
    const COMMAND: Command;
}

#[derive(Default)]
#[repr(C)]
pub(super) struct MapCreate {
    pub(super) kind: u32,
    pub(super) key_bytes: u32,
    pub(super) value_bytes: u32,
    pub(super) entries: u32,
    pub(super) flags: u32,
    pub(super) inner_map: u32,
    pub(super) numa_node: u32,
    pub(super) name: [u8; 16],
}

// SAFETY: as `struct { … } /* BPF_MAP_CREATE */` of linux/bpf.h.
unsafe impl Attributes for MapCreate {
    const COMMAND: Command = Command::MapCreate;
}

#[derive(Default)]
#[repr(C)]
pub(super) struct MapUpdate {
    pub(super) map: u32,
    pub(super) padding: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

// SAFETY: as `struct { … } /* BPF_MAP_*_ELEM */` of linux/bpf.h.
unsafe impl Attributes for MapUpdate {
    const COMMAND: Command = Command::MapUpdate;
}

#[derive(Default)]
#[repr(C)]
pub(super) struct ProgramLoad {
    pub(super) kind: u32,
    pub(super) instructions: u32,
    pub(super) code: u64,
    pub(super) license: u64,
    pub(super) log_level: u32,
    pub(super) log_bytes: u32,
    pub(super) log: u64,
    pub(super) kernel_version: u32,
    pub(super) flags: u32,
    pub(super) name: [u8; 16],
    pub(super) device: u32,
    pub(super) attach_type: u32,
}

// SAFETY: as the beginning of `struct { … } /* BPF_PROG_LOAD */` of linux/bpf.h.
unsafe impl Attributes for ProgramLoad {
    const COMMAND: Command = Command::ProgramLoad;
}

#[derive(Default)]
#[repr(C)]
pub(super) struct ProgramTestRun {
    pub(super) program: u32,
    pub(super) result: u32,
    pub(super) data_in_bytes: u32,
    pub(super) data_out_bytes: u32,
    pub(super) data_in: u64,
    pub(super) data_out: u64,
    pub(super) repeat: u32,
    pub(super) duration_ns: u32,
    pub(super) context_in_bytes: u32,
    pub(super) context_out_bytes: u32,
    pub(super) context_in: u64,
    pub(super) context_out: u64,
    pub(super) flags: u32,
    pub(super) cpu: u32,
    pub(super) batch: u32,
    pub(super) padding: u32,
}

// SAFETY: as `struct { … } test` of linux/bpf.h.
unsafe impl Attributes for ProgramTestRun {
    const COMMAND: Command = Command::ProgramTestRun;
}

#[derive(Default)]
#[repr(C)]
pub(super) struct LinkCreate {
    pub(super) program: u32,
    pub(super) device: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
}

// SAFETY: as the beginning of `struct { … } link_create` of linux/bpf.h.
unsafe impl Attributes for LinkCreate {
    const COMMAND: Command = Command::LinkCreate;
}

/// Calls bpf(2).
///
/// # Safety
///
/// Every address among the attributes must be that of live memory, as long as its length says, for the whole call.
pub(super) unsafe fn bpf<A: Attributes>(attributes: &mut A) -> io::Result<i32> {
    // SAFETY: the pointer is to a live structure of plain bytes and the length is its own; what it points to is
    // valid by the caller's promise.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, A::COMMAND as libc::c_int, &raw mut *attributes, size_of::<A>())
    };
    i32::try_from(result).ok().filter(|&result| result >= 0).ok_or_else(io::Error::last_os_error)
}

/// [`bpf`] for commands that make something.
///
/// # Safety
///
/// As [`bpf`]; the command must be one that returns a descriptor.
pub(super) unsafe fn make<A: Attributes>(attributes: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: by the caller's promise.
    let descriptor = unsafe { bpf(attributes) }?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A name as bpf(2) takes it: up to 15 letters, digits and underscores.
pub(super) fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    for (slot, byte) in name.iter_mut().take(15).zip(text.bytes()) {
        *slot = byte;
    }
    name
}
