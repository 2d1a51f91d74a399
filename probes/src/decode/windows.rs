//! SMB2 negotiation (MS-SMB2 2.2.4) and NTLM challenges (MS-NLMP 2.2.1.2), wherever they are carried.
//!
//! Fields: `smb.dialect`, `smb.signing`, `smb.guid`; `ntlm.build`, `ntlm.netbios`, `ntlm.domain`,
//! `ntlm.dns`.

use portreeve_model::{NtlmInfo, SafeText};

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
    let NtlmInfo { build, netbios_name, netbios_domain, dns_name, .. } = challenge(reply)?;
    let fields = [
        ("ntlm.build", build),
        ("ntlm.netbios", netbios_name),
        ("ntlm.domain", netbios_domain),
        ("ntlm.dns", dns_name),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            add(name, value.as_str().as_bytes());
        }
    }
    Some(())
}

/// What a CHALLENGE_MESSAGE anywhere in the bytes tells.
pub(crate) fn challenge(bytes: &[u8]) -> Option<NtlmInfo> {
    const MARK: &[u8] = b"NTLMSSP\0\x02\0\0\0";
    let start = memchr::memmem::find(bytes, MARK)?;
    let message = bytes.get(start..)?;
    let mut reader = Reader(message.get(MARK.len()..)?);
    reader.take(8 + 4 + 8 + 8)?;
    let length = reader.le16()?;
    reader.le16()?;
    let at = reader.le32()?;
    let mut info = NtlmInfo::default();
    if let Some([major, minor, low, high]) = reader.take(4) {
        let build = u16::from_le_bytes([*low, *high]);
        info.build = Some(SafeText::from(format!("{major}.{minor}.{build}")));
    }
    let pairs = message.get(at as usize..).unwrap_or_default();
    names(&mut info, Reader(pairs.get(..usize::from(length).min(pairs.len())).unwrap_or_default()));
    Some(info)
}

/// The pairs of kind and value of MS-NLMP 2.2.2.1, as far as they are whole.
fn names(info: &mut NtlmInfo, mut pairs: Reader<'_>) -> Option<()> {
    for _ in 0..16 {
        let kind = pairs.le16()?;
        let length = pairs.le16()?;
        let value = SafeText::sanitize_to(utf16(pairs.take(length.into())?).as_bytes(), 255);
        let value = Some(value).filter(|value| !value.is_empty());
        match kind {
            0 => break,
            1 => info.netbios_name = value,
            2 => info.netbios_domain = value,
            3 => info.dns_name = value,
            4 => info.dns_domain = value,
            5 => info.forest = value,
            _ => {}
        }
    }
    Some(())
}

/// Releases by build, as Microsoft lists them. Client and server of the same build are not told apart by it.
const RELEASES: &[(&str, &str)] = &[
    ("5.1.2600", "Windows XP"),
    ("5.2.3790", "Windows Server 2003"),
    ("6.0.6000", "Windows Vista"),
    ("6.0.6001", "Windows Vista SP1 or Server 2008"),
    ("6.0.6002", "Windows Vista SP2 or Server 2008 SP2"),
    ("6.0.6003", "Windows Server 2008 SP2"),
    ("6.1.7600", "Windows 7 or Server 2008 R2"),
    ("6.1.7601", "Windows 7 SP1 or Server 2008 R2 SP1"),
    ("6.2.9200", "Windows 8 or Server 2012"),
    ("6.3.9600", "Windows 8.1 or Server 2012 R2"),
    ("10.0.10240", "Windows 10 1507"),
    ("10.0.10586", "Windows 10 1511"),
    ("10.0.14393", "Windows 10 1607 or Server 2016"),
    ("10.0.15063", "Windows 10 1703"),
    ("10.0.16299", "Windows 10 1709"),
    ("10.0.17134", "Windows 10 1803"),
    ("10.0.17763", "Windows 10 1809 or Server 2019"),
    ("10.0.18362", "Windows 10 1903"),
    ("10.0.18363", "Windows 10 1909"),
    ("10.0.19041", "Windows 10 2004"),
    ("10.0.19042", "Windows 10 20H2"),
    ("10.0.19043", "Windows 10 21H1"),
    ("10.0.19044", "Windows 10 21H2"),
    ("10.0.19045", "Windows 10 22H2"),
    ("10.0.20348", "Windows Server 2022"),
    ("10.0.22000", "Windows 11 21H2"),
    ("10.0.22621", "Windows 11 22H2"),
    ("10.0.22631", "Windows 11 23H2"),
    ("10.0.25398", "Windows Server 23H2"),
    ("10.0.26100", "Windows 11 24H2 or Server 2025"),
    ("10.0.26200", "Windows 11 25H2"),
];

/// The Windows of a build as `10.0.17763`; `None` for builds that are no release (Samba says `6.1.0`).
pub(crate) fn release(build: &str) -> Option<&'static str> {
    RELEASES.iter().find(|(known, _)| *known == build).map(|(_, name)| *name)
}

fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).filter_map(|two| two.first_chunk().map(|two| u16::from_le_bytes(*two)));
    char::decode_utf16(units.take(256)).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A challenge laid out by MS-NLMP 2.2.1.2, of a domain member.
    fn message() -> Vec<u8> {
        let mut pairs = Vec::new();
        for (kind, text) in
            [(2_u16, "CORP"), (1, "SRV1"), (4, "corp.example"), (3, "srv1.corp.example"), (5, "corp.example")]
        {
            let text: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            pairs.extend(kind.to_le_bytes());
            pairs.extend((text.len() as u16).to_le_bytes());
            pairs.extend(text);
        }
        pairs.extend([0; 4]);
        let mut message = b"NTLMSSP\0\x02\0\0\0".to_vec();
        message.extend([8, 0, 8, 0, 56, 0, 0, 0, 0x35, 0x82, 0x89, 0xe2]);
        message.extend([1; 8]);
        message.extend([0; 8]);
        message.extend([(pairs.len() as u16).to_le_bytes(), (pairs.len() as u16).to_le_bytes()].concat());
        message.extend(56_u32.to_le_bytes());
        message.extend([10, 0, 0x63, 0x45, 0, 0, 0, 15]);
        message.extend(pairs);
        message
    }

    #[test]
    fn a_challenge_tells_build_and_names() {
        let info = challenge(&[b"whatever", &message()[..]].concat()).expect("a challenge");
        let text = |value: &Option<SafeText>| value.as_ref().map(ToString::to_string);
        assert_eq!(text(&info.build).as_deref(), Some("10.0.17763"));
        assert_eq!(text(&info.dns_name).as_deref(), Some("srv1.corp.example"));
        assert_eq!(text(&info.forest).as_deref(), Some("corp.example"));
        assert_eq!(release("10.0.17763"), Some("Windows 10 1809 or Server 2019"));
        for end in 0..message().len() {
            challenge(&message()[..end]);
        }
    }
}
