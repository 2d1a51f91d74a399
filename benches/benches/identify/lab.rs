//! Known services: what is said of them, by us and by nmap, beside the truth.

use std::{
    collections::HashMap,
    error::Error,
    fs,
    net::IpAddr,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use portreeve_model::{Endpoint, SafeText, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A service that is there.
struct Known {
    name: String,
    endpoint: Endpoint,
    service: String,
    product: String,
    version: String,
    /// How much of the version an unauthenticated client can learn: `full`, `part`, `none`.
    leak: String,
    cpe: String,
}

/// What somebody says of an endpoint.
#[derive(Clone, Debug, Default)]
struct Said {
    service: String,
    product: String,
    version: String,
    cpe: Vec<String>,
    seconds: Option<f32>,
    connections: Option<u8>,
}

/// Right, wrong, or nothing to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Judged {
    service: Option<bool>,
    product: Option<bool>,
    version: Option<bool>,
    cpe: Option<bool>,
}

/// Names of one thing.
const HTTP: &[&str] =
    &["http", "https", "http-alt", "https-alt", "http-proxy", "radan-http", "webdav", "http-mgmt"];

/// Asks all of the table's endpoints.
pub fn run(truth: &Path, nmap: bool, rows: bool, json: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let known = read(truth)?;
    let begun = Instant::now();
    let ours = ask_us(&known)?;
    let our_time = begun.elapsed();
    let begun = Instant::now();
    let theirs = if nmap { ask_nmap(&known)? } else { None };
    let their_time = begun.elapsed();
    let mut told = Vec::new();
    for known in &known {
        let mine = ours.get(&known.endpoint).cloned().unwrap_or_default();
        let judged = known.judge(&mine);
        let other = theirs.as_ref().map(|theirs| theirs.get(&known.endpoint).cloned().unwrap_or_default());
        if rows || judged.is_wrong() {
            println!("{}", row(known, &mine, other.as_ref()));
        }
        told.push(json!({
            "name": known.name, "endpoint": known.endpoint.to_string(), "ours": mine.json(),
            "nmap": other.as_ref().map(Said::json), "truth": {
                "service": known.service, "product": known.product, "version": known.version, "leak": known.leak,
            },
        }));
    }
    let mine = summary(&known, &ours, our_time);
    println!("ours: {}", words(&mine));
    let other = theirs.map(|theirs| summary(&known, &theirs, their_time));
    match &other {
        Some(other) => println!("nmap: {}", words(other)),
        None if nmap => println!("nmap: not installed"),
        None => {}
    }
    super::write(json, &json!({ "ours": mine, "nmap": other, "rows": told }))
}

fn read(truth: &Path) -> Result<Vec<Known>, Box<dyn Error>> {
    let text = fs::read_to_string(truth).map_err(|error| format!("{}: {error}", truth.display()))?;
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let mut known = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let cells: HashMap<&str, &str> = head.iter().copied().zip(line.split('\t')).collect();
        let cell = |name: &str| cells.get(name).map_or_else(String::new, |cell| (*cell).to_owned());
        let transport: Transport = cell("proto").parse()?;
        let endpoint = Endpoint { address: cell("address").parse()?, port: cell("port").parse()?, transport };
        known.push(Known {
            name: cell("name"),
            endpoint,
            service: cell("service"),
            product: cell("product"),
            version: cell("version"),
            leak: cell("leak"),
            cpe: cell("cpe"),
        });
    }
    Ok(known)
}

fn ask_us(known: &[Known]) -> Result<HashMap<Endpoint, Said>, Box<dyn Error>> {
    let config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
    let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let answers = runtime.block_on(async {
        let mut conversations = JoinSet::new();
        for endpoint in known.iter().map(|known| known.endpoint) {
            let identifier = identifier.clone();
            conversations.spawn(async move {
                let begun = Instant::now();
                (identifier.identify(endpoint, Hints::default()).await, begun.elapsed())
            });
        }
        conversations.join_all().await
    });
    let text = |text: &Option<SafeText>| text.as_ref().map(ToString::to_string).unwrap_or_default();
    let said = answers.into_iter().map(|(service, time)| {
        let said = Said {
            service: text(&service.name),
            product: text(&service.product),
            version: text(&service.version),
            cpe: service.cpe.iter().map(ToString::to_string).collect(),
            seconds: Some(time.as_secs_f32()),
            connections: Some(service.connections),
        };
        (service.endpoint, said)
    });
    Ok(said.collect())
}

/// Runs nmap once for TCP and once for UDP over the same addresses and ports; `None` if it is not installed.
fn ask_nmap(known: &[Known]) -> Result<Option<HashMap<Endpoint, Said>>, Box<dyn Error>> {
    if Command::new("nmap").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let mut said = HashMap::new();
    for (transport, scan) in [(Transport::Tcp, "-sT"), (Transport::Udp, "-sU")] {
        let mine: Vec<_> = known.iter().filter(|known| known.endpoint.transport == transport).collect();
        if mine.is_empty() {
            continue;
        }
        let mut ports: Vec<_> = mine.iter().map(|known| known.endpoint.port.to_string()).collect();
        ports.sort_unstable();
        ports.dedup();
        let mut addresses: Vec<_> = mine.iter().map(|known| known.endpoint.address.to_string()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let output = Command::new("nmap")
            .args(["-n", "-Pn", scan, "-sV", "--open", "-oX", "-", "-p", &ports.join(",")])
            .args(addresses)
            .stderr(Stdio::inherit())
            .output()?;
        read_xml(&String::from_utf8(output.stdout)?, transport, &mut said)?;
    }
    Ok(Some(said))
}

fn read_xml(
    xml: &str,
    transport: Transport,
    said: &mut HashMap<Endpoint, Said>,
) -> Result<(), Box<dyn Error>> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(xml, options)?;
    for host in document.descendants().filter(|node| node.has_tag_name("host")) {
        let address = host.children().find(|node| node.has_tag_name("address"));
        let Some(address) = address.and_then(|node| node.attribute("addr")) else { continue };
        let address: IpAddr = address.parse()?;
        for port in host.descendants().filter(|node| node.has_tag_name("port")) {
            let Some(service) = port.children().find(|node| node.has_tag_name("service")) else { continue };
            let text = |name: &str| service.attribute(name).unwrap_or_default().to_owned();
            let number = port.attribute("portid").unwrap_or_default().parse()?;
            // A name from the port's number alone is a guess.
            let is_guess = service.attribute("method") == Some("table");
            let cpe =
                service.children().filter(|node| node.has_tag_name("cpe")).filter_map(|node| node.text());
            said.insert(
                Endpoint { address, port: number, transport },
                Said {
                    service: if is_guess { String::new() } else { text("name") },
                    product: text("product"),
                    version: text("version"),
                    cpe: cpe.map(str::to_owned).collect(),
                    ..Said::default()
                },
            );
        }
    }
    Ok(())
}

fn accepted(names: &str) -> Vec<String> {
    names
        .split('|')
        .map(|name| name.trim().to_lowercase())
        .filter(|name| !matches!(name.as_str(), "" | "-"))
        .collect()
}

impl Known {
    fn judge(&self, said: &Said) -> Judged {
        let services = accepted(&self.service);
        let service = said.service.to_lowercase();
        let is_web = |name: &str| HTTP.contains(&name);
        let named = services.iter().any(|name| *name == service || is_web(name) && is_web(&service));
        let unsaid = service.is_empty() && services.iter().any(|name| name == "unknown");
        let products = accepted(&self.product);
        let product = said.product.to_lowercase();
        let is_product = !product.is_empty()
            && products.iter().any(|name| product.contains(name.as_str()) || name.contains(product.as_str()));
        let leaks = self.leak == "full" && !matches!(self.version.as_str(), "" | "-");
        let names = accepted(&self.cpe);
        let answered: Vec<_> = said.cpe.iter().map(|cpe| cpe.replace("cpe:2.3:", "cpe:/")).collect();
        let is_cpe = answered
            .iter()
            .any(|cpe| names.iter().any(|name| format!("{cpe}:").starts_with(&format!("{name}:"))));
        Judged {
            service: Some(named || unsaid),
            product: (!products.is_empty()).then_some(is_product),
            version: leaks.then(|| holds_version(&said.version, &self.version)),
            cpe: (!names.is_empty()).then_some(is_cpe),
        }
    }
}

/// Whether a text has this version, and not a longer one.
fn holds_version(text: &str, version: &str) -> bool {
    text.match_indices(version).any(|(at, _)| {
        let before = text.get(..at).and_then(|head| head.chars().next_back());
        let after = text.get(at + version.len()..).and_then(|tail| tail.chars().next());
        !before.is_some_and(|c| c.is_ascii_digit() || c == '.') && !after.is_some_and(|c| c.is_ascii_digit())
    })
}

impl Judged {
    fn is_wrong(self) -> bool {
        [self.service, self.product, self.version, self.cpe].contains(&Some(false))
    }
}

impl Said {
    fn json(&self) -> Value {
        json!({
            "service": self.service, "product": self.product, "version": self.version, "cpe": self.cpe,
            "seconds": self.seconds, "connections": self.connections,
        })
    }

    fn words(&self) -> String {
        let words = [&self.service, &self.product, &self.version];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).map(String::as_str).collect();
        if words.is_empty() { "?".to_owned() } else { words.join(" ") }
    }
}

fn row(known: &Known, ours: &Said, nmap: Option<&Said>) -> String {
    let first = |names: &str| names.split('|').next().unwrap_or_default().to_owned();
    let truth = format!("{} {} {}", first(&known.service), first(&known.product), known.version);
    let cost = format!(
        "{:.2} s, {} connections",
        ours.seconds.unwrap_or_default(),
        ours.connections.unwrap_or_default()
    );
    let nmap = nmap.map(|said| format!(" | nmap {}", said.words())).unwrap_or_default();
    format!("{} {}: truth {truth} | ours {} ({cost}){nmap}", known.name, known.endpoint, ours.words())
}

/// Shares of right answers, time and cost.
fn summary(known: &[Known], said: &HashMap<Endpoint, Said>, whole: Duration) -> Value {
    let nothing = Said::default();
    let judged: Vec<_> =
        known.iter().map(|known| known.judge(said.get(&known.endpoint).unwrap_or(&nothing))).collect();
    let share = |field: fn(&Judged) -> Option<bool>| {
        let all: Vec<bool> = judged.iter().filter_map(field).collect();
        let right = all.iter().filter(|right| **right).count();
        json!({ "right": right, "of": all.len(), "percent": 100.0 * right as f64 / all.len().max(1) as f64 })
    };
    let mut times: Vec<f32> = said.values().filter_map(|said| said.seconds).collect();
    times.sort_by(f32::total_cmp);
    let at = |part: f32| times.get((times.len() as f32 * part) as usize).copied();
    let connections: Vec<f64> = said.values().filter_map(|said| said.connections.map(f64::from)).collect();
    json!({
        "service": share(|judged| judged.service), "product": share(|judged| judged.product),
        "version": share(|judged| judged.version), "cpe": share(|judged| judged.cpe),
        "whole_seconds": whole.as_secs_f32(), "median_seconds": at(0.5), "p95_seconds": at(0.95),
        "mean_connections": connections.iter().sum::<f64>() / connections.len().max(1) as f64,
    })
}

fn words(summary: &Value) -> String {
    let share = |name: &str| {
        let share = &summary[name];
        format!(
            "{name} {}/{} ({:.0} %)",
            share["right"],
            share["of"],
            share["percent"].as_f64().unwrap_or_default()
        )
    };
    let shares = ["service", "product", "version", "cpe"].map(share).join(", ");
    format!(
        "{shares}; {:.1} s in all, median {:.2} s, p95 {:.2} s, {:.1} connections a port",
        summary["whole_seconds"].as_f64().unwrap_or_default(),
        summary["median_seconds"].as_f64().unwrap_or_default(),
        summary["p95_seconds"].as_f64().unwrap_or_default(),
        summary["mean_connections"].as_f64().unwrap_or_default(),
    )
}
