//! Port lists: what is accepted is written in a form that reads back as the same set.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_model::Transport;
use portreeve_scan::PortSet;

fuzz_target!(|text: &str| {
    let Ok(ports) = text.parse::<PortSet>() else { return };
    assert_eq!(ports.len(), ports.tcp().len() + ports.udp().len() + ports.sctp().len());
    assert!(ports.tcp().is_sorted() && ports.tcp().all(|port| ports.contains(Transport::Tcp, port)));
    assert!(ports.udp().is_sorted() && ports.udp().all(|port| ports.contains(Transport::Udp, port)));
    assert!(ports.sctp().is_sorted() && ports.sctp().all(|port| ports.contains(Transport::Sctp, port)));
    let written = ports.to_string();
    assert_eq!(written.parse::<PortSet>().as_ref(), Ok(&ports), "{written:?}");
});
