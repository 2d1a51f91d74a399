//! The private PostgreSQL through everything that can happen to it: the real program, real kills.

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use support::*;

/// Adds an account; it must still be there after whatever comes.
fn mark(state: &std::path::Path) {
    let output = run(state, &["user", "create", "ada@example.org", "--role", "admin"]);
    assert!(output.status.success(), "{output:?}");
}

fn assert_marked(state: &std::path::Path) {
    let output = run(state, &["user", "list"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("ada@example.org") && text.contains("admin"), "{output:?}");
}

#[test]
fn starts_from_nothing_works_beside_commands_and_ends_cleanly() {
    let folder = Folder::new();
    let server = Server::start(&folder.state());
    server.wait_until_healthy();
    assert_eq!(get(server.address, "/api/setup").unwrap().1, r#"{"required":true}"#);
    mark(&folder.state());
    assert_eq!(get(server.address, "/api/setup").unwrap().1, r#"{"required":false}"#);
    let pid = postmaster(&folder.data());

    let words = fails(&folder.state(), &["serve", "--listen", "127.0.0.1:0"]);
    assert!(words.contains("another portreeve-server already runs the database"), "{words}");

    server.stop();
    assert!(!lives(pid));
    assert_eq!(cluster_state(&folder.data()), "shut down");
    // Without a server the command starts the database for the moment.
    assert_marked(&folder.state());
    assert_eq!(cluster_state(&folder.data()), "shut down");
    let doctor = run(&folder.state(), &["doctor"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("the chain is whole"), "{doctor:?}");
}

#[test]
fn postgresql_listens_on_no_network_and_never_runs_as_root() {
    let folder = Folder::new();
    let server = Server::start(&folder.state());
    let pid = postmaster(&folder.data());
    let options = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(options.split('\0').any(|option| option == "listen_addresses="), "{options}");
    let uid = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let uid = uid
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    assert_ne!(uid, "0");
    // Its sockets are Unix sockets, every one.
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            fs::read_link(entry.path())
                .ok()?
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')
                .map(str::to_owned)
        })
        .collect();
    let unix = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(!sockets.is_empty());
    for inode in sockets {
        assert!(
            unix.lines().any(|line| line.split_whitespace().nth(6) == Some(&inode)),
            "{inode} is no Unix socket"
        );
    }
    server.stop();
}

#[test]
fn a_killed_server_takes_postgresql_with_it_and_the_next_one_goes_on() {
    let folder = Folder::new();
    let mut server = Server::start(&folder.state());
    mark(&folder.state());
    let pid = postmaster(&folder.data());
    server.kill();
    wait_until("PostgreSQL has ended by itself", || !lives(pid));
    assert_eq!(cluster_state(&folder.data()), "shut down");

    let mut server = Server::start(&folder.state());
    // At once, while the old one is still going down.
    server.kill();
    let server = Server::start(&folder.state());
    assert_marked(&folder.state());
    server.stop();
}

#[test]
fn a_killed_postgresql_is_started_again_under_the_running_server() {
    let folder = Folder::new();
    let server = Server::start(&folder.state());
    mark(&folder.state());
    for _ in 0..3 {
        let pid = postmaster(&folder.data());
        kill_process(pid);
        wait_until("another PostgreSQL runs", || {
            ready_postmaster(&folder.data()).is_some_and(|another| another != pid)
        });
        server.wait_until_healthy();
    }
    assert_marked(&folder.state());
    server.stop();
    assert_eq!(cluster_state(&folder.data()), "shut down");
}

#[test]
fn both_killed_at_once_lose_nothing() {
    let folder = Folder::new();
    let mut server = Server::start(&folder.state());
    mark(&folder.state());
    let pid = postmaster(&folder.data());
    kill_process(pid);
    server.kill();
    wait_until("PostgreSQL is gone", || !lives(pid));
    assert_eq!(cluster_state(&folder.data()), "in production");
    assert!(folder.data().join("postmaster.pid").exists());

    let server = Server::start(&folder.state());
    assert_marked(&folder.state());
    server.stop();
}

#[test]
fn a_stale_pid_file_that_names_a_living_stranger_is_seen_through() {
    let folder = Folder::new();
    Server::start(&folder.state()).stop();
    let owner = fs::metadata(folder.data()).unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    if is_root() {
        use std::os::unix::fs::MetadataExt;
        // The same user as PostgreSQL's: so that PostgreSQL itself would believe the file.
        sleep.uid(owner.uid()).gid(owner.gid());
    }
    let mut stranger = sleep.stdout(Stdio::null()).spawn().unwrap();
    let text = format!("{}\n{}\n1\n5432\n\n\n1 1\nready\n", stranger.id(), folder.data().display());
    fs::write(folder.data().join("postmaster.pid"), text).unwrap();

    let server = Server::start(&folder.state());
    server.wait_until_healthy();
    assert!(lives(stranger.id() as i32), "a stranger is left alone");
    server.stop();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn an_orphaned_postgresql_is_replaced() {
    let folder = Folder::new();
    Server::start(&folder.state()).stop();
    let mut orphan = Command::new(newest_programs().join("postgres"));
    orphan.arg("-D").arg(folder.data()).args(["-c", "listen_addresses=", "-c"]);
    orphan.arg(format!("unix_socket_directories={}", folder.state().join("postgres/run").display()));
    if is_root() {
        use std::os::unix::fs::MetadataExt;
        let owner = fs::metadata(folder.data()).unwrap();
        orphan.uid(owner.uid()).gid(owner.gid());
    }
    let mut orphan = orphan.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the orphan runs", || ready_postmaster(&folder.data()).is_some());
    let server = Server::start(&folder.state());
    assert!(orphan.wait().unwrap().success(), "it was asked to end, not killed");
    server.wait_until_healthy();
    server.stop();
}

#[test]
fn the_log_in_a_file_has_no_colours() {
    let folder = Folder::new();
    let file = folder.path().join("log");
    let mut command = command(&folder.state(), &["serve", "--listen", "127.0.0.1:0"]);
    command.env("RUST_LOG", "debug").stderr(fs::File::create(&file).unwrap());
    Server::spawn(command).stop();
    let log = fs::read_to_string(file).unwrap();
    assert!(log.contains(" INFO ") && log.contains("DEBUG "), "{log}");
    assert!(!log.contains('\x1b'), "{log:?}");
}

#[test]
fn ctrl_c_in_a_terminal_ends_everything_in_order() {
    let folder = Folder::new();
    let mut server = Server::start(&folder.state());
    let pid = postmaster(&folder.data());
    server.signal_group(Signal::SIGINT);
    assert!(server.wait().success());
    assert!(!lives(pid));
    assert_eq!(cluster_state(&folder.data()), "shut down");
}

#[test]
fn a_path_too_long_for_a_socket_is_no_obstacle() {
    let folder = Folder::new();
    let state = folder.path().join("x".repeat(120)).join("state");
    let server = Server::start(&state);
    server.wait_until_healthy();
    // A command beside it finds the socket too.
    mark(&state);
    let socket = fs::read_to_string(state.join("postgres/socket-folder")).unwrap();
    assert!(socket.len() < 90 && !socket.starts_with(state.to_str().unwrap()), "{socket}");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o750);
    server.stop();
    fs::remove_dir_all(socket).unwrap();
}

#[test]
fn works_for_an_ordinary_user() {
    if !is_root() {
        // All other tests of this file have just shown it.
        return;
    }
    let folder = Folder::new();
    // The program itself may lie where nobody cannot go.
    let program = folder.path().join("portreeve-server");
    fs::copy(env!("CARGO_BIN_EXE_portreeve-server"), &program).unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
    let state = home.join("state");
    let mut command = Command::new(&program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--state"]).arg(&state).current_dir("/");
    let server = Server::spawn({
        as_nobody(&mut command);
        command
    });
    server.wait_until_healthy();
    // Root may run commands beside it.
    mark(&state);
    server.stop();
    assert_eq!(cluster_state(&state.join("postgres/data")), "shut down");
}

#[test]
fn mistakes_get_a_sentence_with_the_way_out() {
    let folder = Folder::new();
    let settings = folder.path().join("settings.toml");
    let settings_path = settings.to_str().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--config", settings_path];

    fs::write(&settings, "postgres_programs = \"/nonexistent\"").unwrap();
    let words = fails(&folder.state(), &serve);
    assert!(words.contains("/nonexistent") && words.contains("apt-get install postgresql"), "{words}");
    assert!(!folder.data().exists(), "nothing half-made is left");

    fs::write(&settings, "lisen = 1").unwrap();
    let words = fails(&folder.state(), &serve);
    assert!(words.contains("lisen") && words.contains(settings_path), "{words}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = fails(&folder.state(), &["serve", "--listen", &address]);
    assert!(words.contains(&address) && words.contains("--listen"), "{words}");
    assert!(!folder.data().exists(), "the port is looked at before anything is made");

    let words = fails(&folder.state(), &["migrate", "--database-url", "postgres://x@127.0.0.1:1/none"]);
    assert!(words.contains("127.0.0.1:1"), "{words}");

    if is_root() {
        let closed = folder.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let words = fails(&closed.join("state"), &["migrate"]);
        assert!(words.contains("cannot enter") && words.contains("--state"), "{words}");
    }
}

#[test]
fn a_full_disk_is_said_and_keeps_nothing_half() {
    if !is_root() {
        return eprintln!("skipped: only root can make a small disk to fill");
    }
    let folder = Folder::new();
    let disk = SmallDisk::mount(&folder.state(), "size=128m,mode=755");
    let server = Server::start(&folder.state());
    mark(&folder.state());
    let log_in = r#"{"email":"ada@example.org","password":"long enough"}"#;
    let (status, session) = post(server.address, "/api/auth/login", "", log_in).expect("an answer");
    assert_eq!(status, 200, "{session}");
    let token = session.split('"').find(|part| part.starts_with("prs_")).expect("a token").to_owned();

    let ballast = disk.fill();
    let rule = |port: u16| {
        let text = format!("{port} {}", "x".repeat(900));
        let rule = format!(r#"{{"port":"{port}","rule_type":"allow","description":"{text}"}}"#);
        post(server.address, "/api/policy", &token, &rule)
    };
    let mut kept = 0;
    let words = loop {
        assert!(kept < 2_000, "the disk is full, and still everything is kept");
        match rule(kept + 1).expect("an answer") {
            (201, _) => kept += 1,
            (status, words) => break (status, words),
        }
    };
    assert_eq!(words.0, 503, "{words:?}");
    assert!(words.1.contains("disk of the server's database is full"), "{words:?}");
    assert!(words.1.contains("disk-full"), "{words:?}");
    // It still answers, and shows what it had kept.
    assert_eq!(get(server.address, "/health").expect("an answer").0, 200);
    let doctor = run(&folder.state(), &["doctor"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("FAILED  room on its disk"), "{doctor:?}");

    fs::remove_file(ballast).unwrap();
    let (status, words) = rule(kept + 1).expect("an answer");
    assert_eq!(status, 201, "{words}");
    server.stop();
    assert_eq!(cluster_state(&folder.data()), "shut down");
    let output = run(&folder.state(), &["doctor"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("the chain is whole"), "{output:?}");
}

#[test]
fn a_damaged_cluster_is_reported_in_its_own_words() {
    let folder = Folder::new();
    assert!(run(&folder.state(), &["migrate"]).status.success());
    fs::remove_file(folder.data().join("global/pg_control")).unwrap();
    let words = fails(&folder.state(), &["migrate"]);
    assert!(words.contains("ended at once") && words.contains("pg_control"), "{words}");
}
