//! Kinds of devices, under one name each.

/// What kind of machine a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Wireless access point or its controller.
    AccessPoint,
    /// Management processor of a server.
    Bmc,
    /// Network camera or video recorder.
    Camera,
    /// Game console.
    Console,
    /// Firewall, VPN or other security gateway.
    Firewall,
    /// Runs virtual machines.
    Hypervisor,
    /// Sensor, switch, lamp: a small thing with a network.
    Iot,
    /// Television, loudspeaker, media player.
    Media,
    /// File storage with a network.
    Nas,
    /// Telephone or tablet with an operating system of its own.
    Phone,
    /// Programmable controller or another part of a plant.
    Plc,
    /// Printer, scanner, or both.
    Printer,
    /// Router or modem.
    Router,
    /// Computer that serves others.
    Server,
    /// Network switch.
    Switch,
    /// Power supply or socket strip with a network.
    Ups,
    /// Desk telephone, or a gateway for them.
    VoipPhone,
    /// Computer of a person.
    Workstation,
}

/// Every kind, its name, and words of others for it.
const KINDS: &[(Kind, &str, &[&str])] = &[
    (Kind::AccessPoint, "access-point", &["ap", "wap", "wireless access point", "wireless controller"]),
    (Kind::Bmc, "bmc", &["lights out management", "kvm"]),
    (
        Kind::Camera,
        "camera",
        &["ip camera", "dvr", "nvr", "web cam", "webcam", "video encoder", "video server"],
    ),
    (Kind::Console, "game-console", &["game console"]),
    (Kind::Firewall, "firewall", &["security appliance", "vpn", "ips", "utm"]),
    (Kind::Hypervisor, "hypervisor", &["virtualization"]),
    (
        Kind::Iot,
        "iot",
        &[
            "sensor",
            "light bulb",
            "device server",
            "access control",
            "alarm panel",
            "smart home",
            "thermostat",
        ],
    ),
    (
        Kind::Media,
        "media",
        &[
            "tv",
            "smart tv",
            "speaker",
            "media server",
            "media player",
            "media receiver",
            "network audio",
            "set-top box",
        ],
    ),
    (Kind::Nas, "nas", &["storage", "storage appliance", "tape library"]),
    (Kind::Phone, "phone", &["mobile phone", "mobile", "tablet", "smartphone"]),
    (Kind::Plc, "plc", &["industrial control", "building automation", "hmi controller", "relay controller"]),
    (Kind::Printer, "printer", &["multifunction device", "print server", "scanner"]),
    (
        Kind::Router,
        "router",
        &[
            "network device",
            "broadband router",
            "cable modem",
            "dsl modem",
            "adsl modem",
            "dslam",
            "gateway",
            "sd-wan appliance",
        ],
    ),
    (Kind::Server, "server", &["appliance", "web proxy"]),
    (Kind::Switch, "switch", &["network switch"]),
    (Kind::Ups, "ups", &["power device", "power relay", "pdu"]),
    (
        Kind::VoipPhone,
        "voip-phone",
        &["voip", "voip gateway", "sip gateway", "sip device", "video conferencing", "ip phone"],
    ),
    (Kind::Workstation, "workstation", &["desktop", "laptop", "thin client"]),
];

impl Kind {
    /// The name used everywhere, as `access-point`.
    pub fn as_str(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// The kind that a name, or another's word for it, means.
    pub fn from_words(words: &str) -> Option<Self> {
        let words = words.trim().to_ascii_lowercase();
        KINDS
            .iter()
            .find(|(_, name, others)| *name == words || others.contains(&&*words))
            .map(|(kind, ..)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_name_and_no_word_means_two() {
        let mut words: Vec<_> =
            KINDS.iter().flat_map(|(_, name, others)| std::iter::once(name).chain(*others)).collect();
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
        for (kind, name, _) in KINDS {
            assert_eq!((kind.as_str(), Kind::from_words(name)), (*name, Some(*kind)));
        }
        assert_eq!(Kind::from_words("Multifunction Device"), Some(Kind::Printer));
        assert_eq!(Kind::from_words("teapot"), None);
    }
}
