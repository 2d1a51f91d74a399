//! What is left to a process that parses what strangers send, once its sockets are open.
//!
//! | who | may |
//! |---|---|
//! | the whole process ([`Sandbox::enter`]) | make the system calls of a scan: no program started, no other process looked into, no raw socket opened |
//! | threads that parse ([`Sandbox::enter_parser`]) | besides, open no file but what the kernel tells of these threads, and a folder for results |
//!
//! Both are inherited by threads started later. Where the kernel lacks one of them, [`Sandbox::missing`] says so.

use std::{
    fs::File,
    io,
    net::{TcpListener, UdpSocket},
    path::Path,
    process::Command,
    thread,
};

use socket2::{Domain, Socket, Type};

use crate::sys::confine::{Access, landlock_version, limit_calls, limit_files};

/// How far a thread can be confined here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sandbox {
    calls: bool,
    files: bool,
}

/// Something that a confined thread tried, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What it was, in words.
    pub what: &'static str,
    /// Whether it was refused, as it must be.
    pub refused: bool,
}

impl Sandbox {
    /// Finds out what the kernel can do, by trying it in a thread that ends at once.
    pub fn find() -> Self {
        let works =
            |enter: fn() -> io::Result<()>| thread::spawn(move || enter().is_ok()).join().unwrap_or(false);
        Self { calls: works(limit_calls), files: landlock_version().is_some() && works(|| limit_files(&[])) }
    }

    /// No confinement at all, for those who insist.
    pub const fn none() -> Self {
        Self { calls: false, files: false }
    }

    /// What the kernel lacks, in a sentence; `None` if it has all.
    pub fn missing(self) -> Option<&'static str> {
        match (self.calls, self.files) {
            (true, true) => None,
            (true, false) => {
                Some("this kernel has no Landlock, so files are guarded by their own rights only")
            }
            (false, true) => Some("this kernel takes no seccomp filter, so system calls are not limited"),
            (false, false) => {
                Some("this kernel has neither Landlock nor takes seccomp filters: there is no sandbox")
            }
        }
    }

    /// Limits the system calls of this thread and of those that it starts.
    pub fn enter(self) -> io::Result<()> {
        if self.calls { limit_calls() } else { Ok(()) }
    }

    /// Takes all files from this thread and from those that it starts, but for what the kernel tells of this process's
    /// own threads: the counters of network devices, by which losses are known, stand there. `write` is left to them, too,
    /// if results are kept there. What is open stays open.
    pub fn enter_parser(self, write: Option<&Path>) -> io::Result<()> {
        self.keep_files(&[Path::new("/proc/self/task")], write.as_slice())
    }

    /// Leaves this thread, and those that it starts, these paths alone.
    pub fn keep_files(self, read: &[&Path], write: &[&Path]) -> io::Result<()> {
        if !self.files {
            return Ok(());
        }
        let read = read.iter().map(|path| (*path, Access::Read));
        let write = write.iter().map(|path| (*path, Access::Write));
        limit_files(&read.chain(write).collect::<Vec<_>>())
    }

    /// Confines a thread as those that parse, and has it try what it must not get and what it must.
    pub fn check(self) -> Result<Vec<Attempt>, String> {
        let tried = thread::spawn(move || {
            self.enter().map_err(|error| format!("system calls cannot be limited: {error}"))?;
            self.enter_parser(None).map_err(|error| format!("files cannot be taken away: {error}"))?;
            let loopback = (std::net::Ipv4Addr::LOCALHOST, 0);
            UdpSocket::bind(loopback).map_err(|error| format!("no UDP socket is left to it: {error}"))?;
            thread::Builder::new()
                .spawn(|| ())
                .map_err(|error| format!("no thread is left to it: {error}"))?
                .join()
                .map_err(|_| "its thread failed".to_owned())?;
            Ok::<_, String>(self.forbidden())
        });
        tried.join().map_err(|_| "the check itself failed".to_owned())?
    }

    fn forbidden(self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let mut attempt = |applies: bool, what, refused: bool| {
            if applies {
                attempts.push(Attempt { what, refused });
            }
        };
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let refused = |result: io::Result<()>| result.as_ref().is_err_and(denied);
        attempt(self.calls, "start a program", refused(Command::new("/bin/true").spawn().map(drop)));
        let packet = Socket::new(Domain::PACKET, Type::RAW, None);
        attempt(self.calls, "open a packet socket", refused(packet.map(drop)));
        let netlink = Socket::new(Domain::from(libc::AF_NETLINK), Type::DGRAM, None);
        attempt(self.calls, "talk to the kernel's network settings", refused(netlink.map(drop)));
        attempt(self.calls, "listen for connections", refused(TcpListener::bind("127.0.0.1:0").map(drop)));
        let unshared = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).map_err(io::Error::from);
        attempt(self.calls, "part from its process", refused(unshared));
        attempt(self.files, "read /etc/passwd", refused(File::open("/etc/passwd").map(drop)));
        attempt(
            self.files,
            "write to /tmp",
            refused(File::create_new("/tmp/portreeve-sandbox-check").map(drop)),
        );
        attempt(self.files, "list /proc", refused(std::fs::read_dir("/proc").map(drop)));
        attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confined_thread_is_refused_what_it_must_not_have() {
        let sandbox = Sandbox::find();
        assert_eq!(sandbox.missing(), None, "the machines that tests run on have both");
        let attempts = sandbox.check().expect("confined");
        assert_eq!(attempts.len(), 8);
        for attempt in attempts {
            assert!(attempt.refused, "could {}", attempt.what);
        }
        assert!(File::open("/etc/passwd").is_ok(), "other threads are as they were");
    }

    #[test]
    fn what_is_kept_stays_and_the_rest_goes() {
        let folder = tempfile::tempdir().expect("folder");
        let kept = folder.path().join("kept");
        std::fs::create_dir(&kept).expect("made");
        let inside = kept.clone();
        let tried = thread::spawn(move || {
            Sandbox::find().keep_files(&[Path::new("/etc/hostname")], &[&inside]).expect("confined");
            let written = std::fs::write(inside.join("a"), "x")
                .and_then(|()| std::fs::rename(inside.join("a"), inside.join("b")));
            let removed = std::fs::remove_file(inside.join("b"));
            let outside = File::create_new(inside.with_file_name("outside")).is_err();
            (written.is_ok(), removed.is_ok(), outside, File::open("/etc/passwd").is_err())
        });
        assert_eq!(tried.join().expect("no panic"), (true, true, true, true));
    }
}
