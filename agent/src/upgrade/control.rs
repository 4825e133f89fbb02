//! Upgrades of the running agent: from `systole-agent upgrade` on this host, and from the collector.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use systole_shared::AgentUpdate;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::handover::{HandoverError, Order};
use super::launch::Launch;
use super::marker::{Marker, Phase};
use super::program::Program;
use super::source::{FetchError, Source};
use super::verify::{VerifyError, is_sha256, verify};
use super::{probe, trial};
use crate::clock;
use crate::model::tls::TlsFiles;
use crate::model::upgrade::{Signed, UpdateRules, UpgradeConfig};
use crate::uplink::{ConnectionState, ConnectionStatus};
use crate::version::BUILD;

/// How long a pipeline that is being started or stopped is waited for: a stop takes up to 30 s.
const BUSY_TIMEOUT: Duration = Duration::from_secs(45);

/// Between two tries to hand over.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// How long the heartbeat may take to answer an order: a report, and no more.
const ORDER_TIMEOUT: Duration = Duration::from_secs(20);

/// Where agents run that must not replace themselves: their image is what is upgraded.
const CONTAINER: &str = "DOCKER";

/// Without one of the two the collector would decide alone what runs on the node.
const NOT_ALLOWED: &str = "upgrades by the collector need accept_upgrades = true or an update_key in agent.toml";

/// What upgrades are made with.
pub(crate) struct UpgradeParts {
    /// Where the marker and the state are kept.
    pub(crate) data_dir: PathBuf,
    /// What the configuration says of upgrades.
    pub(crate) config: UpgradeConfig,
    /// Authorities that downloads trust besides the system's.
    pub(crate) tls: TlsFiles,
    /// How the agent runs, as its reports have it.
    pub(crate) deployment_mode: &'static str,
    /// How the connection to the collector does.
    pub(crate) connection: Arc<ConnectionStatus>,
    /// To the heartbeat.
    pub(crate) orders: mpsc::Sender<Order>,
}

/// Upgrades of this agent.
pub(crate) struct Upgrades {
    parts: UpgradeParts,
    program: Option<Program>,
    state: Mutex<State>,
}

/// What changes.
#[derive(Debug, Default)]
struct State {
    is_busy: bool,
    /// Why the last try changed nothing.
    failure: Option<String>,
}

/// Why an upgrade changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// This agent does not upgrade itself.
    #[error("{0}")]
    Refused(String),
    /// Another one is under way.
    #[error("another upgrade is under way")]
    Busy,
    /// The program cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is another program.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It does not start, or is another version.
    #[error(transparent)]
    Probe(#[from] probe::ProbeError),
    /// The directory of the program is not writable.
    #[error("cannot replace {}: {source}; run the command as a user that may write there, or see docs/upgrading.md", .path.display())]
    Install {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process is still the same program.
    #[error("the agent cannot be replaced now: {0}")]
    Handover(#[from] HandoverError),
    /// The heartbeat does not answer.
    #[error("the agent does not answer")]
    Silent,
}

/// What `systole-agent upgrade` sees of the running agent.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpgradeView {
    /// The version that runs.
    pub(crate) version: String,
    /// The source that it was built from, if it knows.
    pub(crate) commit: Option<String>,
    /// Its process.
    pub(crate) pid: u32,
    /// Its file.
    pub(crate) program: Option<PathBuf>,
    /// Why the agent does not upgrade itself, if it does not.
    pub(crate) refusal: Option<String>,
    /// The key that must have signed a new version, if there is one.
    pub(crate) update_key: Option<String>,
    /// The authorities that downloads trust besides the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// How long a new version has until it must be healthy.
    pub(crate) timeout_seconds: u64,
    /// An upgrade is under way.
    pub(crate) is_busy: bool,
    /// Why the last try of this process changed nothing.
    pub(crate) failure: Option<String>,
    /// The last upgrade.
    pub(crate) last: Option<Marker>,
}

impl Upgrades {
    /// Of this process. To be made before the file of the program can be replaced.
    pub(crate) fn new(parts: UpgradeParts) -> Self {
        let program = Program::of_this_process();
        if let Err(error) = &program {
            tracing::debug!(%error, "the system does not show the path of the program");
        }
        Upgrades { parts, program: program.ok(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why this agent does not upgrade itself, if it does not.
    pub(crate) fn refusal(&self) -> Option<String> {
        if self.program.is_none() {
            return Some("the system does not show where the agent's program is".to_owned());
        }
        match self.parts.config.accept {
            Some(true) => None,
            Some(false) => Some("accept_upgrades is false in agent.toml".to_owned()),
            None if self.parts.deployment_mode == CONTAINER => Some(
                "the agent runs in a container: replace its image, or set accept_upgrades = true in agent.toml if its file system is kept".to_owned(),
            ),
            None => None,
        }
    }

    /// What the command sees.
    pub(crate) fn view(&self) -> UpgradeView {
        let (is_busy, failure) = {
            let state = self.state();
            (state.is_busy, state.failure.clone())
        };
        UpgradeView {
            version: BUILD.version.to_owned(),
            commit: BUILD.commit.map(str::to_owned),
            pid: std::process::id(),
            program: self.program.as_ref().map(|program| program.path().to_owned()),
            refusal: self.refusal(),
            update_key: self.parts.config.key.as_ref().map(crate::model::upgrade::UpdateKey::to_base64),
            ca_file: self.parts.tls.ca.clone(),
            timeout_seconds: self.parts.config.timeout.as_secs(),
            is_busy,
            failure,
            last: self.last(),
        }
    }

    /// The last upgrade: how far it is, and why it went back.
    pub(crate) fn last(&self) -> Option<Marker> {
        Marker::read(&self.parts.data_dir)
    }

    /// Whether the collector's wish is new. One that was tried is not tried again, whatever became of it, unless the
    /// rules say so.
    pub(crate) fn wants(&self, update: &AgentUpdate, rules: &UpdateRules) -> bool {
        let is_settled = |marker: &Marker| {
            let since = Duration::from_millis(u64::try_from(clock::unix_millis() - marker.began_at).unwrap_or(0));
            let is_over = marker.phase == Phase::RolledBack && rules.retry_after.is_some_and(|wait| since >= wait);
            is_sha256(&update.sha256, &marker.sha256) && !is_over
        };
        !self.last().as_ref().is_some_and(is_settled) && update.version != BUILD.version
    }

    /// Carries out the collector's wish. Returns only when it changed nothing; then the agent continues as it is.
    pub(crate) async fn apply(&self, update: &AgentUpdate, rules: &UpdateRules) -> UpgradeError {
        if rules.needs_consent && self.parts.config.accept != Some(true) && self.parts.config.key.is_none() {
            return UpgradeError::Refused(NOT_ALLOWED.to_owned());
        }
        let result = match self.begin() {
            Ok(program) => self.fetch_and_switch(&program, update, rules.signed).await,
            Err(error) => return error,
        };
        self.end(result)
    }

    async fn fetch_and_switch(
        &self,
        program: &Program,
        update: &AgentUpdate,
        signed: Signed,
    ) -> Result<(), UpgradeError> {
        let AgentUpdate { version, url, sha256, signature } = update;
        let source = Source::parse(url)?;
        if !matches!(source, Source::Url(_)) {
            return Err(FetchError::NotHttps(url.clone()).into());
        }
        let wish = Wish { version: Some(version), sha256: Some(sha256), signature: signature.as_deref(), signed };
        let sum = prepare(program, &source, &wish, &self.parts.config, &self.parts.tls, &mut |_, _| ()).await?.sha256;
        program.install().map_err(|source| install_error(program, source))?;
        let switched = self.switch_to(program, sum, version.clone()).await;
        if switched.is_err() {
            drop(program.restore());
        }
        switched
    }

    /// The program at the usual path was replaced already: becomes it. Returns at once; [`Self::view`] shows
    /// what came of it.
    ///
    /// # Errors
    /// When this agent does not upgrade itself, or another upgrade is under way.
    pub(crate) fn switch(self: &Arc<Self>, sha256: String, version: String) -> Result<(), UpgradeError> {
        let program = self.begin()?;
        let upgrades = self.clone();
        tokio::spawn(async move {
            let result = upgrades.switch_to(&program, sha256, version).await;
            upgrades.end(result);
        });
        Ok(())
    }

    fn begin(&self) -> Result<Program, UpgradeError> {
        if let Some(refusal) = self.refusal() {
            return Err(UpgradeError::Refused(refusal));
        }
        let mut state = self.state();
        if std::mem::replace(&mut state.is_busy, true) {
            return Err(UpgradeError::Busy);
        }
        state.failure = None;
        self.program.clone().ok_or(UpgradeError::Silent)
    }

    fn end(&self, result: Result<(), UpgradeError>) -> UpgradeError {
        let error = result.err().unwrap_or(UpgradeError::Silent);
        tracing::error!("the agent was not upgraded: {error}");
        let mut state = self.state();
        state.is_busy = false;
        state.failure = Some(error.to_string());
        error
    }

    async fn switch_to(&self, program: &Program, sha256: String, version: String) -> Result<(), UpgradeError> {
        let path = program.path().to_owned();
        let expected = sha256.clone();
        let checked = spawn_blocking(move || verify(&path, Some(&expected), None, None, Signed::Program)).await;
        checked.map_err(|_| UpgradeError::Silent)??;
        let marker = Marker {
            program: program.clone(),
            from: BUILD.version.to_owned(),
            to: version,
            sha256,
            phase: Phase::Trial,
            reason: None,
            began_at: clock::unix_millis(),
            starts: 0,
            must_connect: self.parts.connection.facts().state == ConnectionState::Connected,
            is_restored: false,
        };
        let before = self.last();
        let error = self.hand_over(program.path(), &marker).await;
        match before {
            Some(before) => drop(before.write(&self.parts.data_dir)),
            None => Marker::remove(&self.parts.data_dir),
        }
        Err(error)
    }

    /// Lets the process become the program. Returns only when that is not possible.
    async fn hand_over(&self, program: &Path, marker: &Marker) -> UpgradeError {
        let begin = Instant::now();
        loop {
            let (answer, answered) = oneshot::channel();
            let order = Order { program: program.to_owned(), marker: marker.clone(), answer };
            let answered = async {
                self.parts.orders.send(order).await.ok()?;
                answered.await.ok()
            };
            match timeout(ORDER_TIMEOUT, answered).await {
                Ok(Some(error)) if error.is_passing() && begin.elapsed() < BUSY_TIMEOUT => sleep(TRY_EVERY).await,
                Ok(Some(error)) => return error.into(),
                Ok(None) | Err(_) => return UpgradeError::Silent,
            }
        }
    }

    /// Watches a version on trial, and goes back to the one before if it is not healthy in time.
    pub(crate) async fn prove(self: Arc<Self>, launch: Launch, reports_made: watch::Receiver<Option<Instant>>) {
        let Some(mut marker) = launch.trial else { return };
        self.state().is_busy = true;
        let limit = self.parts.config.timeout;
        let healthy = trial::wait_until_healthy(marker.must_connect, &self.parts.connection, reports_made, limit);
        match healthy.await {
            Ok(()) => {
                marker.phase = Phase::Healthy;
                if let Err(error) = marker.write(&self.parts.data_dir) {
                    tracing::error!(%error, "cannot write upgrade.json; the next start of the agent goes back to the version before");
                }
                tracing::info!(from = marker.from, to = marker.to, "the agent was upgraded");
                self.state().is_busy = false;
            }
            Err(reason) => {
                tracing::error!(
                    from = marker.to,
                    to = marker.from,
                    reason,
                    "the new version is not healthy; going back"
                );
                let program = marker.go_back(&reason);
                let error = self.hand_over(&program, &marker).await;
                // The service manager starts the old version, or this one, which then finds what to do.
                tracing::error!("cannot go back in place: {error}; the agent ends and is started again");
                drop(marker.write(&self.parts.data_dir));
                std::process::exit(1);
            }
        }
    }

    /// The agent ends in order: the next start begins the trial again.
    pub(crate) fn stop(&self) {
        if let Some(mut marker) = self.last().filter(|marker| marker.phase == Phase::Trial) {
            marker.starts = 0;
            drop(marker.write(&self.parts.data_dir));
        }
    }
}

/// What a program must be.
pub(super) struct Wish<'w> {
    pub(super) version: Option<&'w str>,
    pub(super) sha256: Option<&'w str>,
    pub(super) signature: Option<&'w str>,
    pub(super) signed: Signed,
}

/// A program beside the present one, fetched and verified.
pub(super) struct Prepared {
    pub(super) sha256: String,
    pub(super) answer: probe::Answer,
}

/// Fetches a program, verifies it, and asks for its version. Nothing is left of one that is not used.
///
/// # Errors
/// When it is not what was wished for, or the directory is not writable.
pub(super) async fn prepare(
    program: &Program,
    source: &Source,
    wish: &Wish<'_>,
    config: &UpgradeConfig,
    tls: &TlsFiles,
    progress: super::source::Progress<'_>,
) -> Result<Prepared, UpgradeError> {
    let prepared = async {
        let file = program.stage().map_err(|source| install_error(program, source))?;
        let staged = program.staged();
        source.fetch(tls, file, &staged, progress).await?;
        let (sum, signature) = (wish.sha256.map(str::to_owned), wish.signature.map(str::to_owned));
        let (key, path, signed) = (config.key.clone(), staged.clone(), wish.signed);
        let verify = move || verify(&path, sum.as_deref(), signature.as_deref(), key.as_ref(), signed);
        let verified = spawn_blocking(verify).await;
        let sha256 = verified.map_err(|_| UpgradeError::Silent)??;
        let answer = probe::probe(&staged, wish.version).await?;
        Ok(Prepared { sha256, answer })
    };
    let prepared = prepared.await;
    if prepared.is_err() {
        program.discard_staged();
    }
    prepared
}

/// The directory of the program is not writable.
pub(super) fn install_error(program: &Program, source: std::io::Error) -> UpgradeError {
    UpgradeError::Install { path: program.path().to_owned(), source }
}
