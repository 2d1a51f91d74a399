//! For those who write database entries: `fmt`, `fill` (expectations from what comes out; read the
//! difference), `check`, `stats` over `probes/db`, and, with it, `identify ADDRESS:PORT[/udp] …`,
//! `lab TRUTH.tsv` (identifies every row's endpoint, JSON lines) and `read` (JSON lines of `on` and
//! `reply` on standard input; says which entries recognise each).

use std::{
    env,
    error::Error,
    fs,
    io::{self, BufRead},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use portreeve_model::{Endpoint, SafeText, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("db");
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (command, rest) =
        arguments.split_first().ok_or("give fmt, fill, check, stats, identify, lab or read")?;
    match command.as_str() {
        "fmt" | "fill" => rewrite(&folder, command == "fill")?,
        "check" => {
            for finding in Database::load_dir(&folder)?.check() {
                println!("{finding}");
            }
        }
        "stats" => println!("{:?}", Database::load_dir(&folder)?.stats()),
        "identify" => {
            let config = IdentifyConfig::new(Arc::new(now));
            let identifier = Identifier::new(Arc::new(Database::load_dir(&folder)?), config);
            for target in rest {
                let (address, transport) = match target.strip_suffix("/udp") {
                    Some(address) => (address, Transport::Udp),
                    None => (target.as_str(), Transport::Tcp),
                };
                let address: SocketAddr = address.parse()?;
                let endpoint = Endpoint { address: address.ip(), port: address.port(), transport };
                let service = identifier.identify(endpoint, Hints::default()).await;
                println!("{}", serde_json::to_string_pretty(&service)?);
            }
        }
        "lab" => lab(&folder, rest.first().ok_or("give the table")?).await?,
        "read" => read(&folder)?,
        other => {
            let known = "fmt, fill, check, stats, identify, lab or read";
            return Err(format!("unknown command {other:?}; use {known}").into());
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a program of its own, which owns its clock")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn rewrite(folder: &Path, fill: bool) -> Result<(), Box<dyn Error>> {
    let database = Database::load_dir(folder)?;
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let new =
            if fill { database.fill(&name).ok_or("no such file")? } else { Database::fmt(&name, &text)? };
        if new != text {
            println!("{name}");
            fs::write(&path, new)?;
        }
    }
    Ok(())
}

/// Identifies every row of a table with the columns name, address, proto, port; others are ignored.
async fn lab(folder: &Path, table: &str) -> Result<(), Box<dyn Error>> {
    let config = IdentifyConfig { allow_print_and_ot: true, ..IdentifyConfig::new(Arc::new(now)) };
    let identifier = Identifier::new(Arc::new(Database::load_dir(folder)?), config);
    let started = Instant::now();
    let mut tasks = Vec::new();
    for line in fs::read_to_string(table)?.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, address, proto, port, ..] = columns.as_slice() else { continue };
        let transport = if *proto == "udp" { Transport::Udp } else { Transport::Tcp };
        let endpoint = Endpoint { address: address.parse()?, port: port.parse()?, transport };
        let (name, proto, identifier) = ((*name).to_owned(), (*proto).to_owned(), identifier.clone());
        tasks.push(tokio::spawn(async move {
            let started = Instant::now();
            let service = identifier.identify(endpoint, Hints::default()).await;
            let text = |value: &Option<SafeText>| value.as_ref().map(|text| text.as_str().to_owned());
            json!({
                "row": name, "address": endpoint.address.to_string(), "proto": proto, "port": endpoint.port,
                "service": text(&service.name), "product": text(&service.product),
                "version": text(&service.version), "extra": text(&service.info),
                "revision": text(&service.revision), "os": text(&service.os), "hostname": text(&service.hostname),
                "cpe": service.cpe, "tls": service.tls.is_some(), "guess": service.name.is_none(),
                "verdict": service.verdict, "banner": service.banner, "connections": service.connections,
                "ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                "entries": service.evidence.iter().filter_map(|one| one.entry.clone()).collect::<Vec<_>>(),
            })
        }));
    }
    let mut connections: u64 = 0;
    let rows = tasks.len();
    for task in tasks {
        let row: Value = task.await?;
        connections += row.get("connections").and_then(Value::as_u64).unwrap_or_default();
        println!("{row}");
    }
    eprintln!("{rows} rows in {:.1} s, {connections} connections", started.elapsed().as_secs_f64());
    Ok(())
}

/// Says which entries recognise each reply, the best first.
fn read(folder: &Path) -> Result<(), Box<dyn Error>> {
    let database = Database::load_dir(folder)?;
    for line in io::stdin().lock().lines() {
        let mut line: Value = serde_json::from_str(&line?)?;
        let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let readings = database.read(&text("on"), &text("reply"))?;
        let entries: Vec<Value> = readings
            .iter()
            .map(|one| json!({ "entry": one.entry, "score": one.score, "values": one.values.iter().collect::<Vec<_>>() }))
            .collect();
        line["readings"] = Value::Array(entries);
        println!("{line}");
    }
    Ok(())
}
