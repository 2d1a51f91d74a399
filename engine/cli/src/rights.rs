//! What this process may do, and giving it up.

use caps::{CapSet, Capability};

use crate::exit::{Exit, Failure};

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
