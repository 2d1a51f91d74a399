//! A scanner host's work for a server: enrol, lease jobs, run them, hand the results in.
//!
//! What it promises:
//! - **Nothing found is lost.** A batch is on disk, synced, before it is sent, and stays there until the
//!   server has acknowledged it, through restarts of either side.
//! - **Nothing is handed in twice.** Batches are numbered within their job and the server takes each
//!   number once.
//! - **The host's own limits win.** No server can raise the rate ceiling, nor scan what this host's
//!   configuration excludes.
//! - **What strangers send is parsed apart**, by a process for each job that has neither rights nor files nor the
//!   credential.
//! - **A server is not trusted with more than work.** Its answers are bounded, redirects are not followed,
//!   the credential never leaves over clear text unless the operator says so.

#![forbid(unsafe_code)]

mod agent;
mod apart;
mod backoff;
mod batch;
mod client;
mod courier;
mod host;
mod identification;
mod job;
mod lease;
mod limits;
mod profiles;
mod rates;
mod recorder;
mod reload;
mod run;
mod spool;
mod state;
mod task;
mod uplink;

use portreeve_model::SafeText;

pub use agent::{AgentConfig, AgentError, run_agent};
pub use apart::{Apart, OrderError, WorkerCommand};
pub use client::{ClientError, ServerUrl, ServerUrlError, http_client};
pub use courier::{Delivery, deliver};
pub use host::{backends, interfaces};
pub use limits::HostLimits;
pub use rates::{TunedRate, TunedRates};
pub use recorder::record;
pub use reload::DatabaseFolder;
pub use run::{Found, Tally, run};
pub use spool::{BatchUnreadable, JobSpool, Spool, SpoolError};
pub use state::StateError;
pub use task::summary;
pub use uplink::{Uplink, UplinkError};

/// An error with all its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Foreign bytes as harmless text.
fn plain(bytes: &[u8]) -> String {
    SafeText::sanitize_to(bytes, 1024).into_string()
}
