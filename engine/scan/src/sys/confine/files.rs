//! Which files a thread may touch: Landlock (landlock(7), since Linux 5.13).

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

use super::promise_no_new_privileges;

/// What may be done beneath a folder, or with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading files, listing folders.
    Read,
    /// The same, and making, writing and removing.
    Write,
}

/// `struct landlock_ruleset_attr` as far as its first version goes: the kernel takes shorter ones for all versions.
#[repr(C)]
struct Ruleset {
    handled_files: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// LANDLOCK_ACCESS_FS_*: bit by bit as the kernel's versions added them.
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const FIRST_VERSION: u64 = (1 << 13) - 1;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
/// What a rule for a plain file may speak of.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE;

impl Access {
    fn bits(self) -> u64 {
        match self {
            Self::Read => READ_FILE | READ_DIR,
            // Devices and sockets (bits 6, 9-11) are nobody's business here.
            Self::Write => {
                (FIRST_VERSION & !EXECUTE & !(1 << 6) & !(1 << 9) & !(1 << 10) & !(1 << 11))
                    | REFER
                    | TRUNCATE
            }
        }
    }
}

/// The version of Landlock that the kernel has; `None` without it.
pub fn landlock_version() -> Option<u32> {
    // SAFETY: with this flag the kernel reads nothing and answers with a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Ruleset>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Lets this thread, and those that it starts from now on, open nothing but what lies beneath these paths. What is open
/// stays open. Paths that do not exist are left out.
pub fn limit_files(allowed: &[(&Path, Access)]) -> io::Result<()> {
    let version = landlock_version().ok_or(io::ErrorKind::Unsupported)?;
    let mut handled = FIRST_VERSION;
    if version >= 2 {
        handled |= REFER;
    }
    if version >= 3 {
        handled |= TRUNCATE;
    }
    let ruleset = create_ruleset(handled)?;
    for &(path, access) in allowed {
        let opened = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path);
        match opened {
            Ok(file) => add_rule(&ruleset, &file, access.bits() & handled)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    promise_no_new_privileges()?;
    // SAFETY: takes a descriptor and flags only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) }).map(drop)
}

fn create_ruleset(handled_files: u64) -> io::Result<OwnedFd> {
    let ruleset = Ruleset { handled_files };
    // SAFETY: the pointer is to a live structure and the size is its own.
    let descriptor = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size_of::<Ruleset>(), 0_u32)
    })?;
    // SAFETY: the kernel just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

fn add_rule(ruleset: &OwnedFd, file: &File, bits: u64) -> io::Result<()> {
    let allowed = if file.metadata()?.is_dir() { bits } else { bits & OF_FILES };
    let rule = PathBeneath { allowed, parent: file.as_raw_fd() };
    // SAFETY: the pointer is to a live structure of the kind that the second argument names.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    })
    .map(drop)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
