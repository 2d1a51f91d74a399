//! When many alerts are one: each of a few has its own, more of them share one that names the first places.

use std::{collections::BTreeSet, net::IpAddr};

use portreeve_model::Transport;
use serde_json::{Value, json};

use super::place;

/// So many of a kind at once have an alert each; more share one.
pub(super) const APART: usize = 10;
/// Places that an alert names in its sentence, and in its details.
const NAMED: usize = 3;
const LISTED: usize = 100;

/// Where something is: a port.
pub(super) type Place = (IpAddr, u16, Transport);

/// A place as people read it.
pub(super) fn shown(&(address, port, transport): &Place) -> String {
    place(address, port, transport)
}

/// The first places, and how many more there are.
pub(super) fn named(places: &BTreeSet<Place>) -> String {
    let first = places.iter().take(NAMED).map(shown).collect::<Vec<_>>().join(", ");
    match places.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The places as the detail of an alert lists them, with how many they are.
pub(super) fn listed(places: impl ExactSizeIterator<Item = String>) -> Value {
    let count = places.len();
    json!({ "places": places.take(LISTED).collect::<Vec<_>>(), "place_count": count })
}
