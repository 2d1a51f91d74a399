//! Hides credentials in replies. What is hidden keeps its length, so that lengths inside protocols stay true.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

/// What is hidden: the groups named `secret` of these expressions.
const SECRETS: &[&str] = &[
    // Credentials that a server echoes, and values of cookies; names of cookies tell products and stay.
    r"^(?:proxy-)?authorization:[ \t]*(?:[a-z]+[ \t]+)?(?P<secret>[^\r\n]+)",
    r"^set-cookie2?:[ \t]*[^=;\r\n]*=(?P<secret>[^;\r\n]+)",
    r"^cookie:[ \t]*(?P<secret>[^\r\n]+)",
    r"^x-(?:api-key|auth-token|amz-security-token|csrf-token):[ \t]*(?P<secret>[^\r\n]+)",
    // User and password before a host (RFC 3986 3.2.1).
    r"\b[a-z][a-z0-9+.-]{1,20}://(?P<secret>[^\s/@:]*:[^\s/@]+)@",
    // Parameters of addresses, keys of JSON, YAML and configuration files.
    concat!(
        r#"\b(?:pass(?:word|wd|phrase)?|pwd|secret|client_secret|token|access_token|refresh_token|csrf_?token|api_?key|"#,
        r#"auth_?key|session_?id|private_?key)["']?[ \t]*[=:][ \t]*["']?(?P<secret>[^\s"'&;,<>{}]+)"#
    ),
    r"\bbearer[ \t]+(?P<secret>[a-z0-9._~+/=-]{8,})",
    // Tokens that are known by their form: JWT (RFC 7519), cloud access keys, keys in PEM (RFC 7468).
    r"\b(?P<secret>eyj[a-z0-9_-]{8,}\.[a-z0-9_-]{8,}\.[a-z0-9_-]*)",
    r"\b(?P<secret>(?:akia|asia)[a-z0-9]{16})\b",
    r"-----begin [a-z ]{0,20}private key-----(?P<secret>[^-]+)",
];

/// The reply with every credential replaced by asterisks.
pub fn mask(reply: &[u8]) -> Vec<u8> {
    let mut masked = reply.to_vec();
    for regex in expressions() {
        for found in regex.captures_iter(reply).filter_map(|captures| captures.name("secret")) {
            if let Some(place) = masked.get_mut(found.range()) {
                place.fill(b'*');
            }
        }
    }
    masked
}

fn expressions() -> &'static [Regex] {
    static EXPRESSIONS: OnceLock<Vec<Regex>> = OnceLock::new();
    EXPRESSIONS.get_or_init(|| {
        let compile = |text: &&str| {
            RegexBuilder::new(text).unicode(false).case_insensitive(true).multi_line(true).build().ok()
        };
        SECRETS.iter().filter_map(compile).collect()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_expression_compiles() {
        assert_eq!(expressions().len(), SECRETS.len());
    }

    #[test]
    fn credentials_are_hidden_and_the_rest_stays() {
        for (reply, hidden) in [
            ("Authorization: Basic dXNlcjpwYXNz\r\n", "Authorization: Basic ************\r\n"),
            ("x\r\nSet-Cookie: PHPSESSID=k3; path=/\r\n", "x\r\nSet-Cookie: PHPSESSID=**; path=/\r\n"),
            ("COOKIE: a=b\r\n", "COOKIE: ***\r\n"),
            ("amqp://guest:guest@mq:5672/", "amqp://***********@mq:5672/"),
            ("Location: /login?next=/&password=hunter2&x=1", "Location: /login?next=/&password=*******&x=1"),
            (r#"{"user":"bob","apiKey": "0123","n":1}"#, r#"{"user":"bob","apiKey": "****","n":1}"#),
            ("Bearer abcdefgh12", "Bearer **********"),
            ("key AKIAABCDEFGHIJKLMNOP.", "key ********************."),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END",
                "-----BEGIN RSA PRIVATE KEY-----******-----END",
            ),
            ("id eyJhbGciOiJI.eyJzdWIiOi.c2ln", "id ****************************"),
            // What only looks like it.
            (
                "Server: nginx/1.22.1\r\n331 Password required\r\n",
                "Server: nginx/1.22.1\r\n331 Password required\r\n",
            ),
            ("http://127.0.0.1:8080/a@b", "http://127.0.0.1:8080/a@b"),
        ] {
            assert_eq!(String::from_utf8_lossy(&mask(reply.as_bytes())), hidden);
        }
    }

    proptest! {
        #[test]
        fn masking_keeps_the_length_and_is_done_once(bytes: Vec<u8>) {
            let once = mask(&bytes);
            prop_assert_eq!(once.len(), bytes.len());
            prop_assert_eq!(mask(&once), once);
        }
    }
}
