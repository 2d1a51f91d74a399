//! The PostgreSQL of the tests.
//!
//! `PORTREEVE_TEST_DATABASE_URL` names one that is already running (it must let us create databases). Without
//! it the process starts one of its own: a copy of a prepared cluster in shared memory with fsync off, which
//! takes about 0.3 s; making the prepared one takes a few seconds, once for each state of the migrations. A
//! shell stands between us and it: it is told by the kernel when this process dies, however it dies, ends
//! PostgreSQL and removes the copy.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use nix::unistd::{Uid, User};
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::store;

/// A database of one test; dropped with this value.
pub(super) struct Database {
    name: String,
    server: PgConnectOptions,
}

impl Database {
    /// An empty database with the newest schema.
    pub(super) async fn create() -> Self {
        let server = server().await;
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut connection = connect(&server).await;
        let template = template_name();
        let sql = format!("create database {name} template {template} strategy file_copy");
        connection.execute(sqlx::AssertSqlSafe(sql)).await.expect("a copy of the template database");
        connection.close().await.expect("an orderly end");
        Self { name, server }
    }

    /// How to connect to it.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Async work in a drop: a thread with a runtime of its own. Best effort, the cluster goes anyway.
        let (name, server) = (self.name.clone(), self.server.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect_with(&server).await.ok()?;
                let sql = format!("drop database if exists {name} with (force)");
                connection.execute(sqlx::AssertSqlSafe(sql)).await.ok()
            })
        });
        let _the_test_is_over = dropping.join();
    }
}

/// The running PostgreSQL, with its template database made.
async fn server() -> PgConnectOptions {
    match std::env::var("PORTREEVE_TEST_DATABASE_URL") {
        Ok(url) => {
            let options =
                PgConnectOptions::from_str(&url).expect("PORTREEVE_TEST_DATABASE_URL is a PostgreSQL URL");
            prepare_template_once(&options).await;
            options
        }
        Err(_) => OWN.get_or_init(start_own).clone(),
    }
}

static OWN: OnceLock<PgConnectOptions> = OnceLock::new();

/// Named after the schema's state, so that a shared server keeps several apart.
fn template_name() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| format!("template_{:016x}", schema_hash()));
    &NAME
}

fn schema_hash() -> u64 {
    let mut hasher = DefaultHasher::new();
    for migration in store::MIGRATIONS.iter() {
        migration.checksum.hash(&mut hasher);
    }
    hasher.finish()
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options).await.expect("the test server takes connections")
}

/// Makes the template on a shared server, once even when many test processes start together.
async fn prepare_template_once(server: &PgConnectOptions) {
    let mut connection = connect(server).await;
    connection.execute("select pg_advisory_lock(7103)").await.expect("a lock");
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(template_name())
        .fetch_one(&mut connection)
        .await
        .expect("the list of databases");
    if !exists {
        make_template(server, &mut connection).await;
    }
    connection.close().await.expect("an orderly end");
}

/// Makes the template under another name first, so that a half-made one is never used.
async fn make_template(server: &PgConnectOptions, connection: &mut PgConnection) {
    let half_made = format!("making_{}", Uuid::new_v4().simple());
    let run = |sql: String| sqlx::AssertSqlSafe(sql);
    connection.execute(run(format!("create database {half_made}"))).await.expect("a new database");
    let mut database = connect(&server.clone().database(&half_made)).await;
    store::MIGRATIONS.run_direct(None, &mut database, false).await.expect("the migrations run");
    database.close().await.expect("an orderly end");
    let rename = format!("alter database {half_made} rename to {}", template_name());
    connection.execute(run(rename)).await.expect("the template's name is free");
}

/// Starts this process's own PostgreSQL.
fn start_own() -> PgConnectOptions {
    let account = Account::find();
    let base = account.make_folder(&base_folder(account.uid));
    remove_left_overs(&base);
    let prepared = base.join(format!("prepared-{}-{:016x}", programs_folder_name(), schema_hash()));
    let lock = File::create(base.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    if !prepared.exists() {
        prepare(&account, &base, &prepared);
    }
    drop(lock);
    let run = account.make_folder(&base.join(format!("run-{}", std::process::id())));
    copy(&account, &prepared.join("data"), &run.join("data"));
    start(&account, &run);
    options(&run)
}

fn base_folder(uid: u32) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    parent.join(format!("portreeve-test-{uid}"))
}

/// A process that was killed together with its shell leaves its folder.
fn remove_left_overs(base: &Path) {
    for entry in fs::read_dir(base).expect("the base folder").flatten() {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_prefix("run-")?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
            && !postgres_lives(&entry.path())
        {
            let _another_process_was_quicker = fs::remove_dir_all(entry.path());
        }
    }
}

fn postgres_lives(run: &Path) -> bool {
    let pid = fs::read_to_string(run.join("data/postmaster.pid"));
    pid.is_ok_and(|text| text.lines().next().is_some_and(|pid| Path::new("/proc").join(pid).exists()))
}

fn prepare(account: &Account, base: &Path, prepared: &Path) {
    let half_made = account.make_folder(&base.join(format!("run-{}-new", std::process::id())));
    let initdb = account
        .command(&programs().join("initdb"))
        .args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-N",
            "--wal-segsize=1",
            "-D",
        ])
        .arg(half_made.join("data"))
        .output()
        .expect("initdb runs");
    assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
    let server = start(account, &half_made);
    let options = options(&half_made);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { make_template(&options, &mut connect(&options).await).await });
    })
    .join()
    .expect("the template is made");
    let pid = fs::read_to_string(half_made.join("data/postmaster.pid")).expect("a pid file");
    let pid: i32 = pid.lines().next().and_then(|pid| pid.parse().ok()).expect("a pid");
    // The shell must not remove what we want to keep.
    fs::write(half_made.join("keep"), "").expect("a file");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT)
        .expect("it lives");
    server.join().expect("it ends");
    fs::rename(&half_made, prepared).expect("nobody else made it: we hold the lock");
}

fn copy(account: &Account, from: &Path, to: &Path) {
    let status = account.command(Path::new("cp")).arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "copying {} failed", from.display());
}

/// Starts PostgreSQL under a shell that ends it when this process dies.
fn start(account: &Account, run: &Path) -> std::thread::JoinHandle<()> {
    const SHELL: &str = r#"
        "$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c synchronous_commit=off \
            -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0 -c max_connections=200 \
            -c shared_buffers=32MB -c jit=off -c autovacuum=off -c max_wal_size=64MB -c timezone=UTC \
            -c unix_socket_permissions=0700 >"$2/log" 2>&1 &
        postgres=$!
        trap 'kill -QUIT $postgres' TERM INT HUP
        wait $postgres; wait $postgres
        [ -e "$2/keep" ] || rm -rf "$2"
    "#;
    let mut command = account.command(Path::new("setpriv"));
    command.args(["--pdeathsig", "TERM", "--", "sh", "-c", SHELL, "sh"]);
    command.arg(programs()).arg(run).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    // The kernel's word goes out when the *thread* that started the child ends: this one ends after the child.
    let thread = std::thread::spawn(move || {
        let mut child = command.spawn().expect("setpriv (util-linux) runs");
        child.wait().expect("our own child");
    });
    for _ in 0..3_000 {
        let pid_file = fs::read_to_string(run.join("data/postmaster.pid")).unwrap_or_default();
        if pid_file.lines().last().is_some_and(|line| line.trim() == "ready") {
            return thread;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("PostgreSQL did not start: {}", fs::read_to_string(run.join("log")).unwrap_or_default());
}

fn options(run: &Path) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass().socket(run).username("postgres").database("postgres")
}

/// The newest PostgreSQL installed.
fn programs() -> &'static Path {
    static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
        let majors = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let newest = majors.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
        let newest = newest.expect("PostgreSQL's programs are needed: apt-get install postgresql");
        PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"))
    });
    &PROGRAMS
}

fn programs_folder_name() -> String {
    programs().parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
}

/// Who PostgreSQL runs as: it refuses root.
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    fn find() -> Self {
        let own = Uid::effective();
        if !own.is_root() {
            return Self { uid: own.as_raw(), gid: nix::unistd::Gid::effective().as_raw() };
        }
        let user = User::from_name("postgres")
            .ok()
            .flatten()
            .expect("the user postgres (apt-get install postgresql)");
        Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if Uid::effective().is_root() {
            command.uid(self.uid).gid(self.gid);
        }
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    fn make_folder(&self, path: &Path) -> PathBuf {
        fs::create_dir_all(path).expect("a folder for the test server");
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("our own folder");
        if Uid::effective().is_root() {
            chown(path, Some(self.uid), Some(self.gid)).expect("root may");
        }
        path.to_owned()
    }
}
