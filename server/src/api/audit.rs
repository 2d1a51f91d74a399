//! `/api/audit`: who did what.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{ApiRouter, Json, Page, Problem, ProblemBody, Query};
use crate::{
    audit::{self, ChainState},
    auth::{Access, Permission},
    state::AppState,
    store::audit::{self as store, AuditFilter, AuditRow},
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    let access = Access::Needs(Permission::AuditRead);
    ApiRouter::new().route(access, routes!(list)).route(access, routes!(verify))
}

/// Something that was done, or tried.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Number, without gaps.
    id: i64,
    /// When.
    at: DateTime<Utc>,
    /// `user`, `api_key`, `agent`, `system`, `command_line` or `anonymous`.
    actor_kind: String,
    /// The actor's number, where it has one.
    actor_id: Option<i64>,
    /// The actor's name at that time.
    actor: String,
    /// Dotted verb, as `user.create`.
    action: String,
    /// What kind of thing it was done to.
    target_kind: Option<String>,
    /// Which one.
    target_id: Option<String>,
    /// More about it.
    #[schema(value_type = Object)]
    detail: Box<RawValue>,
    /// Whether it was done; false: refused.
    succeeded: bool,
    /// From where.
    address: Option<String>,
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = serde_json::Error;

    fn try_from(row: AuditRow) -> Result<Self, Self::Error> {
        Ok(Self {
            id: row.id,
            at: row.at,
            actor_kind: row.actor_kind,
            actor_id: row.actor_id,
            actor: row.actor_name,
            action: row.action,
            target_kind: row.target_kind,
            target_id: row.target_id,
            detail: RawValue::from_string(row.detail)?,
            succeeded: row.succeeded,
            address: row.address.map(|address| address.to_string()),
        })
    }
}

/// Entries.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditList {
    /// Newest first.
    entries: Vec<AuditEntry>,
    /// How many the filter finds.
    total: i64,
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only actions that begin so, as `user.`.
    action: Option<String>,
    /// Only this actor, by name.
    actor: Option<String>,
    /// Entries left out. For a list that grows while it is read, use `before`.
    offset: Option<i64>,
    /// Only entries before this number.
    before: Option<i64>,
    /// Entries at most, 1-1000 (50).
    limit: Option<i64>,
}

/// What the check of the chain found.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditVerification {
    /// Nothing was changed, inserted or removed.
    intact: bool,
    /// Entries, when intact.
    entries: Option<i64>,
    /// The first entry that does not fit.
    broken_at: Option<i64>,
}

/// List entries, newest first.
#[utoipa::path(get, path = "/api/audit", tag = "audit", operation_id = "list_audit",
    params(AuditQuery),
    responses((status = 200, body = AuditList), (status = 422, body = ProblemBody)))]
async fn list(
    State(app): State<AppState>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditList>, Problem> {
    let page = Page::new(query.offset, query.limit, 1_000)?;
    let filter = AuditFilter {
        before: query.before,
        action: query.action.as_deref(),
        actor: query.actor.as_deref(),
        offset: page.offset,
        limit: page.limit,
    };
    let rows = store::list(&app.pool, &filter).await?;
    let total = store::count(&app.pool, &filter).await?;
    let entries = rows.into_iter().map(AuditEntry::try_from).collect::<Result<_, _>>().map_err(|error| {
        tracing::error!(%error, "an audit entry is not JSON");
        Problem::internal()
    })?;
    Ok(Json(AuditList { entries, total }))
}

/// Check that no entry was changed, inserted or removed.
#[utoipa::path(get, path = "/api/audit/verify", tag = "audit", operation_id = "verify_audit",
    responses((status = 200, body = AuditVerification)))]
async fn verify(State(app): State<AppState>) -> Result<Json<AuditVerification>, Problem> {
    Ok(Json(match audit::verify(&app.pool).await? {
        ChainState::Intact(entries) => {
            AuditVerification { intact: true, entries: Some(entries), broken_at: None }
        }
        ChainState::BrokenAt(id) => AuditVerification { intact: false, entries: None, broken_at: Some(id) },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{Actor, Entry},
        auth::Role,
        test_support::TestApp,
    };
    use serde_json::json;

    async fn with_entries(count: i64) -> TestApp {
        let app = TestApp::new().await;
        let mut connection = app.pool().acquire().await.unwrap();
        for number in 0..count {
            let entry = Entry::new("test.done")
                .target("number", number)
                .detail(json!({"text": "ä\0\"", "n": number}));
            entry.record(&mut connection, Actor::system(), app.now()).await.unwrap();
        }
        drop(connection);
        app
    }

    /// As an intruder with all rights on the database would.
    async fn tamper(app: &TestApp, sql: &'static str) {
        let mut transaction = app.pool().begin().await.unwrap();
        sqlx::query("set local session_replication_role = replica").execute(&mut *transaction).await.unwrap();
        sqlx::query(sql).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    #[tokio::test]
    async fn entries_are_listed_and_filtered() {
        let app = with_entries(3).await;
        let admin = app.login(Role::Admin).await;
        let list = admin.get("/api/audit?limit=2").await.json();
        assert_eq!((&list["total"], &list["entries"][0]["id"]), (&json!(3), &json!(3)));
        assert_eq!(list["entries"].as_array().unwrap().len(), 2);
        assert_eq!(list["entries"][0]["detail"]["n"], 2);
        assert_eq!(admin.get("/api/audit?before=2").await.json()["entries"][0]["id"], 1);
        assert_eq!(admin.get("/api/audit?offset=2").await.json()["entries"][0]["id"], 1);
        assert_eq!(admin.get("/api/audit?action=user.").await.json()["total"], 0);
        assert_eq!(admin.get("/api/audit?actor=system").await.json()["total"], 3);
        admin.get("/api/audit?limit=0").await.assert_status(422);
        admin.get("/api/audit?limit=x").await.assert_status(422);
        app.login(Role::Operator).await.get("/api/audit").await.assert_status(403);
    }

    #[tokio::test]
    async fn a_whole_chain_is_told_from_a_changed_one() {
        let changes = [
            ("update audit_log set actor_name = 'someone else' where id = 2", 2),
            ("update audit_log set detail = '{}' where id = 3", 3),
            ("delete from audit_log where id = 2", 2),
            ("delete from audit_log where id = 4", 4),
            ("update audit_head set last_id = 3", 4),
        ];
        for (sql, broken_at) in changes {
            let app = with_entries(4).await;
            let admin = app.login(Role::Admin).await;
            assert_eq!(admin.get("/api/audit/verify").await.json()["entries"], 4);
            tamper(&app, sql).await;
            let verdict = admin.get("/api/audit/verify").await.json();
            assert_eq!(
                (&verdict["intact"], &verdict["broken_at"]),
                (&json!(false), &json!(broken_at)),
                "{sql}"
            );
        }
    }

    #[tokio::test]
    async fn the_database_itself_refuses_changes() {
        let app = with_entries(1).await;
        for sql in ["update audit_log set action = 'x'", "delete from audit_log", "truncate audit_log"] {
            let error = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(app.pool()).await.unwrap_err();
            assert!(error.to_string().contains("append-only"), "{error}");
        }
    }

    #[tokio::test]
    async fn writers_at_the_same_moment_make_one_chain() {
        let app = with_entries(0).await;
        let writers = (0..8).map(|_| {
            let (pool, now) = (app.pool().clone(), app.now());
            tokio::spawn(async move {
                for _ in 0..10 {
                    let mut transaction = pool.begin().await.unwrap();
                    Entry::new("test.done").record(&mut transaction, Actor::system(), now).await.unwrap();
                    transaction.commit().await.unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        assert_eq!(audit::verify(app.pool()).await.unwrap(), ChainState::Intact(80));
    }
}
