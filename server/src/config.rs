//! Settings of a server process: command line over environment (`PORTREEVE_*`) over file over default.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// Settings that are fixed while the server runs. Each is also a key of the TOML file; unknown keys are refused, so
/// that a slip of the pen is not silently ignored.
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
            state: default_state(),
            database_url: None,
            database_connections: 16,
            public_url: None,
            trusted_proxies: Vec::new(),
            postgres_programs: None,
        }
    }
}

/// The settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the settings file {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It says something that is not understood.
    #[error("the settings file {} is wrong: {source}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: toml::de::Error,
    },
    /// The public address is no web address.
    #[error("public_url {0:?} must begin with http:// or https://, as https://ports.example.org")]
    PublicUrl(String),
    /// A server without connections cannot work.
    #[error("database_connections must be at least 2, for {0} would leave requests waiting for ever")]
    Connections(u32),
}

impl Config {
    /// Reads a TOML file; what it does not say is the default.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(read)?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
    }

    /// Refuses values that cannot work.
    pub fn check(self) -> Result<Self, ConfigError> {
        if let Some(url) = &self.public_url
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            return Err(ConfigError::PublicUrl(url.clone()));
        }
        if self.database_connections < 2 {
            return Err(ConfigError::Connections(self.database_connections));
        }
        Ok(self)
    }

    /// Whether browsers reach the server over TLS, so that cookies may be bound to it.
    pub fn is_https(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }

    /// The address of the pages, without a slash at its end.
    pub fn address(&self) -> String {
        match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.listen),
        }
    }

    /// The folder of the private database.
    pub fn postgres_folder(&self) -> PathBuf {
        self.state.join("postgres")
    }
}

/// A system folder for root (its home is closed to the account that PostgreSQL runs as), the user's own otherwise.
fn default_state() -> PathBuf {
    if nix::unistd::Uid::effective().is_root() {
        return PathBuf::from("/var/lib/portreeve");
    }
    let of_user = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    let parent = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(of_user);
    parent.unwrap_or_else(|| PathBuf::from("/var/lib")).join("portreeve")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(file.path()).and_then(Config::check).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_file_leaves_out_is_the_default() {
        let config = read("listen = \"[::1]:9000\"\ntrusted_proxies = [\"10.0.0.0/8\"]").unwrap();
        assert_eq!(config.listen.to_string(), "[::1]:9000");
        assert_eq!(config.trusted_proxies.len(), 1);
        assert_eq!(config.database_connections, Config::default().database_connections);
        assert_eq!(config.address(), "http://[::1]:9000");
    }

    #[test]
    fn slips_are_refused_by_name() {
        assert!(read("lissten = \"127.0.0.1:1\"").unwrap_err().contains("lissten"));
        assert!(read("listen = \"localhost\"").unwrap_err().contains("listen"));
        assert!(read("public_url = \"ports.example.org\"").unwrap_err().contains("ports.example.org"));
        assert!(read("database_connections = 1").unwrap_err().contains("at least 2"));
        assert!(Config::read(Path::new("/nonexistent")).unwrap_err().to_string().contains("/nonexistent"));
    }

    #[test]
    fn https_decides_over_secure_cookies() {
        assert!(!Config::default().is_https());
        let config = read("public_url = \"https://ports.example.org/\"").unwrap();
        assert!(config.is_https());
        assert_eq!(config.address(), "https://ports.example.org");
    }
}
