//! Whether live frames really leave a device, by the device's own count.
//!
//! On some they vanish without an error: on loopback, on a veth whose far end has neither GRO nor an XDP program,
//! on drivers that have no queue for them yet. No flag or version tells, so it is tried.
//!
//! The frames that are tried with mean nothing to anyone: EtherType 0x88b5 is set aside for local experiments
//! (IEEE 802, 10.4), so no protocol takes them, and they are addressed to the device that sends them, which a switch
//! knows to be where they come from.

use std::{io, thread, time::Duration};

use portreeve_wire::ethernet;

use crate::{
    sys::{
        Interface,
        bpf::{Action, Assembler, DeviceMap, Helper, LoadError, Program, Register},
        sent_packets,
    },
    transmit::Refusal,
};
use Register::{R1, R2, R3};

/// Frames of one trial.
const FRAMES: u64 = 64;
/// Trials, each beside a time without frames, in which the device's other packets are counted.
const TRIALS: u64 = 2;
/// How many of all frames have to be seen, in percent: a count may lag behind.
const ENOUGH_PERCENT: u64 = 75;
/// How long a trial's frames are waited for. Drivers may update their counts late.
const PATIENCE: Duration = Duration::from_millis(250);
const POLL: Duration = Duration::from_millis(1);

const LOCAL_EXPERIMENTAL: ethernet::EtherType = ethernet::EtherType(0x88b5);

/// An error of the kernel's own, which libc does not know.
const ENOTSUPP: i32 = 524;

/// Passes if a device sends the live frames that it is given.
pub(super) fn frames_arrive(interface: &Interface) -> Result<(), Refusal> {
    let hardware =
        interface.hardware.ok_or_else(|| Refusal::Unfit("the device has no hardware address".to_owned()))?;
    let program = redirect(interface.index).map_err(super::unfit)?;
    let mut frame = [0; ethernet::MINIMUM_LEN];
    let header = ethernet::Header {
        destination: hardware,
        source: hardware,
        vlan: None,
        ether_type: LOCAL_EXPERIMENTAL,
    };
    header.emit(&mut frame).map_err(|error| Refusal::Unfit(error.to_string()))?;
    let mut seen = 0;
    for _ in 0..TRIALS {
        seen += trial(interface, &program, &frame)?;
    }
    if seen * 100 >= FRAMES * TRIALS * ENOUGH_PERCENT {
        return Ok(());
    }
    Err(Refusal::Unfit(format!(
        "of {} frames that the kernel took, the device sent {seen}; the far end of a veth pair needs GRO (`ethtool \
         -K … gro on`) or an XDP program",
        FRAMES * TRIALS
    )))
}

/// Gives the device frames and returns how many it counted, beyond those it sends by itself in the same time.
fn trial(interface: &Interface, program: &Program, frame: &[u8]) -> Result<u64, Refusal> {
    let before = sent_packets(&interface.name)?;
    program.run_live(frame, FRAMES as u32, FRAMES as u32).map_err(|error| match error.raw_os_error() {
        // The flag of live frames is unknown before Linux 5.18.
        Some(libc::EINVAL | ENOTSUPP) => Refusal::Unfit("the kernel knows no live frames".to_owned()),
        _ => Refusal::System(error),
    })?;
    let mut waited = Duration::ZERO;
    let mut seen = 0;
    while seen < FRAMES && waited < PATIENCE {
        thread::sleep(POLL);
        waited += POLL;
        seen = sent_packets(&interface.name)?.saturating_sub(before);
    }
    let quiet = sent_packets(&interface.name)?;
    thread::sleep(waited);
    let others = sent_packets(&interface.name)?.saturating_sub(quiet);
    Ok(seen.saturating_sub(others).min(FRAMES))
}

/// A program that sends every frame out of the device.
fn redirect(device: u32) -> io::Result<Program> {
    let devices = DeviceMap::new("pr_trial", &[device])?;
    let mut a = Assembler::new();
    a.map(R1, devices.reference());
    a.copy(R2, 0);
    a.copy(R3, Action::Drop as i32);
    a.call(Helper::RedirectMap);
    a.exit();
    Program::load("pr_trial", a).map_err(LoadError::into)
}
