//! What the server is told about the machine the agent runs on.

use std::{collections::BTreeMap, fs, net::IpAddr};

use caps::{CapSet, Capability};
use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};
use portreeve_model::{
    SafeText,
    protocol::{AgentInterface, Hello},
};

/// Interfaces told at most; container hosts have thousands.
const INTERFACES: usize = 64;

/// Looks at the machine.
pub(crate) fn hello(max_rate_pps: Option<u32>) -> Hello {
    let hostname = fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: SafeText::sanitize_to(&hostname, 255),
        backends: backends().iter().map(|&name| name.to_owned()).collect(),
        interfaces: interfaces(),
        max_rate_pps,
    }
}

/// Transmit backends that this process has the rights for, best first. Whether one works on an interface shows when a
/// scan opens it there.
pub fn backends() -> &'static [&'static str] {
    let has = |right| caps::has_cap(None, CapSet::Effective, right).unwrap_or(false);
    let programs =
        has(Capability::CAP_NET_ADMIN) && (has(Capability::CAP_BPF) || has(Capability::CAP_SYS_ADMIN));
    match (has(Capability::CAP_NET_RAW), programs) {
        (true, true) => &["kernel", "xdp", "ring", "batch", "connect"],
        (true, false) => &["xdp", "ring", "batch", "connect"],
        (false, _) => &["connect"],
    }
}

/// Interfaces that are up and have an address, with the networks they are attached to.
pub fn interfaces() -> Vec<AgentInterface> {
    let mut networks: BTreeMap<String, Vec<SafeText>> = BTreeMap::new();
    for entry in getifaddrs().into_iter().flatten() {
        if !entry.flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let address = entry.address.as_ref().and_then(ip_address);
        let mask = entry.netmask.as_ref().and_then(ip_address);
        if let (Some(address), Some(mask)) = (address, mask) {
            let network = SafeText::from(format!("{address}/{}", prefix(mask)));
            networks.entry(entry.interface_name).or_default().push(network);
        }
    }
    let interfaces = networks.into_iter().take(INTERFACES);
    interfaces.map(|(name, networks)| AgentInterface { name: name.into(), networks }).collect()
}

fn ip_address(storage: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| address.ip().into()))
}

fn prefix(mask: IpAddr) -> u32 {
    match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_the_interfaces() {
        let interfaces = interfaces();
        let loopback = interfaces.iter().find(|interface| interface.name.as_str() == "lo").expect("loopback");
        assert!(loopback.networks.contains(&SafeText::from("127.0.0.1/8")), "{loopback:?}");
    }

    #[test]
    fn connect_works_everywhere() {
        assert_eq!(hello(None).backends.last().map(String::as_str), Some("connect"));
        assert!(!hello(Some(5)).hostname.is_empty());
    }
}
