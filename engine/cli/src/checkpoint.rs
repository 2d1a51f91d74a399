//! What an unfinished scan is, in words that another can go on from.

use portreeve_scan::{
    Checkpoint, HostProbeError, HostProbes, PortSet, ScanConfig, TargetSet, TargetSetBuilder,
};
use serde::{Deserialize, Serialize};

use crate::{args::Part, exit::Failure};

/// A scan, and how far it came. The order of the probes follows from targets, ports and seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unfinished {
    targets: Vec<String>,
    ports: String,
    pub(crate) ping: bool,
    host_probes: String,
    pub(crate) seed: u64,
    pub(crate) shard: Part,
    /// As in [`Checkpoint`].
    pub(crate) stretch: u64,
    /// Missing in what was written before parts had several lengths.
    #[serde(default)]
    stretch_end: u64,
    attempt: u8,
    position: u64,
    asked: u64,
    first_answers: [u64; 16],
}

impl Unfinished {
    /// A scan of which nothing is done yet.
    pub(crate) fn new(config: &ScanConfig, shard: Part) -> Self {
        let ranges = config.targets.ranges();
        let targets = ranges
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
        Self {
            targets: targets.collect(),
            ports: config.ports.to_string(),
            ping: config.ping,
            host_probes: config.host_probes.to_string(),
            seed: config.seed,
            shard,
            stretch: 0,
            stretch_end: 0,
            attempt: 0,
            position: 0,
            asked: 0,
            first_answers: [0; 16],
        }
    }

    /// Notes how far it is.
    pub(crate) fn advance(&mut self, checkpoint: &Checkpoint) {
        self.stretch = checkpoint.stretch;
        self.stretch_end = checkpoint.stretch_end;
        self.attempt = checkpoint.attempt;
        self.position = checkpoint.position;
        self.asked = checkpoint.asked;
        self.first_answers = checkpoint.first_answers;
    }

    /// How far it is, without the pages.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            stretch: self.stretch,
            stretch_end: self.stretch_end,
            attempt: self.attempt,
            position: self.position,
            asked: self.asked,
            first_answers: self.first_answers,
            ..Checkpoint::default()
        }
    }

    /// The targets, from which everything excluded was taken when the scan began.
    pub(crate) fn targets(&self) -> Result<TargetSet, Failure> {
        let mut builder = TargetSetBuilder::new().allow_reserved(true);
        for range in &self.targets {
            builder = builder.include(range)?;
        }
        Ok(builder.build()?)
    }

    pub(crate) fn ports(&self) -> Result<PortSet, Failure> {
        Ok(self.ports.parse()?)
    }

    /// By what it looks for hosts.
    pub(crate) fn host_probes(&self) -> Result<HostProbes, Failure> {
        self.host_probes.parse().map_err(|error: HostProbeError| Failure::usage(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_scan_reads_back_as_the_same() {
        let targets = TargetSetBuilder::new()
            .include("10.99.0.0/24, fd99::1-fd99::5")
            .and_then(|builder| builder.exclude("10.99.0.7"))
            .and_then(TargetSetBuilder::build)
            .expect("targets");
        let ports: PortSet = "0,22,8000-8100,65535,U:53".parse().expect("ports");
        let host_probes: HostProbes = "icmp,tcp-ack:80".parse().expect("probes");
        let config = ScanConfig {
            ping: true,
            host_probes: host_probes.clone(),
            seed: u64::MAX,
            ..ScanConfig::new(targets.clone(), ports.clone())
        };
        let mut before = Unfinished::new(&config, Part { index: 1, count: 3 });
        let far = Checkpoint {
            stretch: 7,
            stretch_end: 11,
            attempt: 2,
            position: 9,
            asked: 1,
            ..Checkpoint::default()
        };
        before.advance(&far);
        let text = serde_json::to_string(&before).expect("JSON");
        let after: Unfinished = serde_json::from_str(&text).expect("an unfinished scan");
        assert_eq!(after, before);
        assert_eq!(after.checkpoint(), far);
        assert_eq!(after.ports().expect("ports"), ports);
        assert_eq!(after.host_probes().expect("probes"), host_probes);
        let again = after.targets().expect("targets");
        assert_eq!(again.ranges().collect::<Vec<_>>(), targets.ranges().collect::<Vec<_>>());
    }
}
