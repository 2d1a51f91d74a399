//! Rates that `portreeve tune` has found: the fastest that a path takes without loss, by network.
//!
//! One JSON file for all of a machine's scanners: `/var/lib/portreeve/rates.json` for root, else
//! `$XDG_STATE_HOME/portreeve/rates.json` (`~/.local/state`). A scan or job that is given no rate takes that of the
//! narrowest network that holds all of its targets.

use std::{
    env, fs, io,
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
};

use portreeve_scan::{PacketsPerSecond, TargetSet};
use serde::{Deserialize, Serialize};

/// The rates found on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedRates {
    networks: Vec<TunedRate>,
}

/// What was found for one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedRate {
    /// First address.
    pub first: IpAddr,
    /// Last address.
    pub last: IpAddr,
    /// Packets a second.
    pub rate_pps: u32,
    /// When it was found, milliseconds since the Unix epoch.
    pub found_at_ms: i64,
}

impl TunedRate {
    fn holds(&self, first: IpAddr, last: IpAddr) -> bool {
        self.first.is_ipv4() == first.is_ipv4() && self.first <= first && last <= self.last
    }

    /// How many addresses it holds, less one.
    fn width(&self) -> u128 {
        number(self.last).saturating_sub(number(self.first))
    }
}

impl TunedRates {
    /// Where this process keeps them: for root the machine's folder, else the user's.
    pub fn path(is_root: bool) -> Option<PathBuf> {
        if is_root {
            return Some("/var/lib/portreeve/rates.json".into());
        }
        let base = env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/state")))?;
        Some(base.join("portreeve/rates.json"))
    }

    /// Reads a file; no rates if there is none.
    pub fn read(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Notes a rate, in place of what was known for the same network, and writes the file anew.
    pub fn keep(&mut self, rate: TunedRate, path: &Path) -> io::Result<()> {
        self.networks.retain(|known| (known.first, known.last) != (rate.first, rate.last));
        self.networks.push(rate);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = path.with_extension("json.new");
        let mut file = fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_data()?;
        fs::rename(new, path)
    }

    /// The rate for a scan of these targets: the slowest of those of its ranges, if each lies in a known network.
    pub fn rate_for(&self, targets: &TargetSet) -> Option<PacketsPerSecond> {
        let mut slowest = None;
        for (first, last) in targets.ranges() {
            let known = self.networks.iter().filter(|network| network.holds(first, last));
            let narrowest = known.min_by_key(|network| network.width())?;
            slowest = Some(slowest.map_or(narrowest.rate_pps, |rate: u32| rate.min(narrowest.rate_pps)));
        }
        slowest.map(PacketsPerSecond)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use portreeve_scan::TargetSetBuilder;

    use super::*;

    fn rate(first: &str, last: &str, rate_pps: u32) -> TunedRate {
        let address = |text: &str| text.parse().expect("address");
        TunedRate { first: address(first), last: address(last), rate_pps, found_at_ms: 1 }
    }

    #[test]
    fn the_narrowest_network_that_holds_all_targets_counts() {
        let rates = TunedRates {
            networks: vec![
                rate("10.0.0.0", "10.255.255.255", 9_000),
                rate("10.1.0.0", "10.1.0.255", 500),
                rate("fd00::", "fd00::ffff", 70),
            ],
        };
        let rate_for = |text: &str| {
            let targets = TargetSetBuilder::new().include(text).and_then(TargetSetBuilder::build);
            rates.rate_for(&targets.expect("targets")).map(|rate| rate.0)
        };
        assert_eq!(rate_for("10.1.0.7"), Some(500));
        assert_eq!(rate_for("10.2.0.0/16"), Some(9_000));
        assert_eq!(rate_for("10.2.0.0/16 10.1.0.7"), Some(500));
        assert_eq!(rate_for("fd00::5"), Some(70));
        assert_eq!(rate_for("10.2.0.0/16 192.168.0.1"), None);
    }

    #[test]
    fn a_rate_is_kept_in_place_of_the_one_before() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state/rates.json");
        let mut rates = TunedRates::read(&path).expect("no file is no rates");
        assert_eq!(rates, TunedRates::default());
        rates.keep(rate("10.1.0.0", "10.1.0.255", 500), &path).expect("written");
        rates.keep(rate("10.1.0.0", "10.1.0.255", 700), &path).expect("written");
        let again = TunedRates::read(&path).expect("readable");
        assert_eq!((again.networks.len(), again.networks[0].rate_pps), (1, 700));
        fs::write(&path, "{").expect("written");
        assert!(TunedRates::read(&path).is_err());
    }
}
