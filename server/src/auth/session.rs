//! Browsers' sessions: how long they last, and the cookie they live in.

use axum::http::HeaderValue;
use chrono::TimeDelta;

use crate::config::Config;

/// A session that is not used ends after this.
pub const SESSION_IDLE: TimeDelta = TimeDelta::hours(12);
/// A session ends after this, used or not.
pub const SESSION_LIFE: TimeDelta = TimeDelta::days(30);

/// The name of the session cookie. With TLS it is bound to this very host by `__Host-`; without TLS (loopback)
/// browsers refuse that prefix.
pub fn cookie_name(config: &Config) -> &'static str {
    if config.is_https() { "__Host-portreeve" } else { "portreeve" }
}

/// The `Set-Cookie` value that carries a session. Scripts cannot read it, and no other site can make the browser
/// send it.
pub fn session_cookie(config: &Config, token: &str) -> HeaderValue {
    build(config, token, SESSION_LIFE.num_seconds())
}

/// The `Set-Cookie` value that takes the session away.
pub fn removal_cookie(config: &Config) -> HeaderValue {
    build(config, "", 0)
}

fn build(config: &Config, value: &str, seconds: i64) -> HeaderValue {
    let secure = if config.is_https() { "; Secure" } else { "" };
    let name = cookie_name(config);
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    // A token is base64url, so the text is always a valid header; an empty one would only log the user out.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bound_to_the_host_with_tls() {
        let mut config = Config::default();
        assert_eq!(
            session_cookie(&config, "prs_x"),
            "portreeve=prs_x; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
        );
        config.public_url = Some("https://ports.example.org".to_owned());
        assert_eq!(
            removal_cookie(&config),
            "__Host-portreeve=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0; Secure"
        );
    }
}
