//! The address a request came from.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Where the request came from, as far as it can be known. Put into the request by the outermost layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The peer, or, when the peer is a trusted proxy, the last address in `X-Forwarded-For` that is not one:
    /// what stands before it may have been invented by the client.
    pub fn find(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
        let peer = peer.ip().to_canonical();
        if !is_trusted(&peer) {
            return Self(peer);
        }
        let mut client = peer;
        let hops = headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = hops.flat_map(|value| value.split(',')).map(str::trim).collect();
        for hop in hops.iter().rev() {
            let Ok(address) = hop.parse::<IpAddr>() else { break };
            client = address.to_canonical();
            if !is_trusted(&client) {
                break;
            }
        }
        Self(client)
    }

    /// The network that log-in failures are counted for: the address itself, or its /64 in IPv6, where one
    /// customer commonly has that many addresses.
    pub fn network(self) -> IpNet {
        let bits = if self.0.is_ipv4() { 32 } else { 64 };
        IpNet::new(self.0, bits).map_or_else(|_| IpNet::from(self.0), |network| network.trunc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        ClientAddress::find(SocketAddr::new(peer.parse().unwrap(), 1), &headers, &trusted).0.to_string()
    }

    #[test]
    fn believes_only_what_trusted_proxies_say() {
        assert_eq!(find("192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
        assert_eq!(find("10.0.0.1", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(find("10.0.0.1", &["1.1.1.1, 198.51.100.9, 10.0.0.2"]), "198.51.100.9");
        assert_eq!(find("10.0.0.1", &["1.1.1.1", "198.51.100.9"]), "198.51.100.9");
        assert_eq!(find("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(find("::ffff:192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn counts_an_ipv6_customer_once() {
        let network = ClientAddress("2001:db8::7:1".parse().unwrap()).network();
        assert_eq!(network.to_string(), "2001:db8::/64");
    }
}
