//! Finds out who calls from what the request shows.

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use axum_extra::extract::CookieJar;
use chrono::{DateTime, TimeDelta, Utc};

use super::{ClientAddress, Permission, Role, SESSION_IDLE, cookie_name, hash_token};
use crate::{
    api::Problem,
    state::AppState,
    store::{agents_auth, api_keys, sessions},
};

/// A session's or key's last use is written down at most this often: reading must not cost a write.
const TOUCH_EVERY: TimeDelta = TimeDelta::minutes(1);

/// How a user showed who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// With an API key.
    ApiKey {
        /// The key.
        id: i64,
        /// Its name.
        name: String,
    },
    /// With a session, by cookie or as bearer.
    Session {
        /// The session.
        id: i64,
    },
}

/// The networks a user may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkScope {
    /// All, also those made later.
    All,
    /// These only.
    Only(Vec<i64>),
}

/// The user a request is made for. As a handler's argument it is there on every route registered with
/// [`Access::Needs`](super::Access::Needs), and only there.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user.
    pub user_id: i64,
    /// The user's e-mail address.
    pub email: String,
    /// The user's role now; a key's scopes may allow less, see [`Self::may`].
    pub role: Role,
    /// The networks the user may see.
    pub networks: NetworkScope,
    /// How the user showed who they are.
    pub via: Via,
    /// Where the request came from.
    pub address: Option<ClientAddress>,
    /// For an API key: what it is cut down to.
    scopes: Option<Vec<String>>,
}

impl Caller {
    /// Whether the caller has a permission.
    pub fn may(&self, permission: Permission) -> bool {
        let in_scope =
            self.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(|scope| scope == permission.as_str()));
        self.role >= permission.least_role() && in_scope
    }

    /// The networks to filter by, as a query's argument: `None` means all of them.
    pub fn visible_networks(&self) -> Option<&[i64]> {
        match &self.networks {
            NetworkScope::All => None,
            NetworkScope::Only(ids) => Some(ids),
        }
    }

    /// Whether the caller may see a network. One that may not be seen does not exist: answer 404.
    pub fn sees_network(&self, network_id: i64) -> bool {
        self.visible_networks().is_none_or(|ids| ids.contains(&network_id))
    }

    /// The caller that the request shows, whatever route it is for.
    pub(crate) async fn find(
        state: &AppState,
        headers: &HeaderMap,
        address: Option<ClientAddress>,
    ) -> Result<Self, Problem> {
        let jar = CookieJar::from_headers(headers);
        let cookie = jar.get(cookie_name(&state.config)).map(|cookie| cookie.value());
        let key = headers.get("x-api-key").and_then(|value| value.to_str().ok());
        let Some(token) = bearer(headers).or(key).or(cookie) else {
            return Err(Problem::unauthorized("Not authenticated"));
        };
        let now = state.clock.now();
        let caller = if token.starts_with("prk_") {
            Self::by_api_key(state, token, address, now).await?
        } else {
            Self::by_session(state, token, address, now).await?
        };
        caller.ok_or_else(|| Problem::unauthorized("Could not validate credentials"))
    }

    async fn by_session(
        state: &AppState,
        token: &str,
        address: Option<ClientAddress>,
        now: DateTime<Utc>,
    ) -> sqlx::Result<Option<Self>> {
        let Some(session) = sessions::find(&state.pool, &hash_token(token), now).await? else {
            return Ok(None);
        };
        if now - session.last_used_at >= TOUCH_EVERY {
            sessions::touch(&state.pool, session.session_id, now, now + SESSION_IDLE).await?;
        }
        Ok(Some(Self {
            user_id: session.user_id,
            email: session.email,
            role: session.role,
            networks: scope(session.limited_to_networks, session.network_ids),
            via: Via::Session { id: session.session_id },
            address,
            scopes: None,
        }))
    }

    async fn by_api_key(
        state: &AppState,
        token: &str,
        address: Option<ClientAddress>,
        now: DateTime<Utc>,
    ) -> sqlx::Result<Option<Self>> {
        let Some(key) = api_keys::find_live(&state.pool, &hash_token(token), now).await? else {
            return Ok(None);
        };
        if key.last_used_at.is_none_or(|last| now - last >= TOUCH_EVERY) {
            api_keys::touch(&state.pool, key.key_id, now, address.map(|address| address.0)).await?;
        }
        Ok(Some(Self {
            user_id: key.user_id,
            email: key.email,
            role: key.role,
            networks: scope(key.limited_to_networks, key.network_ids),
            via: Via::ApiKey { id: key.key_id, name: key.name },
            address,
            scopes: Some(key.scopes),
        }))
    }
}

fn scope(limited: bool, ids: Vec<i64>) -> NetworkScope {
    if limited { NetworkScope::Only(ids) } else { NetworkScope::All }
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The agent a request comes from. As a handler's argument it is there on every route registered with
/// [`Access::Agent`](super::Access::Agent), and only there.
#[derive(Clone, Debug)]
pub struct AgentCaller {
    /// The agent.
    pub agent_id: i64,
    /// Its name.
    pub name: String,
    /// `opm` or `portreeve`.
    pub kind: String,
    /// Where the request came from.
    pub address: Option<ClientAddress>,
}

impl AgentCaller {
    /// The agent that the request shows. A user's token is never looked up here, nor an agent's among the users':
    /// the same number in both tables can never be mistaken.
    pub(crate) async fn find(
        state: &AppState,
        headers: &HeaderMap,
        address: Option<ClientAddress>,
    ) -> Result<Self, Problem> {
        let refused = || Problem::unauthorized("Could not validate scanner credentials");
        let token = bearer(headers).ok_or_else(refused)?;
        let found = agents_auth::find(&state.pool, &hash_token(token), state.clock.now()).await?;
        let agent = found.ok_or_else(refused)?;
        Ok(Self { agent_id: agent.id, name: agent.name, kind: agent.kind, address })
    }
}

/// A handler asked for a caller on a route whose access makes none: a mistake in the program.
fn undeclared() -> Problem {
    tracing::error!("a handler asks for a caller that its route's access does not provide");
    Problem::internal()
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(undeclared)
    }
}

impl<S: Sync> FromRequestParts<S> for AgentCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(undeclared)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        Ok(parts.extensions.get::<Self>().copied())
    }
}
