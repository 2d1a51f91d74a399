//! Log-in names.

/// The address without blanks around it, or why it cannot be one. Whether it takes mail only a mail can tell; this
/// catches slips. A domain needs a dot, as OPM's clients expect.
pub fn check_email(email: &str) -> Result<&str, &'static str> {
    let email = email.trim();
    let is_domain = |domain: &str| domain.contains('.') && domain.split('.').all(|label| !label.is_empty());
    let parts = email.split_once('@');
    let is_plausible =
        parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.contains('@') && is_domain(domain));
    let is_clean = !email.chars().any(|character| character.is_whitespace() || character.is_control());
    if is_plausible && is_clean && email.len() <= 254 {
        Ok(email)
    } else {
        Err("value is not a valid email address")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_addresses_from_slips() {
        for good in ["ada@example.org", " ada+x@sub.example.org ", "ä@example.org"] {
            assert_eq!(check_email(good), Ok(good.trim()));
        }
        for bad in [
            "",
            "ada",
            "@example.org",
            "root@localhost",
            "a@b@example.org",
            "a@.org",
            "a b@example.org",
            "a@example.org\0",
        ] {
            assert!(check_email(bad).is_err(), "{bad:?}");
        }
    }
}
