//! The ports of a network: `22,80,8000-8100,U:53,!25`.

/// Checks a port specification and returns it without blanks, which OPM's agents refuse.
///
/// A comma list of `N` or `A-B` (1-65535), each with `!` before it to leave it out, and with `T:`, `U:`
/// or `S:` before that for one transport.
pub fn check_port_spec(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("port_spec cannot be empty".to_owned());
    }
    let segments = text.split(',').map(check_segment).collect::<Result<Vec<_>, _>>()?;
    Ok(segments.join(","))
}

fn check_segment(segment: &str) -> Result<String, String> {
    let typed = segment.trim();
    if typed.is_empty() {
        return Err("Invalid port_spec: empty segment".to_owned());
    }
    let mut rest = typed;
    let mut excluded = false;
    let mut transport = None;
    loop {
        if let Some(after) = rest.strip_prefix('!') {
            excluded = true;
            rest = after.trim_start();
        } else if let (None, Some((letter, after))) = (transport, split_transport(rest)) {
            transport = Some(letter);
            rest = after.trim_start();
        } else {
            break;
        }
    }
    let (low, high) = super::rule::parse_port_or_range(rest)?;
    let sign = if excluded { "!" } else { "" };
    let prefix = transport.map(|letter| format!("{letter}:")).unwrap_or_default();
    Ok(if low == high { format!("{sign}{prefix}{low}") } else { format!("{sign}{prefix}{low}-{high}") })
}

fn split_transport(text: &str) -> Option<(char, &str)> {
    let (letter, rest) = text.split_once(':')?;
    match letter.trim() {
        "S" | "s" => Some(('S', rest)),
        "T" | "t" => Some(('T', rest)),
        "U" | "u" => Some(('U', rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_specifications_lose_their_blanks_only() {
        for (typed, stored) in [
            ("1-100,2222,8080,!25", "1-100,2222,8080,!25"),
            (" 22 , 80 - 90 ", "22,80-90"),
            ("!!25", "!25"),
            ("22,U:53,!U:161,S:2905", "22,U:53,!U:161,S:2905"),
            ("u: 53,t:22", "U:53,T:22"),
            ("U:!161", "!U:161"),
            ("0080", "80"),
            ("443-443", "443"),
        ] {
            assert_eq!(check_port_spec(typed).as_deref(), Ok(stored), "{typed}");
        }
    }

    #[test]
    fn errors_read_as_the_clients_know_them() {
        for (typed, error) in [
            ("", "port_spec cannot be empty"),
            ("  ", "port_spec cannot be empty"),
            ("80,,90", "Invalid port_spec: empty segment"),
            ("0-70000", "Port out of range (1-65535): 0-70000"),
            ("90-80", "Invalid port range (start > end): 90-80"),
            ("a-b", "Invalid port number in range: a-b"),
            ("ssh", "Invalid port number: ssh"),
            ("1-2-3", "Invalid port range format: 1-2-3"),
            ("-5", "Invalid port range format: -5"),
            ("X:5", "Invalid port number: X:5"),
            ("U:T:5", "Invalid port number: T:5"),
            ("99999999999999999999", "Port out of range (1-65535): 99999999999999999999"),
            ("!", "Invalid port number: "),
        ] {
            assert_eq!(check_port_spec(typed).unwrap_err(), error);
        }
    }
}
