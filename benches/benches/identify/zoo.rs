//! Many hostile hosts at once: how long, how much memory, how many connections.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use portreeve_lab::zoo::{Animal, Zoo};
use portreeve_model::{Endpoint, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use serde_json::json;
use tokio::task::JoinSet;

/// Figures to reach.
const MOST_MEMORY_MIB: u64 = 200;
const GRACE: Duration = Duration::from_secs(1);

/// Talks to all of them at once.
pub fn run(hosts: usize, json: Option<&Path>) -> Result<(), Box<dyn Error>> {
    // A process of their own, so that memory is ours alone.
    let mut keeper = Command::new(std::env::current_exe()?)
        .args(["keep", &hosts.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut places = Vec::new();
    for line in BufReader::new(keeper.stdout.take().ok_or("no output")?).lines() {
        let line = line?;
        let Some((animal, place)) = line.split_once(' ') else { break };
        places.push((animal.to_owned(), place.parse::<SocketAddr>()?));
    }
    let mut config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
    config.concurrency = hosts;
    let deadline = config.deadline;
    let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let begun = Instant::now();
    let rows = runtime.block_on(talk(&identifier, places));
    let whole = begun.elapsed();
    let memory_mib = most_memory_kib() / 1024;
    drop(keeper.stdin.take());
    keeper.wait()?;

    let mut worst: BTreeMap<&str, (usize, Duration, u8, String)> = BTreeMap::new();
    for (animal, time, connections, verdict) in &rows {
        let row = worst.entry(animal).or_default();
        row.0 += 1;
        row.1 = row.1.max(*time);
        row.2 = row.2.max(*connections);
        row.3.clone_from(verdict);
    }
    println!("{:<18} {:>6} {:>9} {:>12}  verdict", "animal", "hosts", "longest", "connections");
    for (animal, (count, time, connections, verdict)) in &worst {
        println!("{animal:<18} {count:>6} {:>7.1} s {connections:>12}  {verdict}", time.as_secs_f32());
    }
    let longest = rows.iter().map(|row| row.1).max().unwrap_or_default();
    let in_time = longest <= deadline + GRACE;
    println!(
        "{} hosts at once: {:.1} s, longest {:.1} s (deadline {} s + 1: {}), {memory_mib} MiB at most ({}: {})",
        rows.len(),
        whole.as_secs_f32(),
        longest.as_secs_f32(),
        deadline.as_secs(),
        if in_time { "kept" } else { "MISSED" },
        MOST_MEMORY_MIB,
        if memory_mib <= MOST_MEMORY_MIB { "kept" } else { "MISSED" },
    );
    super::write(
        json,
        &json!({
            "hosts": rows.len(), "whole_seconds": whole.as_secs_f32(), "longest_seconds": longest.as_secs_f32(),
            "deadline_seconds": deadline.as_secs(), "memory_mib": memory_mib,
        }),
    )
}

async fn talk(
    identifier: &Identifier,
    places: Vec<(String, SocketAddr)>,
) -> Vec<(String, Duration, u8, String)> {
    let mut conversations = JoinSet::new();
    for (animal, place) in places {
        let identifier = identifier.clone();
        conversations.spawn(async move {
            let endpoint = Endpoint { address: place.ip(), port: place.port(), transport: Transport::Tcp };
            let begun = Instant::now();
            let service = identifier.identify(endpoint, Hints::default()).await;
            (animal, begun.elapsed(), service.connections, format!("{:?}", service.verdict))
        });
    }
    conversations.join_all().await
}

fn most_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Keeps the zoo on loopback addresses, tells where everyone is, and ends with its input.
pub fn keep(hosts: usize) -> Result<(), Box<dyn Error>> {
    let count = hosts.div_ceil(Animal::ALL.len());
    let address =
        |number: usize| IpAddr::V4(Ipv4Addr::new(127, 88, (number / 250) as u8, (number % 250 + 1) as u8));
    let zoo = Zoo::open(&(0..count).map(address).collect::<Vec<_>>())?;
    let mut out = io::stdout().lock();
    for (place, animal) in zoo.places().iter().take(hosts) {
        writeln!(out, "{animal:?} {place}")?;
    }
    writeln!(out, "end")?;
    out.flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
