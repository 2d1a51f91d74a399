//! Settings of a server process: command line over environment (`PORTREEVE_*`) over file over default.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

/// Settings that are fixed while the server runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the server listens. Loopback unless told otherwise: it speaks plain HTTP.
    pub listen: SocketAddr,
    /// The folder that holds the private database and whatever else must survive a restart.
    pub state: PathBuf,
    /// A PostgreSQL to use instead of the private one.
    pub database_url: Option<String>,
    /// The most connections to the database.
    pub database_connections: u32,
    /// The address that users type, as `https://ports.example.org`. With https, cookies are marked secure.
    pub public_url: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// The folder with PostgreSQL's programs, if not the system's.
    pub postgres_programs: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            state: PathBuf::from("/var/lib/portreeve"),
            database_url: None,
            database_connections: 16,
            public_url: None,
            trusted_proxies: Vec::new(),
            postgres_programs: None,
        }
    }
}

impl Config {
    /// Whether browsers reach the server over TLS, so that cookies may be bound to it.
    pub fn is_https(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}
