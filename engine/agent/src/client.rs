//! The one place that makes an HTTP client: timeouts, TLS by rustls with ring, no redirects.

use std::{net::IpAddr, path::Path, time::Duration};

use reqwest::{Certificate, Client, Url, redirect};

/// The longest a call may take beyond the time the server was asked to hold it.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server's address that a credential may be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(Url);

/// Why an address is refused.
#[derive(Debug, thiserror::Error)]
pub enum ServerUrlError {
    /// Not a URL, or one with parts that a server's address does not have.
    #[error("{text:?} is not a server address: {why}; write it as https://portreeve.example.org")]
    Malformed {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Plain HTTP to another machine.
    #[error(
        "{text:?} would send the agent's credential and all results in clear text; use https://, \
         or --insecure-http where the network between is trusted"
    )]
    ClearText {
        /// What was given.
        text: String,
    },
}

impl ServerUrl {
    /// Reads an address. `http://` is taken for loopback only, or anywhere with `insecure_http`.
    pub fn parse(text: &str, insecure_http: bool) -> Result<Self, ServerUrlError> {
        let malformed = |why: &str| ServerUrlError::Malformed { text: text.to_owned(), why: why.to_owned() };
        let mut url = Url::parse(text).map_err(|error| malformed(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(malformed("the scheme is neither https nor http"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(malformed("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(malformed("it carries a user name or password"));
        }
        if url.scheme() == "http" && !insecure_http && !is_loopback(&url) {
            return Err(ServerUrlError::ClearText { text: text.to_owned() });
        }
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// The address of a route, as `/api/agent/v1/hello` below any path prefix of the server.
    pub(crate) fn route(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path().trim_end_matches('/')));
        url
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }
}

impl std::fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file with the certificate authority cannot be read.
    #[error("cannot read the certificate authority's file {path}: {source}")]
    AuthorityUnreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds no certificate.
    #[error("{path} holds no PEM certificate that can be used: {why}")]
    AuthorityMalformed {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The TLS library refused to start.
    #[error("cannot set up TLS: {0}; is the package ca-certificates installed?")]
    Tls(String),
}

/// Makes the client for `server`; `authority` is a PEM file trusted beside the system's authorities.
pub fn http_client(server: &ServerUrl, authority: Option<&Path>) -> Result<Client, ClientError> {
    // reqwest asks for the process-wide provider. Err means that one is installed already: ours, since no
    // other is in the build.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("portreeve-agent/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .tcp_keepalive(Duration::from_secs(30))
        // A redirect could carry the credential elsewhere.
        .redirect(redirect::Policy::none());
    if server.is_loopback() {
        builder = builder.no_proxy();
    }
    if let Some(path) = authority {
        builder = builder.tls_certs_merge(read_authority(path)?);
    }
    builder.build().map_err(|error| ClientError::Tls(crate::chain(&error)))
}

fn read_authority(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let shown = path.display().to_string();
    let pem = std::fs::read(path)
        .map_err(|source| ClientError::AuthorityUnreadable { path: shown.clone(), source })?;
    let malformed = |why: String| ClientError::AuthorityMalformed { path: shown.clone(), why };
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| malformed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(malformed("no BEGIN CERTIFICATE in it".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_is_for_loopback_only() {
        for text in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080/", "https://example.org"]
        {
            assert!(ServerUrl::parse(text, false).is_ok(), "{text}");
        }
        for text in ["http://example.org", "http://10.0.0.1:8080", "http://localhost.example.org"] {
            let error = ServerUrl::parse(text, false).expect_err(text);
            assert!(error.to_string().contains("--insecure-http"), "{error}");
            assert!(ServerUrl::parse(text, true).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_server_address_is_named() {
        for text in ["", "portreeve", "ftp://example.org", "https://user:pw@example.org", "unix:/run/x"] {
            let error = ServerUrl::parse(text, true).expect_err(text);
            assert!(error.to_string().contains("https://portreeve.example.org"), "{error}");
        }
    }

    #[test]
    fn routes_stand_below_the_servers_path() {
        let at_root = ServerUrl::parse("https://example.org", false).expect("valid");
        assert_eq!(at_root.route("/api/x").as_str(), "https://example.org/api/x");
        let below = ServerUrl::parse("https://example.org/ports/?a=b#c", false).expect("valid");
        assert_eq!(below.route("/api/x").as_str(), "https://example.org/ports/api/x");
        assert_eq!(below.to_string(), "https://example.org/ports");
    }

    #[test]
    fn an_authority_that_is_none_is_named() {
        let server = ServerUrl::parse("https://example.org", false).expect("valid");
        let missing = http_client(&server, Some(Path::new("/nonexistent/ca.pem"))).expect_err("missing");
        assert!(missing.to_string().contains("/nonexistent/ca.pem"), "{missing}");
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        let empty = http_client(&server, Some(file.path())).expect_err("empty");
        assert!(empty.to_string().contains("no PEM certificate"), "{empty}");
        http_client(&server, None).expect("a client");
    }
}
