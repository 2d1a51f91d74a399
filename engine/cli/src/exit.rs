//! How the program ends when it does not end well.

use std::fmt;

use portreeve_agent::AgentError;
use portreeve_scan::{PortError, ScanError, TargetError};
use serde::{Deserialize, Serialize};

/// The exit codes, as the help tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Exit {
    /// Something failed while it ran.
    Failure = 1,
    /// The command line or a file named on it is wrong.
    Usage = 2,
    /// A right is missing.
    Rights = 3,
    /// Interrupted; what was found is printed.
    Interrupted = 130,
}

/// A sentence for the user, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What to do without the right to open raw sockets.
pub(crate) fn missing_rights() -> Failure {
    let binary =
        std::env::current_exe().map_or_else(|_| "portreeve".to_owned(), |path| path.display().to_string());
    Failure::new(
        Exit::Rights,
        format!(
            "this user may not open raw sockets; run it with sudo, or grant the right once with `sudo setcap \
             cap_net_raw+ep {binary}`, or use ordinary sockets, which are slower, with --backend connect"
        ),
    )
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::MissingRight { .. } => missing_rights(),
            ScanError::NoInterface(_)
            | ScanError::Ports(_)
            | ScanError::RateZero
            | ScanError::NeedsRawSockets { .. }
            | ScanError::VlanNeedsEthernet { .. } => Self::usage(error.to_string()),
            ScanError::Targets(error) => error.into(),
            ScanError::NoSourcePorts { first } => Self::usage(format!(
                "no free source ports from {first} on; name another first one with --source-port"
            )),
            other => Self::new(Exit::Failure, other.to_string()),
        }
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Empty => Self::usage(
                "nothing is left to scan: every address named is excluded, or reserved (RFC 6890) and not asked for \
                 with --allow-reserved",
            ),
            other => Self::usage(other.to_string()),
        }
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let exit = match error {
            AgentError::Exclusions(_) | AgentError::NotEnrolled { .. } => Exit::Usage,
            _ => Exit::Failure,
        };
        Self::new(exit, error.to_string())
    }
}
