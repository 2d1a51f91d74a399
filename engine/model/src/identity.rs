//! What TLS and SSH servers tell of themselves.

use serde::{Deserialize, Serialize};

use crate::{SafeText, Timestamp};

/// A certificate as a server presented it. Nothing in it has been verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TlsCertificate {
    /// Subject's distinguished name.
    pub subject: SafeText,
    /// Issuer's distinguished name.
    pub issuer: SafeText,
    /// DNS names and addresses of the subject alternative name extension, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternative_names: Vec<SafeText>,
    /// Serial number, lower-case hexadecimal.
    pub serial: SafeText,
    /// Start of validity.
    pub not_before_ms: Timestamp,
    /// End of validity.
    pub not_after_ms: Timestamp,
    /// SHA-256 of the DER encoding, lower-case hexadecimal.
    pub sha256: String,
    /// Key algorithm and size, as `RSA 2048` or `ECDSA P-256`.
    pub key: SafeText,
    /// Signature algorithm, as `sha256WithRSAEncryption`.
    pub signature: SafeText,
    /// Issuer and subject are the same.
    pub self_signed: bool,
    /// Its end of validity had passed when it was seen.
    #[serde(default)]
    pub expired: bool,
}

/// What a TLS server agreed to and presented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TlsInfo {
    /// Negotiated version, as `TLSv1.3`.
    pub version: SafeText,
    /// Negotiated cipher suite by its IANA name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cipher: Option<SafeText>,
    /// Negotiated application protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn: Option<SafeText>,
    /// Fingerprint of the ServerHello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ja3s: Option<String>,
    /// Fingerprint of the answers to ten hellos, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jarm: Option<String>,
    /// Versions that the server agrees to, oldest first, where it was asked: `SSLv3` to `TLSv1.3`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<SafeText>,
    /// Leaf first, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<TlsCertificate>,
    /// The server asked for a client certificate.
    #[serde(default)]
    pub client_certificate_requested: bool,
    /// Why no handshake was completed, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<SafeText>,
}

/// One algorithm that an SSH server offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshAlgorithm {
    /// Name as on the wire.
    pub name: SafeText,
    /// Key size in bits, where the name tells.
    #[serde(default)]
    pub keysize: Option<u32>,
    /// Whether current practice advises against it.
    pub is_weak: bool,
    /// The reasons, in words.
    #[serde(default)]
    pub notes: Vec<SafeText>,
}

/// A key with which an SSH server proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshHostKey {
    /// Kind, as `ssh-ed25519`.
    pub kind: SafeText,
    /// Size in bits, where the kind has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u32>,
    /// Fingerprint as `ssh-keygen -l` shows it: `SHA256:` and 43 characters.
    pub fingerprint: SafeText,
    /// Whether current practice advises against it.
    pub is_weak: bool,
    /// The reasons, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<SafeText>,
}

/// What an SSH server offers before anyone has logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshAudit {
    /// The whole identification line, as `SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7`.
    pub server_banner: SafeText,
    /// Protocol version, as `2.0`.
    pub protocol_version: SafeText,
    /// Software version, as `OpenSSH_9.2p1`.
    pub ssh_version: SafeText,
    /// Encryption algorithms, server to client.
    pub ciphers: Vec<SshAlgorithm>,
    /// Key exchange algorithms.
    pub kex_algorithms: Vec<SshAlgorithm>,
    /// Message authentication codes.
    pub mac_algorithms: Vec<SshAlgorithm>,
    /// Host key algorithms.
    pub host_key_types: Vec<SafeText>,
    /// HASSH server fingerprint, MD5 in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hassh: Option<String>,
    /// Host key fingerprints, as `SHA256:…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<SafeText>,
    /// The same keys with kind and size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<SshHostKey>,
    /// Authentication methods offered to an unknown user, where they could be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_methods: Option<Vec<SafeText>>,
}
