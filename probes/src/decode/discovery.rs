//! What devices announce: UPnP descriptions (UPnP Device Architecture 2.3), WS-Discovery matches (OASIS 1.1, 5.3),
//! metadata of the Devices Profile (OASIS DPWS 1.1, 5), ONVIF scopes.
//!
//! Fields: `upnp.name`, `upnp.vendor`, `upnp.model`, `upnp.number`, `upnp.description`, `upnp.serial`, `upnp.id`;
//! `wsd.types`, `wsd.scopes`, `wsd.address`, `wsd.endpoint`, `wsd.name`, `wsd.vendor`, `wsd.model`,
//! `wsd.firmware`, `wsd.serial`, `wsd.location`.

use memchr::memmem;

use super::xml::text;

/// Elements of a device description and the fields.
const UPNP: &[(&str, &str)] = &[
    ("friendlyName", "upnp.name"),
    ("manufacturer", "upnp.vendor"),
    ("modelName", "upnp.model"),
    ("modelNumber", "upnp.number"),
    ("modelDescription", "upnp.description"),
    ("serialNumber", "upnp.serial"),
    ("UDN", "upnp.id"),
];
const WSD: &[(&str, &str)] = &[
    ("Types", "wsd.types"),
    ("Scopes", "wsd.scopes"),
    ("XAddrs", "wsd.address"),
    ("Address", "wsd.endpoint"),
    ("FriendlyName", "wsd.name"),
    ("Manufacturer", "wsd.vendor"),
    ("ModelName", "wsd.model"),
    ("FirmwareVersion", "wsd.firmware"),
    ("SerialNumber", "wsd.serial"),
];
/// Scopes by which ONVIF devices describe themselves (ONVIF Core 7.3.3).
const SCOPES: &[(&[u8], &str)] = &[
    (b"onvif://www.onvif.org/name/", "wsd.name"),
    (b"onvif://www.onvif.org/hardware/", "wsd.model"),
    (b"onvif://www.onvif.org/location/", "wsd.location"),
];

pub(crate) fn decode(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    if has(reply, b"urn:schemas-upnp-org:device-1-0") {
        read(reply, UPNP, add);
    }
    if has(reply, b"discovery/ProbeMatches") || has(reply, b"/ws/2006/02/devprof") {
        // The sender's address stands in the header; the device's is the one in its match.
        let body = find(reply, b"Body>").and_then(|at| reply.get(at + 5..)).unwrap_or(reply);
        read(body, WSD, add);
        for scope in text(body, "Scopes").unwrap_or_default().split(|byte| byte.is_ascii_whitespace()) {
            for (start, field) in SCOPES {
                if let Some(value) = scope.strip_prefix(*start).filter(|value| !value.is_empty()) {
                    add(field, &percent_decoded(value));
                }
            }
        }
    }
}

fn read(document: &[u8], elements: &[(&str, &str)], add: &mut dyn FnMut(&str, &[u8])) {
    for (element, field) in elements {
        if let Some(value) = text(document, element) {
            add(field, &value);
        }
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    find(bytes, part).is_some()
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    memmem::find(bytes, part)
}

fn percent_decoded(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        text = match text {
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                let digits = [*a, *b];
                let digits = std::str::from_utf8(&digits).unwrap_or("20");
                out.push(u8::from_str_radix(digits, 16).unwrap_or(b' '));
                rest
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
            [] => return out,
        };
    }
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
    fn a_device_description_is_read() {
        let fields = fields(
            b"<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><friendlyName>Den TV</friendlyName>\
              <manufacturer>Acme</manufacturer><modelName>X1</modelName><UDN>uuid:1</UDN></device></root>",
        );
        for (name, value) in
            [("upnp.name", "Den TV"), ("upnp.vendor", "Acme"), ("upnp.model", "X1"), ("upnp.id", "uuid:1")]
        {
            assert_eq!(fields.get(name), Some(value.as_bytes()), "{name}");
        }
    }

    #[test]
    fn scopes_of_a_camera_are_read() {
        let fields = fields(
            b"<e:Envelope><e:Header><w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</w:Action>\
              </e:Header><e:Body><d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>onvif://www.onvif.org/name/AXIS%20P3245 \
              onvif://www.onvif.org/hardware/P3245</d:Scopes><d:XAddrs>http://10.99.0.1/onvif</d:XAddrs></e:Body></e:Envelope>",
        );
        assert_eq!(fields.get("wsd.name"), Some(&b"AXIS P3245"[..]));
        assert_eq!(fields.get("wsd.model"), Some(&b"P3245"[..]));
        assert_eq!(fields.get("wsd.address"), Some(&b"http://10.99.0.1/onvif"[..]));
    }
}
