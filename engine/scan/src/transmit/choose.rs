//! Which backend sends on a device: the best that works there, with a word on why the better ones do not.

use std::{cell::OnceCell, io};

use super::{Facts, Generator, kernel};
use crate::{
    BackendChoice, ScanConfig,
    probe::MAX_FRAME_BYTES,
    receive::TallyMemories,
    sys::{FrameSink, Interface, LinkKind, RawIpBatch, TxBatch, TxRing, TxXdp, transmit_queues},
    transmit::lanes,
};

/// A way of sending on Ethernet devices.
struct Backend {
    choice: BackendChoice,
    name: &'static str,
    open: fn(&Request<'_>) -> Result<Sender, Refusal>,
}

/// The backends for Ethernet devices, the fastest first. A new one is a line here; what it cannot do it refuses
/// when it is opened.
const BACKENDS: &[Backend] = &[
    Backend { choice: BackendChoice::Kernel, name: "kernel", open: kernel::open },
    Backend { choice: BackendChoice::Xdp, name: "xdp", open: xdp },
    Backend { choice: BackendChoice::Ring, name: "ring", open: ring },
    Backend { choice: BackendChoice::Batch, name: "batch", open: batch },
];

/// What is to be sent on which device.
pub(crate) struct Request<'a> {
    pub(crate) interface: &'a Interface,
    /// The interface's place among the devices of the scan.
    pub(crate) device: usize,
    pub(crate) config: &'a ScanConfig,
    /// Hardware addresses are not known yet.
    pub(crate) facts: &'a Facts<'a>,
    /// One for all devices of the scan.
    pub(crate) memory: &'a OnceCell<TallyMemories>,
}

impl Request<'_> {
    /// Memory that programs in the kernel share with the tallies of the scan, made when it is first asked for.
    pub(crate) fn shared_memory(&self) -> io::Result<&TallyMemories> {
        if let Some(memory) = self.memory.get() {
            return Ok(memory);
        }
        let memory = TallyMemories::new(self.config)?;
        Ok(self.memory.get_or_init(|| memory))
    }
}

/// A backend opened on a device.
pub(crate) struct Sender {
    /// Takes single frames: questions to neighbours, and what the generator leaves.
    pub(crate) sink: Box<dyn FrameSink>,
    /// For the other transmit threads, one for each.
    pub(crate) more: Vec<Box<dyn FrameSink>>,
    /// Makes the frames of whole passes itself, where the backend does.
    pub(crate) generator: Option<Box<dyn Generator>>,
}

/// Why a backend does not work here.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It does not fit the device, the kernel or the scan, and this is why: the end of "refused because".
    Unfit(String),
    /// The system said no.
    System(io::Error),
    /// Others do as well what is asked for; not worth a word.
    Unneeded,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl Refusal {
    pub(crate) fn because(&self) -> String {
        match self {
            Self::Unfit(why) => why.clone(),
            Self::System(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "this process may not".to_owned()
            }
            Self::System(error) => error.to_string(),
            Self::Unneeded => "others do as well".to_owned(),
        }
    }
}

/// The backend chosen for a device.
pub(crate) struct Chosen {
    pub(crate) sender: Sender,
    pub(crate) name: &'static str,
    /// A sentence for people: what sends where, and what was refused.
    pub(crate) why: String,
}

/// Opens the backend that was asked for, or the best that works. The error is that of the last one tried.
pub(crate) fn choose(request: &Request<'_>) -> Result<Chosen, Refusal> {
    let device = &request.interface.name;
    let only_ip = |why| {
        let open = || -> io::Result<Box<dyn FrameSink>> {
            Ok(Box::new(RawIpBatch::open(request.interface, MAX_FRAME_BYTES)?))
        };
        let sender = Sender { sink: open()?, more: more(request, |_| open())?, generator: None };
        Ok(Chosen { sender, name: "raw-ip", why: format!("raw-ip on {device}: {why}") })
    };
    match request.interface.kind {
        LinkKind::Loopback => only_ip("only packets that the kernel routes arrive on loopback"),
        LinkKind::Layer3 => only_ip("the device has no link header"),
        LinkKind::Ethernet => first_that_works(request, BACKENDS),
    }
}

fn first_that_works(request: &Request<'_>, backends: &[Backend]) -> Result<Chosen, Refusal> {
    let (asked, device) = (request.config.backend, &request.interface.name);
    let mut refused = Vec::new();
    let mut last = None;
    for backend in backends {
        if asked != BackendChoice::Auto && asked != backend.choice {
            continue;
        }
        match (backend.open)(request) {
            Ok(sender) => {
                let why = explain(backend, asked, device, &refused);
                return Ok(Chosen { sender, name: backend.name, why });
            }
            Err(Refusal::Unneeded) => {}
            Err(refusal) => {
                refused.push(format!("{} refused because {}", backend.name, refusal.because()));
                last = Some(refusal);
            }
        }
    }
    Err(last.unwrap_or_else(|| Refusal::Unfit("no backend of this name sends frames".to_owned())))
}

fn explain(backend: &Backend, asked: BackendChoice, device: &str, refused: &[String]) -> String {
    let name = backend.name;
    if asked != BackendChoice::Auto {
        format!("{name} on {device}: asked for")
    } else if refused.is_empty() {
        format!("{name} on {device}: the fastest")
    } else {
        format!("on {device}: {}, so {name}", refused.join(", "))
    }
}

/// Sinks for the transmit threads beside the first. More threads than the device has queues would only wait for each
/// other; on loopback each has a queue of its own.
fn more(
    request: &Request<'_>,
    open: impl Fn(u32) -> io::Result<Box<dyn FrameSink>>,
) -> io::Result<Vec<Box<dyn FrameSink>>> {
    let queues = match request.interface.kind {
        LinkKind::Loopback => u32::MAX,
        LinkKind::Ethernet | LinkKind::Layer3 => transmit_queues(&request.interface.name),
    };
    (1..lanes(request.config.rate).min(queues)).map(open).collect()
}

fn xdp(request: &Request<'_>) -> Result<Sender, Refusal> {
    let open = |queue| -> io::Result<Box<dyn FrameSink>> {
        Ok(Box::new(TxXdp::open(request.interface, queue, MAX_FRAME_BYTES)?))
    };
    Ok(Sender { sink: open(0)?, more: more(request, open)?, generator: None })
}

fn ring(request: &Request<'_>) -> Result<Sender, Refusal> {
    let open = || -> io::Result<Box<dyn FrameSink>> {
        Ok(Box::new(TxRing::open(request.interface, MAX_FRAME_BYTES)?))
    };
    Ok(Sender { sink: open()?, more: more(request, |_| open())?, generator: None })
}

fn batch(request: &Request<'_>) -> Result<Sender, Refusal> {
    let open = || -> io::Result<Box<dyn FrameSink>> {
        Ok(Box::new(TxBatch::open(request.interface, MAX_FRAME_BYTES)?))
    };
    Ok(Sender { sink: open()?, more: more(request, |_| open())?, generator: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        TargetSetBuilder,
        cookie::{CookieKey, SourcePorts},
        network::Paths,
        probe::Payloads,
    };

    fn refuses(_: &Request<'_>) -> Result<Sender, Refusal> {
        Err(Refusal::Unfit("the device is made of wood".to_owned()))
    }

    fn may_not(_: &Request<'_>) -> Result<Sender, Refusal> {
        Err(io::Error::from(io::ErrorKind::PermissionDenied).into())
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands in a table of functions that may refuse")]
    fn works(_: &Request<'_>) -> Result<Sender, Refusal> {
        Ok(Sender { sink: Box::new(Nowhere), more: Vec::new(), generator: None })
    }

    /// Takes nothing; these tests send nothing.
    struct Nowhere;

    impl FrameSink for Nowhere {
        fn frame(&mut self) -> Option<&mut [u8]> {
            None
        }

        fn commit(&mut self, _: usize) {}

        fn flush(&mut self) -> io::Result<usize> {
            Ok(0)
        }

        fn counters(&self) -> crate::sys::TxCounters {
            crate::sys::TxCounters::default()
        }
    }

    fn choose_from(asked: BackendChoice, backends: &[Backend]) -> Result<Chosen, Refusal> {
        let interface = Interface {
            index: 9,
            name: "near".to_owned(),
            kind: LinkKind::Ethernet,
            hardware: None,
            mtu_bytes: 1500,
            up: true,
            addresses: Vec::new(),
        };
        let targets = TargetSetBuilder::new().include("10.99.1.2").and_then(TargetSetBuilder::build);
        let mut config = ScanConfig::new(targets.expect("targets"), "80".parse().expect("ports"));
        config.backend = asked;
        let (paths, payloads) = (Paths::default(), Payloads::default());
        let ports = SourcePorts::new(61_000, 1).expect("fits");
        let facts =
            Facts { paths: &paths, payloads: &payloads, key: &CookieKey::new([1, 2]), ports, carried: &[] };
        let memory = OnceCell::new();
        let request =
            Request { interface: &interface, device: 0, config: &config, facts: &facts, memory: &memory };
        first_that_works(&request, backends)
    }

    fn choose_one(asked: BackendChoice, backends: &[Backend]) -> Chosen {
        choose_from(asked, backends).unwrap_or_else(|refusal| panic!("{}", refusal.because()))
    }

    const WOODEN: Backend = Backend { choice: BackendChoice::Ring, name: "ring", open: refuses };
    const FORBIDDEN: Backend = Backend { choice: BackendChoice::Ring, name: "ring", open: may_not };
    const WORKING: Backend = Backend { choice: BackendChoice::Batch, name: "batch", open: works };

    #[test]
    fn the_first_that_works_is_taken_and_the_refusals_are_told() {
        let chosen = choose_one(BackendChoice::Auto, &[WOODEN, WORKING]);
        assert_eq!(chosen.name, "batch");
        assert_eq!(chosen.why, "on near: ring refused because the device is made of wood, so batch");
        let chosen = choose_one(BackendChoice::Auto, &[WORKING, WOODEN]);
        assert_eq!(chosen.why, "batch on near: the fastest");
        let chosen = choose_one(BackendChoice::Auto, &[FORBIDDEN, WORKING]);
        assert_eq!(chosen.why, "on near: ring refused because this process may not, so batch");
    }

    #[test]
    fn what_was_asked_for_is_not_replaced() {
        let chosen = choose_one(BackendChoice::Batch, &[WOODEN, WORKING]);
        assert_eq!(chosen.why, "batch on near: asked for");
        for asked in [BackendChoice::Ring, BackendChoice::Auto] {
            let Err(refused) = choose_from(asked, &[WOODEN]) else { panic!("wood works") };
            assert_eq!(refused.because(), "the device is made of wood");
        }
        assert!(choose_from(BackendChoice::Ring, &[WOODEN, WORKING]).is_err());
    }
}
