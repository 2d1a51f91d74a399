//! A file of our own is converted by the real program, taken up by the real loader, and names real servers.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use portreeve_model::{Endpoint, Service, Timestamp, Transport, Verdict};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::{JoinHandle, JoinSet},
};

const PUMPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pumps.probes");

fn import(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portreeve-import-nmap"))
        .args(arguments)
        .env_clear()
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// What must be refused: the exit code, and what the sentence must hold.
fn refused(arguments: &[&str], code: i32, holds: &[&str]) {
    let output = import(arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    for part in holds {
        assert!(error.contains(part), "{arguments:?}: {error:?} does not hold {part:?}");
    }
}

/// The converted file in a folder of its own.
fn converted(options: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nmap.toml");
    let output = import(&[&[PUMPS, "--output", path.to_str().expect("UTF-8")], options].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    (folder, path)
}

/// The converted file over the built-in database, as an agent's job gets it: the program has had it checked.
fn database(folder: &Path) -> Arc<Database> {
    let text = fs::read_to_string(folder.join("nmap.toml")).expect("converted");
    let file = ("nmap.toml".to_owned(), text);
    Arc::new(Database::builtin().with_user_texts(vec![file]).expect("a user database"))
}

async fn identify(database: &Arc<Database>, allow: bool, endpoint: Endpoint) -> Service {
    let config = IdentifyConfig {
        allow_print_and_ot: allow,
        deadline: Duration::from_secs(6),
        ..IdentifyConfig::new(Arc::new(|| Timestamp(0)))
    };
    Identifier::new(Arc::clone(database), config).identify(endpoint, Hints::default()).await
}

/// A server that greets every client, answers lines that it knows, and counts those that it was asked.
struct Server {
    address: Ipv4Addr,
    port: u16,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(
        port: u16,
        greeting: &'static [u8],
        answers: &'static [(&'static [u8], &'static [u8])],
    ) -> Self {
        // An address of its own: an earlier server's port may not be free yet.
        static SERVERS: AtomicU8 = AtomicU8::new(1);
        let address = Ipv4Addr::new(127, 88, 0, SERVERS.fetch_add(1, Ordering::Relaxed));
        let listener = TcpListener::bind((address, port)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    stream.write_all(greeting).await?;
                    let mut buffer = [0; 2048];
                    loop {
                        let length = stream.read(&mut buffer).await?;
                        let said = buffer.get(..length).unwrap_or_default();
                        if said.is_empty() {
                            return std::io::Result::Ok(());
                        }
                        if let Some((_, answer)) = answers.iter().find(|(question, _)| *question == said) {
                            counter.fetch_add(1, Ordering::Relaxed);
                            stream.write_all(answer).await?;
                        }
                    }
                });
            }
        });
        Self { address, port, asked, task }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address.into(), port: self.port, transport: Transport::Tcp }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Service, product, version and note.
fn told(service: &Service) -> [Option<&str>; 4] {
    [&service.name, &service.product, &service.version, &service.info]
        .map(|value| value.as_ref().map(|value| value.as_str()))
}

#[tokio::test]
async fn a_greeting_is_read_by_the_first_line_that_fits() {
    let (folder, _) = converted(&[]);
    // As `scan`, `identify` and agents read the folder of user databases.
    let database = Database::builtin().with_files(&[folder.path().to_path_buf()]).expect("a user database");
    let marked: Vec<_> = database.not_redistributable().map(|(_, licence)| licence).collect();
    assert_eq!(marked, ["NPSL"]);
    let database = Arc::new(database);
    let server = Server::start(0, b"ACME PumpOS 4_2.1\r\n", &[]).await;
    let service = identify(&database, false, server.endpoint()).await;
    assert_eq!(
        told(&service),
        [Some("acme-pump"), Some("Acme PumpOS"), Some("4.2.1"), Some("build")],
        "{service:?}"
    );
    let cpe: Vec<_> = service.cpe.iter().map(|name| name.as_str()).collect();
    assert_eq!(cpe, ["cpe:2.3:o:acme:pumpos:4.2.1:*:*:*:*:*:*:*"]);
    assert_eq!(service.confidence, 75);
    assert_eq!(service.evidence[0].entry.as_ref().map(|id| id.as_str()), Some("nmap/000006"));
    // The line after it fits too, and does not count in a file whose order decides.
    assert!(service.alternatives.is_empty(), "{:?}", service.alternatives);
}

#[tokio::test]
async fn a_soft_answer_leads_to_the_questions_that_know_the_service() {
    let (folder, _) = converted(&[]);
    let database = database(folder.path());
    let version = Server::start(
        0,
        b"VALVE READY\r\n",
        &[(b"VERSION\r\n", b"version 7 beta\r\n"), (b"STATUS\r\n", b"status open rev \0\x01\x02")],
    )
    .await;
    let service = identify(&database, false, version.endpoint()).await;
    assert_eq!(
        told(&service),
        [Some("acme-valve"), Some("Acme Valve Controller"), Some("7 beta"), None],
        "{service:?}"
    );
    assert_eq!(service.os.as_ref().map(|os| os.as_str()), Some("Valve OS"));
    // What is rare is asked on its own ports alone: here nothing but the service is known.
    let status =
        Server::start(0, b"VALVE READY\r\n", &[(b"STATUS\r\n", b"status open rev \0\x01\x02")]).await;
    let service = identify(&database, false, status.endpoint()).await;
    assert_eq!(told(&service), [Some("acme-valve"), None, None, None], "{service:?}");
    assert_eq!((service.confidence, status.asked.load(Ordering::Relaxed)), (60, 0));

    let usual =
        Server::start(7901, b"VALVE READY\r\n", &[(b"STATUS\r\n", b"status open rev \0\x01\x02")]).await;
    let service = identify(&database, false, usual.endpoint()).await;
    assert_eq!(
        told(&service),
        [Some("acme-valve"), Some("Acme Valve"), Some("258"), Some("state open")],
        "{service:?}"
    );
    drop(usual);
    // The look-ahead refuses what it should.
    let broken =
        Server::start(7901, b"VALVE READY\r\n", &[(b"STATUS\r\n", b"status broken rev \0\x01\x02")]).await;
    let service = identify(&database, false, broken.endpoint()).await;
    assert_eq!(told(&service), [Some("acme-valve"), None, None, None], "{service:?}");
    assert!(broken.asked.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_datagram_is_asked_on_its_ports_and_not_sent_by_scans() {
    let (folder, _) = converted(&[]);
    let database = database(folder.path());
    let address = Ipv4Addr::new(127, 88, 1, 1);
    let socket = UdpSocket::bind((address, 7902)).await.expect("a port");
    let server = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            if buffer.get(..length) == Some(b"\x07level\0") {
                let _ = socket.send_to(b"\x07tank:v\x009\0.\x001\0", from).await;
            }
        }
    });
    let endpoint = Endpoint { address: address.into(), port: 7902, transport: Transport::Udp };
    let service = identify(&database, false, endpoint).await;
    server.abort();
    assert_eq!(told(&service), [Some("acme-tank"), Some("Acme Tank"), Some("v9.1"), None], "{service:?}");
    let identifier = Identifier::new(Arc::clone(&database), IdentifyConfig::new(Arc::new(|| Timestamp(0))));
    assert_eq!(identifier.udp_payload(7902), None, "no-payload");
}

/// Nobody here knows what an imported question does to a printer or a controller, so no permission lets one go there;
/// and the file says itself where it has nothing to seek.
#[tokio::test]
async fn imported_questions_stay_away_from_printers_controllers_and_excluded_ports() {
    let (folder, _) = converted(&["--intensity", "9"]);
    let database = database(folder.path());
    let known: &[(&[u8], &[u8])] =
        &[(b"VERSION\r\n", b"version 7\r\n"), (b"STATUS\r\n", b"status open rev \0ab")];
    // Printers, a controller, and what Exclude names; then an ordinary port, where they are asked.
    let mut tasks = JoinSet::new();
    for (port, is_asked) in [(9100, false), (9103, false), (20000, false), (7903, false), (7904, true)] {
        for greeting in [&b"VALVE READY\r\n"[..], b""] {
            let database = Arc::clone(&database);
            let server = Server::start(port, greeting, known).await;
            tasks.spawn(async move {
                let service = identify(&database, true, server.endpoint()).await;
                let asked = server.asked.load(Ordering::Relaxed) > 0;
                assert_eq!(asked, is_asked, "{port} {greeting:?}: {service:?}");
            });
        }
    }
    tasks.join_all().await;
    let server = Server::start(9105, b"", known).await;
    let service = identify(&database, false, server.endpoint()).await;
    assert_eq!((service.verdict, server.asked.load(Ordering::Relaxed)), (Verdict::NotProbed, 0));
}

/// What our own database names stays what it is.
#[tokio::test]
async fn imported_knowledge_fills_gaps_and_overrules_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let theirs = folder.path().join("greedy.probes");
    fs::write(&theirs, "Probe TCP NULL q||\nmatch mine m|^SSH-2.0-OpenSSH| p/Mine/ v/1/\n").expect("written");
    let output = folder.path().join("nmap.toml");
    let paths = [theirs.to_str().expect("UTF-8"), "--output", output.to_str().expect("UTF-8")];
    assert!(import(&paths).status.success());
    let server = Server::start(0, b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n", &[]).await;
    let service = identify(&database(folder.path()), false, server.endpoint()).await;
    assert_eq!(told(&service), [Some("ssh"), Some("OpenSSH"), Some("9.2p1"), None], "{service:?}");
}

#[test]
fn the_file_is_marked_and_in_the_form_of_all_files() {
    let (_folder, path) = converted(&[]);
    let text = fs::read_to_string(path).expect("written");
    for part in
        ["origin = 'nmap'", "licence = 'NPSL'", "not_redistributable = true", "do not hand this file on"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert_eq!(Database::fmt("nmap.toml", &text).expect("a database file"), text);
}

/// The safety of imported questions does not hang on who wrote the file.
#[test]
fn questions_of_others_pass_the_checks_that_ours_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("other.toml");
    let probes = "[[probe]]\nid = 'o-1'\nsend = ['x']\ntier = 4\nsafety = 'print'\n\
                  [[probe]]\nid = 'o-2'\nsend = ['x']\npath = '/'\nafter = ['o/none']\ntier = 4\n";
    let head = "schema = 1\nservice = 'other'\nfamily = 'test'\norigin = 'other'\n";
    fs::write(&path, format!("{head}{probes}")).expect("written");
    let error = Database::builtin().with_files(std::slice::from_ref(&path)).expect_err("refused").to_string();
    for part in ["o-1: of another's origin", "o-2: give one of send", "o-2: after \"o/none\""] {
        assert!(error.contains(part), "{part:?} is not in\n{error}");
    }
    fs::write(&path, head.replace("origin = 'other'", "untested = true")).expect("written");
    let error = Database::builtin().with_files(&[path]).expect_err("refused").to_string();
    assert!(error.contains("untested is for files of another's origin"), "{error}");
}

#[test]
fn what_is_left_out_is_counted_and_named() {
    let report: serde_json::Value =
        serde_json::from_slice(&import(&[PUMPS, "--json"]).stdout).expect("one JSON document");
    assert_eq!(report["probes"], 5);
    assert_eq!(
        (&report["matches"], &report["soft_matches"], &report["entries"]),
        (&9.into(), &1.into(), &6.into())
    );
    assert_eq!(report["narrowed"], 1);
    assert_eq!(report["reasons"]["TLS"], 1);
    assert_eq!(report["reasons"]["look-around"], 1);
    assert_eq!(report["reasons"]["back-reference"], 1);
    let first = &report["left_out"][0];
    assert_eq!((&first["line"], &first["what"]), (&27.into(), &"acme-blank".into()), "{first}");
    // The kind of device and the host name of a group that does not exist.
    let dropped: Vec<_> =
        report["dropped"].as_array().expect("a list").iter().map(|note| note["line"].as_u64()).collect();
    assert_eq!(dropped, [Some(6), Some(18)], "{report}");
    let people = text(&import(&[PUMPS]).stdout);
    for part in ["1 look-around", "27:20 acme-blank", "nothing is written without --output"] {
        assert!(people.contains(part), "{part:?} is not in\n{people}");
    }
}

#[test]
fn nothing_is_replaced_unless_it_is_asked_for() {
    let (folder, path) = converted(&[]);
    let output = path.to_str().expect("UTF-8");
    fs::write(&path, "mine").expect("written");
    refused(&[PUMPS, "--output", output], 2, &[output, "--force"]);
    assert_eq!(fs::read_to_string(&path).expect("there"), "mine");
    assert!(import(&[PUMPS, "--output", output, "--force"]).status.success());
    assert!(fs::read_to_string(&path).expect("there").contains("nmap/000006"));
    let other = folder.path().join("nmap.conf");
    refused(&[PUMPS, "--output", other.to_str().expect("UTF-8")], 2, &[".toml"]);
    let nowhere = folder.path().join("none/nmap.toml");
    refused(&[PUMPS, "--output", nowhere.to_str().expect("UTF-8")], 1, &["none/nmap.toml"]);
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "nothing is left behind: {left:?}");
}

#[test]
fn wrong_files_and_command_lines_are_refused_with_the_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("wrong.probes");
    fs::write(&wrong, "Probe TCP x q|a|\nrarity 12\n").expect("written");
    let wrong = wrong.to_str().expect("UTF-8");
    refused(&[wrong], 2, &[&format!("{wrong}:2:8: "), "from 1 to 9"]);
    refused(&["/nonexistent/probes"], 2, &["/nonexistent/probes"]);
    refused(&[], 2, &["FILE"]);
    refused(&[PUMPS, "--intensity", "10"], 2, &["--intensity"]);
    let help = text(&import(&["--help"]).stdout);
    for part in ["--output", "--force", "--json", "--intensity", "NPSL", "Exit codes"] {
        assert!(
            help.contains(part) || part == "NPSL" && help.contains("Nmap Public Source License"),
            "{help}"
        );
    }
}
