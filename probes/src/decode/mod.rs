//! Turns replies in known protocols into named fields.
//!
//! Every decoder looks for its protocol's own marks and adds nothing where they are missing, so all of
//! them see every reply: a service is known by what it says, never by its port. None of them panics,
//! indexes, or allocates by a length that the reply claims.

mod database;
pub(crate) mod discovery;
mod greeting;
pub(crate) mod http;
mod industrial;
pub(crate) mod jarm;
mod management;
pub(crate) mod names;
mod reader;
pub(crate) mod snmp;
mod sql_server;
pub(crate) mod ssh;
pub(crate) mod ssh_audit;
pub(crate) mod ssh_kex;
pub(crate) mod tls;
pub(crate) mod windows;
mod xml;

use crate::fields::Fields;

/// The most bytes of a reply kept as field `raw`.
const MAX_RAW: usize = 32 * 1024;

/// Adds all that can be read from the reply to `probe`.
pub(crate) fn decode(probe: &str, reply: &[u8], fields: &mut Fields) {
    if reply.is_empty() {
        return;
    }
    fields.add(probe, "raw", reply.get(..MAX_RAW).unwrap_or(reply));
    fields.add(probe, "line1", first_line(reply));
    let mut add = |name: &str, value: &[u8]| fields.add(probe, name, value);
    http::decode(reply, &mut add);
    greeting::decode(reply, &mut add);
    industrial::decode(reply, &mut add);
    ssh::decode(reply, &mut add);
    tls::decode(reply, &mut add);
    database::decode(probe, reply, &mut add);
    management::decode(probe, reply, &mut add);
    names::decode(reply, &mut add);
    snmp::decode(reply, &mut add);
    discovery::decode(reply, &mut add);
    windows::decode(reply, &mut add);
}

/// Whether a reply is known to be whole (`Some(true)`), known to be cut (`Some(false)`), or neither.
pub(crate) fn is_complete(reply: &[u8]) -> Option<bool> {
    http::is_complete(reply).or_else(|| ssh::is_complete(reply)).or_else(|| greeting_is_complete(reply))
}

/// Numbered text replies (RFC 959, 5321): the last line has a blank after its number.
fn greeting_is_complete(reply: &[u8]) -> Option<bool> {
    let [a, b, c, ..] = reply else { return None };
    if ![a, b, c].iter().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let last = reply.strip_suffix(b"\n")?.rsplit(|&byte| byte == b'\n').next()?;
    (last.get(3) == Some(&b' ')).then_some(true)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn first_line(reply: &[u8]) -> &[u8] {
    let line = reply.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.get(..1024).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Beginnings that lead decoders deep into a reply.
    const STARTS: &[&[u8]] = &[
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x03\x00\x40\x02\x00\x00\x3c\x03\x03",
        b"\x40\x00\x00\x00\x0a5.5.5\x00",
        b"E\x00\x00\x00\x20S",
        b"\x00\x00\x84\x00\x00\x01\x00\x02\x00\x00\x00\x00\x07version\x04bind\x00",
        b"\x30\x60\x02\x01\x03\x30",
        b"\x00\x00\x00\xca\xfeSMB",
        b"NTLMSSP\0\x02\0\0\0",
        b"\x04\x01\x00\x30\x00\x00\x00\x00\x00\x00",
        b"\x63\0\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x0c\0",
    ];

    proptest! {
        #[test]
        fn no_reply_makes_a_decoder_panic(start in 0..STARTS.len(), tail: Vec<u8>, probe in 0_usize..4) {
            let reply = [STARTS[start], &tail].concat();
            let mut fields = Fields::default();
            decode(["banner", "tftp-read", "ntp-client", "mssql-prelogin"][probe], &reply, &mut fields);
            is_complete(&reply);
            prop_assert_eq!(fields.is_empty(), reply.is_empty());
        }
    }
}
