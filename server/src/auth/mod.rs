//! Who calls, and what they may do.
//!
//! Three audiences that never mix, each with its own table and its own prefix of random tokens:
//!
//! | audience | shows | looked up in | may reach |
//! |---|---|---|---|
//! | user | session token `prs_…` in a cookie or as bearer | `sessions` | routes with a [`Permission`] |
//! | automation | API key `prk_…` as bearer or in `X-API-Key` | `api_keys` | the same, cut down to the key's scopes |
//! | agent | credential `pra_…`, or OPM's short-lived token | `agents`, `agent_tokens` | agent routes only |
//!
//! A token is 256 random bits; only its SHA-256 is stored. What a route needs is said where it is registered
//! ([`Access`]), and checked before the handler runs.

mod address;
mod caller;
mod email;
mod password;
mod permission;
mod session;
mod throttle;
mod token;

pub use address::ClientAddress;
pub use caller::{AgentCaller, Caller, NetworkScope, Via};
pub use email::check_email;
pub use password::{PasswordError, Passwords, check_new_password};
pub use permission::{Access, Permission, Role};
pub use session::{SESSION_IDLE, SESSION_LIFE, cookie_name, removal_cookie, session_cookie};
pub use throttle::{Attempt, Throttle};
pub use token::{Token, TokenKind, hash_token};
