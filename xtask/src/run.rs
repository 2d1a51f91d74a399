//! `cargo xtask run`: from a fresh checkout to a running product.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use portreeve_lab::Process;

use crate::{
    build, setup,
    signals::Ending,
    stack::{Place, default_state, start_agent, start_server},
    tools::{Outcome, announce, binary, execute, is_root, output},
};

/// What `run` was told.
pub struct Options {
    /// `--listen`.
    pub listen: SocketAddr,
    /// `--state`.
    pub state: Option<PathBuf>,
    /// `--no-agent` was absent.
    pub agent: bool,
    /// `--exit`.
    pub exit: bool,
}

impl Options {
    /// Reads a command's options.
    pub fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options =
            Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), state: None, agent: true, exit: false };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--listen" => {
                    let text = value()?;
                    options.listen = text
                        .parse()
                        .map_err(|_| format!("--listen {text:?} is not ADDRESS:PORT, as 127.0.0.1:8080"))?;
                }
                "--state" => options.state = Some(value()?.into()),
                "--no-agent" => options.agent = false,
                "--exit" => options.exit = true,
                other => {
                    return Err(format!("unknown option {other:?}; `cargo xtask help` lists them").into());
                }
            }
        }
        Ok(options)
    }
}

/// Set-up, build, start, and wait for the end.
pub fn run(arguments: &[String]) -> Outcome {
    let options = Options::parse(arguments)?;
    setup::for_running()?;
    build::release()?;
    grant_raw_sockets();
    let state = options.state.map_or_else(default_state, Ok)?;
    let place = Place { state: std::path::absolute(state)?, listen: options.listen };
    let ending = Ending::hold_back()?;
    announce(&format!("starting; data is kept in {}", place.state.display()));
    let server = start_server(&place, &ending)?;
    let agent = if options.agent { Some(start_agent(&place, None)?) } else { None };
    println!("\nPortreeve is at http://{}  (Ctrl-C ends it; the data stays)\n", place.listen);
    wait(&ending, server, agent)
}

/// Until Ctrl-C, or until one of the two ends by itself.
fn wait(ending: &Ending, mut server: Process, mut agent: Option<Process>) -> Outcome {
    let outcome = loop {
        if ending.came_within(Duration::from_millis(500)) {
            break Ok(());
        }
        if let Some(status) = server.exited()? {
            break Err(format!("the server ended with {status}").into());
        }
        if let Some(status) = agent.as_mut().map(Process::exited).transpose()?.flatten() {
            break Err(format!("the agent ended with {status}; its last words are above").into());
        }
    };
    println!("\nending the agent, then the server");
    // The agent first: what it still has to hand in, it can.
    drop(agent);
    drop(server);
    outcome
}

/// Lets the agent open raw sockets without running as root. Without it scans go through connect(2): slower,
/// and the agent says so.
fn grant_raw_sockets() {
    if is_root() {
        return;
    }
    let program = binary("portreeve");
    let granted = output(Command::new("getcap").arg(&program)).unwrap_or_default();
    if granted.contains("cap_net_raw") {
        return;
    }
    println!("granting {} the right to send raw packets (sudo may ask for your password)", program.display());
    if let Err(error) =
        execute(Command::new("sudo").args(["setcap", "cap_net_raw,cap_net_admin+ep"]).arg(&program))
    {
        println!("{error}; going on without raw sockets: scans will be slower");
    }
}
