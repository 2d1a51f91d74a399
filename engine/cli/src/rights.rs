//! What this process may do, and giving it up.

use caps::{CapSet, Capability};

use portreeve_scan::Sandbox;

use crate::{
    args::SandboxArgs,
    exit::{Exit, Failure},
};

/// Whether raw sockets can be opened.
pub(crate) fn may_open_raw_sockets() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap_or(false)
}

/// Gives all rights up, once the sockets are open: what comes from the network from now on meets a process
/// that may no more than anyone. To be called before other threads are started, which inherit it.
pub(crate) fn drop_all() -> Result<(), Failure> {
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set)
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot give up rights: {error}")))?;
    }
    Ok(())
}

/// Limits what the process may do from now on, as far as this kernel can; parsing threads lose more when they start.
/// To be called before there are other threads.
pub(crate) fn confine(arguments: &SandboxArgs) -> Result<Sandbox, Failure> {
    let sandbox = check_sandbox(arguments)?;
    sandbox.enter().map_err(|error| {
        Failure::new(Exit::Failure, format!("cannot enter the sandbox: {error}; --no-sandbox goes without"))
    })?;
    Ok(sandbox)
}

/// Finds out how far this kernel can confine, and says what it lacks.
pub(crate) fn check_sandbox(arguments: &SandboxArgs) -> Result<Sandbox, Failure> {
    if arguments.no_sandbox {
        return Ok(Sandbox::none());
    }
    let sandbox = Sandbox::find();
    match sandbox.missing() {
        Some(missing) if arguments.require_sandbox => {
            Err(Failure::new(Exit::Failure, format!("{missing}, and --require-sandbox asks for one")))
        }
        Some(missing) => {
            say!("{missing}");
            Ok(sandbox)
        }
        None => Ok(sandbox),
    }
}
