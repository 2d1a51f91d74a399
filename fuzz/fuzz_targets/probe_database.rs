//! Files of a probe database that a user supplies: refused with a reason, or usable in full.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_probes::Database;

fuzz_target!(|text: &str| {
    let file = || [("fuzz.toml".to_owned(), text.to_owned())];
    let formatted = Database::fmt("fuzz.toml", text);
    let Ok(database) = Database::from_texts(file()) else { return };
    let _ = database.check();
    let _ = database.stats();
    if let Ok(formatted) = formatted {
        assert_eq!(Database::fmt("fuzz.toml", &formatted).expect("formatted text is valid"), formatted);
    }
});
