//! Which questions suit a port, in which order. A port is a hint here, never a condition.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::database::{Carrier, Database, Example, Family, LAST_GENERAL_TIER, Ports, ProbeRef, Safety};

/// Tiers up to this are asked of the service's usual ports; those above only after a reading.
const LAST_USUAL_TIER: u8 = 5;

/// The database's probes, arranged by port.
#[derive(Debug)]
pub(super) struct Plan {
    /// Questions for ports where the service is usual, best first.
    usual: HashMap<u16, Vec<ProbeRef>>,
    /// Questions for any port.
    general: Vec<ProbeRef>,
    /// Questions that only make sense after a reading.
    follow_up: Vec<ProbeRef>,
    /// Ports on which the usual service speaks first.
    greeting: HashSet<u16>,
    /// Ports on which TLS is spoken from the first byte.
    tls: HashSet<u16>,
    /// Datagrams by port, for any port, and after a reading.
    udp: HashMap<u16, Vec<ProbeRef>>,
    udp_general: Vec<ProbeRef>,
    udp_follow_up: Vec<ProbeRef>,
    names: HashMap<u16, Arc<str>>,
}

/// Ports of printers: what is sent there may come out on paper.
pub(super) fn is_print_port(port: u16) -> bool {
    matches!(port, 515 | 9100..=9107)
}

/// Ports of industrial controllers, which strange bytes have stopped before: Modbus, ISO-TSAP,
/// Niagara Fox, PCWorx, IEC 104, MELSEC, HART-IP, FINS, GE SRTP, DNP3, ProConOS, EtherNet/IP, BACnet …
pub(super) fn is_ot_port(port: u16) -> bool {
    matches!(
        port,
        102 | 502 | 789 | 1089..=1091 | 1911 | 1962 | 2404 | 4911 | 5006 | 5007 | 5094 | 9600 | 11740 | 18245 | 18246
            | 20000 | 20256 | 20547 | 34962..=34964 | 41100 | 44818 | 47808 | 48898
    )
}

/// Whether a port is one of printers or industrial controllers.
pub fn is_delicate_port(port: u16) -> bool {
    is_print_port(port) || is_ot_port(port)
}

impl ProbeRef {
    /// Whether it may be sent to that port. Nobody here knows what others' questions do to a printer or a controller:
    /// they never get one, whatever the policy allows.
    pub(super) fn may_go_to(&self, port: u16) -> bool {
        self.foreign
            .as_ref()
            .is_none_or(|avoid| !is_delicate_port(port) && !avoid.holds(self.probe.transport, port))
    }
}

/// Whether a service speaks first: what it is asked follows a greeting, or nothing is asked and it is known unasked.
fn greets(family: &Family) -> bool {
    let mut questions =
        family.probes.iter().filter(|probe| probe.transport == Carrier::Tcp && !probe.reserved);
    let mut examples = family.entries.iter().flat_map(|entry| &entry.examples);
    let is_unasked = |example: &Example| example.on.is_none() && !example.reply.is_empty();
    let is_asked = questions.next().is_some();
    family.probes.iter().any(|probe| probe.greets) || !is_asked && examples.any(is_unasked)
}

/// When a question is asked of ports that are nobody's usual ones: imported ones, which somebody has asked for, come before
/// ours of single protocols, of which there are more than connections.
fn turn(probe: &ProbeRef) -> u8 {
    match (&probe.foreign, probe.probe.tier) {
        (None, LAST_GENERAL_TIER) => 2,
        (None, _) => 0,
        (Some(_), _) => 1,
    }
}

impl Plan {
    pub fn new(database: &Database) -> Self {
        let mut plan = Self {
            usual: HashMap::new(),
            general: Vec::new(),
            follow_up: Vec::new(),
            greeting: HashSet::new(),
            tls: HashSet::new(),
            udp: HashMap::new(),
            udp_general: Vec::new(),
            udp_follow_up: Vec::new(),
            names: HashMap::new(),
        };
        for probe in database.probes() {
            plan.place(database, &probe);
        }
        plan.general.sort_by_key(turn);
        for family in database.families() {
            let service: Arc<str> = Arc::from(family.service.as_str());
            if greets(family) {
                plan.greeting.extend(family.ports.tcp.iter().chain(&family.ports.tls));
            }
            for port in family.ports.tcp.iter().chain(&family.ports.tls).chain(&family.ports.udp) {
                plan.names.entry(*port).or_insert_with(|| Arc::clone(&service));
            }
            plan.tls.extend(&family.ports.tls);
        }
        plan
    }

    fn place(&mut self, database: &Database, probe: &ProbeRef) {
        if !probe.probe.after.is_empty() {
            match probe.probe.transport {
                Carrier::Tcp => self.follow_up.push(probe.clone()),
                Carrier::Udp => self.udp_follow_up.push(probe.clone()),
            }
            if probe.probe.tier > LAST_USUAL_TIER {
                return;
            }
        }
        self.tls.extend(probe.probe.ports.tls.iter().filter(|port| probe.may_go_to(**port)));
        let of_file = || {
            let families = database.families();
            let own = |family: &&Family| family.probes.iter().any(|own| own.id == probe.probe.id);
            families.filter(own).map(|family| &family.ports).collect()
        };
        let ports: Vec<&Ports> =
            if probe.probe.ports.is_empty() { of_file() } else { vec![&probe.probe.ports] };
        for ports in ports {
            let (map, list): (_, Vec<u16>) = match probe.probe.transport {
                Carrier::Tcp => (&mut self.usual, ports.tcp.iter().chain(&ports.tls).copied().collect()),
                Carrier::Udp => (&mut self.udp, ports.udp.clone()),
            };
            for port in list.into_iter().filter(|port| probe.may_go_to(*port)) {
                map.entry(port).or_default().push(probe.clone());
            }
        }
        if probe.probe.tier <= LAST_GENERAL_TIER {
            match probe.probe.transport {
                Carrier::Tcp => self.general.push(probe.clone()),
                Carrier::Udp => self.udp_general.push(probe.clone()),
            }
        }
    }

    /// Questions for this port, best first: those of its usual services, then the general ones that no earlier ending
    /// rules out.
    pub fn questions<'a>(
        &'a self,
        port: u16,
        most: Safety,
        endings: &'a HashSet<String>,
    ) -> impl Iterator<Item = &'a ProbeRef> {
        let usual = self.usual.get(&port).into_iter().flatten();
        let may = move |probe: &&ProbeRef| probe.probe.safety <= most && probe.may_go_to(port);
        let is_open =
            |probe: &&ProbeRef| !probe.probe.unless.iter().any(|ending| endings.contains(ending.as_str()));
        usual.chain(self.general.iter().filter(is_open)).filter(may)
    }

    /// Whether the port's usual service waits for the client to speak.
    pub fn speaks_first(&self, port: u16) -> bool {
        let waits =
            |probe: &ProbeRef| !probe.probe.greets && !probe.probe.reserved && probe.foreign.is_none();
        self.usual.get(&port).is_some_and(|probes| probes.iter().any(waits))
    }

    /// Whether the port's usual service greets its clients.
    pub fn greets(&self, port: u16) -> bool {
        self.greeting.contains(&port)
    }

    /// Questions that depend on a reading.
    pub fn follow_ups(&self, port: u16, most: Safety) -> impl Iterator<Item = &ProbeRef> {
        let suits = move |probe: &&ProbeRef| {
            probe.may_go_to(port) && (!probe.probe.usual || self.is_usual(port, probe))
        };
        self.follow_up.iter().filter(move |probe| probe.probe.safety <= most).filter(suits)
    }

    /// Whether the probe suits the usual service of that port.
    pub fn is_usual(&self, port: u16, probe: &ProbeRef) -> bool {
        let map = match probe.probe.transport {
            Carrier::Tcp => &self.usual,
            Carrier::Udp => &self.udp,
        };
        map.get(&port).is_some_and(|probes| probes.iter().any(|own| own.probe.id == probe.probe.id))
    }

    /// Datagrams for this port, best first, and then those for any port.
    pub fn datagrams(&self, port: u16, most: Safety) -> impl Iterator<Item = &ProbeRef> {
        let usual = self.udp.get(&port).into_iter().flatten();
        let may = move |probe: &&ProbeRef| probe.probe.safety <= most && probe.may_go_to(port);
        usual.chain(&self.udp_general).filter(may)
    }

    /// Datagrams that depend on a reading.
    pub fn datagrams_after(&self, port: u16, most: Safety) -> impl Iterator<Item = &ProbeRef> {
        let may = move |probe: &&ProbeRef| probe.probe.safety <= most && probe.may_go_to(port);
        self.udp_follow_up.iter().filter(may)
    }

    pub fn expects_tls(&self, port: u16) -> bool {
        self.tls.contains(&port)
    }

    /// The service that usually has this port.
    pub fn usual_name(&self, port: u16) -> Option<&str> {
        self.names.get(&port).map(|name| &**name)
    }

    /// The best datagram for a port that is no more daring than `most`.
    pub fn usual_datagram(&self, port: u16, most: Safety) -> Option<&ProbeRef> {
        let mut probes = self.udp.get(&port)?.iter();
        probes.find(|probe| probe.probe.safety <= most && !probe.probe.after_scan)
    }
}
