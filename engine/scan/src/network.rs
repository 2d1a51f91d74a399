//! The devices a scan sends and receives on, and the way each target is reached by.

mod neighbors;
mod resolve;

use std::{cell::OnceCell, io, net::IpAddr};

use portreeve_model::{MacAddress, PortState, Reason};
use portreeve_wire::{ethernet, template::Link};

use crate::{
    BackendChoice, ScanConfig, ScanError, TargetSet,
    cookie::{CookieKey, SourcePorts},
    probe::Payloads,
    receive::{Classifier, RingReceiver, TallyMemories},
    route::{Hop, Route, RouteMap, RouteSocket},
    space::ProbeSpace,
    sys::{Interface, LinkKind, OnReply, ReplyFilter, ReservedPorts, RxConfig, RxRing},
    transmit::{Facts, Refusal, Request, Sender, choose},
};

pub(crate) use neighbors::NeighborTable;
pub(crate) use resolve::Inquiry;

/// All that a scan with raw sockets needs, opened.
pub(crate) struct Network {
    /// One for each device.
    pub(crate) senders: Vec<Sender>,
    pub(crate) receivers: Vec<RingReceiver>,
    pub(crate) paths: Paths,
    pub(crate) key: CookieKey,
    pub(crate) ports: SourcePorts,
    pub(crate) payloads: Payloads,
    /// Memory of tallies, if programs in the kernel share it.
    pub(crate) memory: Option<TallyMemories>,
    /// The backends chosen, and why.
    pub(crate) backend: (String, String),
    /// Held for as long as replies may come.
    _reserved: ReservedPorts,
}

/// Which way to each target.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    map: RouteMap,
    ways: Vec<Way>,
    neighbors: NeighborTable,
}

/// One way: a device, our address on it, and who takes the frames there.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// Place among the devices of the scan.
    pub(crate) device: usize,
    pub(crate) source: IpAddr,
    pub(crate) next: NextHop,
    pub(crate) vlan: Option<ethernet::VlanId>,
}

/// Who takes the frames of a way.
#[derive(Clone, Debug)]
pub(crate) enum NextHop {
    /// The kernel finds out: raw IP sockets.
    Kernel {
        /// Whether the targets are this machine.
        local: bool,
    },
    /// A gateway, whose hardware address is found out at the start of the scan.
    Gateway { hardware: ethernet::Address, address: IpAddr, mac: Option<MacAddress> },
    /// The targets themselves, each with a hardware address of its own.
    OnLink { hardware: ethernet::Address },
}

impl Way {
    /// The link header of the way's frames; for targets on the link the destination is patched in.
    pub(crate) fn link(&self) -> Link {
        let ethernet = |source, mac: Option<MacAddress>| Link::Ethernet {
            source,
            destination: mac.map_or(ethernet::Address::ZERO, |mac| ethernet::Address(mac.0)),
            vlan: self.vlan,
        };
        match self.next {
            NextHop::Kernel { .. } => Link::None,
            NextHop::Gateway { hardware, mac, .. } => ethernet(hardware, mac),
            NextHop::OnLink { hardware } => ethernet(hardware, None),
        }
    }
}

impl Paths {
    /// The number of the way to a target, and the way.
    #[inline]
    pub(crate) fn way(&self, target: IpAddr) -> Option<(usize, &Way)> {
        let Hop(hop) = self.map.hop(target)?;
        Some((usize::from(hop), self.ways.get(usize::from(hop))?))
    }

    /// Every block of targets that there is a way to: first and last address, and the way's number.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (IpAddr, IpAddr, usize)> + '_ {
        self.map.all_blocks().map(|(first, last, Hop(hop))| (first, last, usize::from(hop)))
    }

    pub(crate) fn ways(&self) -> &[Way] {
        &self.ways
    }

    pub(crate) fn neighbors(&self) -> &NeighborTable {
        &self.neighbors
    }

    /// Whether probes to a target can be sent at all.
    pub(crate) fn leads_to(&self, target: IpAddr) -> bool {
        self.verdict_on_silence(target).1 == Reason::NoReply
    }

    /// What it means that a target stayed silent.
    pub(crate) fn verdict_on_silence(&self, target: IpAddr) -> (PortState, Reason) {
        match self.way(target).map(|(_, way)| &way.next) {
            None => (PortState::Unreachable, Reason::NetworkUnreachable),
            Some(NextHop::OnLink { .. }) if self.neighbors.get(target).is_none() => {
                (PortState::Unreachable, Reason::HostUnreachable)
            }
            Some(NextHop::Gateway { mac: None, .. }) => (PortState::Unreachable, Reason::HostUnreachable),
            Some(_) => (PortState::Filtered, Reason::NoReply),
        }
    }
}

impl Network {
    /// Finds the routes, reserves source ports and opens the sockets.
    pub(crate) fn open(config: &ScanConfig) -> Result<Self, ScanError> {
        let attempts = u16::from(config.most_attempts());
        let key = CookieKey::random().map_err(ScanError::io("cannot read /dev/urandom"))?;
        let only = config.interface.as_deref().map(interface_by_name).transpose()?;
        let map = find_routes(&config.targets, only.as_ref())?;
        let reserved = reserve_ports(config.source_port, attempts, on_reply(config, &map), &key)?;
        let first = *reserved.ports().start();
        let ports = SourcePorts::new(first, attempts).ok_or(ScanError::NoSourcePorts { first })?;
        let mut devices = Devices::default();
        let ways =
            map.routes().iter().map(|route| devices.way(route, config.vlan)).collect::<Result<_, _>>()?;
        let neighbors = permanent_neighbors().map_err(ScanError::io("cannot read the neighbour table"))?;
        let paths = Paths { map, ways, neighbors };
        let payloads = Payloads::collect(&config.ports, &config.udp_payloads);
        let memory = OnceCell::new();
        let facts = Facts { paths: &paths, payloads: &payloads, key: &key, ports, carried: &[] };
        let opened = devices.open(config, &facts, &memory)?;
        Ok(Self {
            backend: opened.backend(),
            senders: opened.senders,
            receivers: opened.receivers,
            memory: memory.into_inner(),
            paths,
            key,
            ports,
            payloads,
            _reserved: reserved,
        })
    }

    /// What replies are judged by.
    pub(crate) fn classifier<'a>(&self, space: &'a ProbeSpace) -> Classifier<'a> {
        Classifier { space, key: self.key, ports: self.ports }
    }
}

/// What becomes of answers. Where nothing leaves this machine nothing is to be kept quiet, and its own source ports
/// shall look closed to the scan, as they are.
fn on_reply(config: &ScanConfig, map: &RouteMap) -> OnReply {
    if map.routes().iter().all(|route| route.local) { OnReply::Reset } else { config.on_reply }
}

/// Ports of the user's choice, or any that are free.
fn reserve_ports(
    first: Option<u16>,
    count: u16,
    on_reply: OnReply,
    key: &CookieKey,
) -> Result<ReservedPorts, ScanError> {
    let taken = match first {
        Some(first) => {
            let last = first.checked_add(count - 1).ok_or(ScanError::NoSourcePorts { first })?;
            ReservedPorts::exactly(first..=last, on_reply)
        }
        None => ReservedPorts::take(count, on_reply, key.derived()),
    };
    taken.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ScanError::NoSourcePorts { first: first.unwrap_or_default() },
        _ => ScanError::io("cannot reserve source ports")(error),
    })
}

fn interface_by_name(name: &str) -> Result<Interface, ScanError> {
    Interface::by_name(name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ScanError::NoInterface(name.to_owned()),
        _ => ScanError::io(format!("cannot look at interface {name}"))(error),
    })
}

/// The routes of all targets; targets without one are left out, unless there is none at all.
fn find_routes(targets: &TargetSet, only: Option<&Interface>) -> Result<RouteMap, ScanError> {
    let map = RouteMap::find(targets, only.map(|interface| interface.index))
        .map_err(ScanError::io("cannot ask the kernel for routes"))?;
    match (map.routes().is_empty(), map.unroutable()) {
        (true, Some(address)) => Err(ScanError::NoRoute { address }),
        _ => Ok(map),
    }
}

fn permanent_neighbors() -> io::Result<NeighborTable> {
    let entries = RouteSocket::open()?.neighbors()?;
    Ok(NeighborTable::new(entries.into_iter().map(|entry| (entry.address, entry.mac)).collect()))
}

/// The devices that the routes lead through.
#[derive(Default)]
struct Devices {
    interfaces: Vec<Interface>,
}

/// The devices with their sockets.
#[derive(Default)]
struct OpenDevices {
    senders: Vec<Sender>,
    receivers: Vec<RingReceiver>,
    /// Backend and reason for each.
    chosen: Vec<(&'static str, String)>,
}

impl Devices {
    fn way(&mut self, route: &Route, vlan: Option<ethernet::VlanId>) -> Result<Way, ScanError> {
        let device = match self.interfaces.iter().position(|interface| interface.index == route.device) {
            Some(device) => device,
            None => self.add(route.device)?,
        };
        let hardware = self.interfaces.get(device).and_then(|interface| interface.hardware);
        let next = match (hardware, route.gateway) {
            (None, _) => NextHop::Kernel { local: route.local },
            (Some(hardware), Some(address)) => NextHop::Gateway { hardware, address, mac: None },
            (Some(hardware), None) => NextHop::OnLink { hardware },
        };
        Ok(Way { device, source: route.source, next, vlan })
    }

    fn add(&mut self, index: u32) -> Result<usize, ScanError> {
        let interfaces = Interface::all().map_err(ScanError::io("cannot list the network interfaces"))?;
        let found = interfaces.into_iter().find(|interface| interface.index == index);
        self.interfaces.push(found.ok_or_else(|| ScanError::NoInterface(format!("number {index}")))?);
        Ok(self.interfaces.len() - 1)
    }

    /// Opens sockets on every device.
    fn open(
        self,
        config: &ScanConfig,
        facts: &Facts<'_>,
        memory: &OnceCell<TallyMemories>,
    ) -> Result<OpenDevices, ScanError> {
        let mut opened = OpenDevices::default();
        for (device, interface) in self.interfaces.iter().enumerate() {
            opened.add(&Request { interface, device, config, facts, memory })?;
        }
        opened.insist(config)?;
        Ok(opened)
    }
}

impl OpenDevices {
    fn add(&mut self, request: &Request<'_>) -> Result<(), ScanError> {
        let name = &request.interface.name;
        let vlan = request.config.vlan;
        if vlan.is_some() && request.interface.kind != LinkKind::Ethernet {
            return Err(ScanError::VlanNeedsEthernet { device: name.clone() });
        }
        let failed = |direction: &'static str, error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => ScanError::MissingRight { direction },
            _ => ScanError::io(format!("cannot open a {direction} socket on {name}"))(error),
        };
        let chosen = choose(request).map_err(|refusal| match refusal {
            Refusal::System(error) => failed("sending", error),
            refusal => ScanError::Backend { device: name.clone(), why: refusal.because() },
        })?;
        let mut sender = chosen.sender;
        let fast = sender.generator.as_mut().and_then(|generator| generator.take_receiver());
        let filter = ReplyFilter { ports: request.facts.ports.range() };
        // Where a program takes most of what comes, or little can come, a small ring does.
        let config = request.config;
        let is_small = config.targets.count() * (config.ports.len() as u64).max(1) <= RxConfig::FEW_TARGETS;
        let blocks = if fast.is_some() && config.is_answered_by_tcp() || is_small {
            RxConfig::FEW_BLOCKS
        } else {
            RxConfig::default().blocks
        };
        let ring = RxRing::open(request.interface, &filter, RxConfig { blocks, vlan, ..RxConfig::default() })
            .map_err(|error| failed("receiving", error))?;
        self.receivers.push(RingReceiver::new(ring, fast));
        self.senders.push(sender);
        self.chosen.push((chosen.name, chosen.why));
        Ok(())
    }

    /// Whoever asks for the backend `kernel` gets it on a device at least, or an error.
    fn insist(&self, config: &ScanConfig) -> Result<(), ScanError> {
        if config.backend != BackendChoice::Kernel
            || self.senders.iter().any(|sender| sender.generator.is_some())
        {
            return Ok(());
        }
        let why = "frames made in the kernel need an Ethernet device; none leads to the targets".to_owned();
        Err(ScanError::Backend { device: "the devices of this scan".to_owned(), why })
    }

    /// The names without repeats, and every reason.
    fn backend(&self) -> (String, String) {
        let mut names: Vec<&str> = self.chosen.iter().map(|&(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        let reasons: Vec<&str> = self.chosen.iter().map(|(_, why)| why.as_str()).collect();
        (names.join("+"), reasons.join("; "))
    }
}
