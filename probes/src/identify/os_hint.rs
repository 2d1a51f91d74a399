//! A guess at the operating system's family from how its SYN-ACK is laid out.
//!
//! Behind a load balancer or a NAT this names the front end, so it is used only where nothing better is
//! known, and it names a family, never a version.

use portreeve_model::SynAckTraits;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const SCALE: u8 = 3;
const SACK: u8 = 4;
const TIME: u8 = 8;

/// The family whose stack answers so, if one is known to. `ttl` as received.
pub(super) fn os_hint(traits: &SynAckTraits, ttl: Option<u8>) -> Option<&'static str> {
    let kinds = traits.option_kinds;
    let used = kinds.iter().rposition(|&kind| kind != END).map_or(0, |last| last + 1);
    let start = initial_ttl(ttl?);
    match (start, kinds.get(..used)?) {
        // Which options come back depends on which our SYN offered, their order on the stack.
        (64, [MSS, SACK, TIME, NOP, SCALE] | [MSS, NOP, NOP, SACK, NOP, SCALE]) => Some("Linux"),
        (64, [MSS, NOP, SCALE, SACK, TIME]) => Some("FreeBSD"),
        (64, [MSS, NOP, SCALE, NOP, NOP, TIME, SACK] | [MSS, NOP, SCALE, SACK]) => Some("macOS"),
        (128, [MSS, NOP, SCALE, NOP, NOP, SACK] | [MSS, NOP, SCALE, SACK, TIME]) => Some("Windows"),
        (255, [MSS]) if traits.window == 4128 => Some("Cisco IOS"),
        _ => None,
    }
}

/// The value that a packet set out with: routers only ever count down.
fn initial_ttl(ttl: u8) -> u8 {
    match ttl {
        0..=32 => 32,
        33..=64 => 64,
        65..=128 => 128,
        129.. => 255,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(window: u16, kinds: &[u8]) -> SynAckTraits {
        let mut option_kinds = [0; 8];
        option_kinds[..kinds.len()].copy_from_slice(kinds);
        SynAckTraits {
            window,
            mss: Some(1460),
            window_scale: None,
            sack_permitted: true,
            timestamps: false,
            option_kinds,
            dont_fragment: true,
        }
    }

    #[test]
    fn layouts_name_families_and_nothing_names_nothing() {
        assert_eq!(os_hint(&traits(65160, &[2, 4, 8, 1, 3]), Some(61)), Some("Linux"));
        assert_eq!(os_hint(&traits(65535, &[2, 1, 3, 1, 1, 4]), Some(127)), Some("Windows"));
        assert_eq!(os_hint(&traits(4128, &[2]), Some(250)), Some("Cisco IOS"));
        assert_eq!(os_hint(&traits(64240, &[2]), Some(64)), None);
        assert_eq!(os_hint(&traits(65160, &[2, 4, 8, 1, 3]), None), None);
    }
}
