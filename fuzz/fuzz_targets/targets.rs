//! Target lists: what is accepted has the size it says and keeps what was excluded out.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_scan::TargetSetBuilder;

fuzz_target!(|text: &str| {
    let (include, exclude) = text.split_once("\n!\n").unwrap_or((text, ""));
    let Ok(builder) = TargetSetBuilder::new().include(include) else { return };
    let Ok(excluded) = TargetSetBuilder::new().allow_reserved(true).include(exclude) else { return };
    let Ok(builder) = builder.exclude(exclude) else { return };
    let Ok(set) = builder.build() else { return };
    let excluded = excluded.build().ok();
    let addresses: Vec<_> = set.iter().take(1000).collect();
    assert_eq!(addresses.len() as u128, set.len().min(1000));
    for (index, address) in addresses.iter().enumerate() {
        assert_eq!(set.address(index as u64), Some(*address));
        assert_eq!(set.index_of(*address), Some(index as u64));
        assert!(set.contains(*address));
        assert!(
            !excluded.as_ref().is_some_and(|excluded| excluded.contains(*address)),
            "{address} was excluded"
        );
    }
    assert!(addresses.is_sorted());
    let last = u64::try_from(set.len()).unwrap_or(u64::MAX);
    assert_eq!(set.address(last), None);
});
