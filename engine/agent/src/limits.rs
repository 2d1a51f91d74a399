//! What this host allows, whatever a server asks for.

use std::path::PathBuf;

use portreeve_model::protocol::Job;
use portreeve_scan::{PacketsPerSecond, TargetError, TargetSet, TargetSetBuilder, targets::parse_line};
use serde::{Deserialize, Serialize};

use crate::{rates::TunedRates, task::TaskError};

/// Packets per second when nobody says how many and nobody but this machine hears them: all ports in 3 s.
pub(crate) const LOOPBACK_RATE: u32 = 20_000;

/// What this host allows, whatever a server asks for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostLimits {
    /// Packets per second over all jobs, at most.
    pub max_rate_pps: Option<u32>,
    /// Never sent to: addresses, blocks and ranges.
    pub exclude: Vec<String>,
    /// Where the rates are that were found for the networks around, for jobs that name none.
    pub rates: Option<PathBuf>,
    /// Nothing else may be scanned, if anything is named here. A job that asks for more is refused as a whole: a part of
    /// it that is silently left out would pass for scanned.
    pub only: Vec<String>,
}

impl HostLimits {
    /// An error if something here cannot be read.
    pub(crate) fn check(&self) -> Result<(), TargetError> {
        self.exclude.iter().chain(&self.only).try_for_each(|text| parse_line(text).map(drop))
    }

    /// What each of so many jobs at the same time may have of this.
    pub(crate) fn shared_by(&self, jobs: u32) -> Self {
        let share = |ceiling: u32| (ceiling / jobs.max(1)).max(1);
        Self { max_rate_pps: self.max_rate_pps.map(share), ..self.clone() }
    }

    /// An error that names the first address that this host does not let anyone scan.
    pub(crate) fn check_scope(&self, targets: &TargetSet) -> Result<(), TaskError> {
        if self.only.is_empty() {
            return Ok(());
        }
        let mut asked = TargetSetBuilder::new().allow_reserved(true);
        for (first, last) in targets.ranges() {
            asked = asked.include(&format!("{first}-{last}"))?;
        }
        for text in &self.only {
            asked = asked.exclude(text)?;
        }
        match asked.build() {
            Err(TargetError::Empty) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(beyond) => {
                let address = beyond.iter().next().map(|address| address.to_string()).unwrap_or_default();
                Err(TaskError::OutOfScope { address, only: self.only.join(", ") })
            }
        }
    }

    /// The targets of a job without what either side excludes.
    pub(crate) fn targets(&self, job: &Job) -> Result<TargetSet, TargetError> {
        let mut builder = TargetSetBuilder::new();
        for target in &job.targets {
            builder = builder.include(target)?;
        }
        for excluded in self.exclude.iter().chain(&job.exclude) {
            builder = builder.exclude(excluded)?;
        }
        builder.build()
    }

    /// Read for each job: the rate may have been found since the agent was started.
    fn tuned_rate(&self, targets: &TargetSet) -> Option<u32> {
        let path = self.rates.as_ref()?;
        match TunedRates::read(path) {
            Ok(rates) => rates.rate_for(targets).map(|rate| rate.0),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the rates found by `portreeve tune`");
                None
            }
        }
    }

    pub(crate) fn rate(&self, job: &Job, targets: &TargetSet, default: PacketsPerSecond) -> PacketsPerSecond {
        let on_this_machine = targets.ranges().all(|(first, last)| first.is_loopback() && last.is_loopback());
        let default = if on_this_machine { LOOPBACK_RATE } else { default.0 };
        let asked = job.rate_pps.or_else(|| self.tuned_rate(targets)).unwrap_or(default);
        PacketsPerSecond(self.max_rate_pps.map_or(asked, |ceiling| asked.min(ceiling)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_share_the_ceiling() {
        let limits = HostLimits { max_rate_pps: Some(1_001), ..HostLimits::default() };
        assert_eq!(limits.shared_by(2).max_rate_pps, Some(500));
        assert_eq!(limits.shared_by(5_000).max_rate_pps, Some(1));
        assert_eq!(HostLimits::default().shared_by(2).max_rate_pps, None);
    }
}
