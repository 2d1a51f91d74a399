//! SMB2 negotiation (MS-SMB2 2.2.4) and NTLM challenges (MS-NLMP 2.2.1.2), wherever they are carried.
//!
//! Fields: `smb.dialect`, `smb.signing`, `smb.guid`; `ntlm.build`, `ntlm.netbios`, `ntlm.domain`,
//! `ntlm.dns`.

use super::reader::Reader;

pub(super) fn decode(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    let _ = smb2(reply, add);
    let _ = ntlm(reply, add);
}

fn smb2(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    let mut reader = Reader(reply);
    reader.take(4)?;
    let header = reader.take(64)?;
    if !header.starts_with(b"\xfeSMB") || header.get(12..14)? != [0, 0] || reader.le16()? != 65 {
        return None;
    }
    let signing = reader.le16()?;
    let dialect = reader.le16()?;
    reader.take(2)?;
    let guid = reader.take(16)?;
    add("smb.dialect", format!("{dialect:04x}").as_bytes());
    add("smb.signing", if signing & 2 == 0 { b"optional" } else { b"required" });
    // Samba puts its NetBIOS name there where others put random bytes.
    let name = guid.split(|&byte| byte == 0).next()?;
    let padded = guid.get(name.len()..)?.iter().all(|&byte| byte == 0);
    if padded && !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
        add("smb.guid", name);
    }
    Some(())
}

fn ntlm(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    const MARK: &[u8] = b"NTLMSSP\0\x02\0\0\0";
    let start = reply.windows(MARK.len()).position(|window| window == MARK)?;
    let message = reply.get(start..)?;
    let mut reader = Reader(message.get(MARK.len()..)?);
    reader.take(8 + 4 + 8 + 8)?;
    let length = reader.le16()?;
    reader.le16()?;
    let at = reader.le32()?;
    if let Some([major, minor, low, high]) = reader.take(4) {
        let build = u16::from_le_bytes([*low, *high]);
        add("ntlm.build", format!("{major}.{minor}.{build}").as_bytes());
    }
    let info = message.get(at as usize..)?;
    let mut pairs = Reader(info.get(..usize::from(length).min(info.len()))?);
    for _ in 0..16 {
        let kind = pairs.le16()?;
        let length = pairs.le16()?;
        let value = utf16(pairs.take(length.into())?);
        match kind {
            0 => break,
            1 => add("ntlm.netbios", value.as_bytes()),
            2 => add("ntlm.domain", value.as_bytes()),
            3 => add("ntlm.dns", value.as_bytes()),
            _ => {}
        }
    }
    Some(())
}

fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).filter_map(|two| two.first_chunk().map(|two| u16::from_le_bytes(*two)));
    char::decode_utf16(units.take(256)).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
