//! What answers at a port.

use serde::{Deserialize, Serialize};

use crate::{Endpoint, SafeText, SshAudit, Timestamp, TlsInfo};

/// How a conversation with a port ended, where that itself is the finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The connection was accepted and closed without a word.
    ClosedAfterAccept,
    /// The protocol, and maybe more, was recognised.
    Identified,
    /// The TLS server insists on a client certificate.
    NeedsClientCertificate,
    /// By policy nothing was sent (print and industrial ports).
    NotProbed,
    /// Accepts, and says nothing to anything.
    Silent,
    /// As every port of its host it accepts and has nothing to say: something in front of the host accepts for it.
    SynProxy,
    /// Endless or dripping output: a trap, not a service.
    Tarpit,
    /// The port no longer accepted connections.
    Unreachable,
    /// It answered, and nothing in the database knows the answer.
    #[default]
    Unrecognised,
}

impl Verdict {
    /// The kebab-case name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClosedAfterAccept => "closed-after-accept",
            Self::Identified => "identified",
            Self::NeedsClientCertificate => "needs-client-certificate",
            Self::NotProbed => "not-probed",
            Self::Silent => "silent",
            Self::SynProxy => "syn-proxy",
            Self::Tarpit => "tarpit",
            Self::Unreachable => "unreachable",
            Self::Unrecognised => "unrecognised",
        }
    }
}

/// Why a field says what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Evidence {
    /// The field explained: `service`, `product`, `version`, `os`, `device` …
    pub field: SafeText,
    /// Where it was read, as ``Server` header` or `SSH identification line`.
    pub source: SafeText,
    /// The database entry that read it, as `nginx/server-header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<SafeText>,
}

/// Another reading of the same replies, weaker than the chosen one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alternative {
    /// The service's name.
    pub name: SafeText,
    /// The product, if the entry names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<SafeText>,
    /// 0-100.
    pub confidence: u8,
}

/// What a web server answered to `GET /`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HttpInfo {
    /// Status code.
    pub status: u16,
    /// Page title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<SafeText>,
    /// `Server` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<SafeText>,
    /// `Location` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<SafeText>,
    /// Realm of `WWW-Authenticate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<SafeText>,
    /// MurmurHash3 of the base64 favicon, as search engines for devices use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub favicon_mmh3: Option<i32>,
    /// Redirects on the same host that were followed, as they were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirects: Vec<SafeText>,
    /// `Server` and `Via` headers of all answers, each once: a proxy before an application shows both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<SafeText>,
    /// Products behind or beside the server, as `PHP/8.2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub technologies: Vec<SafeText>,
}

/// What a Windows machine, or one that speaks its log-in protocol, tells in its NTLM challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NtlmInfo {
    /// Version and build of the operating system, as `10.0.17763`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<SafeText>,
    /// Name of the machine in NetBIOS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netbios_name: Option<SafeText>,
    /// Domain, or work group, in NetBIOS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netbios_domain: Option<SafeText>,
    /// Name of the machine in DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<SafeText>,
    /// Domain in DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_domain: Option<SafeText>,
    /// The forest's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forest: Option<SafeText>,
}

/// What a device says of itself by SNMP, multicast DNS, UPnP, WS-Discovery or NetBIOS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceInfo {
    /// The name it goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SafeText>,
    /// Who makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<SafeText>,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<SafeText>,
    /// Version of its firmware or model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<SafeText>,
    /// Serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<SafeText>,
    /// What it says it is, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<SafeText>,
    /// Where it says it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<SafeText>,
    /// Hardware address, twelve hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<SafeText>,
    /// `sysObjectID` of SNMP, which names the model by the vendor's numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_id: Option<SafeText>,
    /// Kinds of services that it announces, as `_ipp._tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<SafeText>,
}

/// What answers at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Service {
    /// Where.
    pub endpoint: Endpoint,
    /// Protocol name in the IANA registry's spelling (`ssh`, `http`, `postgresql`), absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SafeText>,
    /// How the conversation ended.
    pub verdict: Verdict,
    /// Product, as `OpenSSH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<SafeText>,
    /// Vendor or project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<SafeText>,
    /// Upstream version, as `9.2p1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<SafeText>,
    /// Distribution package revision, as `2+deb12u7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<SafeText>,
    /// Whatever else the server says that people want to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<SafeText>,
    /// Host name the service gives itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<SafeText>,
    /// Operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<SafeText>,
    /// Device type, as `printer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<SafeText>,
    /// CPE 2.3 names, most exact first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpe: Vec<SafeText>,
    /// First bytes the service said, sanitised and shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub banner: Option<SafeText>,
    /// TLS, where the service speaks it (directly or after STARTTLS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsInfo>,
    /// SSH offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshAudit>,
    /// HTTP answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpInfo>,
    /// NTLM challenge (SMB, RDP, HTTP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ntlm: Option<NtlmInfo>,
    /// The device's own words (SNMP, multicast DNS, UPnP, WS-Discovery, NetBIOS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<DeviceInfo>,
    /// 0-100: how sure the chosen reading is.
    pub confidence: u8,
    /// Why the fields say what they say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// Weaker readings, best first, at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
    /// Connections opened to find all this out.
    pub connections: u8,
    /// When the conversation ended.
    pub seen_at_ms: Timestamp,
}

impl Service {
    /// Nothing known yet about an endpoint.
    pub fn unrecognised(endpoint: Endpoint, seen_at_ms: Timestamp) -> Self {
        Self {
            endpoint,
            name: None,
            verdict: Verdict::Unrecognised,
            product: None,
            vendor: None,
            version: None,
            revision: None,
            info: None,
            hostname: None,
            os: None,
            device: None,
            cpe: Vec::new(),
            banner: None,
            tls: None,
            ssh: None,
            http: None,
            ntlm: None,
            announced: None,
            confidence: 0,
            evidence: Vec::new(),
            alternatives: Vec::new(),
            connections: 0,
            seen_at_ms,
        }
    }
}
