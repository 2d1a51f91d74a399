//! NTP (RFC 5905), MQTT, TFTP (RFC 1350), Telnet (RFC 854) and LDAP (RFC 4511): the few
//! bytes that tell a reply is one.
//!
//! Fields: `ntp.version`, `ntp.stratum`, `ntp.refid`, `ntp.variables`;
//! `mqtt.connack`, `mqtt.version`; `tftp.error`; `telnet.text`, `telnet.options`; `ldap.result`.

use super::{hex, reader::Reader};

pub(super) fn decode(probe: &str, reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    let _ = ldap(reply, add);
    if probe.starts_with("ntp") {
        let _ = ntp(reply, add);
    }
    if let [0x20, 2, 0 | 1, code @ 0..=5, ..] = reply {
        add("mqtt.connack", code.to_string().as_bytes());
    }
    let _ = mqtt_version(reply, add);
    if let ([0, 5, 0, code @ 0..=8, text @ ..], true) = (reply, probe.starts_with("tftp")) {
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        add("tftp.error", &[format!("{code} ").as_bytes(), text].concat());
    }
    telnet(reply, add);
}

/// The message id and kind of an LDAP response to the id that we use, 7.
fn ldap(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    // A reply may be cut in its attributes, so the outer length is not insisted on.
    let mut reader = Reader(reply);
    let [0x30, ..] = reader.0 else { return None };
    reader.u8()?;
    let long = reader.u8()?;
    if long > 0x80 {
        reader.take(usize::from(long & 0x7f))?;
    }
    if reader.ber_of(2)?.0 != [7] {
        return None;
    }
    let kind = match reader.u8()? {
        0x61 => "bind",
        0x64 => "entry",
        0x65 => "done",
        0x78 => "extended",
        _ => return None,
    };
    add("ldap.result", kind.as_bytes());
    Some(())
}

/// The payload of the first PUBLISH among the packets (MQTT 3.1.1, 3.3) whose topic is the broker's
/// version.
fn mqtt_version(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    const PUBLISH: u8 = 0x30;
    if !matches!(reply, [0x20 | 0x30..=0x3f | 0x90, ..]) {
        return None;
    }
    let mut reader = Reader(reply);
    for _ in 0..64 {
        let kind = reader.u8()?;
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = reader.u8()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut packet = Reader(reader.take(length)?);
        if kind & 0xf0 == PUBLISH {
            let topic = packet.be16()?;
            if packet.take(topic.into())? == b"$SYS/broker/version" {
                add("mqtt.version", packet.0);
                return Some(());
            }
        }
    }
    None
}

fn ntp(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    let &first = reply.first()?;
    let (version, mode) = (first >> 3 & 7, first & 7);
    match mode {
        4 | 2 if reply.len() >= 48 => {
            let stratum = *reply.get(1)?;
            add("ntp.version", version.to_string().as_bytes());
            add("ntp.stratum", stratum.to_string().as_bytes());
            let id = reply.get(12..16)?;
            let text = if stratum <= 1 { id.to_vec() } else { hex(id).into_bytes() };
            add("ntp.refid", &text);
        }
        6 if reply.get(1)? & 0x80 != 0 => {
            let length = u16::from_be_bytes([*reply.get(10)?, *reply.get(11)?]);
            add("ntp.version", version.to_string().as_bytes());
            add("ntp.variables", reply.get(12..)?.get(..length.into()).or(reply.get(12..))?);
        }
        _ => {}
    }
    Some(())
}

/// Takes option negotiation out of what a Telnet server says.
fn telnet(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    const IAC: u8 = 255;
    // Around a subnegotiation (RFC 855).
    const BEGIN: u8 = 250;
    const END: u8 = 240;
    if !reply.windows(2).any(|two| matches!(two, [IAC, 251..=254])) {
        return;
    }
    let mut text = Vec::new();
    let mut options = Vec::new();
    let mut rest = reply;
    loop {
        rest = match rest {
            [IAC, verb @ 251..=254, option, tail @ ..] => {
                options.push(format!("{verb}:{option}"));
                tail
            }
            [IAC, BEGIN, tail @ ..] => {
                let end = tail.windows(2).position(|two| two == [IAC, END]).map_or(tail.len(), |at| at + 2);
                tail.get(end..).unwrap_or_default()
            }
            [IAC, _, tail @ ..] => tail,
            [0, tail @ ..] => tail,
            [byte, tail @ ..] => {
                text.push(*byte);
                tail
            }
            [] => break,
        };
    }
    // Bytes at random have an option's mark now and then, but are no text besides.
    let is_text = |byte: &u8| matches!(byte, 7..=13 | 27 | 32..=255);
    if options.is_empty() || !text.iter().all(is_text) {
        return;
    }
    options.truncate(32);
    add("telnet.options", options.join(" ").as_bytes());
    add("telnet.text", text.trim_ascii());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_among_text_are_telnet_and_among_noise_are_not() {
        let read = |reply: &[u8]| {
            let mut fields = Vec::new();
            telnet(reply, &mut |name, value| {
                fields.push((name.to_owned(), String::from_utf8_lossy(value).into_owned()));
            });
            fields
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let greeting = b"\xff\xfd\x18\xff\xfa\x18\x01\xff\xf0\r\nlogin: ";
        assert_eq!(read(greeting), [pair("telnet.options", "253:24"), pair("telnet.text", "login:")]);
        // A peer that encrypts from its first byte.
        assert_eq!(read(b"\x9c\x01\xff\xfb\x22\x8e\x03\x02"), []);
        // An end that never comes.
        assert_eq!(read(b"\xff\xfd\x18\xff\xfa\x18")[0], pair("telnet.options", "253:24"));
        assert_eq!(read(b"\xff\xfa\xff\xfd"), []);
    }
}
