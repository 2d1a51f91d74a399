//! Files in nmap's format that a user brings: refused with a place, or a database that holds together.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_import_nmap::{Pattern, convert, read};
use portreeve_probes::Database;

fuzz_target!(|text: &[u8]| {
    // Expressions by themselves too: few inputs are grammatical files.
    for caseless in [false, true] {
        if let Ok(pattern) = Pattern::parse(text, caseless, true) {
            let _ = pattern.translate(|group| group < 10);
        }
    }
    let file = match read(text) {
        Ok(file) => file,
        Err(error) => {
            assert!(error.line > 0 && error.column > 0 && !error.reason.is_empty());
            return;
        }
    };
    let (family, report) = convert(&file, 2);
    assert_eq!(family.entries.len(), report.entries);
    assert!(report.entries + report.left_out.len() >= report.matches);
    let text = family.to_toml();
    let database = Database::from_texts([("nmap.toml".to_owned(), text.clone())]).expect("a database");
    let own = |finding: &&portreeve_probes::Finding| finding.file == "nmap.toml" && !finding.message.contains("no such probe");
    let findings = database.check();
    assert_eq!(findings.iter().find(own), None);
    assert_eq!(Database::fmt("nmap.toml", &text).expect("formatted"), text);
});
