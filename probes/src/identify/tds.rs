//! TLS inside TDS: until the log-in, Microsoft SQL Server takes and sends TLS records as the payload of pre-login
//! packets (MS-TDS 2.2.6.5, 3.2.5.1), up to TLS 1.2, whose certificate comes in the clear.

use std::net::SocketAddr;

use tokio::time::Instant;

use super::{
    connection::{Connection, Patience},
    hello::{Hello, MAX_FLIGHT, MAX_PIECES},
};
use crate::decode::tls::{Flight, flight};

/// Options VERSION and ENCRYPTION; the latter asks for encryption of everything.
const PRE_LOGIN: &[u8] = b"\x12\x01\0\x1a\0\0\0\0\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x09\0\0\0\0\0\x01";
const HEADER: usize = 8;
const PRE_LOGIN_PACKET: u8 = 0x12;
/// Longer packets are not agreed on before the log-in.
const MAX_PACKET: usize = 4096;

/// What the server says to a TLS hello.
pub(super) async fn first_flight(
    address: SocketAddr,
    name: Option<&str>,
    patience: Patience,
    until: Instant,
) -> Option<Flight> {
    let mut connection = Connection::Plain(Connection::open(address, until).await.ok()?);
    if !connection.send(PRE_LOGIN, until).await || connection.read(patience, until).await.bytes.is_empty() {
        return None;
    }
    let hello = packet(&Hello::for_old_servers(0x0303, name).emit())?;
    if !connection.send(&hello, until).await {
        return None;
    }
    let mut heard = Vec::new();
    for _ in 0..MAX_PIECES {
        let Some(more) = connection.read_some(until).await else { break };
        heard.extend(more);
        let is_enough = || flight(&payload(&heard)).is_none_or(|flight| flight.is_over);
        if heard.len() >= MAX_FLIGHT || is_enough() {
            break;
        }
    }
    flight(&payload(&heard))
}

/// One packet around `bytes`, if they fit.
fn packet(bytes: &[u8]) -> Option<Vec<u8>> {
    let length =
        u16::try_from(HEADER + bytes.len()).ok().filter(|&length| usize::from(length) <= MAX_PACKET)?;
    let [high, low] = length.to_be_bytes();
    Some([&[PRE_LOGIN_PACKET, 1, high, low, 0, 0, 1, 0], bytes].concat())
}

/// What packets carry, the last one maybe in part. Ends at what is no packet.
fn payload(mut packets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((head, rest)) = packets.split_first_chunk::<HEADER>() {
        let [_, _, high, low, ..] = *head;
        let Some(length) = usize::from(u16::from_be_bytes([high, low])).checked_sub(HEADER) else { break };
        let (body, next) = rest.split_at(length.min(rest.len()));
        out.extend_from_slice(body);
        packets = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_carry_what_was_put_into_them() {
        let two = [packet(b"\x16\x03\x03").unwrap(), packet(b"more").unwrap()].concat();
        assert_eq!(payload(&two), b"\x16\x03\x03more");
        assert_eq!(payload(&two[..two.len() - 2]), b"\x16\x03\x03mo", "the last packet is cut");
        assert_eq!(payload(b"\x12\x01\0\x02\0\0\0\0abc"), b"", "a length below the header's");
        assert_eq!(packet(&[0; MAX_PACKET]), None);
    }
}
