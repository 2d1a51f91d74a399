//! What people type, checked before it is stored: networks, port specifications, rules, address ranges.
//!
//! Everything here is pure. An error is a sentence that names the input; the wording of the cases that
//! OPM knows is OPM's, because its clients show it.

mod cursor;
mod ip_range;
mod network;
mod port_spec;
mod rule;
mod time;
mod version;

pub use cursor::PortCursor;
pub use ip_range::{AddressRange, InvalidRange};
pub use network::{is_public, parse_network};
pub use port_spec::check_port_spec;
pub use rule::{RulePorts, parse_rule_address, parse_rule_ports};
pub use time::parse_time;
pub use version::parse_version;
