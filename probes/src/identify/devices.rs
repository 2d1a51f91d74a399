//! Second questions to what announces itself over UDP: the description that a first answer points to.

use std::net::{IpAddr, SocketAddr};

use portreeve_model::{DeviceInfo, SafeText};
use tokio::time::Instant;

use super::{connection::Connection, conversation::Conversation, pages::get, udp};
use crate::{
    decode::{decode, discovery, http::Response, names, snmp},
    fields::Fields,
};

/// Communities tried at most.
const MAX_COMMUNITIES: usize = 4;
/// Kinds of services asked for in one multicast DNS question.
const MAX_KINDS: usize = 8;
/// Names of services kept.
const MAX_SERVICES: usize = 32;

/// WS-Transfer's request for a device's metadata (DPWS 1.1, 5); `{to}` is the device's address.
const METADATA: &str = "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
    xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\"><s:Header><a:To>{to}</a:To>\
    <a:Action>http://schemas.xmlsoap.org/ws/2004/09/transfer/Get</a:Action>\
    <a:MessageID>urn:uuid:50525456-0000-4000-8000-000000000002</a:MessageID><a:ReplyTo><a:Address>\
    http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo></s:Header>\
    <s:Body/></s:Envelope>";

impl Conversation<'_> {
    /// Asks for names and models where the first answer says where they are to be had.
    pub async fn ask_details(&mut self) {
        let name = self.choice.as_ref().map(|choice| choice.best.name.to_string());
        match name.as_deref() {
            Some("snmp") => self.ask_system_group().await,
            Some("mdns") => self.ask_announced_services().await,
            Some("upnp") => self.ask_description().await,
            Some("ws-discovery") => self.ask_metadata().await,
            _ => {}
        }
    }

    /// By the communities that the user gave; none is guessed.
    async fn ask_system_group(&mut self) {
        let communities = self.identifier.config.snmp_communities.clone();
        for community in communities.iter().take(MAX_COMMUNITIES) {
            if self.fields.get("snmp.sysdescr").is_some() {
                return;
            }
            self.ask_more("snmp-system", &snmp::system_request(community)).await;
        }
    }

    async fn ask_announced_services(&mut self) {
        let kinds: Vec<String> = self
            .fields
            .values()
            .iter()
            .filter(|value| value.name == "mdns.ptr")
            .filter_map(|value| String::from_utf8(value.bytes.clone()).ok())
            .take(MAX_KINDS)
            .collect();
        if !kinds.is_empty() {
            self.ask_more("mdns-instances", &names::pointer_questions(&kinds)).await;
        }
    }

    /// Another datagram, whose answer adds to the fields.
    async fn ask_more(&mut self, id: &str, payload: &[u8]) {
        if !self.may_connect() || Instant::now() >= self.deadline {
            return;
        }
        self.connections += 1;
        let wait = self.patience().first;
        if let Ok(Some(reply)) = udp::ask(self.address, payload, wait, self.deadline).await {
            decode(id, &reply, &mut self.fields);
        }
    }

    /// The description that a search answer's `LOCATION` names, if it is on this very host.
    async fn ask_description(&mut self) {
        let Some(place) = self.field_text("http.location").and_then(|url| self.on_this_host(&url)) else {
            return;
        };
        let (port, path) = place;
        self.fetch(port, get(&path)).await;
    }

    async fn ask_metadata(&mut self) {
        let addresses = self.field_text("wsd.address").unwrap_or_default();
        let Some((port, path)) = addresses.split(' ').find_map(|url| self.on_this_host(url)) else { return };
        let plain = |text: &String| text.len() < 256 && !text.contains(['<', '>', '&', '"']);
        let to = self.field_text("wsd.endpoint").filter(plain).unwrap_or_default();
        let body = METADATA.replace("{to}", &to);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}:{port}\r\nContent-Type: application/soap+xml\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.endpoint.address,
            body.len()
        );
        self.fetch(port, [head.as_bytes(), body.as_bytes()].concat()).await;
    }

    /// One request over TCP to another port of the same host; only what it says of the device is taken.
    async fn fetch(&mut self, port: u16, request: Vec<u8>) {
        if !self.may_connect() || Instant::now() >= self.deadline {
            return;
        }
        let address = SocketAddr::new(self.endpoint.address, port);
        let Ok(stream) = Connection::open(address, self.connect_until()).await else { return };
        self.connections += 1;
        let mut connection = Connection::Plain(stream);
        let request = self.address_in(&request);
        if !connection.send(&request, self.deadline).await {
            return;
        }
        let reply = connection.read(self.patience(), self.deadline).await;
        let Some(response) = Response::parse(&reply.bytes).filter(|response| response.status == 200) else {
            return;
        };
        let body = response.text();
        let fields = &mut self.fields;
        discovery::decode(&body, &mut |name, value| fields.add("description", name, value));
    }

    fn field_text(&self, name: &str) -> Option<String> {
        String::from_utf8(self.fields.get(name)?.to_vec()).ok()
    }

    /// Port and path of an address in the clear on this host.
    fn on_this_host(&self, url: &str) -> Option<(u16, String)> {
        place(url)
            .filter(|(address, ..)| *address == self.endpoint.address)
            .map(|(_, port, path)| (port, path))
    }
}

/// Address, port and path of `http://address:port/path`.
fn place(url: &str) -> Option<(IpAddr, u16, String)> {
    let plain = url.len() <= 512 && url.bytes().all(|byte| byte.is_ascii_graphic());
    let rest = url.strip_prefix("http://").filter(|_| plain)?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    match authority.parse::<SocketAddr>() {
        Ok(address) => Some((address.ip(), address.port(), path.to_owned())),
        Err(_) => {
            let host = authority.trim_start_matches('[').trim_end_matches(']');
            Some((host.parse().ok()?, 80, path.to_owned()))
        }
    }
}

/// Fields that hold each fact, best first.
type Sources = &'static [&'static str];

/// What the fields say of the device itself; `None` if nothing.
pub(super) fn describe(fields: &Fields) -> Option<DeviceInfo> {
    let first = |names: Sources| {
        let value = names.iter().find_map(|name| fields.get(name).filter(|value| !value.is_empty()))?;
        Some(SafeText::sanitize_to(value, 256)).filter(|text| !text.is_empty())
    };
    let mut services = Vec::new();
    for value in fields.values().iter().filter(|value| value.name == "mdns.ptr") {
        let service = SafeText::sanitize_to(value.bytes.strip_suffix(b".local").unwrap_or(&value.bytes), 64);
        if services.len() < MAX_SERVICES && !services.contains(&service) {
            services.push(service);
        }
    }
    let device = DeviceInfo {
        name: first(&[
            "upnp.name",
            "wsd.name",
            "snmp.sysname",
            "mdns.name",
            "mdns.host",
            "mdns.instance",
            "netbios.name",
        ]),
        vendor: first(&["upnp.vendor", "wsd.vendor", "mdns.vendor"]),
        model: first(&["upnp.model", "wsd.model", "mdns.model"]),
        version: first(&["wsd.firmware", "upnp.number"]),
        serial: first(&["upnp.serial", "wsd.serial", "mdns.serial"]),
        description: first(&["snmp.sysdescr", "upnp.description"]),
        location: first(&["snmp.location", "wsd.location", "mdns.location"]),
        mac: first(&["snmp.mac", "netbios.mac"]).filter(|mac| mac.as_str() != "000000000000"),
        object_id: first(&["snmp.sysobjectid"]),
        services,
    };
    (device != DeviceInfo::default()).then_some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_names_are_none() {
        let read = |url: &str| place(url).map(|(address, port, path)| format!("{address} {port} {path}"));
        assert_eq!(read("http://10.99.0.1:5000/root.xml").as_deref(), Some("10.99.0.1 5000 /root.xml"));
        assert_eq!(read("http://[fd99::1]/d").as_deref(), Some("fd99::1 80 /d"));
        assert_eq!(read("http://10.99.0.1").as_deref(), Some("10.99.0.1 80 /"));
        for url in ["https://10.99.0.1/", "http://name/", "http://10.99.0.1:5000/a b", "", "http://"] {
            assert_eq!(read(url), None, "{url}");
        }
    }

    #[test]
    fn facts_come_from_the_best_source() {
        let mut fields = Fields::default();
        assert_eq!(describe(&fields), None);
        fields.add("x", "mdns.host", b"printer");
        fields.add("x", "mdns.model", b"LaserJet");
        fields.add("x", "mdns.ptr", b"_ipp._tcp.local");
        let device = describe(&fields).expect("facts");
        assert_eq!(device.name.expect("a name").as_str(), "printer");
        assert_eq!(device.services.iter().map(SafeText::as_str).collect::<Vec<_>>(), ["_ipp._tcp"]);
    }
}
