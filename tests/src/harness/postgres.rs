//! A PostgreSQL server for tests, and a database of its own for each of them.
//!
//! The tests of a run share one server, whichever process they are in: making one takes seconds. Who
//! comes first starts it; every test holds a shared lock on a file while it runs, and a small
//! process that waits for the exclusive one takes the server away after the last of them, however
//! that ended. A test that does harm to its server has one for itself.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User};
use tempfile::TempDir;

use super::binaries::beside_this_program;

/// The role that owns everything.
const ROLE: &str = "systole";

/// Waits until nobody holds the lock, and once more a moment later: the next test may be about to
/// start. Then ends the server at once and removes its files.
const GUARDIAN: &str = r#"
while :; do
    flock -x "$LOCK" true
    sleep "$LINGER"
    flock -xn "$LOCK" sh -c '
        pid=$(head -n 1 "$DIR/data/postmaster.pid" 2>/dev/null)
        [ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null && while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
        rm -rf "$DIR"
    ' && exit
done
"#;

/// Settings of a server whose data nobody wants to keep.
const SETTINGS: &str = "
fsync = off
full_page_writes = off
max_connections = 300
shared_buffers = 64MB
";

/// A database of its own on a server for tests.
#[derive(Debug)]
pub struct TestPostgres {
    server: Server,
    database: String,
}

#[derive(Debug)]
struct Server {
    directory: PathBuf,
    /// Lets the guardian wait.
    _in_use: File,
}

impl TestPostgres {
    /// A new database on the server that all tests share.
    pub fn start() -> Self {
        let directory = beside_this_program().join("postgres-tests");
        std::fs::create_dir_all(&directory).expect("a directory");
        let lock = directory.join("users");
        let in_use = lock_file(&lock);
        in_use.lock_shared().expect("a file can be locked");
        let starting = lock_file(&directory.join("starting"));
        starting.lock().expect("a file can be locked");
        let place = directory.join("place");
        let running = std::fs::read_to_string(&place).map(PathBuf::from).ok().filter(|directory| is_running(directory));
        let directory = running.unwrap_or_else(|| {
            let made = start_server(&lock, 1, "");
            std::fs::write(&place, made.display().to_string()).expect("a file can be written");
            made
        });
        Self::with_database(Server { directory, _in_use: in_use })
    }

    /// A new database on a server of its own, with more lines of its configuration.
    pub fn alone(settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory").keep();
        let lock = directory.join("users");
        let in_use = lock_file(&lock);
        in_use.lock_shared().expect("a file can be locked");
        let server = start_server(&lock, 0, settings);
        // The lock lives on in the guardian, which looks at nothing but the open file.
        Self::with_database(Server { directory: server, _in_use: in_use })
    }

    fn with_database(server: Server) -> Self {
        let database = format!("test_{}", uuid::Uuid::now_v7().simple());
        psql(&server.directory, "postgres", &format!("CREATE DATABASE {database}"));
        TestPostgres { server, database }
    }

    /// Where the database is, for `--database-url`.
    pub fn url(&self) -> String {
        format!("postgres:///{}?host={}&user={ROLE}", self.database, self.server.directory.display())
    }

    /// The directory of the server's socket and data.
    pub fn directory(&self) -> &Path {
        &self.server.directory
    }

    /// Runs SQL, and gives what it prints: a row a line, columns between bars.
    pub fn sql(&self, sql: &str) -> String {
        psql(&self.server.directory, &self.database, sql)
    }

    /// Stops the server without letting it finish anything, and starts it again.
    pub fn crash_and_restart(&self) {
        pg_ctl(&self.server.directory, &["-m", "immediate", "-w", "restart"]);
    }

    /// Stops the server without letting it finish anything.
    pub fn crash(&self) {
        pg_ctl(&self.server.directory, &["-m", "immediate", "-w", "stop"]);
    }

    /// Starts a stopped server.
    pub fn restart(&self) {
        pg_ctl(&self.server.directory, &["-w", "start"]);
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        if is_running(&self.server.directory) && !std::thread::panicking() {
            psql(&self.server.directory, "postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.database));
        }
    }
}

fn lock_file(path: &Path) -> File {
    OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a lock file opens")
}

/// Makes a server and starts it, and the guardian that ends it once `lock` is free.
fn start_server(lock: &Path, linger_seconds: u32, settings: &str) -> PathBuf {
    let directory = TempDir::with_prefix("systole-postgres-").expect("a directory");
    let (user, group) = server_user();
    chown(directory.path(), Some(user.as_raw()), Some(group.as_raw())).expect("a directory can be given away");
    let data = directory.path().join("data");
    run(as_server(&program("initdb"))
        .args(["--username", ROLE, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "-D"])
        .arg(&data));
    let socket = format!("listen_addresses = ''\nunix_socket_directories = '{}'\n", directory.path().display());
    let configuration = data.join("postgresql.conf");
    let text = std::fs::read_to_string(&configuration).expect("initdb writes it");
    std::fs::write(&configuration, text + &socket + SETTINGS + settings).expect("a file can be written");
    let directory = directory.keep();
    run(Command::new("sh")
        .args(["-c", &format!("({GUARDIAN}) </dev/null >/dev/null 2>&1 &")])
        .env("LOCK", lock)
        .env("DIR", &directory)
        .env("LINGER", linger_seconds.to_string())
        // Not ended together with the test.
        .process_group(0));
    pg_ctl(&directory, &["-w", "start"]);
    directory
}

fn is_running(directory: &Path) -> bool {
    let data = directory.join("data");
    data.is_dir()
        && as_server(&program("pg_ctl")).arg("-D").arg(data).arg("status").output().is_ok_and(|it| it.status.success())
}

fn pg_ctl(directory: &Path, args: &[&str]) {
    let log = directory.join("server.log");
    run(as_server(&program("pg_ctl")).arg("-D").arg(directory.join("data")).arg("-l").arg(log).args(args));
}

fn psql(directory: &Path, database: &str, sql: &str) -> String {
    run(Command::new(program("psql"))
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", ROLE, "-d", database, "-c", sql, "-h"])
        .arg(directory))
}

/// PostgreSQL refuses to serve as root.
fn server_user() -> (Uid, Gid) {
    if !Uid::effective().is_root() {
        return (Uid::effective(), Gid::effective());
    }
    let named = |name| User::from_name(name).ok().flatten();
    let user = named("postgres").or_else(|| named("nobody")).expect("a user other than root");
    (user.uid, user.gid)
}

fn as_server(program: &Path) -> Command {
    let mut command = Command::new(program);
    if Uid::effective().is_root() {
        let (user, group) = server_user();
        command.uid(user.as_raw()).gid(group.as_raw());
    }
    // The tests' own directory may be closed to that user.
    command.current_dir("/");
    command
}

/// Runs a program to its end; asserts success, gives standard output.
fn run(command: &mut Command) -> String {
    // What a program leaves running must not hold the output open.
    let output = tempfile::tempfile().expect("a file");
    let shared = |file: &File| Stdio::from(file.try_clone().expect("a file opens twice"));
    let status = command.stdin(Stdio::null()).stdout(shared(&output)).stderr(shared(&output)).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = std::io::read_to_string(rewound(output)).expect("programs print text");
    assert!(status.success(), "{command:?}: {status}\n{text}");
    text.trim_end().to_owned()
}

fn rewound(mut file: File) -> File {
    std::io::Seek::rewind(&mut file).expect("a file can be read from its beginning");
    file
}

/// One of PostgreSQL's programs, which Debian does not put on the PATH.
fn program(name: &str) -> PathBuf {
    let configured = Command::new("pg_config").arg("--bindir").output().ok();
    let configured = configured.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut installed: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    installed.sort();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let directories = configured.into_iter().chain(installed.into_iter().rev()).chain(std::env::split_paths(&paths));
    directories
        .map(|directory| directory.join(name))
        // A directory with the client only is of no use.
        .find(|path| path.is_file() && path.with_file_name("initdb").is_file())
        .unwrap_or_else(|| {
            panic!("{name} is missing: install PostgreSQL's server (the package postgresql), as `make setup` does")
        })
}
