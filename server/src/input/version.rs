//! Software versions that are compared with a threshold.

/// Reads `8`, `8.0` or `8.0.0`, with an `OpenSSH_` or `SSH-` prefix and a suffix such as `p1` allowed.
///
/// Missing parts are 0, so that `8` is 8.0.0. Anything else is `None`: what cannot be compared raises
/// no alert.
pub fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let text = text.trim();
    let text = text.strip_prefix("OpenSSH_").or_else(|| text.strip_prefix("SSH-")).unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    if rest.starts_with(['-', '_']) {
        return None;
    }
    let mut parts = numbers.trim_end_matches('.').split('.').map(str::parse::<u32>);
    let major = parts.next()?.ok()?;
    let minor = parts.next().map_or(Some(0), Result::ok)?;
    let patch = parts.next().map_or(Some(0), Result::ok)?;
    Some((major, minor, patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(parse_version("OpenSSH_7.4"), Some((7, 4, 0)));
        assert_eq!(parse_version("OpenSSH_9.6p1"), Some((9, 6, 0)));
        assert_eq!(parse_version("8.0.0"), Some((8, 0, 0)));
        assert_eq!(parse_version("8"), Some((8, 0, 0)));
        assert!(parse_version("OpenSSH_8.10") > parse_version("8.9"));
    }

    #[test]
    fn other_software_is_not_compared() {
        for text in ["dropbear_2022.82", "banana", "", "2.0-libssh_0.9", "99999999999.1", "1..2"] {
            assert_eq!(parse_version(text), None, "{text}");
        }
    }
}
