//! The real binary as an agent: its jobs are carried out by processes that have nothing to lose.

#[path = "../../agent/tests/jobs/mod.rs"]
mod jobs;
#[path = "../../agent/tests/server/mod.rs"]
#[expect(dead_code, reason = "the agent's own tests break it in more ways")]
mod server;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use jobs::{endless_scan, scan_of};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portreeve_model::protocol::{JobOutcome, Record};
use server::{Server, TOKEN};

/// An agent that is ended with the test.
struct Agent(Child);

impl Agent {
    fn start(server: &Server, folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.args(["agent", "--server", &server.url(), "--backend", "connect", "--archive-mib", "1"]);
        command.arg("--state").arg(folder.join("state"));
        command.env_clear().env("HOME", "/nonexistent").env("PORTREEVE_ENROLL", TOKEN);
        Self(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs"))
    }

    /// The processes that carry jobs out.
    fn workers(&self) -> Vec<u32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("it runs");
        let children = threads
            .filter_map(|thread| fs::read_to_string(thread.expect("a thread").path().join("children")).ok());
        children.flat_map(|children| numbers(&children)).collect()
    }

    /// The one worker, once it has given up its rights.
    fn worker(&self) -> u32 {
        for _ in 0..600 {
            if let [worker] = self.workers()[..]
                && statuses(worker).iter().any(|status| value(status, "Seccomp:") == Some("2"))
                && statuses(worker).len() > 2
            {
                return worker;
            }
            sleep(Duration::from_millis(50));
        }
        panic!("no worker was ever at work");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

/// What the kernel says of every thread of a process; nothing of one that is gone.
fn statuses(process: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok()).collect()
}

fn value<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn wait_until_gone(process: u32) {
    for _ in 0..600 {
        if statuses(process)
            .iter()
            .all(|status| value(status, "State:").is_some_and(|state| state.starts_with('Z')))
        {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("process {process} never ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_meet_a_process_that_has_nothing_to_lose() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = endless_scan();
    server.told().queue.push_back(job.clone());
    let agent = Agent::start(&server, folder.path());
    let worker = agent.worker();
    for status in statuses(worker) {
        assert_eq!(value(&status, "CapEff:"), Some("0000000000000000"), "{status}");
        assert_eq!(
            (value(&status, "NoNewPrivs:"), value(&status, "Seccomp:")),
            (Some("1"), Some("2")),
            "{status}"
        );
    }
    let environment = fs::read(format!("/proc/{worker}/environ")).expect("its environment");
    assert_eq!(String::from_utf8_lossy(&environment), "", "the agent's token stands in its own");
    // Nothing that is open leads into the agent's folder but what was opened for this job.
    for file in fs::read_dir(format!("/proc/{worker}/fd")).expect("its descriptors") {
        let target = fs::read_link(file.expect("a descriptor").path()).unwrap_or_default();
        assert!(!target.starts_with(folder.path()), "{}", target.display());
    }

    server.told().cancelled.insert(job.job_id);
    server.until("the end", |told| told.finishes.contains_key(&job.job_id)).await;
    assert_eq!(server.told().finishes[&job.job_id].outcome, JobOutcome::Cancelled);
    assert!(
        server.told().renewals.iter().any(|renewal| renewal.progress.probes_sent > 0),
        "progress was told"
    );
    wait_until_gone(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_costs_its_job_only() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let lost = endless_scan();
    server.told().queue.push_back(lost.clone());
    let agent = Agent::start(&server, folder.path());
    let worker = agent.worker();
    kill(Pid::from_raw(i32::try_from(worker).expect("a number")), Signal::SIGKILL).expect("killed");
    server.until("the end", |told| told.finishes.contains_key(&lost.job_id)).await;
    let finish = server.told().finishes[&lost.job_id].clone();
    assert_eq!(finish.outcome, JobOutcome::Failed);
    let why = finish.error.expect("a reason").into_string();
    assert!(why.contains("process ended") && why.contains("SIGKILL"), "{why}");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    for round in 0..2 {
        let next = scan_of(&port.to_string());
        server.told().queue.push_back(next.clone());
        server.until("another job", |told| told.finishes.contains_key(&next.job_id)).await;
        let told = server.told();
        let finish = &told.finishes[&next.job_id];
        assert_eq!(
            (finish.outcome, finish.summary.open_ports),
            (JobOutcome::Completed, 1),
            "round {round}: {finish:?}"
        );
        let records = told.records(next.job_id);
        assert!(records.iter().any(|record| matches!(record, Record::Port(seen) if seen.port == port)));
        assert!(
            records.iter().any(|record| matches!(record, Record::Service(_))),
            "it was asked what answers"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_does_not_outlive_its_agent() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    server.told().queue.push_back(endless_scan());
    let agent = Agent::start(&server, folder.path());
    let worker = agent.worker();
    drop(agent);
    wait_until_gone(worker);
}
