//! The kill switch that works without the process's number: while a file is there, nothing is sent.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// `touch` it and every scan of this machine stops within a second; remove it to scan again.
#[derive(Clone, Debug)]
pub(crate) struct StopFile(PathBuf);

impl StopFile {
    /// A folder that only root can write to.
    const USUAL: &str = "/run/portreeve/stop";

    /// Flag or environment, else file, else the usual place.
    pub(crate) fn choose(flag: Option<&PathBuf>, setting: Option<&PathBuf>) -> Self {
        Self(flag.or(setting).cloned().unwrap_or_else(|| PathBuf::from(Self::USUAL)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.exists()
    }

    /// An error if nothing may be sent now.
    pub(crate) fn must_be_absent(&self) -> Result<(), Failure> {
        if !self.is_there() {
            return Ok(());
        }
        let path = self.0.display();
        Err(Failure::new(
            Exit::Failure,
            format!("{path} is there, so nothing is sent; remove it to scan again"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stops_and_its_absence_does_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("stop");
        let stop = StopFile::choose(None, Some(&path));
        assert!(stop.must_be_absent().is_ok());
        std::fs::write(&path, "").expect("written");
        let failure = stop.must_be_absent().expect_err("stopped");
        assert!(
            failure.message.contains(&path.display().to_string()) && failure.message.contains("remove it")
        );
    }
}
