//! The way to each target: which device, from which address, through which gateway.

mod map;
mod netlink;

pub(crate) use map::{Hop, RouteMap};
pub(crate) use netlink::{Route, RouteSocket};
