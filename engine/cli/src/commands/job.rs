//! `job`: one job of an agent, in a process that gives its rights and files up first.

use portreeve_agent::{Apart, OrderError};
use portreeve_scan::Sandbox;

use super::{runtime, scan_clock};
use crate::{
    args::JobArgs,
    exit::{Exit, Failure},
    rights,
};

/// `portreeve job`, as the agent starts it.
pub(crate) fn job(arguments: &JobArgs) -> Result<(), Failure> {
    let failed = |error: OrderError| Failure::new(Exit::Failure, error.to_string());
    let Some(job) = Apart::prepare(arguments.backend.into(), scan_clock()).map_err(failed)? else {
        return Ok(());
    };
    rights::drop_all()?;
    let sandbox = rights::confine(&arguments.sandbox)?;
    // All threads are started by this one and inherit it.
    sandbox
        .enter_parser(job.archive())
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot give the files up: {error}")))?;
    runtime(Sandbox::none(), None)?.block_on(job.run()).map_err(|error| failed(OrderError::Pipe(error)))
}
