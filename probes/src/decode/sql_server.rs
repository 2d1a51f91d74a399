//! Pre-login responses of Microsoft SQL Server (MS-TDS 2.2.6.5).
//!
//! Fields: `tds.version`, `tds.level` (the service pack or cumulative update that the build number stands for),
//! `tds.encryption` (`yes` where the log-in can be inside TLS).

use super::reader::Reader;

/// The first build of each service pack and cumulative update, ascending, by major version. Builds between two of
/// them are the earlier one with fixes.
const LEVELS: &[(u8, &[(u16, &str)])] = &[
    (8, &[(194, "RTM"), (384, "SP1"), (532, "SP2"), (760, "SP3"), (2039, "SP4")]),
    (9, &[(1399, "RTM"), (2047, "SP1"), (3042, "SP2"), (4035, "SP3"), (5000, "SP4")]),
    (11, &[(2100, "RTM"), (3000, "SP1"), (5058, "SP2"), (6020, "SP3"), (7001, "SP4")]),
    (12, &[(2000, "RTM"), (4100, "SP1"), (5000, "SP2"), (6024, "SP3")]),
    (13, &[(1601, "RTM"), (4001, "SP1"), (5026, "SP2"), (6300, "SP3")]),
    (14, UPDATES_2017),
    (15, UPDATES_2019),
    (16, UPDATES_2022),
    (17, &[(1000, "RTM")]),
];
/// Version 10 is two products: minor 0 is 2008, minor 50 is 2008 R2.
const LEVELS_2008: &[(u16, &str)] =
    &[(1600, "RTM"), (2531, "SP1"), (4000, "SP2"), (5500, "SP3"), (6000, "SP4")];
const LEVELS_2008_R2: &[(u16, &str)] = &[(1600, "RTM"), (2500, "SP1"), (4000, "SP2"), (6000, "SP3")];
const UPDATES_2017: &[(u16, &str)] = &[
    (1000, "RTM"),
    (3006, "CU1"),
    (3008, "CU2"),
    (3015, "CU3"),
    (3022, "CU4"),
    (3023, "CU5"),
    (3025, "CU6"),
    (3026, "CU7"),
    (3029, "CU8"),
    (3030, "CU9"),
    (3037, "CU10"),
    (3038, "CU11"),
    (3045, "CU12"),
    (3048, "CU13"),
    (3076, "CU14"),
    (3162, "CU15"),
    (3223, "CU16"),
    (3238, "CU17"),
    (3257, "CU18"),
    (3281, "CU19"),
    (3294, "CU20"),
    (3335, "CU21"),
    (3356, "CU22"),
    (3381, "CU23"),
    (3391, "CU24"),
    (3401, "CU25"),
    (3411, "CU26"),
    (3421, "CU27"),
    (3430, "CU28"),
    (3436, "CU29"),
    (3451, "CU30"),
    (3456, "CU31"),
];
const UPDATES_2019: &[(u16, &str)] = &[
    (2000, "RTM"),
    (4003, "CU1"),
    (4013, "CU2"),
    (4023, "CU3"),
    (4033, "CU4"),
    (4043, "CU5"),
    (4053, "CU6"),
    (4063, "CU7"),
    (4073, "CU8"),
    (4102, "CU9"),
    (4123, "CU10"),
    (4138, "CU11"),
    (4153, "CU12"),
    (4178, "CU13"),
    (4188, "CU14"),
    (4198, "CU15"),
    (4223, "CU16"),
    (4249, "CU17"),
    (4261, "CU18"),
    (4298, "CU19"),
    (4312, "CU20"),
    (4316, "CU21"),
    (4322, "CU22"),
    (4335, "CU23"),
    (4345, "CU24"),
    (4355, "CU25"),
    (4365, "CU26"),
    (4375, "CU27"),
    (4385, "CU28"),
    (4405, "CU29"),
    (4415, "CU30"),
    (4420, "CU31"),
    (4430, "CU32"),
];
const UPDATES_2022: &[(u16, &str)] = &[
    (1000, "RTM"),
    (4003, "CU1"),
    (4015, "CU2"),
    (4025, "CU3"),
    (4035, "CU4"),
    (4045, "CU5"),
    (4055, "CU6"),
    (4065, "CU7"),
    (4075, "CU8"),
    (4085, "CU9"),
    (4095, "CU10"),
    (4105, "CU11"),
    (4115, "CU12"),
    (4125, "CU13"),
    (4135, "CU14"),
    (4145, "CU15"),
    (4165, "CU16"),
    (4175, "CU17"),
    (4185, "CU18"),
    (4195, "CU19"),
    (4205, "CU20"),
    (4215, "CU21"),
    (4225, "CU22"),
    (4236, "CU23"),
    (4245, "CU24"),
];

/// Kinds of options.
const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const TERMINATOR: u8 = 0xff;
/// The value of `ENCRYPTION` that means there is none.
const NOT_SUPPORTED: u8 = 2;

pub(super) fn decode(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    let _ = pre_login(reply, add);
}

fn pre_login(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
    let mut options = Reader(reply);
    if !matches!(options.take(8)?, [4, 1, ..]) {
        return None;
    }
    let payload = options.0;
    for _ in 0..16 {
        let kind = options.u8()?;
        if kind == TERMINATOR {
            break;
        }
        let (at, _length) = (options.be16()?, options.be16()?);
        let mut value = Reader(payload.get(usize::from(at)..)?);
        match kind {
            VERSION => {
                let (major, minor, build) = (value.u8()?, value.u8()?, value.be16()?);
                add("tds.version", format!("{major}.{minor}.{build}").as_bytes());
                if let Some(level) = level(major, minor, build) {
                    add("tds.level", level.as_bytes());
                }
            }
            ENCRYPTION if value.u8()? != NOT_SUPPORTED => add("tds.encryption", b"yes"),
            _ => {}
        }
    }
    Some(())
}

/// What a build number stands for, in words.
fn level(major: u8, minor: u8, build: u16) -> Option<String> {
    let levels = match (major, minor) {
        (10, 0) => LEVELS_2008,
        (10, 50) => LEVELS_2008_R2,
        _ => LEVELS.iter().find(|(number, _)| *number == major)?.1,
    };
    let (first, name) = levels.iter().rev().find(|(first, _)| *first <= build)?;
    Some(if *first == build { (*name).to_owned() } else { format!("{name} with later fixes") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_ascend() {
        let tables = LEVELS.iter().map(|(_, levels)| *levels).chain([LEVELS_2008, LEVELS_2008_R2]);
        for levels in tables {
            assert!(levels.is_sorted_by(|a, b| a.0 < b.0), "{levels:?}");
        }
    }

    #[test]
    fn a_build_is_the_update_before_it_with_fixes() {
        assert_eq!(level(15, 0, 4123).as_deref(), Some("CU10"));
        assert_eq!(level(15, 0, 4124).as_deref(), Some("CU10 with later fixes"));
        assert_eq!(level(10, 50, 2500).as_deref(), Some("SP1"));
        assert_eq!(level(15, 0, 1), None, "a preview");
        assert_eq!(level(99, 0, 1), None);
    }
}
