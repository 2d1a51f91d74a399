//! SNMP (RFC 1157, 3416, 3412): what an agent says of itself.
//!
//! Fields: `snmp.version`; of an engine id (RFC 3411 5) `snmp.enterprise`, `snmp.engine`, `snmp.mac`, `snmp.text`,
//! and `snmp.boots`, `snmp.uptime`; of the system group (RFC 3418) `snmp.sysdescr`, `snmp.sysobjectid`,
//! `snmp.sysname`, `snmp.location`, `snmp.contact`.

use super::{hex, reader::Reader};

/// Objects of the system group, as BER encodes their names, and the fields.
const OBJECTS: &[(&[u8], &str)] = &[
    (b"\x2b\x06\x01\x02\x01\x01\x01\x00", "snmp.sysdescr"),
    (b"\x2b\x06\x01\x02\x01\x01\x02\x00", "snmp.sysobjectid"),
    (b"\x2b\x06\x01\x02\x01\x01\x04\x00", "snmp.contact"),
    (b"\x2b\x06\x01\x02\x01\x01\x05\x00", "snmp.sysname"),
    (b"\x2b\x06\x01\x02\x01\x01\x06\x00", "snmp.location"),
];
const OBJECT_ID: u8 = 6;
const OCTETS: u8 = 4;
/// Values of one reply that are looked at.
const MAX_VALUES: usize = 32;

pub(super) fn decode(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    let _ = message(reply, add);
}

fn message(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    let mut message = Reader(reply).ber_of(0x30)?;
    let version = match message.ber_of(2)?.0 {
        [0] => "1",
        [1] => "2c",
        [3] => "3",
        _ => return None,
    };
    if version == "3" {
        message.ber_of(0x30)?;
        let security = message.ber_of(OCTETS)?.ber_of(0x30)?;
        add("snmp.version", version.as_bytes());
        return engine(security, add);
    }
    message.ber_of(OCTETS)?;
    let response = message.ber_of(0xa2)?;
    add("snmp.version", version.as_bytes());
    values(response, add)
}

/// The user-based security model's parameters (RFC 3414 2.4).
fn engine(mut security: Reader<'_>, add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    let id = security.ber_of(OCTETS)?.0;
    let mut parts = Reader(id);
    let enterprise = parts.be32()?;
    add("snmp.enterprise", (enterprise & 0x7fff_ffff).to_string().as_bytes());
    add("snmp.engine", hex(id.get(..32).unwrap_or(id)).as_bytes());
    if enterprise & 0x8000_0000 != 0 {
        match (parts.u8(), parts.0) {
            (Some(3), mac) if mac.len() == 6 => add("snmp.mac", hex(mac).as_bytes()),
            (Some(4), text) if text.iter().all(|byte| (b' '..=b'~').contains(byte)) => add("snmp.text", text),
            _ => {}
        }
    }
    for name in ["snmp.boots", "snmp.uptime"] {
        let value = number(security.ber_of(2)?.0)?;
        add(name, value.to_string().as_bytes());
    }
    Some(())
}

fn values(mut response: Reader<'_>, add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    for _ in 0..3 {
        response.ber_of(2)?;
    }
    let mut list = response.ber_of(0x30)?;
    for _ in 0..MAX_VALUES {
        let mut pair = list.ber_of(0x30)?;
        let name = pair.ber_of(OBJECT_ID)?.0;
        let (kind, value) = pair.ber()?;
        let Some((_, field)) = OBJECTS.iter().find(|(object, _)| *object == name) else { continue };
        match kind {
            OCTETS => add(field, value.0.get(..512).unwrap_or(value.0)),
            OBJECT_ID => add(field, dotted(value.0).as_bytes()),
            _ => {}
        }
    }
    None
}

fn number(bytes: &[u8]) -> Option<u32> {
    (bytes.len() <= 5).then(|| bytes.iter().fold(0_u32, |sum, &byte| sum << 8 | u32::from(byte)))
}

/// An object identifier in digits (X.690 8.19), at most 64 of them.
fn dotted(bytes: &[u8]) -> String {
    let mut parts: Vec<u32> = Vec::new();
    let mut value = 0_u32;
    for &byte in bytes {
        value = value << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if parts.is_empty() {
                let first = (value / 40).min(2);
                parts.extend([first, value - 40 * first]);
            } else {
                parts.push(value);
            }
            value = 0;
        }
        if parts.len() >= 64 {
            break;
        }
    }
    parts.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

/// A question for the system group, by version 2c with that community.
pub(crate) fn system_request(community: &str) -> Vec<u8> {
    let tagged = |tag: u8, content: &[u8]| {
        let mut out = vec![tag];
        match content.len() {
            short @ 0..=127 => out.push(short as u8),
            long => out.extend([&[0x82][..], &(long as u16).to_be_bytes()].concat()),
        }
        out.extend_from_slice(content);
        out
    };
    let pairs: Vec<u8> = OBJECTS
        .iter()
        .flat_map(|(name, _)| tagged(0x30, &[tagged(OBJECT_ID, name), vec![5, 0]].concat()))
        .collect();
    let request = [&b"\x02\x02\x4c\x42\x02\x01\0\x02\x01\0"[..], &tagged(0x30, &pairs)].concat();
    let community = community.as_bytes().get(..64).unwrap_or(community.as_bytes());
    tagged(0x30, &[&[2, 1, 1][..], &tagged(OCTETS, community), &tagged(0xa0, &request)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Fields;

    fn fields(reply: &[u8]) -> Fields {
        let mut fields = Fields::default();
        decode(reply, &mut |name, value| fields.add("x", name, value));
        fields
    }

    #[test]
    fn an_engine_id_tells_enterprise_and_hardware_address() {
        let reply = b"01\x02\x01\x030\x0f\x02\x02LB\x02\x03\0\xff\xe3\x04\x01\0\x02\x01\x03\x04\x1b0\x19\x04\x0b\x80\0\0\t\x03\0\x11\"3DU\x02\x01\x05\x02\x01>\x04\0\x04\0\x04\0";
        let fields = fields(reply);
        assert_eq!(fields.get("snmp.enterprise"), Some(&b"9"[..]));
        assert_eq!(fields.get("snmp.mac"), Some(&b"001122334455"[..]));
        assert_eq!(fields.get("snmp.boots"), Some(&b"5"[..]));
    }

    #[test]
    fn object_identifiers_are_written_in_digits() {
        assert_eq!(dotted(b"\x2b\x06\x01\x04\x01\xbf\x08\x03\x02\x0a"), "1.3.6.1.4.1.8072.3.2.10");
        assert_eq!(dotted(&[0xff; 40]), "");
    }
}
