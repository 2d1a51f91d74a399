//! What kind of machine a host is, and what runs on it, judged from everything that its services say.
//!
//! Every piece of evidence votes for kinds with points ([`rules`]); points of different kinds of evidence add up, the same
//! evidence on two ports counts once. The kind with the most points is named if it is likelier than all others, and
//! "unknown", together; otherwise nothing is said: no guess is better than a wrong one. The reasons are told with it.

mod kind;
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use portreeve_model::{Endpoint, HostProfile, SafeText, Service, Timestamp, VoteReason};

use self::rules::{PORTS, SERVICES, Source, WORDS};
pub use kind::Kind;

/// What a database entry that names the device is worth.
const NAMED: u8 = 40;
/// What speaks for "unknown".
const UNKNOWN: f64 = 10.0;
/// The least probability at which a kind is named.
const LEAST: f64 = 0.6;
/// Reasons told at most.
const MAX_REASONS: usize = 8;
/// Where `os` comes from when nothing better is known.
const BY_LAYOUT: &str = "layout of the SYN-ACK's options";

/// Evidence about one host; bounded, however many services it has.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Points and reason by rule: a rule counts once.
    votes: BTreeMap<(Kind, Rule), Vote>,
    systems: BTreeMap<SafeText, System>,
    /// Kept for the count alone.
    services: usize,
    seen_at: Timestamp,
}

/// What tells one rule from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    Named,
    Port(u16),
    Service(&'static str),
    /// Number in [`WORDS`].
    Words(usize),
}

#[derive(Clone, Debug)]
struct Vote {
    points: u8,
    reason: SafeText,
}

#[derive(Clone, Debug)]
struct System {
    confidence: u32,
    reason: SafeText,
}

/// Operating systems kept of one host.
const MAX_SYSTEMS: usize = 32;

impl Evidence {
    /// Takes in an open port.
    pub fn add_port(&mut self, endpoint: Endpoint) {
        let port = endpoint.port;
        for (_, kind, points) in PORTS.iter().filter(|(known, ..)| *known == port) {
            self.vote(
                *kind,
                Rule::Port(port),
                *points,
                &format!("port {port}/{} is open", endpoint.transport),
            );
        }
    }

    /// Takes in who made the network interface.
    pub fn add_vendor(&mut self, vendor: &SafeText) {
        self.add_text(Source::Vendor, vendor, None);
    }

    /// Takes in what answers at a port.
    pub fn add_service(&mut self, service: &Service) {
        self.services += 1;
        self.seen_at = self.seen_at.max(service.seen_at_ms);
        self.add_port(service.endpoint);
        let place = service.endpoint;
        if let Some(kind) = service.device.as_ref().and_then(|device| Kind::from_words(device.as_str())) {
            let what = service.product.as_ref().or(service.name.as_ref()).map_or("", SafeText::as_str);
            self.vote(
                kind,
                Rule::Named,
                NAMED,
                &format!("{what} at port {} runs on such devices", place.port),
            );
        }
        if let Some(name) = &service.name {
            for (known, kind, points) in SERVICES.iter().filter(|(known, ..)| *known == name.as_str()) {
                self.vote(
                    *kind,
                    Rule::Service(known),
                    *points,
                    &format!("service {known} at port {}", place.port),
                );
            }
        }
        let page = service.http.as_ref();
        let texts = [
            service.product.as_ref(),
            service.vendor.as_ref(),
            service.info.as_ref(),
            page.and_then(|page| page.title.as_ref()),
            page.and_then(|page| page.realm.as_ref()),
        ];
        for text in texts.into_iter().flatten() {
            self.add_text(Source::Product, text, Some(place));
        }
        if let Some(leaf) = service.tls.as_ref().and_then(|tls| tls.certificates.first()) {
            self.add_text(Source::Certificate, &leaf.subject, Some(place));
        }
        self.add_system(service);
    }

    fn add_system(&mut self, service: &Service) {
        let Some(os) = &service.os else { return };
        let proof = service.evidence.iter().find(|evidence| evidence.field.as_str() == "os");
        let by_layout = proof.is_some_and(|proof| proof.source.as_str() == BY_LAYOUT);
        if !by_layout {
            self.add_text(Source::System, os, Some(service.endpoint));
        }
        if self.systems.len() >= MAX_SYSTEMS && !self.systems.contains_key(os) {
            return;
        }
        let source = proof.map_or("", |proof| proof.source.as_str());
        let system = self.systems.entry(os.clone()).or_insert_with(|| System {
            confidence: 0,
            reason: SafeText::from(format!("{os} from {source} at port {}", service.endpoint.port)),
        });
        system.confidence += if by_layout { 1 } else { u32::from(service.confidence) };
    }

    fn add_text(&mut self, source: Source, text: &SafeText, place: Option<Endpoint>) {
        let lower = text.as_str().to_lowercase();
        for (number, rule) in WORDS.iter().enumerate().filter(|(_, rule)| rule.source == source) {
            if rule.words.iter().any(|word| begins_a_word(&lower, word)) {
                let at = place.map(|place| format!(" at port {}", place.port)).unwrap_or_default();
                let reason = format!("{} {text}{at}", source.as_str());
                self.vote(rule.kind, Rule::Words(number), rule.points, &reason);
            }
        }
    }

    fn vote(&mut self, kind: Kind, rule: Rule, points: u8, reason: &str) {
        self.votes
            .entry((kind, rule))
            .or_insert_with(|| Vote { points, reason: SafeText::sanitize_to(reason.as_bytes(), 200) });
    }

    /// What the evidence comes to; `None` if it says nothing of the host.
    pub fn judge(&self, address: IpAddr) -> Option<HostProfile> {
        let device = self.device();
        let os = self.system();
        if device.is_none() && os.is_none() {
            return None;
        }
        let mut reasons = Vec::new();
        if let Some((kind, _)) = device {
            reasons = self.reasons(kind);
        }
        let confidence = device.map_or(0, |(_, probability)| (probability * 100.0) as u8);
        if let Some((_, system)) = os {
            reasons.push(VoteReason { text: system.reason.clone(), points: 0 });
        }
        Some(HostProfile {
            address,
            os: os.map(|(os, _)| os.clone()),
            device: device.map(|(kind, _)| SafeText::from(kind.as_str())),
            device_confidence: confidence,
            reasons,
            seen_at_ms: self.seen_at,
        })
    }

    /// The likeliest kind and its probability, if it is likely enough.
    fn device(&self) -> Option<(Kind, f64)> {
        let mut points: BTreeMap<Kind, f64> = BTreeMap::new();
        for ((kind, _), vote) in &self.votes {
            *points.entry(*kind).or_default() += f64::from(vote.points);
        }
        let odds = |points: f64| (points / 10.0).exp();
        let all: f64 = points.values().map(|points| odds(*points)).sum::<f64>() + odds(UNKNOWN);
        let (kind, points) = points.into_iter().max_by(|one, other| one.1.total_cmp(&other.1))?;
        let probability = odds(points) / all;
        (probability >= LEAST).then_some((kind, probability))
    }

    /// The system that most services agree on; the one that says more, if they agree on two.
    fn system(&self) -> Option<(&SafeText, &System)> {
        let weight = |(os, system): &(&SafeText, &System)| (system.confidence, os.as_str().len());
        self.systems.iter().max_by_key(weight)
    }

    fn reasons(&self, kind: Kind) -> Vec<VoteReason> {
        let mut votes: Vec<_> =
            self.votes.iter().filter(|((voted, _), _)| *voted == kind).map(|(_, vote)| vote).collect();
        votes.sort_by_key(|vote| std::cmp::Reverse(vote.points));
        let mut told = BTreeSet::new();
        votes.retain(|vote| told.insert(vote.reason.clone()));
        let reason = |vote: &&Vote| VoteReason { text: vote.reason.clone(), points: vote.points };
        votes.iter().take(MAX_REASONS).map(reason).collect()
    }
}

/// Whether `word` occurs where a word begins: "ilo" is not in "silo".
fn begins_a_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|head| head.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|tail| tail.chars().next());
        let is_letter = |c: char| c.is_alphanumeric();
        // Short words must also end there.
        !before.is_some_and(is_letter) && (word.len() > 4 || !after.is_some_and(char::is_alphabetic))
    })
}

#[cfg(test)]
mod tests {
    use portreeve_model::{HttpInfo, Transport, Verdict};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 99, 0, 9));

    fn service(port: u16, name: &str, product: &str) -> Service {
        let endpoint = Endpoint { address: ADDRESS, port, transport: Transport::Tcp };
        Service {
            name: Some(name.into()),
            product: Some(product).filter(|product| !product.is_empty()).map(SafeText::from),
            verdict: Verdict::Identified,
            confidence: 90,
            ..Service::unrecognised(endpoint, Timestamp(7))
        }
    }

    fn device(services: &[Service], vendor: &str) -> Option<String> {
        let mut evidence = Evidence::default();
        for service in services {
            evidence.add_service(service);
        }
        if !vendor.is_empty() {
            evidence.add_vendor(&vendor.into());
        }
        evidence.judge(ADDRESS)?.device.map(SafeText::into_string)
    }

    #[test]
    fn hosts_are_what_their_services_say_together() {
        let titled = |title: &str| Service {
            http: Some(HttpInfo { title: Some(title.into()), ..HttpInfo::default() }),
            ..service(80, "http", "")
        };
        let running = |os: &str| Service { os: Some(os.into()), ..service(22, "ssh", "OpenSSH") };
        for (kind, services, vendor) in [
            ("printer", vec![service(9100, "jetdirect", ""), service(631, "ipp", "CUPS")], ""),
            ("printer", vec![titled("HP LaserJet Pro M404")], "Hewlett Packard"),
            (
                "camera",
                vec![service(554, "rtsp", ""), service(80, "http", "")],
                "Hangzhou Hikvision Digital Technology",
            ),
            ("router", vec![titled("RouterOS router configuration page")], "Routerboard.com"),
            (
                "nas",
                vec![titled("Synology DiskStation - nas"), service(445, "microsoft-ds", "Samba smbd")],
                "",
            ),
            ("hypervisor", vec![service(902, "vmware-auth", "VMware Authentication Daemon")], "Dell Inc."),
            ("firewall", vec![titled("FortiGate")], ""),
            ("server", vec![running("Debian 12"), service(5432, "postgresql", "PostgreSQL")], ""),
            ("workstation", vec![running("Windows 11 22H2")], ""),
            ("bmc", vec![titled("iDRAC9 - login")], ""),
            (
                "voip-phone",
                vec![service(5060, "sip", "Yealink SIP-T46S")],
                "YEALINK(XIAMEN) NETWORK TECHNOLOGY",
            ),
            ("plc", vec![service(102, "s7comm", "")], "Siemens AG"),
            ("phone", vec![service(62078, "iphone-sync", "")], "Apple, Inc."),
        ] {
            assert_eq!(device(&services, vendor).as_deref(), Some(kind), "{services:?}");
        }
    }

    #[test]
    fn what_could_be_anything_is_nothing() {
        assert_eq!(device(&[service(22, "ssh", "OpenSSH"), service(80, "http", "nginx")], ""), None);
        assert_eq!(device(&[], "Intel Corporate"), None);
        assert_eq!(device(&[service(80, "http", "Silo storage")], ""), None);
        // A web server of a NAS and of a printer on one address: behind it is no single device.
        let both = [service(80, "http", "Synology DSM"), service(81, "http", "HP LaserJet")];
        assert_eq!(device(&both, ""), None);
    }

    #[test]
    fn the_same_word_on_many_ports_counts_once_and_reasons_are_told() {
        let mut evidence = Evidence::default();
        for port in 3000..4000 {
            evidence.add_service(&service(port, "http", "MikroTik RouterOS"));
        }
        assert!(evidence.votes.len() < 20);
        let profile = evidence.judge(ADDRESS).expect("a profile");
        assert_eq!(profile.device.as_ref().map(SafeText::as_str), Some("router"));
        assert!(profile.reasons.len() <= MAX_REASONS && profile.device_confidence >= 90, "{profile:?}");
        assert!(
            profile
                .reasons
                .iter()
                .any(|reason| reason.text.as_str().contains("MikroTik RouterOS at port 3000"))
        );
        assert_eq!(profile.seen_at_ms, Timestamp(7));
    }

    #[test]
    fn what_services_say_of_the_system_beats_the_layout_of_packets() {
        let layout = portreeve_model::Evidence { field: "os".into(), source: BY_LAYOUT.into(), entry: None };
        let mut evidence = Evidence::default();
        for port in 1..9 {
            let guessed = Service {
                os: Some("Linux".into()),
                evidence: vec![layout.clone()],
                ..service(port, "x", "")
            };
            evidence.add_service(&guessed);
        }
        evidence.add_service(&Service {
            os: Some("Windows Server 2019".into()),
            ..service(445, "microsoft-ds", "")
        });
        let profile = evidence.judge(ADDRESS).expect("a profile");
        assert_eq!(profile.os.as_ref().map(SafeText::as_str), Some("Windows Server 2019"));
        assert_eq!(profile.device.as_ref().map(SafeText::as_str), Some("server"));
    }
}
