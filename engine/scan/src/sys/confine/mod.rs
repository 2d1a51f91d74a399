//! Taking rights away from threads: which system calls they may make (seccomp), which files they may touch (Landlock).
//!
//! Both can only ever be tightened, and both are inherited by the threads that a confined one starts. Neither needs a
//! right, only the promise never to gain one by `exec` (`no_new_privs`).

mod calls;
mod files;

pub use calls::limit_calls;
pub use files::{Access, landlock_version, limit_files};

use std::io;

/// Promises that this thread and its children gain no rights by `exec`: what both kinds of confinement ask for.
fn promise_no_new_privileges() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs().map_err(io::Error::from)
}
