//! What needs root: BPF programs, frames between namespaces that each test makes for itself, and whole scans of hosts
//! that answer as hosts do, since they are the kernel of another namespace.
//!
//! | | near: the scanner | far: the targets |
//! |---|---|---|
//! | on the link | 10.99.1.1, fd99::1 | 10.99.1.2-4, fd99::2-3 |
//! | behind the far end | routed to 10.99.1.2 and fd99::2 | 10.99.128.0/17 and fd99:1::/64, answered for as a whole |

mod bpf;
mod flood;
mod frames;
mod generator;
mod kernel;
mod limits;
mod losses;
mod network;
mod once;
mod scans;
mod sink;
mod states;
mod watch;
mod wide;
