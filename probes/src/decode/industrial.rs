//! Identity of industrial devices: EtherNet/IP (CIP volume 2, 2-4.3.3).
//!
//! Fields: `enip.product`, `enip.vendor`, `enip.revision`, `enip.serial`.

use super::reader::Reader;

/// CIP vendor numbers that the standard's registry gives to the commonest makers.
const VENDORS: &[(u16, &str)] = &[
    (1, "Rockwell Automation"),
    (5, "Rockwell Automation"),
    (26, "Festo"),
    (40, "WAGO"),
    (44, "Parker Hannifin"),
    (47, "Omron"),
    (90, "HMS Industrial Networks"),
    (108, "Beckhoff"),
    (243, "Schneider Electric"),
    (283, "Hilscher"),
    (678, "Cognex"),
    (808, "SICK"),
];

pub(super) fn decode(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    let _ = identity(reply, add);
}

/// The identity item of a ListIdentity reply.
fn identity(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    const LIST_IDENTITY: u16 = 0x63;
    const IDENTITY_ITEM: u16 = 0x0c;
    let mut reader = Reader(reply);
    if reader.le16()? != LIST_IDENTITY || usize::from(reader.le16()?) != reply.len().checked_sub(24)? {
        return None;
    }
    reader.take(20)?;
    if reader.le16()? == 0 || reader.le16()? != IDENTITY_ITEM {
        return None;
    }
    // Length, protocol version, socket address.
    reader.take(2 + 2 + 16)?;
    let vendor = reader.le16()?;
    // Device type and product code.
    reader.take(4)?;
    let (major, minor) = (reader.u8()?, reader.u8()?);
    reader.take(2)?;
    let serial = reader.le32()?;
    let length = reader.u8()?;
    let product = reader.take(length.into())?;
    let name = VENDORS.iter().find(|(number, _)| *number == vendor).map(|(_, name)| (*name).to_owned());
    add("enip.product", product.trim_ascii());
    add("enip.vendor", name.unwrap_or_else(|| format!("CIP vendor {vendor}")).as_bytes());
    add("enip.revision", format!("{major}.{minor}").as_bytes());
    add("enip.serial", format!("{serial:08x}").as_bytes());
    Some(())
}
