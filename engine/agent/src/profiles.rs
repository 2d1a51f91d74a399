//! What the hosts of a scan are, judged when all their services have answered.

use std::{collections::HashMap, net::IpAddr};

use portreeve_model::{PortState, protocol::Record};
use portreeve_probes::device::Evidence;

/// Evidence gathered while a scan runs.
#[derive(Default)]
pub(crate) struct Profiles(HashMap<IpAddr, Evidence>);

impl Profiles {
    /// Takes in what a record tells of its host.
    pub(crate) fn learn(&mut self, record: &Record) {
        match record {
            Record::Host(sighting) => {
                if let Some(vendor) = &sighting.mac_vendor {
                    self.0.entry(sighting.address).or_default().add_vendor(vendor);
                }
            }
            Record::Port(seen) if seen.state == PortState::Open => {
                self.0.entry(seen.address).or_default().add_port(seen.endpoint());
            }
            Record::Service(service) => {
                self.0.entry(service.endpoint.address).or_default().add_service(service);
            }
            Record::Port(_) | Record::Profile(_) => {}
        }
    }

    /// A record for every host of which something can be said.
    pub(crate) fn judge(self) -> impl Iterator<Item = Record> {
        let profile = |(address, evidence): (IpAddr, Evidence)| evidence.judge(address);
        self.0.into_iter().filter_map(profile).map(|profile| Record::Profile(Box::new(profile)))
    }
}
