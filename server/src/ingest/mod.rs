//! From what an agent saw to the current state and its changes.
//!
//! [`decode`] reads a batch, [`Sightings`] holds what is usable of it, and [`store`](crate::store::ingest) writes
//! it with a handful of set-based statements. The caller's transaction also holds the batch's number, so that a
//! batch counts once or not at all.

use std::{collections::BTreeMap, net::IpAddr};

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use portreeve_model::{
    Endpoint, HostProfile, HostReason, HostSighting, MacAddress, Observation, PortState, Service, Timestamp,
    Verdict, protocol::Record,
};
use sqlx::PgConnection;

pub mod decode;
pub mod fingerprints;

use crate::store::ingest as store;
pub use crate::store::ingest::OpenedPort;
use crate::store::ingest::Upserted;

/// Reasons kept of one host.
const MAX_REASONS: usize = 16;

/// Which scan the sightings belong to, and what they are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The scan.
    pub scan_id: i64,
    /// Its network.
    pub network_id: i64,
    /// The job that they come from, by its place in the scan; absent where an agent is not given jobs.
    pub shard_index: Option<i32>,
    /// Addresses the scan was for: nothing is believed about others.
    pub block: IpNet,
    /// When the scan began.
    pub started_at: DateTime<Utc>,
    /// The time now.
    pub now: DateTime<Utc>,
}

/// A host that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRow {
    /// Its address.
    pub address: IpAddr,
    /// It answered an echo request; `None` if that is not how it was found.
    pub pingable: Option<bool>,
    /// Its hardware address, if known.
    pub mac: Option<MacAddress>,
    /// Who made the interface.
    pub mac_vendor: Option<String>,
    /// Its name.
    pub hostname: Option<String>,
    /// When.
    pub seen_at: DateTime<Utc>,
}

/// A port and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRow {
    /// Which port.
    pub endpoint: Endpoint,
    /// What was concluded.
    pub state: PortState,
    /// From which reply, by its name; absent where an agent does not tell.
    pub reason: Option<&'static str>,
    /// Time to live of the reply.
    pub ttl: Option<i16>,
    /// From probe to reply.
    pub rtt_us: Option<i32>,
    /// When.
    pub seen_at: DateTime<Utc>,
}

/// What scanned hosts showed, checked, each place once, in the order of their addresses: writers that
/// take rows in one order cannot lock each other out.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    hosts: BTreeMap<IpAddr, HostRow>,
    ports: BTreeMap<Endpoint, PortRow>,
    services: BTreeMap<Endpoint, Service>,
    profiles: BTreeMap<IpAddr, HostProfile>,
    /// Records that were left out because they are about addresses outside the scan.
    pub foreign: u64,
}

impl Sightings {
    /// Takes in the records of a batch.
    pub fn from_records(records: Vec<Record>, origin: &Origin) -> Self {
        let mut sightings = Self::default();
        for record in records {
            match record {
                Record::Host(host) => sightings.add_host(*host, origin),
                Record::Port(port) => sightings.add_observation(&port, origin),
                Record::Profile(profile) => sightings.add_profile(*profile, origin),
                Record::Service(service) => sightings.add_service(*service, origin),
            }
        }
        sightings
    }

    /// How many hosts, ports and services there are.
    pub fn len(&self) -> usize {
        self.hosts.len() + self.ports.len() + self.services.len() + self.profiles.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add_host(&mut self, host: HostSighting, origin: &Origin) {
        let HostSighting { address, reason, mac, mac_vendor, hostname, seen_at_ms, .. } = host;
        self.add_host_row(
            HostRow {
                address,
                pingable: (reason == HostReason::EchoReply).then_some(true),
                mac,
                mac_vendor: mac_vendor.map(|text| shortened(text.as_str(), 255)),
                hostname: hostname.map(|text| shortened(text.as_str(), 255)).filter(|name| !name.is_empty()),
                seen_at: origin.time_of(seen_at_ms),
            },
            origin,
        );
    }

    /// Takes in a host; what an earlier row told of it stays known.
    pub fn add_host_row(&mut self, mut row: HostRow, origin: &Origin) {
        row.address = row.address.to_canonical();
        if !origin.block.contains(&row.address) {
            self.foreign += 1;
            return;
        }
        let known = self.hosts.remove(&row.address);
        if let Some(known) = known {
            row.pingable = row.pingable.or(known.pingable);
            row.mac = row.mac.or(known.mac);
            row.mac_vendor = row.mac_vendor.or(known.mac_vendor);
            row.hostname = row.hostname.or(known.hostname);
            row.seen_at = row.seen_at.max(known.seen_at);
        }
        self.hosts.insert(row.address, row);
    }

    fn add_observation(&mut self, seen: &Observation, origin: &Origin) {
        self.add_port_row(
            PortRow {
                endpoint: seen.endpoint(),
                state: seen.state,
                reason: Some(seen.reason.as_str()),
                ttl: seen.ttl.map(i16::from),
                rtt_us: seen.rtt_us.map(|rtt| i32::try_from(rtt).unwrap_or(i32::MAX)),
                seen_at: origin.time_of(seen.seen_at_ms),
            },
            origin,
        );
    }

    /// Takes in a port. Seen twice, open wins: something did accept the probe.
    pub fn add_port_row(&mut self, mut row: PortRow, origin: &Origin) {
        row.endpoint.address = row.endpoint.address.to_canonical();
        if !origin.block.contains(&row.endpoint.address) {
            self.foreign += 1;
            return;
        }
        let known = self.ports.get(&row.endpoint);
        if known.is_none_or(|known| known.state != PortState::Open || row.state == PortState::Open) {
            self.ports.insert(row.endpoint, row);
        }
    }

    /// Takes in what answers at a port; said twice, the last word counts, and a banner is not forgotten.
    pub fn add_service(&mut self, mut service: Service, origin: &Origin) {
        service.endpoint.address = service.endpoint.address.to_canonical();
        service.seen_at_ms = Timestamp(origin.time_of(service.seen_at_ms).timestamp_millis());
        if !origin.block.contains(&service.endpoint.address) {
            self.foreign += 1;
        } else if service.verdict != Verdict::Unreachable {
            let known = self.services.remove(&service.endpoint);
            service.banner = service.banner.or_else(|| known.and_then(|known| known.banner));
            self.services.insert(service.endpoint, service);
        }
    }

    fn add_profile(&mut self, mut profile: HostProfile, origin: &Origin) {
        profile.address = profile.address.to_canonical();
        if !origin.block.contains(&profile.address) {
            self.foreign += 1;
            return;
        }
        profile.reasons.truncate(MAX_REASONS);
        self.profiles.insert(profile.address, profile);
    }

    /// Hosts worth a row: those reported as such, and those with an open port.
    fn host_rows(&self) -> Vec<HostRow> {
        let mut hosts = self.hosts.clone();
        // A closed port's answer also shows that the host is there.
        for port in
            self.ports.values().filter(|port| matches!(port.state, PortState::Open | PortState::Closed))
        {
            let address = port.endpoint.address;
            let row = hosts.entry(address).or_insert_with(|| HostRow {
                address,
                pingable: None,
                mac: None,
                mac_vendor: None,
                hostname: None,
                seen_at: port.seen_at,
            });
            row.seen_at = row.seen_at.max(port.seen_at);
        }
        hosts.into_values().collect()
    }
}

impl Origin {
    /// An agent's time, kept within what is possible: its clock may be wrong by any amount.
    pub fn time_of(&self, stamp: Timestamp) -> DateTime<Utc> {
        let told = DateTime::from_timestamp_millis(stamp.0).unwrap_or(self.now);
        told.clamp(self.started_at.min(self.now), self.now)
    }
}

fn shortened(text: &str, max_characters: usize) -> String {
    text.chars().take(max_characters).collect()
}

/// What became of sightings.
#[derive(Clone, Debug, Default)]
pub struct Ingested {
    /// Ports that opened, to be told to open pages.
    pub opened: Vec<OpenedPort>,
    /// Ports whose service was told or changed, to be told to open pages.
    pub identified: Vec<OpenedPort>,
}

/// Writes sightings: hosts, ports, changes, the run's rows and the raw observations.
pub async fn apply(db: &mut PgConnection, origin: &Origin, sightings: &Sightings) -> sqlx::Result<Ingested> {
    let ports: Vec<_> = sightings.ports.values().collect();
    let in_state = |state| ports.iter().copied().filter(|port| port.state == state).collect::<Vec<_>>();
    let (open, closed) = (in_state(PortState::Open), in_state(PortState::Closed));
    let services: Vec<_> = sightings.services.values().collect();

    store::hold_network(&mut *db, origin.network_id).await?;
    store::upsert_hosts(&mut *db, origin, &sightings.host_rows()).await?;
    let Upserted { opened, new_in_run } = store::upsert_open_ports(&mut *db, origin, &open).await?;
    store::close_refused_ports(&mut *db, origin, &closed).await?;
    store::append_observations(&mut *db, origin, &ports).await?;
    let identified = store::apply_services(&mut *db, origin, &services).await?;
    let profiles: Vec<_> = sightings.profiles.values().collect();
    store::apply_profiles(&mut *db, &profiles).await?;
    store::record_identifiers(&mut *db, origin, &services).await?;
    store::record_ssh_audits(&mut *db, origin, &services).await?;
    store::record_certificates(&mut *db, origin, &services).await?;
    store::count_run(&mut *db, origin.scan_id, new_in_run, sightings.hosts.len() as i32).await?;
    Ok(Ingested { opened, identified })
}

#[cfg(test)]
mod tests {
    use portreeve_model::{Reason, Transport};

    use super::*;

    fn origin() -> Origin {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).expect("a time").to_utc();
        Origin {
            scan_id: 1,
            network_id: 1,
            shard_index: Some(0),
            block: "10.99.0.0/24".parse().expect("a block"),
            started_at: at("2026-11-21T10:00:00Z"),
            now: at("2026-11-21T10:05:00Z"),
        }
    }

    fn port(address: &str, state: PortState, seen_at_ms: i64) -> Record {
        Record::Port(Observation {
            address: address.parse().expect("an address"),
            port: 22,
            transport: Transport::Tcp,
            state,
            reason: Reason::SynAck,
            ttl: Some(64),
            rtt_us: Some(u32::MAX),
            seen_at_ms: Timestamp(seen_at_ms),
            syn_ack: None,
        })
    }

    #[test]
    fn addresses_outside_the_scan_are_not_believed() {
        let records = vec![
            port("10.99.0.7", PortState::Open, 0),
            port("10.98.0.7", PortState::Open, 0),
            port("::1", PortState::Open, 0),
        ];
        let sightings = Sightings::from_records(records, &origin());
        assert_eq!((sightings.len(), sightings.foreign), (1, 2));
    }

    #[test]
    fn mapped_addresses_are_the_addresses_they_map() {
        let records =
            vec![port("::ffff:10.99.0.7", PortState::Open, 0), port("10.99.0.7", PortState::Open, 0)];
        assert_eq!(Sightings::from_records(records, &origin()).len(), 1);
    }

    #[test]
    fn open_wins_over_closed_whatever_the_order() {
        for states in [[PortState::Open, PortState::Closed], [PortState::Closed, PortState::Open]] {
            let records = states.map(|state| port("10.99.0.7", state, 0)).to_vec();
            let sightings = Sightings::from_records(records, &origin());
            assert!(sightings.ports.values().all(|port| port.state == PortState::Open));
        }
    }

    #[test]
    fn a_wrong_clock_cannot_leave_the_scans_time() {
        let origin = origin();
        for (told, expected) in [
            (i64::MIN, origin.now),
            (0, origin.started_at),
            (i64::MAX, origin.now),
            (origin.started_at.timestamp_millis() + 1_000, origin.started_at + chrono::TimeDelta::seconds(1)),
            (origin.now.timestamp_millis() + 86_400_000, origin.now),
        ] {
            assert_eq!(origin.time_of(Timestamp(told)), expected, "{told}");
        }
    }

    #[test]
    fn a_host_with_a_port_is_a_host() {
        let records = vec![
            port("10.99.0.7", PortState::Open, 0),
            port("10.99.0.8", PortState::Closed, 0),
            port("10.99.0.9", PortState::Filtered, 0),
        ];
        let hosts = Sightings::from_records(records, &origin()).host_rows();
        let addresses: Vec<_> = hosts.iter().map(|host| host.address.to_string()).collect();
        assert_eq!(addresses, ["10.99.0.7", "10.99.0.8"]);
    }
}
