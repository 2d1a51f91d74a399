//! `agent`: work for a server.

use std::{ffi::OsString, fs, path::PathBuf, sync::Arc, time::Duration};

use clap::ValueEnum;

use portreeve_agent::{AgentConfig, HostLimits, ServerUrl, WorkerCommand, run_agent};
use portreeve_model::SafeText;
use portreeve_probes::Database;
use portreeve_scan::Sandbox;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::interval,
};
use tokio_util::sync::CancellationToken;

use super::{UserDatabase, runtime, scan_clock, tune};
use crate::{
    args::{AgentArgs, Backend, SandboxArgs},
    environment,
    exit::{Exit, Failure},
    rights,
    settings::AgentSettings,
    stop_file::StopFile,
};

const STATE: &str = "/var/lib/portreeve-agent";
const SLOTS: u32 = 2;
const SPOOL_MIB: u32 = 512;

/// `portreeve agent`.
pub(crate) fn agent(
    arguments: &AgentArgs,
    settings: &AgentSettings,
    user: &UserDatabase,
    stop_file: &StopFile,
) -> Result<(), Failure> {
    let config = config(arguments, settings)?;
    stop_file.must_be_absent()?;
    rights::check_sandbox(&arguments.sandbox)?;
    runtime(Sandbox::none(), None)?.block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(cancel_on_signal(stop.clone()));
        tokio::spawn(cancel_on_file(stop.clone(), stop_file.clone()));
        let databases = user.over(Arc::clone(Database::builtin())).follow(reload_on_signal()).await;
        Ok(run_agent(config, databases, scan_clock(), stop).await?)
    })
}

/// Flag or environment, else file, else default.
fn config(arguments: &AgentArgs, settings: &AgentSettings) -> Result<AgentConfig, Failure> {
    let server = arguments.server.as_ref().or(settings.server.as_ref()).ok_or_else(|| {
        Failure::usage(
            "which server? name it with --server URL, or `server` under [agent] in the configuration file",
        )
    })?;
    let insecure_http = arguments.insecure_http || settings.insecure_http;
    let server =
        ServerUrl::parse(server, insecure_http).map_err(|error| Failure::usage(error.to_string()))?;
    let excluded = environment::excluded();
    let exclude = arguments.exclude.iter().chain(&settings.exclude).chain(&excluded).cloned().collect();
    let only = arguments.only.iter().chain(&settings.only).cloned().collect();
    let slots = arguments.slots.or(settings.slots).unwrap_or(SLOTS);
    if !(1..=64).contains(&slots) {
        return Err(Failure::usage(format!("{slots} jobs at the same time: use 1 to 64")));
    }
    let max_rate_pps = arguments.max_rate.or(settings.max_rate);
    if max_rate_pps == Some(0) {
        return Err(Failure::usage(
            "a ceiling of 0 packets per second lets nothing be scanned; use at least 1",
        ));
    }
    let backend = arguments.backend.or(settings.backend).unwrap_or(Backend::Auto);
    Ok(AgentConfig {
        server,
        authority: arguments.ca_file.clone().or_else(|| settings.ca_file.clone()),
        state: arguments
            .state
            .clone()
            .or_else(|| settings.state.clone())
            .unwrap_or_else(|| PathBuf::from(STATE)),
        name: arguments.name.clone().or_else(|| settings.name.clone()).unwrap_or_else(host_name),
        token: arguments.enroll.clone().or_else(|| settings.enroll.clone()),
        slots,
        limits: HostLimits { max_rate_pps, exclude, only, rates: tune::rates_path() },
        archive_bytes: u64::from(arguments.archive_mib.or(settings.archive_mib).unwrap_or_default()) << 20,
        spool_bytes: u64::from(arguments.spool_mib.or(settings.spool_mib).unwrap_or(SPOOL_MIB)) << 20,
        backend: backend.into(),
        worker: (!arguments.sandbox.no_sandbox).then(|| worker(backend, &arguments.sandbox)),
    })
}

/// This program itself, even if its file has been replaced since it was started.
fn worker(backend: Backend, sandbox: &SandboxArgs) -> WorkerCommand {
    let name = backend.to_possible_value().map(|value| value.get_name().to_owned());
    let mut arguments: Vec<OsString> =
        vec!["job".into(), "--backend".into(), name.unwrap_or_default().into()];
    arguments.extend(sandbox.require_sandbox.then(|| "--require-sandbox".into()));
    WorkerCommand { program: "/proc/self/exe".into(), arguments }
}

fn host_name() -> String {
    let name = fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = SafeText::sanitize_to(&name, 100).into_string();
    if name.is_empty() { "agent".to_owned() } else { name }
}

/// Changes with every SIGHUP.
fn reload_on_signal() -> watch::Receiver<()> {
    let (asked, reload) = watch::channel(());
    tokio::spawn(async move {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        while hangup.recv().await.is_some() && !asked.is_closed() {
            asked.send_replace(());
        }
    });
    reload
}

/// The kill switch: running jobs are cancelled and handed in, and the agent ends.
async fn cancel_on_file(stop: CancellationToken, file: StopFile) {
    let mut look = interval(Duration::from_millis(200));
    while !file.is_there() {
        look.tick().await;
    }
    tracing::warn!("stopping: {} is there; running jobs are cancelled and handed in", file.path().display());
    stop.cancel();
}

async fn cancel_on_signal(stop: CancellationToken) {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return };
    let mut wait = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    wait().await;
    tracing::info!("stopping: running jobs are cancelled and handed in");
    stop.cancel();
    wait().await;
    std::process::exit(Exit::Interrupted as i32);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn read(line: &str, settings: &AgentSettings) -> Result<AgentConfig, Failure> {
        let cli = Cli::try_parse_from(line.split(' ')).expect("a valid command line");
        let Command::Agent(arguments) = cli.command else { panic!("not the agent") };
        config(&arguments, settings)
    }

    #[test]
    fn flags_win_over_the_file_and_exclusions_add_up() {
        let settings = AgentSettings {
            server: Some("https://from-file.example.org".to_owned()),
            max_rate: Some(5),
            exclude: vec!["10.0.0.1".to_owned()],
            ..AgentSettings::default()
        };
        let config =
            read("portreeve agent --max-rate 9 --exclude 10.0.0.2,10.0.0.3", &settings).expect("valid");
        assert_eq!(config.server.to_string(), "https://from-file.example.org");
        assert_eq!(config.limits.max_rate_pps, Some(9));
        assert_eq!(config.limits.exclude, ["10.0.0.2", "10.0.0.3", "10.0.0.1"]);
        assert_eq!((config.slots, config.spool_bytes), (2, 512 << 20));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let none = AgentSettings::default();
        for (line, names) in [
            ("portreeve agent", "--server"),
            ("portreeve agent --server http://10.0.0.1", "--insecure-http"),
            ("portreeve agent --server https://x --slots 0", "0 jobs"),
            ("portreeve agent --server https://x --max-rate 0", "ceiling of 0"),
        ] {
            let failure = read(line, &none).expect_err(line);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(names), "{failure}");
        }
    }
}
