//! Known endpoints: one question on one connection shows whether they are still what they were.

use std::{collections::HashMap, net::IpAddr, sync::Mutex, time::Duration};

use portreeve_model::{Endpoint, SafeText, Service, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use super::{
    IdentifyConfig,
    conversation::{BANNER, Conversation},
};
use crate::database::ProbeRef;

/// After so long an endpoint is looked at in full again: what one question does not show may have changed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Endpoints remembered at most.
const MOST: usize = 200_000;

/// What was found where. Share one between identifiers to make later runs cheaper.
#[derive(Debug, Default)]
pub struct Memory {
    known: Mutex<HashMap<Endpoint, Known>>,
}

/// A result, and how it came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    service: Service,
    /// The question whose answer named the product.
    probe: String,
    /// It was asked inside TLS.
    inside_tls: bool,
    /// What was asked for beyond the service itself.
    audits: Audits,
}

/// What a look goes into beyond the service itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Audits {
    ssh: bool,
    jarm: bool,
}

impl Audits {
    fn of(config: &IdentifyConfig) -> Self {
        Self { ssh: config.ssh_audit, jarm: config.jarm }
    }

    fn hold(self, wanted: Self) -> bool {
        (self.ssh || !wanted.ssh) && (self.jarm || !wanted.jarm)
    }
}

impl Memory {
    /// Endpoints remembered.
    pub fn len(&self) -> usize {
        self.known.lock().map(|known| known.len()).unwrap_or_default()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is remembered of these hosts, for an identifier in another process.
    pub fn known_of(&self, is_wanted: impl Fn(IpAddr) -> bool) -> Vec<Known> {
        let Ok(all) = self.known.lock() else { return Vec::new() };
        all.values().filter(|known| is_wanted(known.service.endpoint.address)).cloned().collect()
    }

    /// Remembers this, and nothing else, of these hosts.
    pub fn relearn(&self, is_of_them: impl Fn(IpAddr) -> bool, known: impl IntoIterator<Item = Known>) {
        if let Ok(mut all) = self.known.lock() {
            all.retain(|endpoint, _| !is_of_them(endpoint.address));
        }
        let known = known.into_iter().filter(|known| is_of_them(known.service.endpoint.address));
        known.for_each(|known| self.remember(known));
    }

    pub(super) fn recall(&self, endpoint: Endpoint, now: Timestamp) -> Option<Known> {
        let known = self.known.lock().ok()?.get(&endpoint).cloned()?;
        let age = now.0.saturating_sub(known.service.seen_at_ms.0);
        (0..LONGEST.as_millis() as i64).contains(&age).then_some(known)
    }

    fn remember(&self, known: Known) {
        if let Ok(mut all) = self.known.lock()
            && (all.len() < MOST || all.contains_key(&known.service.endpoint))
        {
            all.insert(known.service.endpoint, known);
        }
    }

    fn forget(&self, endpoint: Endpoint) {
        if let Ok(mut all) = self.known.lock() {
            all.remove(&endpoint);
        }
    }
}

impl Conversation<'_> {
    /// Asks what named the endpoint last time. The earlier result, if the answer is the same.
    pub async fn verify(&mut self) -> Option<Service> {
        let memory = self.identifier.memory.as_ref()?;
        let known = memory.recall(self.endpoint, (self.identifier.config.clock)())?;
        // A shallower look does not stand for a deeper one.
        if !known.audits.hold(Audits::of(&self.identifier.config)) {
            return None;
        }
        if known.inside_tls {
            self.ask_tls().await;
        }
        if known.probe == BANNER {
            self.listen().await;
        } else {
            let most = self.identifier.most_daring();
            let mut probes = self.identifier.database.probes().into_iter();
            let may = |probe: &ProbeRef| probe.probe.safety <= most && probe.may_go_to(self.endpoint.port);
            let probe = probes.find(|probe| probe.probe.id == known.probe && may(probe))?;
            self.ask_probe(&probe).await;
        }
        self.understand();
        while !self.is_as_before(&known.service)
            && let Some(path) = self.next_page.take()
        {
            self.ask_page(&path).await;
            self.understand();
        }
        if !self.is_as_before(&known.service) {
            return None;
        }
        let mut service = known.service;
        service.connections = self.connections;
        Some(service)
    }

    /// Whether the reading so far, and the certificate, are those of the earlier result.
    fn is_as_before(&self, before: &Service) -> bool {
        let Some(choice) = &self.choice else { return false };
        let same = |field: &str, value: &Option<SafeText>| choice.best.get(field) == value.as_ref();
        let leaf = |service_tls: &Option<portreeve_model::TlsInfo>| {
            service_tls.as_ref().and_then(|tls| tls.certificates.first()).map(|leaf| leaf.sha256.clone())
        };
        Some(&choice.best.name) == before.name.as_ref()
            && same("product", &before.product)
            && same("version", &before.version)
            && same("revision", &before.revision)
            && (!self.inside_tls || leaf(&self.tls) == leaf(&before.tls))
    }

    /// Keeps a result for the next time, if one question would show it again.
    pub fn remember(&self, service: &Service) {
        let Some(memory) = &self.identifier.memory else { return };
        let named = self.choice.as_ref().filter(|choice| choice.best.get("product").is_some());
        match named.filter(|_| service.verdict == Verdict::Identified) {
            Some(choice) => {
                let mut service = service.clone();
                service.seen_at_ms = (self.identifier.config.clock)();
                memory.remember(Known {
                    service,
                    probe: choice.best.probe.clone(),
                    inside_tls: self.inside_tls,
                    audits: Audits::of(&self.identifier.config),
                });
            }
            None => memory.forget(self.endpoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_model::Transport;

    use super::*;

    fn known(last: u8) -> Known {
        let endpoint = Endpoint { address: [10, 99, 0, last].into(), port: 22, transport: Transport::Tcp };
        let service = Service::unrecognised(endpoint, Timestamp(1));
        Known {
            service,
            probe: BANNER.to_owned(),
            inside_tls: false,
            audits: Audits { ssh: true, jarm: true },
        }
    }

    #[test]
    fn another_process_takes_a_part_of_it_and_gives_it_back() {
        let memory = Memory::default();
        memory.relearn(|_| true, [known(1), known(2), known(3)]);
        let is_low = |address: IpAddr| address < IpAddr::from([10, 99, 0, 3]);
        let mut lent = memory.known_of(is_low);
        lent.sort_by_key(|known| known.service.endpoint.address);
        assert_eq!(lent, [known(1), known(2)]);
        // One of them is not what it was; another is none of theirs.
        memory.relearn(is_low, [known(2), known(9)]);
        let mut left = memory.known_of(|_| true);
        left.sort_by_key(|known| known.service.endpoint.address);
        assert_eq!(left, [known(2), known(3)]);
    }
}
