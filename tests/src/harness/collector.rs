//! A separate collector for each test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::Value;
use systole_shared::Token;
use tempfile::TempDir;
use tokio::process::Command;

use super::agent::{beside, keeper_of_disk, on_disk_of, seen_by};
use super::binaries::binary;
use super::client::ApiClient;
use super::database::{Database, DatabaseKind, Place};
use super::feed::Feed;
use super::ports::free_address;
use super::postgres::TestPostgres;
use super::process::Process;
use super::tls::Authority;
use super::wait::{SOON, eventually};
use crate::stub::totals::Counts;

/// Longest time for a graceful end. The collector promises 20 s, which a busy machine may double.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A running collector with its own database.
#[derive(Debug)]
pub struct TestCollector {
    process: Option<Process>,
    address: SocketAddr,
    directory: TempDir,
    /// Its database on PostgreSQL; on SQLite there is none.
    server: Option<Arc<TestPostgres>>,
    /// Bytes of the separate disk of its data directory.
    disk: Option<u64>,
    /// Keeps that disk mounted while the collector does not run.
    keeper: Option<Process>,
    /// How the process finds that database, if not as commands do.
    server_url: Option<String>,
    /// The network namespace of the process, if it has its own.
    namespace: Option<String>,
    /// The program, if not the one that is tested.
    program: Option<PathBuf>,
    options: Vec<String>,
    variables: Vec<(&'static str, String)>,
    /// Of a collector with TLS: the authority of its certificate.
    authority: Option<PathBuf>,
    viewer: Option<String>,
}

/// What `token create --json` prints.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewToken {
    /// For `token revoke`.
    pub id: String,
    /// The secret.
    pub token: Token,
    /// Its kind.
    pub kind: String,
    /// Its environment; none for all.
    pub environment: Option<String>,
    /// When it expires, Unix milliseconds or RFC 3339.
    pub expires_at: Option<Value>,
}

impl TestCollector {
    /// Starts a collector on a free port with an empty SQLite database.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more options of `serve`.
    pub async fn start_with(options: &[&str]) -> Self {
        Self::start_on_with(DatabaseKind::Sqlite, options).await
    }

    /// Starts a collector on a free port with an empty database of this kind.
    pub async fn start_on(database: DatabaseKind) -> Self {
        Self::start_on_with(database, &[]).await
    }

    /// The same with more options of `serve`.
    pub async fn start_on_with(database: DatabaseKind, options: &[&str]) -> Self {
        let server = match database {
            DatabaseKind::Sqlite => None,
            DatabaseKind::Postgres => Some(Arc::new(TestPostgres::start())),
        };
        Self::launch(server, None, options).await
    }

    /// Starts one on this PostgreSQL database.
    pub async fn start_on_postgres(server: &Arc<TestPostgres>) -> Self {
        Self::start_on_postgres_with(server, &[]).await
    }

    /// The same with more options of `serve`.
    pub async fn start_on_postgres_with(server: &Arc<TestPostgres>, options: &[&str]) -> Self {
        Self::launch(Some(Arc::clone(server)), None, options).await
    }

    /// Starts one on SQLite with a separate disk of this size, which is removed with the process. Works
    /// where [`super::agent::can_mount`] is true.
    pub async fn start_on_disk_of(bytes: u64, options: &[&str]) -> Self {
        Self::launch(None, Some(bytes), options).await
    }

    /// The same with a disk that stays when the process ends, until this handle is dropped.
    pub async fn start_on_lasting_disk_of(bytes: u64, options: &[&str]) -> Self {
        let mut collector = Self::prepare(None, Some(bytes), options);
        let log = collector.directory.path().join("disk.log");
        let keeper = Process::start("disk", &mut keeper_of_disk(bytes, &collector.data_dir()), &log);
        let mounted = seen_by(keeper.pid(), &collector.data_dir()).join(".mounted");
        eventually("the disk is mounted", SOON, async || mounted.exists().then_some(())).await;
        collector.keeper = Some(keeper);
        collector.run().await;
        collector
    }

    /// Starts one with TLS and an empty SQLite database.
    pub async fn start_with_tls() -> Self {
        let mut collector = Self::prepare(None, None, &[]);
        let authority = Authority::new(collector.directory.path(), "collector-authority");
        let (certificate, key) = authority.sign("collector");
        let files = [("SYSTOLE_TLS_CERT_FILE", certificate), ("SYSTOLE_TLS_KEY_FILE", key)];
        collector.variables.extend(files.map(|(name, file)| (name, file.display().to_string())));
        collector.authority = Some(authority.certificate);
        collector.run().await;
        collector
    }

    /// Starts one without limits for nodes, for a fleet that comes at once from one address.
    pub async fn start_without_limits(server: Option<&Arc<TestPostgres>>) -> Self {
        let mut collector = Self::prepare(server.cloned(), None, &[]);
        let names = [
            "SYSTOLE_MAX_ENROLMENTS_PER_MINUTE",
            "SYSTOLE_MAX_LOG_LINES_PER_SECOND",
            "SYSTOLE_MAX_LOG_BYTES_PER_SECOND",
        ];
        collector.variables.extend(names.map(|name| (name, "0".to_owned())));
        collector.run().await;
        collector
    }

    /// Starts one with an empty database of this kind and more variables of the environment.
    pub async fn start_with_variables(database: DatabaseKind, variables: &[(&'static str, &str)]) -> Self {
        let server = match database {
            DatabaseKind::Sqlite => None,
            DatabaseKind::Postgres => Some(Arc::new(TestPostgres::start())),
        };
        let mut collector = Self::prepare(server, None, &[]);
        collector.variables.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
        collector.run().await;
        collector
    }

    /// A collector of a cluster, not started yet. It reaches its database by `server_url`, and the others reach it by
    /// `advertise_url`.
    pub fn member(
        server: &Arc<TestPostgres>,
        address: SocketAddr,
        server_url: &str,
        advertise_url: &str,
        options: &[&str],
    ) -> Self {
        let mut collector = Self::prepare(Some(Arc::clone(server)), None, options);
        collector.address = address;
        collector.server_url = Some(server_url.to_owned());
        collector.variables.push(("SYSTOLE_ADVERTISE_URL", advertise_url.to_owned()));
        collector
    }

    /// Uses this database from the next start on.
    pub fn move_to_postgres(&mut self, server: &Arc<TestPostgres>) {
        self.server = Some(Arc::clone(server));
    }

    async fn launch(server: Option<Arc<TestPostgres>>, disk: Option<u64>, options: &[&str]) -> Self {
        let mut collector = Self::prepare(server, disk, options);
        collector.run().await;
        collector
    }

    fn prepare(server: Option<Arc<TestPostgres>>, disk: Option<u64>, options: &[&str]) -> Self {
        let collector = TestCollector {
            process: None,
            // It is the same after a restart, so no other socket may have it meanwhile.
            address: free_address(),
            directory: tempfile::Builder::new().prefix("systole-collector-").tempdir().expect("a directory"),
            server,
            disk,
            keeper: None,
            server_url: None,
            namespace: None,
            program: None,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            variables: Vec::new(),
            authority: None,
            viewer: None,
        };
        std::fs::create_dir_all(collector.data_dir()).expect("a directory");
        collector
    }

    /// Starts the process again on the same port with the same data.
    pub async fn run(&mut self) {
        self.run_until_readiness_is(200).await;
    }

    /// The same for a collector that does not become ready.
    pub async fn run_unready(&mut self) {
        self.run_until_readiness_is(503).await;
    }

    async fn run_until_readiness_is(&mut self, status: u16) {
        assert!(self.process.is_none(), "the collector runs already");
        // A killed process does not remove it.
        let _ = std::fs::remove_file(self.data_dir_seen_by_others().join("listen-address"));
        let mut command = match (&self.keeper, self.disk) {
            (Some(keeper), _) => beside(keeper.pid(), "systole-collector"),
            (None, Some(bytes)) => on_disk_of(bytes, &self.data_dir(), "systole-collector"),
            (None, None) => self.plain_command(),
        };
        command.args(["serve", "--listen", &self.address.to_string(), "--data-dir"]).arg(self.data_dir());
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        let log = self.directory.path().join("collector.log");
        let database = match &self.server_url {
            Some(url) => vec!["--database-url".to_owned(), url.clone()],
            None => self.database_options(),
        };
        let mut process = Process::start("collector", command.args(database).args(&self.options), &log);
        self.address = eventually("the collector listens", SOON, async || {
            let ended = process.exit_status();
            assert!(ended.is_none(), "the collector ended at its start: {ended:?}");
            let address_file = self.seen_data_dir(&process).join("listen-address");
            std::fs::read_to_string(&address_file).ok()?.trim().parse().ok()
        })
        .await;
        self.process = Some(process);
        let client = self.client();
        eventually("the collector is ready", SOON, async || {
            let answer = super::client::Answer::try_of(client.request(reqwest::Method::GET, "/readyz")).await;
            (answer.ok()?.status == status).then_some(())
        })
        .await;
    }

    fn plain_command(&self) -> Command {
        let program = self.program.clone().unwrap_or_else(|| binary("systole-collector"));
        match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
            None => Command::new(program),
        }
    }

    /// Runs this program from the next start on, such as another version.
    pub fn set_program(&mut self, program: Option<PathBuf>) {
        self.program = program;
    }

    /// Whether it runs another program than the one that is tested.
    pub fn is_other_program(&self) -> bool {
        self.program.is_some()
    }

    /// Runs in this network namespace from the next start on.
    pub fn set_namespace(&mut self, namespace: String) {
        self.namespace = Some(namespace);
    }

    /// SIGKILL: no goodbye, no flush.
    pub async fn kill(&mut self) {
        self.process.take().expect("the collector runs").kill().await;
    }

    /// SIGTERM; asserts that it ends in time and with 0.
    pub async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.wait().await;
    }

    /// Waits for its end; asserts that it comes in time and with 0.
    pub async fn wait(&mut self) {
        let mut process = self.process.take().expect("the collector runs");
        let status = process.wait(STOP_TIMEOUT).await;
        assert_eq!(status.code(), Some(0), "the collector stopped with {status}");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("the collector runs").signal(signal);
    }

    /// Whether the process runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.exit_status().is_none())
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the collector runs").pid()
    }

    /// Where the data are.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The path of the data for processes that do not see the collector's separate disk.
    pub fn data_dir_seen_by_others(&self) -> PathBuf {
        let process = self.keeper.as_ref().or(self.process.as_ref());
        process.map_or_else(|| self.data_dir(), |process| self.seen_data_dir(process))
    }

    fn seen_data_dir(&self, process: &Process) -> PathBuf {
        let directory = self.data_dir();
        if self.disk.is_some() { seen_by(process.pid(), &directory) } else { directory }
    }

    /// Where the database is.
    pub fn database(&self) -> Place {
        match &self.server {
            Some(server) => Place::Server(Arc::clone(server)),
            None => Place::File(self.data_dir().join("collector.db")),
        }
    }

    fn database_options(&self) -> Vec<String> {
        self.server.iter().flat_map(|server| ["--database-url".to_owned(), server.url()]).collect()
    }

    /// A directory for the agents and stubs of the test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `http://127.0.0.1:port`, or `https://…` with TLS.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client without a token.
    pub fn client(&self) -> ApiClient {
        match &self.authority {
            Some(authority) => ApiClient::trusting(&self.url(), authority),
            None => ApiClient::new(&self.url()),
        }
    }

    /// A client that sees all environments.
    pub async fn viewer(&mut self) -> ApiClient {
        if self.viewer.is_none() {
            self.viewer = Some(self.create_token("viewer", None).await.token.reveal().to_owned());
        }
        self.client().with_token(self.viewer.as_deref().expect("it was made above"))
    }

    /// A client that sees one environment.
    pub async fn viewer_of(&self, environment: &str) -> ApiClient {
        let token = self.create_token("viewer", Some(environment)).await;
        self.client().with_token(token.token.reveal())
    }

    /// A subscription with a token that sees all environments.
    pub async fn feed(&mut self, query: &str) -> Feed {
        Feed::open(&self.viewer().await, query).await
    }

    /// Runs a command of the real program on this collector's data; asserts success, returns standard
    /// output.
    pub async fn cli(&self, args: &[&str]) -> String {
        let output = self.try_cli(args).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {} {error}", output.status);
        String::from_utf8(output.stdout).expect("a command prints text")
    }

    /// The same with any result.
    pub async fn try_cli(&self, args: &[&str]) -> Output {
        let mut command = match (&self.process, self.disk) {
            (Some(process), Some(_)) => beside(process.pid(), "systole-collector"),
            _ => Command::new(binary("systole-collector")),
        };
        command.args(args).arg("--data-dir").arg(self.data_dir()).args(self.database_options()).kill_on_drop(true);
        let output = tokio::time::timeout(SOON, command.output()).await;
        output.unwrap_or_else(|_| panic!("{args:?} takes too long")).expect("the program starts")
    }

    /// `token create`.
    pub async fn create_token(&self, kind: &str, environment: Option<&str>) -> NewToken {
        self.create_token_with(kind, environment, &[]).await
    }

    /// `token create` with more options.
    pub async fn create_token_with(&self, kind: &str, environment: Option<&str>, options: &[&str]) -> NewToken {
        let mut args = vec!["token", "create", "--kind", kind, "--json"];
        args.extend(environment.iter().flat_map(|name| ["--environment", name]));
        args.extend(options);
        let text = self.cli(&args).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?} printed {text:?}: {error}"))
    }

    /// `token revoke`.
    pub async fn revoke_token(&self, id: &str) {
        self.cli(&["token", "revoke", id]).await;
    }

    /// `environment create`.
    pub async fn create_environment(&self, name: &str) {
        self.cli(&["environment", "create", name]).await;
    }

    /// Sums of a pipeline's minutes, as the query API returns them; zero before the first report.
    pub async fn minute_sums(&mut self, pipeline: &str) -> Counts {
        self.minutes(pipeline).await.iter().map(counts).sum()
    }

    /// Samples in all minutes of a pipeline.
    pub async fn samples(&mut self, pipeline: &str) -> u64 {
        self.minutes(pipeline).await.iter().filter_map(|item| item["samples"].as_u64()).sum()
    }

    async fn minutes(&mut self, pipeline: &str) -> Vec<Value> {
        let hour = 3_600_000;
        let now = crate::clock::now_ms();
        let path =
            format!("/api/v1/pipelines/{pipeline}/minutes?from={}&to={}&step=minute", now - 6 * hour, now + 2 * hour);
        self.viewer().await.list_if_known(&path).await
    }

    /// Stops the collector, which then writes everything into rows, and opens the database.
    pub async fn stop_and_open_database(&mut self) -> Database {
        self.stop().await;
        Database::open(&self.database())
    }
}

/// The counters of one item of `/minutes`.
pub fn counts(item: &Value) -> Counts {
    let field = |name: &str| item[name].as_u64().unwrap_or_else(|| panic!("no {name} in {item}"));
    Counts {
        events_in: field("eventsIn"),
        events_out: field("eventsOut"),
        errors: field("errors"),
        discarded: field("discarded"),
        bytes_in: field("bytesIn"),
        bytes_out: field("bytesOut"),
    }
}
