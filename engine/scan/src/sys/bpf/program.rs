//! Programs in the kernel.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use super::{
    AssembleError, Assembler,
    call::{ProgramLoad, ProgramTestRun, bpf, make, name},
};

/// What becomes of a frame, as `enum xdp_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Action {
    /// A fault of the program; the frame is dropped.
    Aborted = 0,
    /// Dropped.
    Drop = 1,
    /// Up the stack.
    Pass = 2,
    /// Out of the device it came in by.
    Transmit = 3,
    /// To where a redirect helper said.
    Redirect = 4,
}

/// Why a program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is malformed: a fault of ours.
    #[error("the program is malformed: {0}")]
    Malformed(#[from] AssembleError),
    /// The kernel does not let this process.
    #[error("loading BPF programs needs the rights CAP_BPF and CAP_NET_ADMIN")]
    Forbidden,
    /// The verifier refused it, or the kernel knows too little.
    #[error("the kernel refused the program ({source}): {log}")]
    Refused {
        /// The end of what the verifier said.
        log: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl From<LoadError> for io::Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Forbidden => Self::new(io::ErrorKind::PermissionDenied, error),
            LoadError::Malformed(_) | LoadError::Refused { .. } => Self::other(error),
        }
    }
}

/// BPF_PROG_TYPE_XDP
const XDP: u32 = 6;
/// BPF_XDP: what the program will be attached as.
const ATTACH_XDP: u32 = 37;
/// BPF_F_TEST_XDP_LIVE_FRAMES
const LIVE_FRAMES: u32 = 1 << 1;
/// Redirects, ring buffers and clocks are open only to programs under this licence.
const LICENSE: &CStr = c"GPL";

/// An XDP program that the kernel has checked and holds.
#[derive(Debug)]
pub struct Program {
    descriptor: OwnedFd,
}

impl Program {
    /// Bytes of the verifier's log that are asked for.
    const LOG_BYTES: usize = 1 << 20;
    /// Characters of it that go into an error: its end says what is wrong.
    const LOG_SHOWN: usize = 600;

    /// Has the kernel check and keep a program.
    pub fn load(label: &str, assembler: Assembler) -> Result<Self, LoadError> {
        let code = assembler.assemble()?;
        let mut attributes = ProgramLoad {
            kind: XDP,
            instructions: code.len() as u32,
            code: code.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            name: name(label),
            attach_type: ATTACH_XDP,
            ..ProgramLoad::default()
        };
        // SAFETY: code and licence are live, and the command returns a descriptor.
        let loaded = unsafe { make(&mut attributes) };
        match loaded {
            Ok(descriptor) => Ok(Self { descriptor }),
            // Not EACCES: that is how the verifier says that memory is out of bounds.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(LoadError::Forbidden),
            // Asked again for the reason: keeping the log costs the verifier time, so it is not kept at first.
            Err(source) => Err(LoadError::Refused { log: Self::reason(&mut attributes), source }),
        }
    }

    /// What the verifier says about a program.
    fn reason(attributes: &mut ProgramLoad) -> String {
        let mut log = vec![0_u8; Self::LOG_BYTES];
        attributes.log_level = 1;
        attributes.log_bytes = log.len() as u32;
        attributes.log = log.as_mut_ptr() as u64;
        // SAFETY: the caller's addresses are still live and so is the log; the command returns a descriptor, which is
        // closed at once in the strange case that the program is taken now.
        drop(unsafe { make(attributes) });
        let said: Vec<u8> = log.into_iter().take_while(|&byte| byte != 0).collect();
        let said = String::from_utf8_lossy(&said);
        let start = said.char_indices().rev().nth(Self::LOG_SHOWN).map_or(0, |(at, _)| at);
        said.get(start..).unwrap_or_default().trim().to_owned()
    }

    /// Runs the program once over a copy of `frame`; returns what it decided and leaves the frame as it left it.
    pub fn run_once(&self, frame: &mut Vec<u8>) -> io::Result<u32> {
        let mut out = vec![0; frame.len() + 256];
        let mut attributes = ProgramTestRun {
            program: self.number(),
            data_in_bytes: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            data_out_bytes: out.len() as u32,
            data_out: out.as_mut_ptr() as u64,
            repeat: 1,
            ..ProgramTestRun::default()
        };
        // SAFETY: both buffers are live and as long as the attributes say.
        unsafe { bpf(&mut attributes) }?;
        out.truncate(attributes.data_out_bytes as usize);
        *frame = out;
        Ok(attributes.result)
    }

    /// Runs the program `repeat` times over frames of the kernel's that begin as copies of `frame`, `batch` at a
    /// time, and does with each what the program decides. Frames are used again without being reset.
    ///
    /// Blocks until it is through or a signal comes: [`io::ErrorKind::Interrupted`].
    pub fn run_live(&self, frame: &[u8], repeat: u32, batch: u32) -> io::Result<()> {
        let mut attributes = ProgramTestRun {
            program: self.number(),
            data_in_bytes: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat,
            flags: LIVE_FRAMES,
            batch,
            ..ProgramTestRun::default()
        };
        // SAFETY: the frame is live and as long as the attributes say; nothing is written to it.
        unsafe { bpf(&mut attributes) }.map(drop)
    }

    /// The descriptor, as attributes hold it.
    pub(super) fn number(&self) -> u32 {
        self.descriptor.as_raw_fd() as u32
    }
}
