//! From findings to alerts.

use std::{collections::BTreeSet, net::IpAddr};

use portreeve_model::Transport;

use super::{AlertKind, config::AlertConfig, ssh::SshFacts, suspicion::Suspicion};
use crate::policy::Policy;

/// A port that a completed scan found open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFinding {
    /// The host.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Its transport.
    pub transport: Transport,
    /// The job that reported it, by its place in the scan; absent where several did, or none was given.
    pub shard_index: Option<i32>,
    /// It was not open when the network was last looked at (or nobody had looked).
    pub new_in_network: bool,
    /// Its global record, if this scan made it: no network had ever seen the port open.
    pub new_global_port_id: Option<i64>,
}

/// An SSH server that a completed scan spoke to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshFinding {
    /// The host.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// What it offers now.
    pub now: SshFacts,
    /// What it offered the last time a completed scan of the network spoke to it.
    pub before: Option<SshFacts>,
}

/// What a completed scan found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Open ports.
    pub ports: Vec<PortFinding>,
    /// SSH servers.
    pub ssh: Vec<SshFinding>,
    /// Hosts on which everything answers, and who says so.
    pub suspicion: Suspicion,
}

impl Findings {
    /// Whether nothing is told of a port, because its host is suspicious.
    pub fn hushed(&self, port: &PortFinding) -> bool {
        self.suspicion.covers(port.address, port.shard_index)
    }
}

/// Whom an alert concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everyone: the port is new to the whole installation.
    Global,
    /// The network the scan was made for.
    Network,
}

/// What makes two alerts the same: of those there is one unacknowledged alert at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey {
    /// Whom it concerns.
    pub scope: Scope,
    /// What it says.
    pub kind: AlertKind,
    /// About which host.
    pub address: IpAddr,
    /// About which port.
    pub port: u16,
    /// Of which transport: an open alert on 53/tcp must not hide that 53/udp opened.
    pub transport: Transport,
}

/// An alert to raise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAlert {
    /// What it is about.
    pub key: AlertKey,
    /// For people.
    pub message: String,
    /// The global port record, for alerts of global scope.
    pub global_open_port_id: Option<i64>,
}

/// The alerts that a completed scan gives rise to, each key once, those of global scope first. That an alert with the
/// same key is still open is for the store to see: it is counted again, not raised again.
pub fn evaluate(findings: &Findings, policy: &Policy, config: &AlertConfig) -> Vec<NewAlert> {
    let mut raised = Raised::default();
    let ports = || findings.ports.iter().filter(|port| !findings.hushed(port));
    for port in ports() {
        global_port_alert(port, policy, &mut raised);
    }
    for port in ports() {
        network_port_alerts(port, policy, config, &mut raised);
    }
    for server in &findings.ssh {
        ssh_alert(server, config, &mut raised);
    }
    raised.alerts
}

/// Alerts so far, each key once.
#[derive(Default)]
struct Raised {
    keys: BTreeSet<AlertKey>,
    alerts: Vec<NewAlert>,
}

impl Raised {
    fn add(&mut self, key: AlertKey, message: String, global_open_port_id: Option<i64>) {
        if self.keys.insert(key) {
            self.alerts.push(NewAlert { key, message, global_open_port_id });
        }
    }
}

fn global_port_alert(found: &PortFinding, policy: &Policy, raised: &mut Raised) {
    let Some(id) = found.new_global_port_id else { return };
    if policy.standing(found.address, found.port, found.transport).globally_allowed {
        return;
    }
    let place = place(found.address, found.port, found.transport);
    let message = format!("New open port detected globally: {place}");
    raised.add(found.key(Scope::Global, AlertKind::NewPort), message, Some(id));
}

fn network_port_alerts(found: &PortFinding, policy: &Policy, config: &AlertConfig, raised: &mut Raised) {
    let standing = policy.standing(found.address, found.port, found.transport);
    if standing.globally_allowed {
        return;
    }
    let told_globally = config.fold_new_ports && found.new_global_port_id.is_some();
    let checks = [
        (AlertKind::NewPort, found.new_in_network && !told_globally, "New open port detected"),
        (AlertKind::Blocked, standing.blocked, "Blocked port detected"),
        (AlertKind::NotAllowed, standing.outside_allowlist, "Open port not in allowlist"),
    ];
    for (kind, applies, what) in checks {
        if applies && config.wants(kind) {
            let place = place(found.address, found.port, found.transport);
            raised.add(found.key(Scope::Network, kind), format!("{what}: {place}"), None);
        }
    }
}

/// That a server became weaker. Port rules have no say here: an expected SSH server should be a sound one, too. What is
/// wrong with it for longer is told by [`super::standing`].
fn ssh_alert(server: &SshFinding, config: &AlertConfig, raised: &mut Raised) {
    let kind = AlertKind::SshConfigRegression;
    let place = place(server.address, server.port, Transport::Tcp);
    let message = server.before.as_ref().and_then(|before| server.now.regression(before, &place));
    if let Some(message) = message.filter(|_| config.wants(kind)) {
        let (address, port) = (server.address, server.port);
        let key = AlertKey { scope: Scope::Network, kind, address, port, transport: Transport::Tcp };
        raised.add(key, message, None);
    }
}

impl PortFinding {
    fn key(&self, scope: Scope, kind: AlertKind) -> AlertKey {
        let Self { address, port, transport, .. } = *self;
        AlertKey { scope, kind, address, port, transport }
    }
}

/// `address:port`, with the transport where it is not TCP.
pub(super) fn place(address: IpAddr, port: u16, transport: Transport) -> String {
    match transport {
        Transport::Tcp => format!("{address}:{port}"),
        other => format!("{address}:{port}/{other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{alerts::config::AlertDefaults, input::parse_rule_ports, policy::Rule};

    const HOST: &str = "192.0.2.7";

    fn rules(texts: &[&str]) -> Vec<Rule> {
        let one = |text: &&str| {
            let mut words = text.split(' ');
            let action = words.next().expect("action").parse().expect("valid");
            let ports = parse_rule_ports(words.next().expect("ports")).expect("valid");
            Rule {
                address: words.next().map(|word| word.parse().expect("address")),
                ports,
                transport: None,
                action,
            }
        };
        texts.iter().map(one).collect()
    }

    fn port(port: u16) -> PortFinding {
        PortFinding {
            address: HOST.parse().expect("address"),
            port,
            transport: Transport::Tcp,
            shard_index: Some(0),
            new_in_network: false,
            new_global_port_id: None,
        }
    }

    fn all_kinds() -> Value {
        json!({"disabled_types": []})
    }

    struct Case {
        ports: Vec<PortFinding>,
        ssh: Vec<SshFinding>,
        global: &'static [&'static str],
        network: &'static [&'static str],
        config: Option<Value>,
    }

    fn case(ports: Vec<PortFinding>) -> Case {
        Case { ports, ssh: Vec::new(), global: &[], network: &[], config: Some(all_kinds()) }
    }

    fn messages(case: Case) -> Vec<String> {
        let policy = Policy {
            global: rules(case.global).into_iter().collect(),
            network: rules(case.network).into_iter().collect(),
        };
        let config = AlertConfig::resolve(case.config.as_ref(), &AlertDefaults::default());
        let findings = Findings { ports: case.ports, ssh: case.ssh, suspicion: Suspicion::default() };
        let alerts = evaluate(&findings, &policy, &config);
        alerts.into_iter().map(|alert| alert.message).collect()
    }

    #[test]
    fn the_first_scan_of_a_network_finds_everything_new() {
        let new = PortFinding { new_in_network: true, new_global_port_id: Some(5), ..port(80) };
        assert_eq!(
            messages(case(vec![new])),
            ["New open port detected globally: 192.0.2.7:80", "New open port detected: 192.0.2.7:80"]
        );
        // Without settings of its own a network hears of it once.
        assert_eq!(
            messages(Case { config: None, ..case(vec![new]) }),
            ["New open port detected globally: 192.0.2.7:80"]
        );
    }

    #[test]
    fn a_port_that_opens_again_is_new_to_its_network_only() {
        let again = PortFinding { new_in_network: true, ..port(80) };
        let expected = ["New open port detected: 192.0.2.7:80"];
        assert_eq!(messages(case(vec![again])), expected);
        assert_eq!(messages(Case { config: None, ..case(vec![again]) }), expected);
    }

    #[test]
    fn a_known_port_without_rules_is_no_news() {
        assert!(messages(case(vec![port(80)])).is_empty());
    }

    #[test]
    fn block_and_allow_rules_of_a_network_are_judged_apart() {
        let found = || case(vec![PortFinding { new_in_network: true, ..port(23) }]);
        let new = "New open port detected: 192.0.2.7:23";
        let blocked = "Blocked port detected: 192.0.2.7:23";
        let outside = "Open port not in allowlist: 192.0.2.7:23";
        let table: [(&[&str], &[&str]); 8] = [
            (&["block 23"], &[new, blocked]),
            (&["block *"], &[new, blocked]),
            (&["block 20-25 192.0.2.7"], &[new, blocked]),
            (&["block 23 192.0.2.8"], &[new]),
            (&["allow 80"], &[new, outside]),
            (&["allow 22-23"], &[new]),
            (&["allow 23", "block 23"], &[new, blocked]),
            (&["allow 80", "block 23"], &[new, blocked, outside]),
        ];
        for (network, expected) in table {
            assert_eq!(messages(Case { network, ..found() }), expected, "{network:?}");
        }
    }

    #[test]
    fn a_global_allow_rule_silences_every_port_alert() {
        let new = PortFinding { new_in_network: true, new_global_port_id: Some(1), ..port(23) };
        for global in [&["allow 23"][..], &["allow *"], &["allow 1-100 192.0.2.7"]] {
            let quiet = Case { global, network: &["block 23", "allow 80"], ..case(vec![new]) };
            assert!(messages(quiet).is_empty(), "{global:?}");
        }
        let other_host = Case { global: &["allow 23 192.0.2.8"], ..case(vec![new]) };
        assert_eq!(messages(other_host).len(), 2);
        // A global BLOCK rule raises nothing by itself; it makes alerts critical.
        let known = Case { global: &["block 23"], ..case(vec![port(23)]) };
        assert!(messages(known).is_empty());
    }

    #[test]
    fn only_wanted_kinds_are_raised_but_global_ones_always() {
        let new = PortFinding { new_in_network: true, new_global_port_id: Some(1), ..port(23) };
        let some = Case { config: Some(json!({"blocked": true})), network: &["block 23"], ..case(vec![new]) };
        assert_eq!(
            messages(some),
            ["New open port detected globally: 192.0.2.7:23", "Blocked port detected: 192.0.2.7:23"]
        );
    }

    #[test]
    fn transports_are_kept_apart() {
        let tcp = PortFinding { new_in_network: true, ..port(53) };
        let udp = PortFinding { transport: Transport::Udp, ..tcp };
        assert_eq!(
            messages(case(vec![tcp, udp])),
            ["New open port detected: 192.0.2.7:53", "New open port detected: 192.0.2.7:53/udp"]
        );
    }

    #[test]
    fn a_port_listed_twice_is_told_once() {
        let new = PortFinding { new_in_network: true, ..port(80) };
        assert_eq!(messages(case(vec![new, new])).len(), 1);
    }

    #[test]
    fn ssh_alerts_ignore_port_rules() {
        let server = SshFinding {
            address: HOST.parse().expect("address"),
            port: 22,
            now: SshFacts { password: true, ..SshFacts::default() },
            before: Some(SshFacts::default()),
        };
        let found = || Case { ssh: vec![server.clone()], global: &["allow *"], ..case(Vec::new()) };
        assert_eq!(
            messages(found()),
            ["SSH security regression detected on 192.0.2.7:22: password authentication was enabled"]
        );
        assert!(messages(Case { config: Some(json!({"new_port": true})), ..found() }).is_empty());
    }

    #[test]
    fn ipv6_places_read_as_the_documents_write_them() {
        let found = PortFinding {
            address: "2001:db8::1".parse().expect("address"),
            new_in_network: true,
            ..port(443)
        };
        assert_eq!(messages(case(vec![found])), ["New open port detected: 2001:db8::1:443"]);
    }
}
