//! Values that have one place.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::alerts::config::{AlertDefaults, SshAlertDefaults, TlsAlertDefaults};

/// The key of [`SshAlertDefaults`].
pub const SSH_ALERT_DEFAULTS: &str = "ssh_alert_defaults";

/// The key of [`TlsAlertDefaults`].
pub const TLS_ALERT_DEFAULTS: &str = "tls_alert_defaults";

/// What networks without alert settings of their own want.
pub async fn alert_defaults(db: &mut PgConnection) -> sqlx::Result<AlertDefaults> {
    Ok(AlertDefaults { ssh: ssh_alert_defaults(&mut *db).await?, tls: tls_alert_defaults(db).await? })
}

/// The TLS alert settings as stored, or those a new installation has.
pub async fn tls_alert_defaults(db: impl PgExecutor<'_>) -> sqlx::Result<TlsAlertDefaults> {
    let stored = find(db, TLS_ALERT_DEFAULTS).await?;
    Ok(stored.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default())
}

/// The SSH alert settings as stored, or those a new installation has.
pub async fn ssh_alert_defaults(db: impl PgExecutor<'_>) -> sqlx::Result<SshAlertDefaults> {
    let stored = find(db, SSH_ALERT_DEFAULTS).await?;
    Ok(stored.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default())
}

/// The value under a key.
async fn find(db: impl PgExecutor<'_>, key: &str) -> sqlx::Result<Option<Value>> {
    sqlx::query_scalar("-- find_setting\n select value from settings where key = $1")
        .bind(key)
        .fetch_optional(db)
        .await
}

/// Puts a value under a key.
pub async fn put(
    db: impl PgExecutor<'_>,
    key: &str,
    value: &Value,
    user_id: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- put_setting
         insert into settings (key, value, updated_at, updated_by) values ($1, $2, $3, $4)
         on conflict (key) do update set value = $2, updated_at = $3, updated_by = $4",
    )
    .bind(key)
    .bind(value)
    .bind(now)
    .bind(user_id)
    .execute(db)
    .await?;
    Ok(())
}
