//! The shape of a database file. `probes/db/README.md` explains it to those who write one.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One file: a product family that speaks one protocol.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Version of the format: 1.
    pub schema: u8,
    /// Protocol name in the IANA registry's spelling.
    pub service: String,
    /// What kind of thing it is, as `database`.
    pub family: String,
    /// Whose knowledge it is, if not ours (`recog`): its entries fill gaps, and their examples are judged by themselves,
    /// since a better reading of ours may win.
    #[serde(default)]
    pub origin: Option<String>,
    /// The licence of that knowledge, by its short name.
    #[serde(default)]
    pub licence: Option<String>,
    /// Whether the licence keeps the file with whoever made it: it is never handed on to another machine.
    #[serde(default)]
    pub not_redistributable: bool,
    /// Of its entries that read one reply, the first counts: scores decide among other files alone.
    #[serde(default)]
    pub ordered: bool,
    /// Its entries have no examples, because their origin has none.
    #[serde(default)]
    pub untested: bool,
    /// Ports that none of its questions may be sent to.
    #[serde(default)]
    pub avoid: Avoid,
    /// Where the service is usually found: a hint for the order of questions, never a condition.
    #[serde(default)]
    pub ports: Ports,
    /// Questions to ask.
    #[serde(default, rename = "probe")]
    pub probes: Vec<Probe>,
    /// Answers known.
    #[serde(default, rename = "match")]
    pub entries: Vec<Entry>,
}

/// Usual ports of a service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// Over TCP in the clear.
    #[serde(default)]
    pub tcp: Vec<u16>,
    /// Over TCP inside TLS from the first byte.
    #[serde(default)]
    pub tls: Vec<u16>,
    /// Over UDP.
    #[serde(default)]
    pub udp: Vec<u16>,
}

/// Ranges of ports, first and last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Avoid {
    /// Over TCP.
    #[serde(default)]
    pub tcp: Vec<(u16, u16)>,
    /// Over UDP.
    #[serde(default)]
    pub udp: Vec<(u16, u16)>,
}

impl Avoid {
    /// Whether a question carried so may not go to that port.
    pub fn holds(&self, carrier: Carrier, port: u16) -> bool {
        let ranges = match carrier {
            Carrier::Tcp => &self.tcp,
            Carrier::Udp => &self.udp,
        };
        ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }
}

impl Ports {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.tls.is_empty() && self.udp.is_empty()
    }
}

/// What carries a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// A TCP connection, in the clear or inside TLS.
    #[default]
    Tcp,
    /// One datagram.
    Udp,
}

/// What a probe may do to what it meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Safety {
    /// Ordinary use of the protocol.
    #[default]
    Safe,
    /// Leaves an error in the service's log.
    Noisy,
    /// Read-only request to an industrial controller: only where the policy allows it.
    Ot,
    /// Bytes that a printer could print: only where the policy allows it.
    Print,
}

/// One question, maybe in several steps.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Unique name, as `redis-info`.
    pub id: String,
    /// Ports of its own, where those of the file do not suit it.
    #[serde(default)]
    pub ports: Ports,
    /// For identification alone: a scan does not find ports with it.
    #[serde(default)]
    pub after_scan: bool,
    /// What carries it.
    #[serde(default)]
    pub transport: Carrier,
    /// What is sent, in the notation of `bytes.rs`; a reply is read after each step.
    #[serde(default)]
    pub send: Vec<String>,
    /// Instead of `send`: the path of an HTTP GET.
    #[serde(default)]
    pub path: Option<String>,
    /// Bytes of `send` that are drawn anew for each conversation: to a question that it knows, the server says nothing.
    #[serde(default)]
    pub cookie: Option<String>,
    /// The server greets first: read before the first step, and a listening connection can be reused.
    #[serde(default)]
    pub greets: bool,
    /// Nothing is said after the last step, and the server is told so: some answer only then.
    #[serde(default)]
    pub finishes: bool,
    /// Called from a port below 1024, and nothing is said.
    #[serde(default)]
    pub reserved: bool,
    /// Asked after a reading on the family's usual ports alone.
    #[serde(default)]
    pub usual: bool,
    /// Asked after these readings: names of services, or ids of entries (those with a slash). On usual
    /// ports asked unprompted too, if the tier allows it.
    #[serde(default)]
    pub after: Vec<String>,
    /// 1-4 asked of every port that does not say what it is, in this order; 5 only of usual ports; 6-9
    /// only after what `after` names.
    pub tier: u8,
    /// Place among the questions of its tier: lower first.
    #[serde(default)]
    pub rank: u8,
    /// What rules it out where the service is not usual: how earlier questions ended, as `help silent`.
    #[serde(default)]
    pub unless: Vec<String>,
    /// What it may do.
    #[serde(default)]
    pub safety: Safety,
    /// Why it is as it is.
    #[serde(default)]
    pub note: Option<String>,
}

/// A condition on one field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Name of the field.
    pub field: String,
    /// Linear-time regular expression over bytes, without Unicode classes.
    pub regex: String,
}

/// Which part of a stack of software an entry names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// A library or language below the server.
    Framework,
    /// The program that speaks the protocol.
    #[default]
    Server,
    /// The application behind it.
    App,
}

/// One known answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Unique name: family, slash, what is recognised, as `redis/info`.
    pub id: String,
    /// Name of the field that `regex` reads.
    pub field: String,
    /// Linear-time regular expression over bytes; its named groups fill the templates in `set`.
    pub regex: String,
    /// Only replies to these probes.
    #[serde(default)]
    pub on: Vec<String>,
    /// Further conditions, all of which must hold; their named groups can be used too.
    #[serde(default)]
    pub all: Vec<Condition>,
    /// Conditions of which none may hold.
    #[serde(default)]
    pub not: Vec<Condition>,
    /// 0-100: 60 names the protocol, 80 a product, 95 beyond doubt.
    pub score: u8,
    /// Which part of the stack is named.
    #[serde(default)]
    pub layer: Layer,
    /// Adds to another reading of the same service and is none itself.
    #[serde(default)]
    pub extra: bool,
    /// Fields to set: templates with `{group}`.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// CPE names without version, as `a:openbsd:openssh`; the version is added. One with a version of its own
    /// (`o:linux:linux_kernel:{kernel?}`, `*` for any) is taken as it is, each part being a template.
    #[serde(default)]
    pub cpe: Vec<String>,
    /// Why it is as it is.
    #[serde(default)]
    pub note: Option<String>,
    /// Replies that it must recognise.
    #[serde(default, rename = "example")]
    pub examples: Vec<Example>,
    /// Replies that it must not recognise, in the notation of `bytes.rs`.
    #[serde(default)]
    pub counter: Vec<String>,
}

/// A reply and what must be read from it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The reply, in the notation of `bytes.rs`.
    #[serde(default)]
    pub reply: String,
    /// Fields that do not come from the reply's bytes, as `tls.subject`.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// The probe that it answers, if it was not said unasked.
    #[serde(default)]
    pub on: Option<String>,
    /// Every field that must come out, and no other.
    #[serde(default)]
    pub expect: BTreeMap<String, String>,
    /// Where the reply comes from: a capture with package and version, an RFC, a vendor's document.
    pub source: String,
}
