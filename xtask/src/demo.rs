//! `cargo xtask demo`: the product at work on a network that exists only for the demo.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use portreeve_lab::{Lab, NETWORK, Process, Relay, in_namespace, nginx, openssh, postgresql, redis};
use serde_json::{Value, json};

use crate::{
    build,
    http::Client,
    run::Options,
    setup,
    signals::Ending,
    stack::{Place, agent_arguments, enrolment_token, log_to, start_server},
    tools::{Outcome, announce, binary, is_root, output},
};

const EMAIL: &str = "demo@portreeve.example";
const PASSWORD: &str = "only-for-the-demo";
/// Loopback port in the agent's namespace that leads to the server.
const RELAY_PORT: u16 = 8080;
/// How long one scan of the lab may take.
const SCAN: Duration = Duration::from_secs(300);

/// Lab, server, agent, two scans and what changed between them.
pub fn demo(arguments: &[String]) -> Outcome {
    let options = Options::parse(arguments)?;
    if !is_root() {
        return Err(
            "the demo makes network namespaces, which needs root: run `sudo -E cargo xtask demo`".into()
        );
    }
    setup::for_demo()?;
    build::release()?;
    let ending = Ending::hold_back()?;
    announce("making the lab: four hosts with real services, reachable from the agent alone");
    let mut lab = Lab::new("demo")?;
    let services = populate(&mut lab)?;
    let place = Place { state: lab.folder("state")?, listen: options.listen };
    let server = start_server(&place, &ending)?;
    create_admin(&place)?;
    let agent = start_agent_in_lab(&mut lab, &place)?;
    let told = tell_the_story(&mut lab, &place, services);
    if told.is_ok() && !options.exit {
        println!("\nThe UI is at http://{}  user {EMAIL}  password {PASSWORD}", place.listen);
        println!("Ctrl-C ends the demo and removes the lab.");
        while !ending.came_within(Duration::from_secs(1)) {}
    }
    announce("removing the lab");
    drop(agent);
    drop(server);
    drop(lab);
    told
}

/// The far half of the way from the agent's namespace to the server: `relay ADDRESS SOCKET`, for the demo's own use.
pub fn relay(arguments: &[String]) -> Outcome {
    let [listen, socket] = arguments else { return Err("usage: relay ADDRESS:PORT SOCKET".into()) };
    Ok(Relay::tcp_to_unix(listen.parse()?, Path::new(socket))?)
}

/// Services that the story closes again.
struct Services {
    web_on_printer: usize,
}

fn populate(lab: &mut Lab) -> Outcome<Services> {
    lab.add_host("agent", Ipv4Addr::new(10, 99, 0, 1), 24)?;
    let hosts = ["gateway", "database", "cache", "printer"];
    for (number, host) in (11..).zip(hosts) {
        lab.add_host(host, Ipv4Addr::new(10, 99, 0, number), 24)?;
    }
    openssh(lab, "gateway", 22)?;
    nginx(lab, "gateway", 80)?;
    openssh(lab, "database", 22)?;
    postgresql(lab, "database", 5432)?;
    redis(lab, "cache", 6379)?;
    let web_on_printer = nginx(lab, "printer", 80)?;
    Ok(Services { web_on_printer })
}

fn create_admin(place: &Place) -> Outcome {
    let mut command = Command::new(binary("portreeve-server"));
    command
        .args(["user", "create", EMAIL, "--role", "admin", "--state"])
        .arg(place.server_state())
        .env("PORTREEVE_PASSWORD", PASSWORD);
    output(&mut command).map(drop)
}

/// The agent lives in the lab; its only way out is a relay to the server's port.
fn start_agent_in_lab(lab: &mut Lab, place: &Place) -> Outcome<Process> {
    let namespace = lab.namespace("agent");
    let socket = lab.folder("relay")?.join("server");
    Relay::unix_to_tcp(&socket, place.listen)?;
    let near = SocketAddr::from(([127, 0, 0, 1], RELAY_PORT));
    // By its process rather than its path: a build that ran meanwhile may have replaced the file.
    let this = format!("/proc/{}/exe", std::process::id());
    let relay =
        Process::spawn(in_namespace(&namespace, &this).args(["relay", &near.to_string()]).arg(&socket))?;
    lab.keep(relay);
    let token = enrolment_token(place, false)?;
    let inside = Place { state: place.state.clone(), listen: near };
    let mut command = in_namespace(&namespace, &binary("portreeve").to_string_lossy());
    command.args(agent_arguments(&inside, Some(&token)));
    log_to(&mut command, &place.state.join("agent.log"))?;
    Ok(Process::spawn(&mut command)?)
}

/// Two scans with changes between them, told on the terminal.
fn tell_the_story(lab: &mut Lab, place: &Place, services: Services) -> Outcome {
    let mut client = Client::new(place.listen);
    client.log_in(EMAIL, PASSWORD)?;
    let agent = wait_for_agent(&client)?;
    let network = client.post(
        "/api/networks",
        &json!({
            "name": "Demo lab", "cidr": NETWORK, "port_spec": "1-10000", "scanner_id": agent,
            "scan_rate": 50_000, "scan_protocol": "tcp",
        }),
    )?;
    let network = network["id"].as_i64().ok_or("the new network has no id")?;
    client.post(
        &format!("/api/networks/{network}/rules"),
        &json!({ "port": "23", "rule_type": "block", "description": "Telnet is not allowed here" }),
    )?;

    announce("first scan");
    let first = scan(&client, network)?;
    print_ports(&client, first)?;

    announce(
        "meanwhile: Redis appears on the gateway, a web server on a blocked port, the printer's page goes away",
    );
    redis(lab, "gateway", 6379)?;
    nginx(lab, "database", 23)?;
    lab.stop(services.web_on_printer);

    announce("second scan");
    let second = scan(&client, network)?;
    print_difference(&client, first, second)?;
    print_alerts(&client, second)
}

fn wait_for_agent(client: &Client) -> Outcome<i64> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let agents = client.get("/api/scanners")?;
        if let Some(id) = agents["scanners"][0]["id"].as_i64() {
            return Ok(id);
        }
        if Instant::now() > deadline {
            return Err(
                "the agent did not enrol within a minute; its log is agent.log in the state folder".into()
            );
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Runs one scan to its end; returns its number.
fn scan(client: &Client, network: i64) -> Outcome<i64> {
    let started = Instant::now();
    let scan = client.post(&format!("/api/networks/{network}/scan"), &json!({}))?;
    let scan = scan["scan_id"].as_i64().ok_or("the new scan has no id")?;
    loop {
        let state = client.get(&format!("/api/scans/{scan}"))?;
        let status = state["status"].as_str().unwrap_or("without a status").to_owned();
        match status.as_str() {
            "completed" => {
                println!("scan {scan} completed in {:.1} s", started.elapsed().as_secs_f32());
                return Ok(scan);
            }
            "planned" | "running" if started.elapsed() < SCAN => thread::sleep(Duration::from_millis(200)),
            _ => {
                return Err(format!("scan {scan} is {status}: {}", state["error_message"]).into());
            }
        }
    }
}

fn print_ports(client: &Client, scan: i64) -> Outcome {
    let found = client.get(&format!("/api/scans/{scan}"))?;
    let ports = found["open_ports"].as_array().cloned().unwrap_or_default();
    if ports.is_empty() {
        return Err("the scan found no open port in the lab".into());
    }
    println!("{} open ports", ports.len());
    for port in ports {
        let words = ["service_guess", "product", "version"].map(|key| port[key].as_str().unwrap_or_default());
        println!("  {:<22} {:<12} {} {}", place_of(&port), words[0], words[1], words[2]);
    }
    Ok(())
}

fn print_difference(client: &Client, first: i64, second: i64) -> Outcome {
    let diff = client.get(&format!("/api/scans/{second}/diff?compare_to={first}"))?;
    for (sign, key) in [("+", "added_ports"), ("-", "removed_ports")] {
        for port in diff[key].as_array().into_iter().flatten() {
            println!("  {sign} {}", place_of(port));
        }
    }
    Ok(())
}

fn print_alerts(client: &Client, scan: i64) -> Outcome {
    let alerts = client.get("/api/alerts?limit=100")?;
    let alerts = alerts["alerts"].as_array().cloned().unwrap_or_default();
    let new: Vec<&Value> = alerts.iter().filter(|alert| alert["scan_id"].as_i64() == Some(scan)).collect();
    if new.is_empty() {
        return Err("ports opened between the scans, but the second scan raised no alert".into());
    }
    println!("{} alerts from the second scan ({} in all)", new.len(), alerts.len());
    for alert in new {
        println!(
            "  [{}] {}",
            alert["severity"].as_str().unwrap_or("?"),
            alert["message"].as_str().unwrap_or_default()
        );
    }
    Ok(())
}

fn place_of(port: &Value) -> String {
    let text = |key: &str| port[key].as_str().unwrap_or("?").to_owned();
    format!("{}:{}/{}", text("ip"), port["port"], text("protocol"))
}
