//! Greetings and errors of database servers.
//!
//! Fields: `mysql.version`, `mysql.plugin`, `mysql.tls`, `mysql.error`; `pg.error.<letter>`, `pg.auth`,
//! `pg.server_version`; those of `sql_server.rs`.

use super::{reader::Reader, sql_server};

pub(super) fn decode(probe: &str, reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    let _ = mysql(reply, add);
    let _ = postgresql(reply, add);
    if probe.starts_with("mssql") {
        sql_server::decode(reply, add);
    }
}

/// The initial packet of the MySQL client/server protocol, version 10, or the error in its place.
fn mysql(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    let mut reader = Reader(reply);
    let length = reader.le32()?;
    if length > 512 || length as usize > reader.0.len() {
        return None;
    }
    match reader.u8()? {
        10 => {
            let version = reader.text()?;
            let plain = !version.is_empty()
                && version.len() < 128
                && version.iter().all(|byte| matches!(byte, b' '..=b'~'));
            if !plain {
                return None;
            }
            add("mysql.version", version);
            reader.take(4 + 8 + 1)?;
            let capabilities = reader.le16()?;
            if capabilities & 0x0800 != 0 {
                add("mysql.tls", b"yes");
            }
            reader.take(1 + 2 + 2 + 1 + 10 + 13)?;
            add("mysql.plugin", reader.text()?);
        }
        0xff => {
            let code = reader.le16()?;
            let text = reader.0.get(..(length as usize).checked_sub(3)?)?;
            let text = text.strip_prefix(b"#").and_then(|rest| rest.get(5..)).unwrap_or(text);
            let plain = text.iter().all(|byte| (b' '..=b'~').contains(byte));
            if (1000..5000).contains(&code) && plain {
                add("mysql.error", text);
            }
        }
        _ => {}
    }
    Some(())
}

/// Backend messages of the PostgreSQL protocol 3 that come before a log-in.
fn postgresql(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    let mut reader = Reader(reply);
    for _ in 0..32 {
        let kind = reader.u8()?;
        let length = reader.be32()?;
        let mut body = Reader(reader.take((length as usize).checked_sub(4)?)?);
        match kind {
            b'E' => error(body, add)?,
            b'R' => add("pg.auth", body.be32()?.to_string().as_bytes()),
            b'S' => {
                if body.text()? == b"server_version" {
                    add("pg.server_version", body.text()?);
                }
            }
            b'v' => {}
            _ => return None,
        }
    }
    None
}

/// The fields of an ErrorResponse: a letter and a text each.
fn error(mut body: Reader<'_>, add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    if !matches!(body.0, [b'S' | b'M' | b'V', ..]) {
        return None;
    }
    for _ in 0..24 {
        let letter = body.u8()?;
        if !letter.is_ascii_alphabetic() {
            break;
        }
        add(&format!("pg.error.{}", char::from(letter)), body.text()?);
    }
    Some(())
}
