//! `user`: accounts, for set-up without a browser and for those who locked themselves out.

use anyhow::{Context, anyhow};
use clap::Subcommand;
use serde_json::json;

use super::{Database, password::PasswordOptions};
use crate::{
    audit::{Actor, Entry},
    auth::{Passwords, Role},
    store::{
        sessions,
        users::{self, NewUser, UserChange},
    },
};

/// What can be done to accounts.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an account.
    Create {
        /// E-mail address, which is also the log-in name.
        email: String,
        /// viewer, analyst, operator or admin.
        #[arg(long, default_value = "viewer")]
        role: Role,
        #[command(flatten)]
        password: PasswordOptions,
    },
    /// List all accounts.
    List,
    /// Give an account a new password, open it if it was closed, and end its sessions.
    SetPassword {
        /// E-mail address of the account.
        email: String,
        #[command(flatten)]
        password: PasswordOptions,
    },
}

impl UserCommand {
    /// Does it.
    pub async fn run(self, database: &Database) -> anyhow::Result<()> {
        match self {
            Self::Create { email, role, password } => create(database, &email, role, password).await,
            Self::List => list(database).await,
            Self::SetPassword { email, password } => set_password(database, &email, password).await,
        }
    }
}

async fn create(
    database: &Database,
    email: &str,
    role: Role,
    password: PasswordOptions,
) -> anyhow::Result<()> {
    let email = crate::auth::check_email(email).map_err(|reason| anyhow!("{email:?}: {reason}"))?;
    let password_hash = Passwords::new().hash(&password.read()?).await?;
    let now = database.clock.now();
    let mut transaction = database.pool.begin().await?;
    let id = users::insert(&mut *transaction, &NewUser { email, password_hash: &password_hash, role }, now)
        .await
        .with_context(|| format!("cannot make the account; is there one for {email} already (user list)?"))?;
    Entry::new("user.create")
        .target("user", id)
        .detail(json!({ "email": email, "role": role }))
        .record(&mut transaction, Actor::command_line(), now)
        .await?;
    transaction.commit().await?;
    println!("Made the {role} {email}.");
    Ok(())
}

async fn list(database: &Database) -> anyhow::Result<()> {
    let users = users::list(&database.pool).await?;
    println!("{:<40} {:<9} {:<7} LAST LOG-IN", "E-MAIL", "ROLE", "OPEN");
    for user in users {
        let open = if user.disabled_at.is_none() { "yes" } else { "closed" };
        let last = user
            .last_login_at
            .map_or_else(|| "never".to_owned(), |time| time.format("%F %T UTC").to_string());
        println!("{:<40} {:<9} {:<7} {last}", user.email, user.role.as_str(), open);
    }
    Ok(())
}

async fn set_password(database: &Database, email: &str, password: PasswordOptions) -> anyhow::Result<()> {
    let user = users::find_by_email(&database.pool, email).await?;
    let user =
        user.ok_or_else(|| anyhow!("there is no account for {email:?}; `user list` shows those there are"))?;
    let password_hash = Passwords::new().hash(&password.read()?).await?;
    let now = database.clock.now();
    let mut transaction = database.pool.begin().await?;
    let change =
        UserChange { password_hash: Some(&password_hash), disabled: Some(false), ..UserChange::default() };
    users::update(&mut *transaction, user.id, &change, now).await?;
    sessions::delete_of_user(&mut *transaction, user.id, None).await?;
    Entry::new("user.set_password")
        .target("user", user.id)
        .detail(json!({ "email": user.email }))
        .record(&mut transaction, Actor::command_line(), now)
        .await?;
    transaction.commit().await?;
    println!("Set a new password for {}; its sessions are ended.", user.email);
    Ok(())
}
