//! A PostgreSQL server for tests, and a separate database for each of them.
//!
//! All processes of a run share one server, because a start takes seconds. The first
//! test starts it; every test holds a shared lock on a file while it runs. A small process waits
//! for the exclusive lock and removes the server after the last test,
//! however that ended. A test that damages its server starts a separate one.

use std::fs::{File, OpenOptions, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User};
use tempfile::TempDir;

use super::binaries::beside_this_program;
use super::ports::free_address;

/// The role that owns everything.
const ROLE: &str = "systole";

/// Waits until the lock is free, and checks again a moment later. Then ends the server at once and removes its files.
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

/// Port of the server of all tests, which is only part of the name of its socket.
const SHARED_PORT: u16 = 5_432;

/// Settings of a server whose data need not survive.
const SETTINGS: &str = "
fsync = off
full_page_writes = off
max_connections = 300
shared_buffers = 64MB
";

/// A separate database on a server for tests.
#[derive(Debug)]
pub struct TestPostgres {
    server: Server,
    database: String,
}

#[derive(Debug)]
struct Server {
    directory: PathBuf,
    port: u16,
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
            let directory = TempDir::with_prefix("systole-postgres-").expect("a directory");
            let made = start_server(directory, Some(&lock), SHARED_PORT, &[]);
            std::fs::write(&place, made.display().to_string()).expect("a file can be written");
            made
        });
        Self::with_database(Server { directory, port: SHARED_PORT, _in_use: in_use })
    }

    /// A new database on a separate server.
    pub fn alone() -> Self {
        Self::alone_with(&[])
    }

    /// The same with more files in the server's directory. Lines of `postgresql.conf` are added to it.
    pub fn alone_with(files: &[(&str, &str)]) -> Self {
        let directory = TempDir::with_prefix("systole-postgres-").expect("a directory");
        let in_use = lock_file(&directory.path().join("users"));
        in_use.lock_shared().expect("a file can be locked");
        let port = free_address().port();
        let directory = start_server(directory, None, port, files);
        Self::with_database(Server { directory, port, _in_use: in_use })
    }

    fn with_database(server: Server) -> Self {
        let database = format!("test_{}", uuid::Uuid::now_v7().simple());
        psql(&server, "postgres", &format!("CREATE DATABASE {database}"));
        TestPostgres { server, database }
    }

    /// Where the database is, for `--database-url`.
    pub fn url(&self) -> String {
        let Server { directory, port, .. } = &self.server;
        format!("postgres:///{}?host={}&port={port}&user={ROLE}", self.database, directory.display())
    }

    /// The same over the network, if the server's files let it listen there.
    pub fn network_url(&self, host: &str) -> String {
        format!("postgres://{ROLE}@{host}:{}/{}", self.server.port, self.database)
    }

    /// Where the server listens on the loopback, if its files let it.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.server.port))
    }

    /// [`Self::url`] over the network at another address, such as that of a proxy.
    pub fn network_url_at(&self, address: SocketAddr) -> String {
        format!("postgres://{ROLE}@{address}/{}", self.database)
    }

    /// The directory of the server's socket and data.
    pub fn directory(&self) -> &Path {
        &self.server.directory
    }

    /// Runs SQL and returns the output: one line per row, columns separated by bars.
    pub fn sql(&self, sql: &str) -> String {
        psql(&self.server, &self.database, sql)
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
            psql(&self.server, "postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.database));
        }
    }
}

fn lock_file(path: &Path) -> File {
    OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a lock file opens")
}

/// Creates a server in a directory and starts it, and the guardian that ends it once the lock is free:
/// the shared lock, or the file `users` in the directory.
fn start_server(directory: TempDir, shared_lock: Option<&Path>, port: u16, files: &[(&str, &str)]) -> PathBuf {
    let (user, group) = server_user();
    let give =
        |path: &Path| chown(path, Some(user.as_raw()), Some(group.as_raw())).expect("a file can change its owner");
    give(directory.path());
    let data = directory.path().join("data");
    run(as_server(&program("initdb"))
        .args(["--username", ROLE, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "-D"])
        .arg(&data));
    let socket = directory.path().display();
    let socket = format!("listen_addresses = ''\nunix_socket_directories = '{socket}'\nport = {port}\n");
    for (name, text) in [("postgresql.conf", socket.as_str()), ("postgresql.conf", SETTINGS)].iter().chain(files) {
        let path = data.join(name);
        let before =
            if *name == "postgresql.conf" { std::fs::read_to_string(&path).expect("a file") } else { String::new() };
        std::fs::write(&path, before + text).expect("a file can be written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file has permissions");
        give(&path);
    }
    let directory = directory.keep();
    run(Command::new("sh")
        .args(["-c", &format!("({GUARDIAN}) </dev/null >/dev/null 2>&1 &")])
        .env("LOCK", shared_lock.map_or_else(|| directory.join("users"), Path::to_owned))
        .env("DIR", &directory)
        // The next test may be about to start.
        .env("LINGER", if shared_lock.is_some() { "1" } else { "0" })
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

fn psql(server: &Server, database: &str, sql: &str) -> String {
    run(Command::new(program("psql"))
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", ROLE, "-d", database, "-c", sql])
        .args(["-p", &server.port.to_string(), "-h"])
        .arg(&server.directory))
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

/// Runs a program to its end; asserts success, returns standard output.
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
            panic!("{name} is missing: install PostgreSQL's server (the package postgresql), as `make test` does")
        })
}
