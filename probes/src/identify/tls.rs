//! A TLS handshake that accepts anything and remembers it all.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use portreeve_model::{SafeText, TlsInfo};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::connection::{Heard, Recorder};
use crate::decode::tls::{MAX_CERTIFICATE, MAX_CHAIN, certificate, server_hello};

/// The message that only clients send (RFC 8446 4).
const CLIENT_HELLO: u8 = 1;

/// What a handshake came to.
#[derive(Debug)]
pub(super) struct Handshake {
    /// The stream, if it was completed.
    pub stream: Option<Box<TlsStream<Recorder>>>,
    /// What was learnt, if the peer speaks TLS at all.
    pub info: Option<TlsInfo>,
    /// The first bytes the peer sent.
    pub heard: Vec<u8>,
    /// The peer ended the connection, rather than let time run out.
    pub closed: bool,
}

/// Shakes hands over `stream`. `name` is sent as server name, unless it is an address. Gives up at `first`
/// if nothing was heard by then, and at `until` in any case.
pub(super) async fn handshake(
    stream: TcpStream,
    name: Option<&str>,
    address: IpAddr,
    alpn: &[&[u8]],
    first: Instant,
    until: Instant,
) -> Handshake {
    let heard = Heard::default();
    let witness = Arc::new(Witness::default());
    let name = name
        .and_then(|name| ServerName::try_from(name.to_owned()).ok())
        .unwrap_or_else(|| ServerName::from(address));
    let recorder = Recorder::new(stream, Arc::clone(&heard));
    let result = match config(&witness, alpn) {
        Ok(config) => {
            let mut connecting = TlsConnector::from(Arc::new(config)).connect(name, recorder);
            let mut result = timeout_at(first, &mut connecting).await;
            if result.is_err() && heard.lock().is_ok_and(|heard| !heard.is_empty()) {
                result = timeout_at(until, connecting).await;
            }
            result.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut)))
        }
        Err(error) => Err(std::io::Error::other(error)),
    };
    let heard = heard.lock().map(|heard| heard.clone()).unwrap_or_default();
    match result {
        Ok(stream) => {
            let info = describe(&stream, &witness, &heard);
            Handshake { stream: Some(Box::new(stream)), info: Some(info), heard, closed: false }
        }
        Err(error) => {
            let closed = error.kind() != std::io::ErrorKind::TimedOut;
            Handshake { stream: None, info: failed(&error, &witness, &heard), heard, closed }
        }
    }
}

fn config(witness: &Arc<Witness>, alpn: &[&[u8]]) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(witness) as Arc<dyn ServerCertVerifier>)
        .with_client_cert_resolver(Arc::clone(witness) as Arc<dyn ResolvesClientCert>);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

fn describe(stream: &TlsStream<Recorder>, witness: &Witness, heard: &[u8]) -> TlsInfo {
    let (_, session) = stream.get_ref();
    let text = |value: Option<String>| value.map(SafeText::from);
    let version = session.protocol_version().and_then(|version| version.as_str().map(str::to_owned));
    TlsInfo {
        version: SafeText::from(version.unwrap_or_default().replace("TLSv1_", "TLSv1.")),
        cipher: text(session.negotiated_cipher_suite().map(|suite| iana_name(suite.suite()))),
        alpn: session.alpn_protocol().map(|name| SafeText::sanitize_to(name, 64)),
        ja3s: server_hello(heard).map(|hello| hello.ja3s()),
        certificates: witness.certificates(),
        client_certificate_requested: witness.was_asked(),
        ..TlsInfo::default()
    }
}

/// What a failed handshake still tells: nothing, if the peer's first bytes are no TLS record, or our own hello come back.
fn failed(error: &std::io::Error, witness: &Witness, heard: &[u8]) -> Option<TlsInfo> {
    let is_record = matches!(heard, [20..=23, 3, 0..=4, ..]);
    let is_echo = matches!(heard, [22, 3, _, _, _, CLIENT_HELLO, ..]);
    (is_record && !is_echo).then(|| {
        let hello = server_hello(heard);
        TlsInfo {
            version: hello.as_ref().map(|hello| hello.version_name().into()).unwrap_or_default(),
            ja3s: hello.map(|hello| hello.ja3s()),
            certificates: witness.certificates(),
            client_certificate_requested: witness.was_asked(),
            error: Some(SafeText::from(error.to_string())),
            ..TlsInfo::default()
        }
    })
}

/// The registry's spelling: rustls says `TLS13_AES_…` where IANA says `TLS_AES_…`.
pub(super) fn iana_name(suite: rustls::CipherSuite) -> String {
    let name = suite.as_str().map_or_else(|| format!("{suite:?}"), str::to_owned);
    name.replace("TLS13_", "TLS_")
}

/// Accepts every certificate and remembers it; notes that a client certificate was asked for.
#[derive(Debug, Default)]
struct Witness {
    chain: Mutex<Vec<CertificateDer<'static>>>,
    asked: Mutex<bool>,
}

impl Witness {
    fn certificates(&self) -> Vec<portreeve_model::TlsCertificate> {
        let chain = self.chain.lock().map(|chain| chain.clone()).unwrap_or_default();
        chain.iter().filter_map(|der| certificate(der)).collect()
    }

    fn was_asked(&self) -> bool {
        self.asked.lock().is_ok_and(|asked| *asked)
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok(mut chain) = self.chain.lock() {
            let all = std::iter::once(leaf).chain(intermediates).filter(|der| der.len() <= MAX_CERTIFICATE);
            *chain = all.take(MAX_CHAIN).map(|der| der.clone().into_owned()).collect();
        }
        Ok(ServerCertVerified::assertion())
    }

    // Signatures are not checked: an inventory wants to know what is presented, also by broken servers,
    // and trusts nothing that comes over this connection.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider: CryptoProvider = ring::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Witness {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if let Ok(mut asked) = self.asked.lock() {
            *asked = true;
        }
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_that_comes_back_is_no_tls() {
        let error = std::io::Error::other("unexpected message");
        let witness = Witness::default();
        assert!(failed(&error, &witness, &[22, 3, 1, 0, 4, CLIENT_HELLO, 0, 0, 0]).is_none(), "an echo");
        assert!(failed(&error, &witness, &[21, 3, 3, 0, 2, 2, 40]).is_some(), "an alert");
    }
}
