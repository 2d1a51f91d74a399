//! `serve`: starts everything in order, and ends it in order.

use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    time::Duration,
};

use anyhow::Context;
use chrono::TimeDelta;
use tokio::{net::TcpListener, signal::unix::SignalKind};
use tracing_subscriber::EnvFilter;

use super::Database;
use crate::{
    api,
    auth::{Token, TokenKind},
    config::Config,
    metrics::Metrics,
    state::AppState,
    store, tasks,
};

/// Requests that are still being answered when the server stops get so long.
const GRACE: Duration = Duration::from_secs(10);
/// How long a set-up link works. A restart makes a new one.
const SETUP_LINK_LIFE: TimeDelta = TimeDelta::days(1);

/// What is logged unless RUST_LOG says otherwise. Slow statements would come with their whole text.
const DEFAULT_LOG: &str = "info,sqlx=warn,sqlx::query=error";

/// Runs the server until SIGTERM or Ctrl-C.
pub fn run(config: Config) -> anyhow::Result<()> {
    log();
    super::runtime()?.block_on(serve(config))
}

async fn serve(mut config: Config) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let listener = listen(&mut config).await?;
    // Asked to stop while the database recovers: it must not be left half-way, so this is waited for.
    let (database, private) = Database::for_server(&config).await?;
    let mut app = AppState::new(database.pool, database.clock, config);
    app.metrics = Metrics::install().context("cannot collect metrics")?;
    store::observations::make_partitions(&app.pool, app.clock.now()).await?;
    let tasks = tasks::start(&app);
    // Whatever may fail comes before the first word: who reads it may rely on a server that runs.
    let link = setup_link(&app).await?;
    say(&format!("Portreeve is at {}", app.config.address()));
    if let Some(link) = link {
        say(&format!("Make the first account (this link works once, within a day): {link}"));
    }

    answer(listener, &app, stop).await?;

    tracing::info!("stopping");
    app.shutdown.cancel();
    let _busy_tasks_are_dropped = tokio::time::timeout(GRACE, tasks.wait()).await;
    app.pool.close().await;
    if let Some(private) = private {
        tokio::task::spawn_blocking(|| private.stop()).await??;
    }
    Ok(())
}

/// Tells whoever started us. Nobody may be listening any more, which is no reason to end.
fn say(line: &str) {
    let _closed_output = writeln!(std::io::stdout(), "{line}");
}

/// Takes the address before anything else is started: a port that is taken is the most likely mistake.
async fn listen(config: &mut Config) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; if another program has that port, choose another with --listen",
            config.listen
        )
    })?;
    // Port 0 asks the system for a free one.
    config.listen = listener.local_addr()?;
    if !config.listen.ip().is_loopback() && !config.is_https() {
        tracing::warn!(listen = %config.listen, "listening beyond this machine without TLS: passwords travel in clear; put a TLS proxy before it and set --public-url https://…");
    }
    Ok(listener)
}

async fn answer(
    listener: TcpListener,
    app: &AppState,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let service = api::app(app).into_make_service_with_connect_info::<SocketAddr>();
    let shutdown = app.shutdown.clone();
    let stopping = shutdown.clone();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        stop.await;
        // Streams and long polls end by this; other requests are answered.
        shutdown.cancel();
    });
    let too_late = async {
        stopping.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ended = server.into_future() => ended.context("the server ended"),
        () = too_late => Ok(()),
    }
}

/// While there is no account, a link that makes the first one; each start makes a new one.
async fn setup_link(app: &AppState) -> anyhow::Result<Option<String>> {
    if store::users::any(&app.pool).await? {
        return Ok(None);
    }
    let (token, now) = (Token::generate(TokenKind::Setup), app.clock.now());
    store::setup::replace(&app.pool, &token.hash(), now, now + SETUP_LINK_LIFE).await?;
    // In the fragment, which browsers send to nobody and proxies cannot log.
    Ok(Some(format!("{}/setup#token={}", app.config.address(), token.reveal())))
}

/// Listens for the signals from the very start: one that comes early must not be lost.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate =
        tokio::signal::unix::signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt =
        tokio::signal::unix::signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Logs to standard error: RUST_LOG chooses what, PORTREEVE_LOG_FORMAT=json how.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if std::env::var("PORTREEVE_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
}
