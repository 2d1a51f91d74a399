//! Name services: DNS (RFC 1035), its multicast form (RFC 6762), and NetBIOS node status (RFC 1002).
//!
//! Fields: `dns.version`, `dns.id`, `dns.rcode`, `dns.flags`; `mdns.ptr` (kinds of services), `mdns.instance`,
//! `mdns.host`, and of the instances' attributes `mdns.model`, `mdns.vendor`, `mdns.name`, `mdns.serial`,
//! `mdns.location`; `netbios.name`, `netbios.group`, `netbios.mac`.

use super::{hex, reader::Reader};

pub(super) fn decode(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    // Over TCP a message has its length before it (RFC 1035 4.2.2).
    let bare = match reply.split_first_chunk::<2>() {
        Some((length, rest)) if usize::from(u16::from_be_bytes(*length)) == rest.len() => rest,
        _ => reply,
    };
    let _ = message(bare, add);
    let _ = netbios(reply, add);
}

/// Attributes of announced services (RFC 6763 6), in lower case, and the fields.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("am", "mdns.model"),
    ("md", "mdns.model"),
    ("mdl", "mdns.model"),
    ("model", "mdns.model"),
    ("ty", "mdns.model"),
    ("usb_mdl", "mdns.model"),
    ("manufacturer", "mdns.vendor"),
    ("usb_mfg", "mdns.vendor"),
    ("fn", "mdns.name"),
    ("serialnumber", "mdns.serial"),
    ("sn", "mdns.serial"),
    ("note", "mdns.location"),
];
/// Questions that we ask of ordinary name servers.
const ASKED: &[&str] = &["version.bind", "hostname.bind", "id.server", "version.server"];
/// Kinds that list kinds of services.
const KINDS: &str = "_services._dns-sd._udp.local";
const MAX_QUESTIONS: u16 = 8;
const MAX_RECORDS: u16 = 64;

/// An answer to one of our own questions.
fn message(message: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    let mut reader = Reader(message);
    let _id = reader.be16()?;
    let flags = reader.be16()?;
    let (questions, answers) = (reader.be16()?, reader.be16()?);
    let (authority, additional) = (reader.be16()?, reader.be16()?);
    if flags & 0x8000 == 0 || questions > MAX_QUESTIONS {
        return None;
    }
    for _ in 0..questions {
        let name = name(&mut reader, message)?.to_ascii_lowercase();
        reader.take(4)?;
        if ASKED.contains(&name.as_str()) || name == KINDS && questions == 1 {
            add("dns.rcode", (flags & 15).to_string().as_bytes());
            add("dns.flags", format!("{flags:04x}").as_bytes());
        } else if !name.as_bytes().ends_with(b".local") {
            return None;
        }
    }
    let records = answers.saturating_add(authority).saturating_add(additional);
    for _ in 0..records.min(MAX_RECORDS) {
        record(&mut reader, message, add)?;
    }
    Some(())
}

fn record<'a>(reader: &mut Reader<'a>, message: &'a [u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    const PTR: u16 = 12;
    const TXT: u16 = 16;
    const SRV: u16 = 33;
    let owner = name(reader, message)?.to_ascii_lowercase();
    let kind = reader.be16()?;
    reader.take(6)?;
    let length = reader.be16()?;
    let mut data = Reader(reader.take(length.into())?);
    let is_service = owner.ends_with("._tcp.local") || owner.ends_with("._udp.local");
    match (kind, owner.as_str()) {
        (TXT, "version.bind" | "version.server") => add("dns.version", text(&mut data)?),
        (TXT, "hostname.bind" | "id.server") => add("dns.id", text(&mut data)?),
        (PTR, KINDS) => add("mdns.ptr", name(&mut data, message)?.as_bytes()),
        (PTR, _) if is_service => {
            let instance = name(&mut data, message)?;
            let end = instance.len().checked_sub(owner.len() + 1)?;
            add("mdns.instance", instance.get(..end)?.as_bytes());
        }
        (SRV, _) if is_service => {
            data.take(6)?;
            let host = name(&mut data, message)?;
            add("mdns.host", host.strip_suffix(".local").unwrap_or(&host).as_bytes());
        }
        (TXT, _) if is_service => attributes(data, add),
        _ => {}
    }
    Some(())
}

/// Strings of `key=value`.
fn attributes(mut data: Reader<'_>, add: &mut dyn FnMut(&str, &[u8])) {
    while let Some(pair) = text(&mut data) {
        let Some(at) = pair.iter().position(|&byte| byte == b'=') else { continue };
        let (key, value) = pair.split_at(at);
        let key = String::from_utf8_lossy(key).to_ascii_lowercase();
        let field = ATTRIBUTES.iter().find(|(known, _)| *known == key).map(|(_, field)| *field);
        if let (Some(field), Some(value @ [_, ..])) = (field, value.get(1..)) {
            add(field, value);
        }
    }
}

/// Questions for the instances of these kinds of services, in one message.
pub(crate) fn pointer_questions(kinds: &[String]) -> Vec<u8> {
    let mut out = b"LB\0\0".to_vec();
    out.extend((kinds.len() as u16).to_be_bytes());
    out.extend([0; 6]);
    for kind in kinds {
        for label in kind.split('.').filter(|label| !label.is_empty()) {
            let label = label.as_bytes().get(..63).unwrap_or(label.as_bytes());
            out.push(label.len() as u8);
            out.extend(label);
        }
        out.extend([0, 0, PTR_QUESTION, 0, 1]);
    }
    out
}

const PTR_QUESTION: u8 = 12;

fn text<'a>(data: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = data.u8()?;
    data.take(length.into())
}

/// A domain name, pointers followed at most eight times (RFC 1035 4.1.4).
fn name<'a>(reader: &mut Reader<'a>, message: &'a [u8]) -> Option<String> {
    let mut labels: Vec<String> = Vec::new();
    let mut jumped: Option<Reader<'a>> = None;
    let mut jumps = 0;
    loop {
        let from = jumped.as_mut().unwrap_or(reader);
        match from.u8()? {
            0 => return Some(labels.join(".")),
            length @ 1..=63 if labels.len() < 32 => {
                labels.push(String::from_utf8_lossy(from.take(length.into())?).into_owned());
            }
            pointer @ 192..=255 if jumps < 8 => {
                let at = usize::from(pointer & 63) << 8 | usize::from(from.u8()?);
                jumped = Some(Reader(message.get(at..)?));
                jumps += 1;
            }
            _ => return None,
        }
    }
}

/// Node status: names with their suffix and flags, then the hardware address.
fn netbios(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    let mut reader = Reader(reply);
    let head = reader.take(12)?;
    if !matches!(head, [_, _, 0x84 | 0x85, 0, 0, 0, 0, 1, ..]) {
        return None;
    }
    reader.take(34)?;
    if reader.be32()? != 0x0021_0001 {
        return None;
    }
    reader.take(6)?;
    let count = reader.u8()?;
    for _ in 0..count {
        let name = reader.take(15)?;
        let suffix = reader.u8()?;
        let is_group = reader.be16()? & 0x8000 != 0;
        match (suffix, is_group) {
            (0, false) => add("netbios.name", name.trim_ascii_end()),
            (0, true) => add("netbios.group", name.trim_ascii_end()),
            _ => {}
        }
    }
    add("netbios.mac", hex(reader.take(6)?).as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Fields;

    #[test]
    fn instances_hosts_and_attributes_are_read_from_additional_records() {
        let mut message = pointer_questions(&["_ipp._tcp.local".to_owned()]);
        message[2] = 0x84;
        message[7] = 1;
        message[11] = 2;
        let record = |kind: u8, owner: &[u8], data: &[u8]| {
            [owner, &[0, kind, 0, 1, 0, 0, 0, 9, 0, data.len() as u8], data].concat()
        };
        // 12 is where the question's name stands.
        message.extend(record(12, &[0xc0, 12], b"\x03Den\xc0\x0c"));
        message.extend(record(33, b"\x03Den\xc0\x0c", b"\0\0\0\0\x02\x77\x04host\x05local\0"));
        message.extend(record(16, b"\x03Den\xc0\x0c", b"\x06ty=X 1\x04note\x09usb_MFG=A"));
        let mut fields = Fields::default();
        decode(&message, &mut |name, value| fields.add("x", name, value));
        for (name, value) in
            [("mdns.instance", "Den"), ("mdns.host", "host"), ("mdns.model", "X 1"), ("mdns.vendor", "A")]
        {
            assert_eq!(fields.get(name), Some(value.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_name_that_points_at_itself_ends() {
        let message = [0, 1, 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12];
        let mut reader = Reader(&message[12..]);
        assert_eq!(name(&mut reader, &message), None);
    }
}
