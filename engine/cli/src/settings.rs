//! The configuration file: what neither the command line nor the environment says.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{args::Backend, exit::Failure};

/// The whole file. Unknown keys are refused: a misspelt exclusion must not pass unnoticed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Folder whose TOML files are laid over the probe database.
    pub(crate) user_database: Option<PathBuf>,
    /// While this file is there nothing is sent.
    pub(crate) stop_file: Option<PathBuf>,
    pub(crate) scan: ScanSettings,
    pub(crate) agent: AgentSettings,
}

/// `[scan]`: defaults of `scan` and `discover`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ScanSettings {
    pub(crate) ports: Option<String>,
    pub(crate) rate: Option<u32>,
    pub(crate) rate_per_host: Option<u32>,
    pub(crate) rate_per_network: Option<u32>,
    pub(crate) retries: Option<u8>,
    /// As on the command line: `2s`.
    pub(crate) wait: Option<String>,
    pub(crate) interface: Option<String>,
    pub(crate) backend: Option<Backend>,
    pub(crate) vlan: Option<u16>,
    pub(crate) source_port: Option<u16>,
    /// Folder where replies are kept.
    pub(crate) archive: Option<PathBuf>,
    pub(crate) allow_print_and_ot: bool,
    /// Always excluded, in addition to what the command line says.
    pub(crate) exclude: Vec<String>,
}

/// `[agent]`: everything `agent` can be told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AgentSettings {
    pub(crate) server: Option<String>,
    pub(crate) enroll: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) insecure_http: bool,
    pub(crate) state: Option<PathBuf>,
    pub(crate) max_rate: Option<u32>,
    /// Always excluded, in addition to what the command line says.
    pub(crate) exclude: Vec<String>,
    /// Nothing but these may be scanned; in addition to what the command line says.
    pub(crate) only: Vec<String>,
    pub(crate) slots: Option<u32>,
    pub(crate) spool_mib: Option<u32>,
    pub(crate) archive_mib: Option<u32>,
    pub(crate) backend: Option<Backend>,
}

impl Settings {
    /// Reads `named`, which must be there, or else the first of `usual` that is.
    pub(crate) fn read(named: Option<&Path>, usual: &[PathBuf]) -> Result<Self, Failure> {
        if let Some(path) = named {
            return parse(path, &fs::read_to_string(path).map_err(|error| unreadable(path, &error))?);
        }
        for path in usual {
            match fs::read_to_string(path) {
                Ok(text) => return parse(path, &text),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(unreadable(path, &error)),
            }
        }
        Ok(Self::default())
    }

    /// `~/.config/portreeve/config.toml`.
    pub(crate) fn of_user() -> Option<PathBuf> {
        let base = env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".config")))?;
        Some(base.join("portreeve/config.toml"))
    }

    /// The file of an agent that runs as a service.
    pub(crate) fn of_agent() -> PathBuf {
        "/etc/portreeve/agent.toml".into()
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read the configuration file {}: {error}", path.display()))
}

fn parse(path: &Path, text: &str) -> Result<Settings, Failure> {
    toml::from_str(text)
        .map_err(|error| Failure::usage(format!("{} is not a valid configuration: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, Failure> {
        parse(Path::new("config.toml"), text)
    }

    #[test]
    fn a_file_is_read() {
        let settings = read(
            "[scan]\nrate = 50\nbackend = \"ring\"\nexclude = [\"10.0.0.1\"]\nvlan = 7\n[agent]\nmax_rate = 7\n",
        );
        let settings = settings.expect("valid");
        assert_eq!((settings.scan.rate, settings.scan.backend), (Some(50), Some(Backend::Ring)));
        assert_eq!(settings.scan.vlan, Some(7));
        assert_eq!((settings.scan.exclude.len(), settings.agent.max_rate), (1, Some(7)));
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let error = read("[agent]\nexcludes = [\"10.0.0.1\"]\n").expect_err("refused");
        assert!(error.message.contains("excludes") && error.message.contains("config.toml"), "{error}");
    }

    #[test]
    fn only_a_named_file_must_be_there() {
        let missing = PathBuf::from("/nonexistent/config.toml");
        assert!(Settings::read(None, std::slice::from_ref(&missing)).is_ok());
        let error = Settings::read(Some(&missing), &[]).expect_err("missing");
        assert!(error.message.contains("/nonexistent/config.toml"), "{error}");
    }
}
