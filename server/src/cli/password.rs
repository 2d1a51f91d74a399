//! Reads a password without showing it to anybody.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, ensure};

use crate::auth::check_new_password;

/// Where a password may come from.
#[derive(Debug, clap::Args)]
pub struct PasswordOptions {
    /// The password. Other users of this machine can see it in the list of processes: rather set PORTREEVE_PASSWORD, or
    /// leave both out and type it (or pipe it in).
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
}

impl PasswordOptions {
    /// The password: option, environment, terminal or standard input.
    pub fn read(self) -> anyhow::Result<String> {
        let password = match (self.password, std::env::var("PORTREEVE_PASSWORD")) {
            (Some(password), _) => {
                eprintln!(
                    "warning: --password can be seen by every user of this machine; use PORTREEVE_PASSWORD or standard input"
                );
                password
            }
            (None, Ok(password)) => password,
            (None, Err(_)) => from_standard_input()?,
        };
        check_new_password(&password).map_err(anyhow::Error::msg)?;
        Ok(password)
    }
}

fn from_standard_input() -> anyhow::Result<String> {
    let input = std::io::stdin();
    let _echo = if input.is_terminal() { Some(NoEcho::start()) } else { None };
    let mut line = String::new();
    input.lock().read_line(&mut line).context("cannot read the password")?;
    ensure!(!line.is_empty(), "no password was given; type it, pipe it in, or set PORTREEVE_PASSWORD");
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Keeps the terminal from showing what is typed, until dropped.
struct NoEcho;

impl NoEcho {
    fn start() -> Self {
        eprint!("Password: ");
        let _prompt_only = std::io::stderr().flush();
        stty("-echo");
        Self
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        stty("echo");
        eprintln!();
    }
}

fn stty(setting: &str) {
    // Without stty the password is shown: worse, but it works.
    let _shown_then = std::process::Command::new("stty").arg(setting).status();
}
