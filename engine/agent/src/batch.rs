//! Records into batches: newline-delimited JSON, compressed, within the protocol's limits.

use std::io::{self, Read, Write};

use portreeve_model::{
    SafeText, Service,
    protocol::{Limits, Record},
};

/// A batch is cut at so many records, well below what the server takes, so that a server which loses a
/// call loses little time with the repeat.
const CUT_RECORDS: usize = 2_000;
/// Or at so many bytes before compression.
const CUT_BYTES: usize = 4 << 20;
const COMPRESSION_LEVEL: i32 = 3;

/// Collects records until a batch is full.
#[derive(Default)]
pub(crate) struct Cutter {
    lines: Vec<u8>,
    records: usize,
}

impl Cutter {
    /// Adds a record; a full batch comes back.
    pub(crate) fn push(&mut self, record: Record) -> Option<Vec<u8>> {
        self.lines.extend_from_slice(&line(record));
        self.records += 1;
        (self.records >= CUT_RECORDS || self.lines.len() >= CUT_BYTES).then(|| self.take())
    }

    /// What is left, if anything.
    pub(crate) fn cut(&mut self) -> Option<Vec<u8>> {
        (self.records > 0).then(|| self.take())
    }

    fn take(&mut self) -> Vec<u8> {
        self.records = 0;
        std::mem::take(&mut self.lines)
    }
}

/// One record as a line, newline included, never above the protocol's limit.
fn line(mut record: Record) -> Vec<u8> {
    let mut line = encode(&record);
    // Hosts decide how much a service says of itself; the least telling parts go first.
    let cuts: [fn(&mut Service); 3] = [drop_reasons, drop_names_and_chain, drop_conversation];
    for cut in cuts {
        if line.len() <= Limits::RECORD_BYTES {
            break;
        }
        if let Record::Service(service) = &mut record {
            cut(service);
            line = encode(&record);
        }
    }
    line
}

fn encode(record: &Record) -> Vec<u8> {
    // Serialising our own plain types into memory has no way to fail.
    let mut line = serde_json::to_vec(record).unwrap_or_default();
    line.push(b'\n');
    line
}

fn drop_reasons(service: &mut Service) {
    service.alternatives.clear();
    service.evidence.clear();
}

fn drop_names_and_chain(service: &mut Service) {
    if let Some(tls) = &mut service.tls {
        tls.certificates.truncate(1);
        for certificate in &mut tls.certificates {
            certificate.alternative_names.truncate(10);
        }
    }
}

fn drop_conversation(service: &mut Service) {
    service.cpe.truncate(3);
    service.http = None;
    service.info = Some(SafeText::from("details were too long to be kept"));
    service.ssh = None;
    service.tls = None;
}

/// Compresses a batch. The frame carries a checksum, so that a damaged file is noticed.
pub(crate) fn compress(lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), COMPRESSION_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.write_all(lines)?;
    encoder.finish()
}

/// The lines of a batch; an error if it is damaged or larger than any batch is.
pub(crate) fn decompress(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    let limit = Limits::BATCH_BYTES as u64;
    zstd::Decoder::new(body)?.take(limit + 1).read_to_end(&mut lines)?;
    if lines.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than any batch"));
    }
    Ok(lines)
}

/// Halves a batch between two lines; `None` if it has one line only.
pub(crate) fn halve(lines: &[u8]) -> Option<(&[u8], &[u8])> {
    let lengths: Vec<_> = lines.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::len).collect();
    let half = lengths.len() / 2;
    let middle: usize = lengths.iter().take(half).sum();
    (half > 0).then(|| lines.split_at(middle))
}

#[cfg(test)]
mod tests {
    use portreeve_model::{
        Endpoint, Observation, PortState, Reason, Timestamp, TlsCertificate, TlsInfo, Transport,
    };

    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint { address: [10, 99, 0, 1].into(), port, transport: Transport::Tcp }
    }

    fn open_port(port: u16) -> Record {
        let Endpoint { address, port, transport } = endpoint(port);
        Record::Port(Observation {
            address,
            port,
            transport,
            state: PortState::Open,
            reason: Reason::SynAck,
            ttl: None,
            rtt_us: None,
            seen_at_ms: Timestamp(0),
            syn_ack: None,
        })
    }

    #[test]
    fn batches_are_cut_when_full_and_lose_nothing() {
        let mut cutter = Cutter::default();
        let full: Vec<_> = (0..4_500).filter_map(|port| cutter.push(open_port(port))).collect();
        assert_eq!(full.len(), 2);
        let rest = cutter.cut().expect("a rest");
        assert!(cutter.cut().is_none());
        let lines = full.iter().chain([&rest]).flat_map(|batch| batch.split_inclusive(|&byte| byte == b'\n'));
        let records: Vec<Record> =
            lines.map(|line| serde_json::from_slice(line).expect("a record")).collect();
        assert_eq!(records, (0..4_500).map(open_port).collect::<Vec<_>>());
    }

    #[test]
    fn a_service_that_says_too_much_still_fits_and_keeps_its_product() {
        let long = SafeText::from("x".repeat(SafeText::MAX_BYTES));
        let mut service = Service::unrecognised(endpoint(443), Timestamp(1));
        service.product = Some(long.clone());
        let certificate = TlsCertificate { alternative_names: vec![long; 100], ..TlsCertificate::default() };
        service.tls = Some(TlsInfo { certificates: vec![certificate; 10], ..TlsInfo::default() });
        let product = service.product.clone();
        let line = line(Record::Service(Box::new(service)));
        assert!(line.len() <= Limits::RECORD_BYTES, "{}", line.len());
        let Record::Service(kept) = serde_json::from_slice(&line).expect("a record") else {
            panic!("not a service");
        };
        assert_eq!(kept.product, product);
        assert_eq!(kept.tls.expect("TLS is kept").certificates[0].alternative_names.len(), 10);
    }

    #[test]
    fn damage_is_noticed() {
        let body = compress(b"{}\n{}\n").expect("compressed");
        assert_eq!(decompress(&body).expect("intact"), b"{}\n{}\n");
        for at in 0..body.len() {
            let mut damaged = body.clone();
            damaged[at] ^= 0x10;
            assert!(decompress(&damaged).map_or(true, |lines| lines == b"{}\n{}\n"), "byte {at}");
        }
        assert!(decompress(&body[..body.len() - 1]).is_err());
        assert!(decompress(b"").map_or(true, |lines| lines.is_empty()));
    }

    #[test]
    fn halves_meet_at_a_line_end() {
        assert_eq!(halve(b"a\nb\nc\n"), Some((&b"a\n"[..], &b"b\nc\n"[..])));
        assert_eq!(halve(b"a\n"), None);
        assert_eq!(halve(b""), None);
    }
}
