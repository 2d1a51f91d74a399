//! From the bytes of a batch to its records, within limits.
//!
//! Agents are not trusted: a batch is at most [`Limits::BATCH_BYTES`] long when unpacked, each line at most
//! [`Limits::RECORD_BYTES`], and there are at most [`Limits::BATCH_RECORDS`] lines. The unpacked text is never
//! held as a whole; a line is decoded and dropped before the next is read.

use std::io::{self, BufRead, BufReader, Read};

use portreeve_model::protocol::{Limits, Record};

/// How a batch is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Plain NDJSON.
    None,
    /// zstd frames (RFC 8878).
    Zstd,
}

/// Why a batch is refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// One of the limits is exceeded; the agent should cut the batch in two.
    #[error("the batch has more than {0}; split it")]
    TooLarge(&'static str),
    /// A line is no record.
    #[error("line {line}: {source}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The bytes cannot be unpacked.
    #[error("the batch cannot be unpacked: {0}")]
    Packing(io::Error),
}

/// zstd's window: frames that ask for more memory than this to unpack are refused.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Reads a batch. Empty lines are skipped.
pub fn decode(packed: &[u8], packing: Packing) -> Result<Vec<Record>, DecodeError> {
    match packing {
        Packing::None => read_lines(packed),
        Packing::Zstd => {
            let mut unpacked = zstd::Decoder::with_buffer(packed).map_err(DecodeError::Packing)?;
            unpacked.window_log_max(ZSTD_WINDOW_LOG).map_err(DecodeError::Packing)?;
            read_lines(unpacked)
        }
    }
}

fn read_lines(unpacked: impl Read) -> Result<Vec<Record>, DecodeError> {
    let mut bounded = BufReader::new(unpacked.take(Limits::BATCH_BYTES as u64 + 1));
    let (mut records, mut bytes, mut line) = (Vec::new(), 0, Vec::new());
    for number in 1.. {
        line.clear();
        let read = read_line(&mut bounded, &mut line)?;
        bytes += read;
        if bytes > Limits::BATCH_BYTES {
            return Err(DecodeError::TooLarge("16 MiB"));
        }
        if read == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if records.len() == Limits::BATCH_RECORDS {
            return Err(DecodeError::TooLarge("10,000 records"));
        }
        let record =
            serde_json::from_slice(&line).map_err(|source| DecodeError::Line { line: number, source })?;
        records.push(record);
    }
    Ok(records)
}

fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<usize, DecodeError> {
    let read =
        input.take(Limits::RECORD_BYTES as u64 + 2).read_until(b'\n', line).map_err(DecodeError::Packing)?;
    if line.trim_ascii_end().len() > Limits::RECORD_BYTES {
        return Err(DecodeError::TooLarge("256 KiB in one record"));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PORT: &str = r#"{"type":"port","address":"192.0.2.7","port":22,"transport":"tcp","state":"open","reason":"syn-ack","seen_at_ms":1}"#;

    fn packed(text: &str) -> Vec<u8> {
        zstd::encode_all(text.as_bytes(), 1).expect("in memory")
    }

    #[test]
    fn plain_and_packed_batches_say_the_same() {
        let text = format!("{PORT}\n\n{PORT}\r\n{PORT}");
        let plain = decode(text.as_bytes(), Packing::None).expect("valid");
        assert_eq!(plain.len(), 3);
        assert_eq!(decode(&packed(&text), Packing::Zstd).expect("valid"), plain);
        assert!(decode(b"", Packing::None).expect("an empty batch is a batch").is_empty());
    }

    #[test]
    fn a_wrong_line_is_named() {
        let text = format!("{PORT}\n{{\"type\":\"port\"}}\n");
        let error = decode(text.as_bytes(), Packing::None).expect_err("incomplete");
        assert!(error.to_string().starts_with("line 2: missing field"), "{error}");
        let error = decode(b"[1]", Packing::None).expect_err("no record");
        assert!(error.to_string().starts_with("line 1: "), "{error}");
    }

    #[test]
    fn limits_hold_whatever_the_packing() {
        let many = format!("{PORT}\n").repeat(Limits::BATCH_RECORDS + 1);
        let wide = format!("{{\"type\":\"{}\"}}", "x".repeat(Limits::RECORD_BYTES));
        // 17 MiB that pack into a few kilobytes.
        let bomb = format!("{}\n", " ".repeat(200 << 10)).repeat(90);
        for (text, what) in [(&many, "10,000 records"), (&wide, "256 KiB"), (&bomb, "16 MiB")] {
            for (bytes, packing) in
                [(text.clone().into_bytes(), Packing::None), (packed(text), Packing::Zstd)]
            {
                let error = decode(&bytes, packing).expect_err(what);
                assert!(matches!(error, DecodeError::TooLarge(_)), "{error}");
                assert!(error.to_string().contains(what), "{error}");
            }
        }
        let full = format!("{PORT}\n").repeat(Limits::BATCH_RECORDS);
        assert_eq!(
            decode(full.as_bytes(), Packing::None).expect("at the limit").len(),
            Limits::BATCH_RECORDS
        );
    }

    #[test]
    fn damaged_packing_is_an_error() {
        let mut bytes = packed(PORT);
        bytes.truncate(bytes.len() / 2);
        assert!(matches!(decode(&bytes, Packing::Zstd), Err(DecodeError::Packing(_))));
        assert!(matches!(decode(PORT.as_bytes(), Packing::Zstd), Err(DecodeError::Packing(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = decode(&bytes, Packing::None);
            let _ = decode(&bytes, Packing::Zstd);
        }
    }
}
