//! Who made a network interface, by the IEEE's registry of assigned prefixes.
//!
//! The registry hands out blocks of 24, 28 and 36 bits (MA-L, MA-M, MA-S and the older IAB); the longest one that covers
//! an address is its owner. Addresses that nobody was assigned (locally administered, multicast) have no vendor, and
//! neither have blocks whose owner is not published or that the IEEE only passes on.
//!
//! `registry.bin` holds the facts of the public registry (prefix and name of the organisation). It is made by
//! `cargo run -p portreeve-probes --example mac_registry -- index.json probes/src/mac/registry.bin` from the npm package
//! `oui-data` (BSD-2-Clause), once for each release.

mod registry;

use std::sync::OnceLock;

use portreeve_model::{MacAddress, SafeText};

pub use registry::{Registry, RegistryError};

/// The organisation that the address's block is assigned to.
pub fn vendor(mac: MacAddress) -> Option<SafeText> {
    builtin().vendor(mac).map(SafeText::from)
}

/// The registry that this program was built with; unpacked when first asked, in milliseconds.
fn builtin() -> &'static Registry {
    static BUILTIN: OnceLock<Registry> = OnceLock::new();
    // The crate's tests unpack the same bytes; were they unreadable all the same, no vendor is better than no scan.
    BUILTIN.get_or_init(|| Registry::unpack(include_bytes!("registry.bin")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vendor_of(text: &str) -> Option<String> {
        vendor(text.parse().expect("an address")).map(SafeText::into_string)
    }

    #[test]
    fn the_builtin_registry_is_whole() {
        let registry = Registry::unpack(include_bytes!("registry.bin")).expect("the registry");
        let [large, medium, small] = registry.counts();
        assert!(large >= 40_000 && medium >= 6_500 && small >= 7_000, "{large} {medium} {small}");
    }

    #[test]
    fn blocks_of_every_size_have_their_owner() {
        assert_eq!(vendor_of("00:00:00:12:34:56").as_deref(), Some("XEROX CORPORATION"));
        // 70:B3:D5 is cut into blocks of 36 bits, 00:55:DA into blocks of 28: the IEEE's own name is never shown.
        assert_eq!(vendor_of("70:b3:d5:00:30:01").as_deref(), Some("ANYROAM"));
        assert_eq!(vendor_of("00:55:da:0f:ff:ff").as_deref(), Some("Shinko Technos co.,ltd."));
        assert_ne!(vendor_of("70:b3:d5:ff:ff:ff").as_deref(), Some("IEEE Registration Authority"));
    }

    #[test]
    fn made_up_and_group_addresses_have_no_vendor() {
        // The first one would be XEROX's but for the bit that says "locally administered".
        for text in [
            "02:00:00:12:34:56",
            "52:54:00:12:34:56",
            "33:33:00:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:fb",
        ] {
            assert_eq!(vendor_of(text), None, "{text}");
        }
        // Its owner keeps the name back.
        assert_eq!(vendor_of("00:01:01:00:00:01"), None);
    }
}
