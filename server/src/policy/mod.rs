//! What a user allows and forbids: port rules, global and per network.
//!
//! A rule names one address or all of them, a range of ports and whether it allows or blocks. The
//! rules of all networks and the global ones never mix: which of them count for a port, and which
//! wins, is decided in [`crate::alerts`] and [`severity`] alone, from the answers [`Policy`] gives.
//!
//! Addresses are compared as addresses, so that `2001:DB8::1` and `2001:db8:0::1` are one host and
//! `::ffff:192.0.2.7` is `192.0.2.7`.

use std::{collections::HashMap, net::IpAddr, str::FromStr};

use portreeve_model::Transport;

use crate::input::RulePorts;

pub mod severity;
pub mod weakness;

/// What a rule says about the ports it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleAction {
    /// Expected to be open.
    Allow,
    /// Must not be open.
    Block,
}

impl FromStr for RuleAction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "allow" => Ok(Self::Allow),
            "block" => Ok(Self::Block),
            other => Err(format!("unknown rule type {other:?}; use allow or block")),
        }
    }
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// One host, or every host when absent.
    pub address: Option<IpAddr>,
    /// Which ports.
    pub ports: RulePorts,
    /// Of which transport, or of all.
    pub transport: Option<Transport>,
    /// Allow or block.
    pub action: RuleAction,
}

/// Rules of one scope, ready to be asked about many ports.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    everywhere: ByAction,
    by_address: HashMap<IpAddr, ByAction>,
}

#[derive(Clone, Debug, Default)]
struct ByAction {
    allow: Vec<Ports>,
    block: Vec<Ports>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    numbers: RulePorts,
    transport: Option<Transport>,
}

impl ByAction {
    fn of(&self, action: RuleAction) -> &[Ports] {
        match action {
            RuleAction::Allow => &self.allow,
            RuleAction::Block => &self.block,
        }
    }
}

impl RuleSet {
    /// Whether a rule of that kind is about the port of that host.
    pub fn matches(&self, action: RuleAction, address: IpAddr, port: u16, transport: Transport) -> bool {
        self.about(action, address)
            .any(|ports| ports.numbers.contains(port) && ports.transport.is_none_or(|only| only == transport))
    }

    /// Whether any rule of that kind, for whatever port, is about the host.
    pub fn has_any(&self, action: RuleAction, address: IpAddr) -> bool {
        self.about(action, address).next().is_some()
    }

    fn about(&self, action: RuleAction, address: IpAddr) -> impl Iterator<Item = &Ports> {
        let own = self.by_address.get(&address.to_canonical());
        self.everywhere.of(action).iter().chain(own.into_iter().flat_map(move |rules| rules.of(action)))
    }
}

impl FromIterator<Rule> for RuleSet {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let mut set = Self::default();
        for Rule { address, ports, transport, action } in rules {
            let scope = match address {
                Some(address) => set.by_address.entry(address.to_canonical()).or_default(),
                None => &mut set.everywhere,
            };
            let ports = Ports { numbers: ports, transport };
            match action {
                RuleAction::Allow => scope.allow.push(ports),
                RuleAction::Block => scope.block.push(ports),
            }
        }
        set
    }
}

/// All rules that count for one network.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Rules for every network.
    pub global: RuleSet,
    /// Rules of the network itself.
    pub network: RuleSet,
}

/// How a policy sees one port. The answers are independent: a port may be both blocked and allowed by
/// rules of its network; what follows from that is not decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// A global ALLOW rule matches: nothing about this port is worth an alert.
    pub globally_allowed: bool,
    /// A global BLOCK rule matches.
    pub globally_blocked: bool,
    /// A BLOCK rule of the network matches.
    pub blocked: bool,
    /// The network has ALLOW rules that are about this host, and none of them matches.
    pub outside_allowlist: bool,
}

impl Policy {
    /// How the policy sees a port.
    pub fn standing(&self, address: IpAddr, port: u16, transport: Transport) -> Standing {
        let matches = |rules: &RuleSet, action| rules.matches(action, address, port, transport);
        let allowed = matches(&self.network, RuleAction::Allow);
        Standing {
            globally_allowed: matches(&self.global, RuleAction::Allow),
            globally_blocked: matches(&self.global, RuleAction::Block),
            blocked: matches(&self.network, RuleAction::Block),
            outside_allowlist: !allowed && self.network.has_any(RuleAction::Allow, address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::parse_rule_ports;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn rule(text: &str) -> Rule {
        let mut words = text.split(' ');
        let action = words.next().expect("action").parse().expect("valid action");
        let ports = words.next().expect("ports");
        let (ports, transport) = match ports.split_once('/') {
            Some((ports, transport)) => (ports, Some(transport.parse().expect("valid transport"))),
            None => (ports, None),
        };
        let ports = parse_rule_ports(ports).expect("valid ports");
        Rule { address: words.next().map(address), ports, transport, action }
    }

    fn standing(global: &[&str], network: &[&str], host: &str, port: u16) -> Standing {
        let set = |rules: &[&str]| rules.iter().copied().map(rule).collect();
        Policy { global: set(global), network: set(network) }.standing(address(host), port, Transport::Tcp)
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        let spelt = standing(&["allow 22 2001:DB8:0:0::1"], &[], "2001:db8::1", 22);
        assert!(spelt.globally_allowed);
        assert!(standing(&["allow 22 192.0.2.7"], &[], "::ffff:192.0.2.7", 22).globally_allowed);
        assert!(!standing(&["allow 22 192.0.2.7"], &[], "192.0.2.70", 22).globally_allowed);
    }

    #[test]
    fn a_star_in_a_network_rule_means_every_port() {
        assert!(standing(&[], &["block *"], "192.0.2.7", 1).blocked);
        assert!(standing(&[], &["block *"], "192.0.2.7", 65535).blocked);
    }

    #[test]
    fn an_allowlist_is_the_union_of_the_hosts_own_rules_and_those_for_all() {
        let rules = ["allow 80", "allow 22 192.0.2.7"];
        assert!(!standing(&[], &rules, "192.0.2.7", 22).outside_allowlist);
        assert!(!standing(&[], &rules, "192.0.2.7", 80).outside_allowlist);
        assert!(standing(&[], &rules, "192.0.2.7", 443).outside_allowlist);
        assert!(standing(&[], &rules, "192.0.2.8", 22).outside_allowlist);
        // A host that no ALLOW rule is about has no allowlist to be outside of.
        assert!(!standing(&[], &["allow 22 192.0.2.7"], "192.0.2.8", 22).outside_allowlist);
    }

    #[test]
    fn global_and_network_rules_do_not_mix() {
        let both = standing(&["block 23"], &["allow 23"], "192.0.2.7", 23);
        assert_eq!(
            both,
            Standing {
                globally_allowed: false,
                globally_blocked: true,
                blocked: false,
                outside_allowlist: false
            }
        );
    }

    #[test]
    fn a_rule_for_one_transport_leaves_the_others_alone() {
        assert!(standing(&[], &["block 53/tcp"], "192.0.2.7", 53).blocked);
        assert!(!standing(&[], &["block 53/udp"], "192.0.2.7", 53).blocked);
    }
}
