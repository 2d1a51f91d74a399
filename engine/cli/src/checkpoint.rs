//! What an interrupted scan leaves, so that another can go on where it stopped.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use portreeve_scan::{PortSet, TargetSet, TargetSetBuilder};
use serde::{Deserialize, Serialize};

use crate::{
    args::Part,
    exit::{Exit, Failure},
};

/// The scan, and how far it came. The order of the probes follows from targets, ports and seed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    targets: Vec<String>,
    ports: String,
    pub(crate) ping: bool,
    pub(crate) seed: u64,
    pub(crate) shard: Part,
    pub(crate) resume_from: u64,
}

impl Checkpoint {
    pub(crate) fn new(
        targets: &TargetSet,
        ports: &PortSet,
        ping: bool,
        seed: u64,
        shard: Part,
        resume_from: u64,
    ) -> Self {
        let targets = targets.ranges();
        let targets = targets
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
        Self { targets: targets.collect(), ports: ports.to_string(), ping, seed, shard, resume_from }
    }

    /// Writes it to a new file in the current folder.
    pub(crate) fn write(&self) -> Result<PathBuf, Failure> {
        let path = PathBuf::from(format!("portreeve-{:016x}-{}.resume", self.seed, self.resume_from));
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Failure, format!("cannot write the checkpoint {}: {error}", path.display()))
        };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(&error))?;
        let mut file = File::create_new(&path).map_err(|error| failed(&error))?;
        file.write_all(&text).map_err(|error| failed(&error))?;
        Ok(path)
    }

    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::usage(format!("cannot resume from {}: {error}", path.display()))
        };
        let text = fs::read(path).map_err(|error| failed(&error))?;
        serde_json::from_slice(&text).map_err(|error| failed(&error))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_holds_the_same_scan() {
        let targets = TargetSetBuilder::new()
            .include("10.99.0.0/24, fd99::1-fd99::5")
            .and_then(|builder| builder.exclude("10.99.0.7"))
            .and_then(TargetSetBuilder::build)
            .expect("targets");
        let ports: PortSet = "22,U:53".parse().expect("ports");
        let shard = Part { index: 1, count: 3 };
        let before = Checkpoint::new(&targets, &ports, true, u64::MAX, shard, 77);
        let text = serde_json::to_string(&before).expect("JSON");
        let after: Checkpoint = serde_json::from_str(&text).expect("a checkpoint");
        assert_eq!(after, before);
        assert_eq!(after.ports().expect("ports"), ports);
        let again = after.targets().expect("targets");
        assert_eq!(again.ranges().collect::<Vec<_>>(), targets.ranges().collect::<Vec<_>>());
    }
}
