//! What is known of a network interface.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::if_nameindex,
};
use portreeve_wire::ethernet::Address;

use super::socket;

/// What frames on a device look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// An Ethernet header, and neighbours with hardware addresses.
    Ethernet,
    /// No link header: tun, wireguard, ppp, tunnels.
    Layer3,
    /// An empty Ethernet header; every frame stays on this machine.
    Loopback,
}

/// A network interface, as it was when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name, for people.
    pub name: String,
    /// What frames on it look like.
    pub kind: LinkKind,
    /// Its hardware address, on Ethernet.
    pub hardware: Option<Address>,
    /// The longest packet it takes, link header not counted, in bytes.
    pub mtu_bytes: u32,
    /// Whether it is switched on and has a carrier.
    pub up: bool,
    /// Its addresses with the networks they lie in.
    pub addresses: Vec<IpNet>,
}

impl Interface {
    /// Every interface of this network namespace.
    pub fn all() -> io::Result<Vec<Self>> {
        let addresses: Vec<_> = getifaddrs()?.collect();
        let mut interfaces = Vec::new();
        for entry in &if_nameindex()? {
            let Some(name) = entry.name().to_str().ok() else { continue };
            match Self::describe(entry.index(), name, &addresses) {
                Ok(interface) => interfaces.push(interface),
                // It went away between the two questions.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(interfaces)
    }

    /// The interface called `name`; [`io::ErrorKind::NotFound`] if there is none.
    pub fn by_name(name: &str) -> io::Result<Self> {
        let found = Self::all()?.into_iter().find(|interface| interface.name == name);
        found.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("no network interface is called {name:?}"))
        })
    }

    /// Devices without a hardware address have no entry of their own among `addresses`, so the rest is asked for.
    fn describe(index: u32, name: &str, addresses: &[InterfaceAddress]) -> io::Result<Self> {
        let device = socket::device(name)?;
        let kind = match device.kind {
            libc::ARPHRD_ETHER => LinkKind::Ethernet,
            libc::ARPHRD_LOOPBACK => LinkKind::Loopback,
            _ => LinkKind::Layer3,
        };
        let up = libc::IFF_UP | libc::IFF_RUNNING;
        Ok(Self {
            index,
            name: name.to_owned(),
            kind,
            hardware: (kind == LinkKind::Ethernet).then_some(Address(device.hardware)),
            mtu_bytes: device.mtu,
            up: device.flags & up == up,
            addresses: addresses
                .iter()
                .filter(|entry| entry.interface_name == name)
                .filter_map(network)
                .collect(),
        })
    }
}

/// Packets that the interface called `name` has sent, as its driver counts them.
pub fn sent_packets(name: &str) -> io::Result<u64> {
    // The thread's own namespace: /sys shows that of whoever mounted it.
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let found = table.lines().find_map(|line| packets_sent(line, name));
    found.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("no network interface is called {name:?}"))
    })
}

/// Queues that the interface called `name` sends through at once; one if its driver does not tell.
pub fn transmit_queues(name: &str) -> u32 {
    socket::transmit_channels(name).unwrap_or(1).max(1)
}

/// The tenth number behind the name: eight about receiving come first, then bytes.
fn packets_sent(line: &str, name: &str) -> Option<u64> {
    let (interface, numbers) = line.split_once(':')?;
    let sent = numbers.split_whitespace().nth(9)?.parse().ok()?;
    (interface.trim() == name).then_some(sent)
}

fn network(entry: &InterfaceAddress) -> Option<IpNet> {
    let (address, mask) = (entry.address.as_ref()?, entry.netmask.as_ref()?);
    let (address, mask) = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => (IpAddr::V4(v4.ip()), IpAddr::V4(mask.as_sockaddr_in()?.ip())),
        (_, Some(v6)) => (IpAddr::V6(v6.ip()), IpAddr::V6(mask.as_sockaddr_in6()?.ip())),
        _ => return None,
    };
    IpNet::with_netmask(address, mask).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_the_tenth_number() {
        let line = "  eth0: 1000 10 0 0 0 0 0 0 2000 20 1 0 0 0 0 0";
        assert_eq!(packets_sent(line, "eth0"), Some(20));
        assert_eq!(packets_sent(line, "eth"), None);
        assert_eq!(packets_sent(" face |bytes    packets errs drop", "face"), None);
    }

    #[test]
    fn loopback_has_a_count() {
        assert!(sent_packets("lo").is_ok());
        assert_eq!(sent_packets("nonsense0").expect_err("not there").kind(), io::ErrorKind::NotFound);
    }
}
