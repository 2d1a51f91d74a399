//! Roles, and what each may do.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a user is. Each role can do all that the one before it can.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, sqlx::Type,
)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Judges alerts: acknowledge, assign, comment.
    Analyst,
    /// Scans, and keeps networks and rules.
    Operator,
    /// Keeps users, agents and settings.
    Admin,
}

impl Role {
    /// All roles, weakest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Analyst, Self::Operator, Self::Admin];

    /// The name used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Analyst => "analyst",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is not a role; use viewer, analyst, operator or admin"))
    }
}

/// Something that a route lets its caller do. Also the scopes of API keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// One's own account: profile, password, sessions, keys.
    AccountOwn,
    /// Make, change and remove agents and enrolment tokens.
    AgentsManage,
    /// Acknowledge, assign, comment, snooze.
    AlertsTriage,
    /// Read the audit log.
    AuditRead,
    /// Read networks, scans, hosts, ports, alerts, rules.
    InventoryRead,
    /// Change what is known of hosts: names, comments, tags, deleting.
    InventoryWrite,
    /// Make, change and remove networks and schedules.
    NetworksManage,
    /// Make, change and remove rules.
    PolicyManage,
    /// Start, cancel, hide and delete scans.
    ScansRun,
    /// Change settings and channels.
    SettingsManage,
    /// Make, change and remove users.
    UsersManage,
}

impl Permission {
    /// All permissions.
    pub const ALL: [Self; 11] = [
        Self::AccountOwn,
        Self::AgentsManage,
        Self::AlertsTriage,
        Self::AuditRead,
        Self::InventoryRead,
        Self::InventoryWrite,
        Self::NetworksManage,
        Self::PolicyManage,
        Self::ScansRun,
        Self::SettingsManage,
        Self::UsersManage,
    ];

    /// The name, as written in an API key's scopes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountOwn => "account:own",
            Self::AgentsManage => "agents:manage",
            Self::AlertsTriage => "alerts:triage",
            Self::AuditRead => "audit:read",
            Self::InventoryRead => "inventory:read",
            Self::InventoryWrite => "inventory:write",
            Self::NetworksManage => "networks:manage",
            Self::PolicyManage => "policy:manage",
            Self::ScansRun => "scans:run",
            Self::SettingsManage => "settings:manage",
            Self::UsersManage => "users:manage",
        }
    }

    /// The weakest role that has it.
    pub const fn least_role(self) -> Role {
        match self {
            Self::AccountOwn | Self::InventoryRead => Role::Viewer,
            Self::AlertsTriage => Role::Analyst,
            Self::InventoryWrite | Self::NetworksManage | Self::PolicyManage | Self::ScansRun => {
                Role::Operator
            }
            Self::AgentsManage | Self::AuditRead | Self::SettingsManage | Self::UsersManage => Role::Admin,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Permission {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("{text:?} is not a scope; use some of {names}")
        })
    }
}

/// Who may call a route. There is no default: a route cannot be registered without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An agent with its credential or access token. No user ever passes.
    Agent,
    /// A user or API key with this permission. No agent ever passes.
    Needs(Permission),
    /// Anyone: no credential is looked at.
    Public,
}
