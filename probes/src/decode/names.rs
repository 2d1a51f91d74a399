//! Name services: DNS (RFC 1035), its multicast form (RFC 6762), and NetBIOS node status (RFC 1002).
//!
//! Fields: `dns.version`, `dns.id`, `dns.rcode`, `dns.flags`, `mdns.ptr`; `netbios.name`,
//! `netbios.group`, `netbios.mac`.

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

/// An answer to one of our own questions.
fn message(message: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    let mut reader = Reader(message);
    let _id = reader.be16()?;
    let flags = reader.be16()?;
    let (questions, answers) = (reader.be16()?, reader.be16()?);
    reader.take(4)?;
    if flags & 0x8000 == 0 || questions > 1 {
        return None;
    }
    let multicast = questions == 0;
    if !multicast {
        let name = name(&mut reader, message)?.to_ascii_lowercase();
        let known =
            ["version.bind", "hostname.bind", "id.server", "version.server", "_services._dns-sd._udp.local"];
        if !known.contains(&name.as_str()) {
            return None;
        }
        reader.take(4)?;
        add("dns.rcode", (flags & 15).to_string().as_bytes());
        add("dns.flags", format!("{flags:04x}").as_bytes());
    }
    for _ in 0..answers.min(32) {
        let owner = name(&mut reader, message)?.to_ascii_lowercase();
        let kind = reader.be16()?;
        reader.take(6)?;
        let length = reader.be16()?;
        let mut data = Reader(reader.take(length.into())?);
        match (kind, owner.as_str()) {
            (16, "version.bind" | "version.server") => add("dns.version", text(&mut data)?),
            (16, "hostname.bind" | "id.server") => add("dns.id", text(&mut data)?),
            (12, "_services._dns-sd._udp.local") => {
                add("mdns.ptr", name(&mut data, message)?.as_bytes());
            }
            _ => {}
        }
    }
    Some(())
}

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

    #[test]
    fn a_name_that_points_at_itself_ends() {
        let message = [0, 1, 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12];
        let mut reader = Reader(&message[12..]);
        assert_eq!(name(&mut reader, &message), None);
    }
}
