//! Server and agent, started in order and ended in order.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use portreeve_lab::{Process, bound};

use crate::{
    http::Client,
    signals::Ending,
    tools::{Outcome, binary, is_root, output},
};

/// How long the server may take until it answers: a first start makes a database, a start after a crash recovers one.
const START: Duration = Duration::from_secs(180);

/// Where a stack keeps its data and listens.
pub struct Place {
    /// Server and agent have a folder each in here.
    pub state: PathBuf,
    /// The server's address.
    pub listen: SocketAddr,
}

impl Place {
    /// The server's folder.
    pub fn server_state(&self) -> PathBuf {
        self.state.join("server")
    }

    /// The agent's folder.
    pub fn agent_state(&self) -> PathBuf {
        self.state.join("agent")
    }
}

/// The data folder of an installation without options: root's home is closed to the account that PostgreSQL runs
/// under, so root gets a system folder.
pub fn default_state() -> Outcome<PathBuf> {
    if is_root() {
        return Ok(PathBuf::from("/var/lib/portreeve"));
    }
    if let Some(folder) = std::env::var_os("XDG_STATE_HOME") {
        return Ok(Path::new(&folder).join("portreeve"));
    }
    let home = std::env::var_os("HOME").ok_or("HOME is not set; name a folder with --state")?;
    Ok(Path::new(&home).join(".local/state/portreeve"))
}

/// Starts the server and waits until it answers.
pub fn start_server(place: &Place, ending: &Ending) -> Outcome<Process> {
    // Asking first gives a better sentence than the server's log would.
    drop(TcpListener::bind(place.listen).map_err(|error| {
        format!("cannot listen on {}: {error}. Choose another address with --listen", place.listen)
    })?);
    fs::create_dir_all(&place.state).map_err(|error| {
        format!("cannot make {}: {error}. Choose another with --state", place.state.display())
    })?;
    let mut command = bound(binary("portreeve-server"));
    command.args(["serve", "--listen", &place.listen.to_string(), "--state"]).arg(place.server_state());
    let mut server = Process::spawn(&mut command)?;
    let client = Client::new(place.listen);
    let deadline = Instant::now() + START;
    while !client.is_up() {
        if let Some(status) = server.exited()? {
            return Err(format!("the server ended with {status}; its words are above").into());
        }
        if Instant::now() > deadline {
            return Err(format!("the server did not answer within {} s", START.as_secs()).into());
        }
        if ending.came_within(Duration::from_millis(100)) {
            return Err("interrupted".into());
        }
    }
    Ok(server)
}

/// A one-time token for an agent on this machine; with `local` its enrolment adds the network "This machine".
pub fn enrolment_token(place: &Place, local: bool) -> Outcome<String> {
    let mut command = Command::new(binary("portreeve-server"));
    command.args(["enrollment-token", "create", "--state"]).arg(place.server_state());
    if local {
        command.arg("--local");
    }
    Ok(output(&mut command)?.trim().to_owned())
}

/// The agent's command line, without what runs it.
pub fn agent_arguments(place: &Place, token: Option<&str>) -> Vec<String> {
    let mut arguments = vec![
        "agent".to_owned(),
        "--server".to_owned(),
        format!("http://{}", place.listen),
        "--state".to_owned(),
        place.agent_state().to_string_lossy().into_owned(),
    ];
    if let Some(token) = token {
        arguments.extend(["--enroll".to_owned(), token.to_owned()]);
    }
    arguments
}

/// Starts the agent, enrolling it if it never was.
pub fn start_agent(place: &Place, log: Option<&Path>) -> Outcome<Process> {
    let known = place.agent_state().join("credential.json").exists();
    let token = if known { None } else { Some(enrolment_token(place, true)?) };
    let mut command = bound(binary("portreeve"));
    command.args(agent_arguments(place, token.as_deref()));
    if let Some(log) = log {
        log_to(&mut command, log)?;
    }
    Ok(Process::spawn(&mut command)?)
}

/// Sends a command's output to a file.
pub fn log_to(command: &mut Command, log: &Path) -> Outcome {
    let file = File::create(log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    command.stderr(Stdio::from(file.try_clone()?)).stdout(Stdio::from(file));
    Ok(())
}
