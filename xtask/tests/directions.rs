//! Data flows one way, and so do the crates' dependencies: what ARCHITECTURE.md draws is held here.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// What each crate of ours may build on, among ours.
const MAY_USE: &[(&str, &[&str])] = &[
    ("portreeve-wire", &[]),
    ("portreeve-model", &[]),
    ("portreeve-lab", &[]),
    ("portreeve-scan", &["portreeve-wire", "portreeve-model"]),
    ("portreeve-probes", &["portreeve-model"]),
    ("portreeve-agent", &["portreeve-scan", "portreeve-probes", "portreeve-model"]),
    ("portreeve-cli", &["portreeve-agent", "portreeve-scan", "portreeve-probes", "portreeve-model"]),
    ("portreeve-server", &["portreeve-model"]),
    ("portreeve-import-nmap", &["portreeve-probes", "portreeve-model"]),
    (
        "portreeve-benches",
        &[
            "portreeve-wire",
            "portreeve-model",
            "portreeve-lab",
            "portreeve-scan",
            "portreeve-probes",
            "portreeve-agent",
            "portreeve-server",
        ],
    ),
    ("xtask", &["portreeve-lab"]),
];

/// Foreign crates that must not be reachable from a crate of ours: the engine has no runtime, no web server and no
/// database; the server builds without raw sockets.
const MUST_NOT_REACH: &[(&str, &[&str])] = &[
    ("portreeve-wire", &["tokio", "serde", "libc"]),
    ("portreeve-model", &["tokio", "axum", "sqlx"]),
    ("portreeve-scan", &["tokio", "axum", "sqlx", "reqwest"]),
    ("portreeve-probes", &["axum", "sqlx", "reqwest"]),
    ("portreeve-agent", &["axum", "sqlx"]),
    ("portreeve-cli", &["axum", "sqlx"]),
    ("portreeve-server", &["pnet_datalink", "etherparse", "netlink-sys"]),
];

struct Graph {
    /// Package id → names and ids of its normal and build dependencies.
    edges: BTreeMap<String, BTreeSet<String>>,
    names: BTreeMap<String, String>,
}

impl Graph {
    fn load() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--locked"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo metadata");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let list = |value: &Value| value.as_array().expect("list").clone();
        let names = list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
        let edges = list(&metadata["resolve"]["nodes"])
            .iter()
            .map(|node| {
                let shipped = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
                let deps = list(&node["deps"]);
                (text(&node["id"]), deps.iter().filter(shipped).map(|dep| text(&dep["pkg"])).collect())
            })
            .collect();
        Self { edges, names }
    }

    fn id(&self, name: &str) -> &str {
        let found = self.names.iter().find(|(_, known)| *known == name);
        found.unwrap_or_else(|| panic!("{name} is not in the workspace")).0
    }

    fn direct(&self, name: &str) -> BTreeSet<&str> {
        self.edges[self.id(name)].iter().map(|id| self.names[id].as_str()).collect()
    }

    fn reachable(&self, name: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![self.id(name)];
        while let Some(id) = waiting.pop() {
            for next in &self.edges[id] {
                if seen.insert(self.names[next].as_str()) {
                    waiting.push(next);
                }
            }
        }
        seen
    }
}

#[test]
fn our_crates_depend_in_one_direction() {
    let graph = Graph::load();
    let ours: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in MAY_USE {
        let used: Vec<&str> = graph.direct(name).into_iter().filter(|used| ours.contains(used)).collect();
        let wrong: Vec<&&str> = used.iter().filter(|used| !allowed.contains(used)).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
    }
}

/// What users must ask for by name: no other crate brings it along, and a plain build leaves it out.
#[test]
fn what_is_separate_stays_separate() {
    let graph = Graph::load();
    let name = "portreeve-import-nmap";
    let bringing: Vec<&str> = MAY_USE
        .iter()
        .map(|(other, _)| *other)
        .filter(|other| *other != name && graph.reachable(other).contains(name))
        .collect();
    assert!(bringing.is_empty(), "{bringing:?} bring {name} along");
    let manifest =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).expect("Cargo.toml");
    let usual = manifest.split_once("default-members = [").and_then(|(_, rest)| rest.split_once(']'));
    let (usual, _) = usual.expect("a list of default members");
    assert!(usual.contains("\"engine/cli\"") && !usual.contains("import-nmap"), "{usual}");
}

#[test]
fn every_crate_of_the_workspace_has_its_place() {
    let graph = Graph::load();
    let ours: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let local: BTreeSet<&str> =
        graph.names.iter().filter(|(id, _)| id.starts_with("path+")).map(|(_, name)| name.as_str()).collect();
    assert_eq!(local, ours);
}

#[test]
fn runtimes_and_databases_stay_out_of_the_engine() {
    let graph = Graph::load();
    for (name, banned) in MUST_NOT_REACH {
        let reached = graph.reachable(name);
        let wrong: Vec<&&str> = banned.iter().filter(|banned| reached.contains(**banned)).collect();
        assert!(wrong.is_empty(), "{name} reaches {wrong:?}");
    }
}
