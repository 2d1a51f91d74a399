//! Whole SSH packets over a connection, in the clear and protected (RFC 4253 6).

use tokio::time::Instant;

use super::{Connection, MAX_BETWEEN, identification, protection::Protection};

/// The longest packet that every implementation must take is 35,000 bytes (RFC 4253 6.1).
const MAX_PACKET: usize = 35_000;
/// What may be said before the identification line.
const MAX_GREETING: usize = 8192;

/// A connection that carries packets.
pub(super) struct Packets {
    connection: Connection,
    buffer: Vec<u8>,
    sent: u32,
    received: u32,
    ours: Option<Box<dyn Protection>>,
    theirs: Option<Box<dyn Protection>>,
}

impl Packets {
    /// A connection on which nothing was said.
    pub fn new(connection: Connection) -> Self {
        Self { connection, buffer: Vec::new(), sent: 0, received: 0, ours: None, theirs: None }
    }

    /// One on which both sides have said who they are, and the server has sent its KEXINIT.
    pub fn after_kexinit(connection: Connection) -> Self {
        Self { received: 1, ..Self::new(connection) }
    }

    /// From here on packets are protected.
    pub fn protect(&mut self, ours: Box<dyn Protection>, theirs: Box<dyn Protection>) {
        self.ours = Some(ours);
        self.theirs = Some(theirs);
    }

    /// The server's identification line.
    pub async fn identification(&mut self, until: Instant) -> Option<Vec<u8>> {
        loop {
            if let Some((line, rest)) = identification(&self.buffer) {
                let (line, rest) = (line.to_vec(), rest.to_vec());
                self.buffer = rest;
                return Some(line);
            }
            if self.buffer.len() > MAX_GREETING {
                return None;
            }
            self.fill(until).await?;
        }
    }

    /// Sends bytes that are no packet.
    pub async fn say(&mut self, bytes: &[u8], until: Instant) -> Option<()> {
        self.connection.send(bytes, until).await.then_some(())
    }

    /// Sends one packet.
    pub async fn send(&mut self, payload: &[u8], until: Instant) -> Option<()> {
        let mut packet = match &self.ours {
            Some(ours) => frame(payload, ours.block(), ours.pads_length()),
            None => frame(payload, 8, true),
        };
        if let Some(ours) = &mut self.ours {
            ours.seal(self.sent, &mut packet);
        }
        self.sent = self.sent.wrapping_add(1);
        self.say(&packet, until).await
    }

    /// The next packet of that kind; others before it are passed over.
    pub async fn receive_of(&mut self, number: u8, until: Instant) -> Option<Vec<u8>> {
        for _ in 0..MAX_BETWEEN {
            let payload = self.receive(until).await?;
            if payload.first() == Some(&number) {
                return Some(payload);
            }
        }
        None
    }

    /// The next packet's payload.
    pub async fn receive(&mut self, until: Instant) -> Option<Vec<u8>> {
        let head = self.theirs.as_ref().map_or(4, |theirs| theirs.head());
        self.hold(head, until).await?;
        let first = self.buffer.get(..head)?;
        let length = match &self.theirs {
            Some(theirs) => theirs.length(self.received, first)?,
            None => u32::from_be_bytes(*first.first_chunk()?),
        } as usize;
        if length > MAX_PACKET {
            return None;
        }
        let whole = 4 + length + self.theirs.as_ref().map_or(0, |theirs| theirs.tag());
        self.hold(whole.max(head), until).await?;
        let rest = self.buffer.split_off(whole);
        let mut packet = std::mem::replace(&mut self.buffer, rest);
        if let Some(theirs) = &mut self.theirs {
            packet = theirs.open(self.received, packet)?;
        }
        self.received = self.received.wrapping_add(1);
        clear_payload(&packet).map(<[u8]>::to_vec)
    }

    async fn hold(&mut self, count: usize, until: Instant) -> Option<()> {
        while self.buffer.len() < count {
            self.fill(until).await?;
        }
        Some(())
    }

    async fn fill(&mut self, until: Instant) -> Option<()> {
        self.buffer.extend(self.connection.read_some(until).await?);
        Some(())
    }
}

/// The payload of a packet in the clear.
pub(super) fn clear_payload(packet: &[u8]) -> Option<&[u8]> {
    let (length, rest) = packet.split_first_chunk::<4>()?;
    let (&padding, payload) = rest.get(..u32::from_be_bytes(*length) as usize)?.split_first()?;
    payload.get(..payload.len().checked_sub(padding.into())?)
}

/// A packet in the clear: at least four bytes of padding (RFC 4253 6).
fn frame(payload: &[u8], block: usize, pads_length: bool) -> Vec<u8> {
    let counted = payload.len() + 1 + if pads_length { 4 } else { 0 };
    let padding = match block - counted % block {
        short @ ..4 => short + block,
        enough => enough,
    };
    let mut packet = ((payload.len() + 1 + padding) as u32).to_be_bytes().to_vec();
    packet.push(padding as u8);
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_padded_to_the_block_and_read_back() {
        for block in [8, 16] {
            for length in 1..40 {
                let payload = vec![7; length];
                let packet = frame(&payload, block, true);
                assert_eq!(packet.len() % block, 0);
                assert!(packet[4] >= 4);
                assert_eq!(clear_payload(&packet), Some(&payload[..]));
                assert_eq!((frame(&payload, block, false).len() - 4) % block, 0);
            }
        }
    }

    #[test]
    fn lying_lengths_are_refused() {
        assert_eq!(clear_payload(&[0, 0, 0, 9, 4, 1]), None);
        assert_eq!(clear_payload(&[0, 0, 0, 2, 9, 1]), None);
        assert_eq!(clear_payload(&[0, 0, 0, 0]), None);
    }
}
