//! Identification among hosts that mean harm: it ends in time, stays small, and nothing of theirs gets through as it is.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::sleep,
    time::{Duration, Instant},
};

use portreeve_lab::zoo::{Animal, Zoo};
use portreeve_model::{Endpoint, Service, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use tokio::task::JoinSet;

/// Far beyond the deadline of a conversation (12 s) and a second, for machines under load.
const PATIENCE: Duration = Duration::from_secs(300);
const MOST_MEMORY_KIB: u64 = 200 << 10;
/// So many hosts with one animal of each kind are a thousand conversations.
const HOSTS: u8 = 63;

/// So many addresses of a loopback network.
fn addresses(network: u8, hosts: u8) -> Vec<IpAddr> {
    (1..=hosts).map(|host| IpAddr::V4(Ipv4Addr::new(127, network, 0, host))).collect()
}

/// Forms of output: option, and file name.
const FORMS: &[(&str, &str)] = &[
    ("--output-xml", "xml"),
    ("--output-grepable", "gnmap"),
    ("--output-masscan", "masscan"),
    ("--output-list", "list"),
    ("--output-table", "txt"),
    ("--output-json", "json"),
    ("--output-ndjson", "ndjson"),
    ("--output-csv", "csv"),
];

/// Waits for the end; the most memory it had, in KiB.
fn watch(child: &mut Child) -> u64 {
    let begun = Instant::now();
    let mut most = 0;
    while child.try_wait().expect("a child").is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let high = high.and_then(|text| text.split_whitespace().next()?.parse().ok());
        most = most.max(high.unwrap_or_default());
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("identification went on for {PATIENCE:?}");
        }
        sleep(Duration::from_millis(20));
    }
    most
}

/// What a text of ours never holds: control characters but line ends, characters that hide or turn others.
fn harm(text: &str) -> Option<char> {
    text.chars().find(|c| {
        let line_end = matches!(c, '\n' | '\r');
        let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        c.is_control() && !line_end || hidden
    })
}

#[test]
fn a_thousand_hostile_ports_cost_little_and_get_nothing_through() {
    let zoo = Zoo::open(&addresses(66, HOSTS)).expect("a zoo on loopback");
    assert!(zoo.places().len() >= 1000);
    let folder = tempfile::tempdir().expect("a folder");
    let file = |end: &str| folder.path().join(format!("zoo.{end}")).display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.arg("identify").args(zoo.places().iter().map(|(place, _)| place.to_string()));
    for (option, end) in FORMS {
        command.args([*option, &file(end)]);
    }
    command.env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command.stdout(fs::File::create(file("stdout")).expect("a file"));
    command.stderr(fs::File::create(file("stderr")).expect("a file"));
    let mut child = command.spawn().expect("the binary runs");
    let memory = watch(&mut child);
    let told = fs::read_to_string(file("stderr")).expect("UTF-8");
    assert!(child.wait().expect("its status").success(), "{told}");
    assert!(memory <= MOST_MEMORY_KIB, "{memory} KiB");

    for end in FORMS.iter().map(|(_, end)| *end).chain(["stdout", "stderr"]) {
        let text = fs::read_to_string(file(end)).unwrap_or_else(|error| panic!("{end}: {error}"));
        // Grepable lines have tabs between their fields; those of hosts have become blanks.
        let text = if end == "gnmap" { text.replace('\t', " ") } else { text };
        assert_eq!(harm(&text), None, "{end}");
        let is_form = !matches!(end, "stdout" | "stderr");
        assert!(!is_form || text.contains("127.66.0.63"), "{end} tells nothing of the last host");
    }
    every_form_is_what_it_should_be(Path::new(&file("json")), &zoo);
    let xml = fs::read_to_string(file("xml")).expect("XML");
    assert!(!xml.contains("<script>"), "markup of a host in XML");
    let csv = fs::read_to_string(file("csv")).expect("CSV");
    let formula =
        csv.split([',', '\n']).find(|cell| cell.trim_start_matches('"').starts_with(['=', '@', '+']));
    assert_eq!(formula, None, "a formula in CSV");
}

/// Every animal is told of, and no trap is called a product.
fn every_form_is_what_it_should_be(json: &Path, zoo: &Zoo) {
    let text = fs::read_to_string(json).expect("JSON");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let ports = document["ports"].as_array().expect("ports");
    assert_eq!(ports.len(), zoo.places().len());
    for (place, animal) in zoo.places() {
        let is_here = |port: &&serde_json::Value| {
            port["address"] == place.ip().to_string() && port["port"] == place.port()
        };
        let service = &ports.iter().find(is_here).expect("every endpoint")["service"];
        if matches!(
            animal,
            Animal::Drip
                | Animal::Echo
                | Animal::Endless
                | Animal::Silent
                | Animal::SlowDrip
                | Animal::TlsDrip
        ) {
            assert!(service["product"].is_null(), "{animal:?}: {service:#}");
        }
        assert!(service["connections"].as_u64().expect("a number") <= 12, "{animal:?}: {service:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_conversation_ends_a_second_after_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(3);
    // Few enough for a machine that is busy otherwise to answer in time.
    let zoo = Zoo::open(&addresses(67, 4)).expect("a zoo on loopback");
    let late = Arc::new(Mutex::new(Duration::ZERO));
    let canary = tokio::spawn(measure_lateness(Arc::clone(&late)));
    let mut conversations = JoinSet::new();
    // A gate opens step by step, and waiting at it is no part of a conversation: these let everybody in at once.
    for places in zoo.places().chunks(Animal::ALL.len()) {
        let mut config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
        config.deadline = DEADLINE;
        let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
        for (place, animal) in places.iter().copied() {
            let identifier = identifier.clone();
            conversations.spawn(async move { (animal, timed(&identifier, place).await) });
        }
    }
    let ended = conversations.join_all().await;
    canary.abort();
    let late = *late.lock().expect("no panic");
    for (animal, (service, time)) in ended {
        let most = DEADLINE + Duration::from_secs(1) + late;
        assert!(time <= most, "{animal:?} took {time:?}, {late:?} of it the machine's: {service:?}");
    }
}

/// Adds up by how much this machine wakes a task too late, whatever the task does.
async fn measure_lateness(late: Arc<Mutex<Duration>>) {
    const NAP: Duration = Duration::from_millis(20);
    loop {
        let begun = Instant::now();
        tokio::time::sleep(NAP).await;
        *late.lock().expect("no panic") += begun.elapsed().saturating_sub(2 * NAP);
    }
}

async fn timed(identifier: &Identifier, place: std::net::SocketAddr) -> (Service, Duration) {
    let endpoint = Endpoint { address: place.ip(), port: place.port(), transport: Transport::Tcp };
    let begun = Instant::now();
    let service = identifier.identify(endpoint, Hints::default()).await;
    (service, begun.elapsed())
}
