//! `enrollment-token` and `api-key`: secrets that are printed once.

use anyhow::{anyhow, ensure};
use chrono::TimeDelta;
use clap::Subcommand;
use serde_json::json;

use super::Database;
use crate::{
    audit::{Actor, Entry},
    auth::{Permission, Token, TokenKind},
    store::{
        api_keys::{self, NewApiKey},
        enrollment::{self, NewEnrollmentToken},
        users,
    },
};

/// What can be done to enrolment tokens.
#[derive(Debug, Subcommand)]
pub enum EnrollmentCommand {
    /// Make a token for one new agent and print it.
    Create {
        /// The agent is on this machine: its enrolment makes the network "This machine" (127.0.0.1), unless
        /// there are networks already.
        #[arg(long)]
        local: bool,
        /// What it is for.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// How long it works, in minutes.
        #[arg(long, default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=525_600))]
        valid_for: u32,
    },
}

impl EnrollmentCommand {
    /// Does it.
    pub async fn run(self, database: &Database) -> anyhow::Result<()> {
        let Self::Create { local, description, valid_for } = self;
        let token = Token::generate(TokenKind::Enrollment);
        let now = database.clock.now();
        let new = NewEnrollmentToken {
            token_hash: &token.hash(),
            prefix: &token.display_prefix(),
            description: description.as_deref(),
            creates_local_network: local,
            created_by: None,
            expires_at: now + TimeDelta::minutes(i64::from(valid_for)),
        };
        let mut transaction = database.pool.begin().await?;
        let id = enrollment::insert(&mut *transaction, &new, now).await?;
        Entry::new("enrollment_token.create")
            .target("enrollment_token", id)
            .detail(json!({ "local": local, "expires_at": new.expires_at }))
            .record(&mut transaction, Actor::command_line(), now)
            .await?;
        transaction.commit().await?;
        // Alone on its line, for scripts.
        println!("{}", token.reveal());
        Ok(())
    }
}

/// What can be done to API keys.
#[derive(Debug, Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key and print it. It can do what its scopes say, and never more than its owner.
    Create {
        /// What it is for.
        name: String,
        /// E-mail address of the owner.
        #[arg(long, value_name = "E-MAIL")]
        user: String,
        /// What it may do, as inventory:read; several with commas. A wrong one is answered with the list.
        #[arg(long, default_value = "inventory:read", value_delimiter = ',')]
        scopes: Vec<Permission>,
        /// How long it works, in days; without it, for ever.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        valid_for: Option<u32>,
    },
}

impl ApiKeyCommand {
    /// Does it.
    pub async fn run(self, database: &Database) -> anyhow::Result<()> {
        let Self::Create { name, user, scopes, valid_for } = self;
        ensure!(!name.trim().is_empty(), "the key needs a name that says what it is for");
        let owner = users::find_by_email(&database.pool, &user).await?;
        let owner = owner
            .ok_or_else(|| anyhow!("there is no account for {user:?}; `user list` shows those there are"))?;
        let token = Token::generate(TokenKind::ApiKey);
        let now = database.clock.now();
        let scopes: Vec<String> = scopes.into_iter().map(|scope| scope.to_string()).collect();
        let new = NewApiKey {
            user_id: owner.id,
            name: name.trim(),
            prefix: &token.display_prefix(),
            secret_hash: &token.hash(),
            scopes: &scopes,
            expires_at: valid_for.map(|days| now + TimeDelta::days(i64::from(days))),
        };
        let mut transaction = database.pool.begin().await?;
        let id = api_keys::insert(&mut *transaction, &new, now).await?;
        Entry::new("api_key.create")
            .target("api_key", id)
            .detail(json!({ "name": new.name, "user": owner.email, "scopes": scopes, "expires_at": new.expires_at }))
            .record(&mut transaction, Actor::command_line(), now)
            .await?;
        transaction.commit().await?;
        println!("{}", token.reveal());
        Ok(())
    }
}
