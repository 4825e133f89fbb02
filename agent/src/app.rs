//! The agent as a whole: its parts, their start, and their end in order.
//!
//! One thread runs all of it. That is enough for hundreds of pipelines and saves memory. The kernel's
//! signal at the parent's death comes at the death of the thread, so it must be the main thread.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use systole_shared::BootId;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::actions::ActionRunner;
use crate::config::{Config, Overrides};
use crate::data_dir_lock::{DataDirLock, LockError};
use crate::desired::agent_update::AgentUpdater;
use crate::desired::deployments::Deployments;
use crate::desired::keeper::{DesiredKeeper, KeeperParts};
use crate::desired::merge::Merger;
use crate::host::Host;
use crate::logging::Log;
use crate::logs::reader::LogReader;
use crate::logs::registry::LogRegistry;
use crate::metrics::AgentCounters;
use crate::model::centre::{CentreConfig, DedicatedConfig};
use crate::model::node::machine::Machine;
use crate::model::node::name::NodeNames;
use crate::model::node::node_file;
use crate::model::pipeline::CommandConfig;
use crate::reload::{Reloader, WantedPipelines};
use crate::report::checkpoint::{Checkpoint, CheckpointFiles};
use crate::report::heartbeat::Heartbeat;
use crate::report::reporter::{AgentFacts, Reporter};
use crate::scrape::fetch::Scraper;
use crate::signals::{Signals, Wish};
use crate::spool::Spool;
use crate::spool::outbox::Outbox;
use crate::status::http;
use crate::status::liveness::Liveness;
use crate::status::monitor::{Monitor, Origin};
use crate::status::systemd::{self, ServiceManager};
use crate::supervise::manager::{PipelineManager, PipelineManagerParts};
use crate::supervise::process::{self, orphans, rlimit};
use crate::supervise::set::PipelineSet;
use crate::supervise::vector_version;
use crate::supervise::watch::run as watch_processes;
use crate::upgrade::handover::{Handover, Successor};
use crate::upgrade::launch::Launch;
use crate::upgrade::{UpgradeParts, Upgrades};
use crate::uplink::{
    Addresses, ClientParts, CollectorClient, ConnectionStatus, Credentials, Instructions, PushClient, PushTiming,
    Uplink,
};
use crate::{clock, files, http_client};

/// How long the last reports may take to reach the collector when the agent ends.
const LAST_REPORTS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last report may take to be made: one reading of the host.
const FINAL_REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a thread for blocking work is kept without any. They take turns, so with the usual 10 s a
/// few pieces of work a second would keep all threads of a busy moment for ever.
const BLOCKING_THREADS_LIVE: Duration = Duration::from_secs(1);

/// A signal this soon after the first is the same one: `timeout`, and shells, signal the process and its group.
const ECHO: Duration = Duration::from_millis(500);

/// A running agent.
struct App {
    pipelines: Arc<PipelineSet>,
    /// Ends when all pipelines have.
    reloader: JoinHandle<()>,
    /// Makes the reloader read the configuration again.
    reload_requested: Arc<Notify>,
    heartbeat: JoinHandle<()>,
    uplink: JoinHandle<()>,
    outbox: Arc<Outbox>,
    /// The agent's own pages and socket.
    servers: TaskTracker,
    upgrades: Arc<Upgrades>,
    /// Ends the pipelines' processes.
    stop: CancellationToken,
    /// Ends the heartbeat, with a last report.
    finish: CancellationToken,
    /// Ends the uplink, when everything is sent.
    close: CancellationToken,
}

/// Runs the agent until a signal ends it.
pub(crate) fn run(config: Config, overrides: Overrides, launch: Launch, log: Log) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(BLOCKING_THREADS_LIVE)
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let inherited = launch.handover.as_ref().and_then(|handover| handover.take_process(&config.data_dir));
        let taken = match inherited {
            Some(lock) => Ok(lock),
            None => DataDirLock::take(&config.data_dir).await,
        };
        let lock = match taken {
            Ok(lock) => Some(Arc::new(lock)),
            Err(held @ LockError::Held(_)) => return Err(held.into()),
            // Pipelines run without a disk, too; the fault is logged below.
            Err(LockError::Unusable(_)) => None,
        };
        let signals = Signals::listen().context("cannot listen to signals")?;
        let successor = Successor { data_dir: config.data_dir.clone(), lock, log };
        App::start(config, overrides, launch, successor)?.run(signals).await
    });
    // Reading values of the host may hang, which must not block the end.
    runtime.shutdown_background();
    result
}

impl App {
    fn start(config: Config, overrides: Overrides, mut launch: Launch, successor: Successor) -> anyhow::Result<App> {
        if let Err(error) = files::make_dir(&config.data_dir) {
            tracing::error!(%error, data_dir = %config.data_dir.display(), "cannot create data_dir; the agent runs, but must enrol again at its next start");
        }
        rlimit::raise();
        let is_tls = |url: &reqwest::Url| url.scheme() == "https";
        let scrapes_tls =
            config.pipelines.iter().filter_map(|p| p.metrics.as_ref()).any(|metrics| is_tls(&metrics.url));
        http_client::install_tls();
        let scraper = Arc::new(Scraper::new(
            http_client::for_scrapes(scrapes_tls).context("cannot create the HTTP client for scrapes")?,
        ));
        let counters = Arc::new(AgentCounters::default());
        let machine = Machine::detect(config.machine_id.as_deref(), config.machine_id_from);
        let names = NodeNames { machine, name: config.name.clone(), labels: config.labels.clone() };
        let node = node_file::read(&config.data_dir);
        let addresses = Arc::new(Addresses::new(config.urls.clone(), &names.key(node.as_ref())));
        let client = CollectorClient::new(ClientParts {
            addresses: addresses.clone(),
            tls: config.tls.clone(),
            data_dir: config.data_dir.clone(),
            protocol: config.protocol,
            cloud_labels: config.vectorflow.cloud_labels,
            counters: counters.clone(),
        });
        let client = Arc::new(client.context("cannot create the HTTP client for the collector")?);
        let (instructions, generation, actions) = Instructions::new(config.vectorflow.poll_interval);
        let CentreConfig { dir: centre_dir, push, .. } = config.centre.clone();
        let keeper = DesiredKeeper::new(KeeperParts {
            client: client.clone(),
            data_dir: &config.data_dir,
            centre: &config.centre,
            own: &config.pipelines,
            generation,
            instructions: instructions.clone(),
        });
        let deployments = Arc::new(Deployments::default());
        let desired = keeper.feed().subscribe();
        let mut wanted =
            WantedPipelines::new(Merger::new(&centre_dir, &config.data_dir), keeper.feed(), deployments.clone());

        if names.machine.id.is_none() {
            tracing::warn!(
                machine_id_from = config.machine_id_from.as_str(),
                "this host has no machine id; it is a new node when it is installed again"
            );
        }
        let changed = Arc::new(Notify::new());
        let vector_version = Arc::new(OnceLock::new());
        tracing::info!(version = env!("CARGO_PKG_VERSION"), url = %addresses.in_use(), pipelines = config.pipelines.len(),
            host = names.hostname(), data_dir = %config.data_dir.display(), "systole-agent started");
        if let Some(errors) = &config.errors {
            counters.config_error.set(Some(&errors.to_string()));
            tracing::error!("the configuration file is not used; the agent runs with the last valid one: {errors}");
        }
        config.remember();

        let own = config.pipelines.iter().filter_map(|pipeline| pipeline.command.as_ref());
        let DedicatedConfig { accepts, engine, .. } = &config.centre.dedicated;
        let given = engine.as_ref().filter(|_| *accepts);
        let engines = config.centre.engines.values().chain(given).map(|engine| &engine.command);
        let commands = own.chain(engines).cloned().collect();
        tokio::spawn(learn_vector_version(commands, vector_version.clone()));
        let (stop, finish, close) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let pipelines = Arc::new(PipelineSet::default());
        let logs = Arc::new(LogRegistry::new(&config.data_dir));
        let mut pipeline_manager = PipelineManager::new(PipelineManagerParts {
            set: pipelines.clone(),
            logs: logs.clone(),
            scraper: scraper.clone(),
            changed: changed.clone(),
            counters: counters.clone(),
            data_dir: config.data_dir.clone(),
            centre_dir,
            stop: stop.clone(),
        });
        let (reload_requested, report_made) = (Arc::new(Notify::new()), Arc::new(Notify::new()));

        let boot = BootId(Uuid::now_v7());
        let spool = Spool::open(&config.data_dir.join("spool"), boot, config.spool);
        let (waiting, bytes) = spool.size();
        if waiting > 0 {
            tracing::info!(
                reports = waiting,
                bytes,
                "reports of earlier runs of the agent wait in the spool and are sent first"
            );
        }
        let checkpoint = CheckpointFiles::new(&config.data_dir, boot);
        let Checkpoint { trackers, logs: saved_logs } = checkpoint.load(&spool);
        logs.restore(saved_logs, clock::unix_millis());
        let handover = launch.handover.take();
        let has_predecessor = handover.is_some();
        let handed = handover.map(|handover| handover.pipelines).unwrap_or_default();
        pipeline_manager.take_over(wanted.all(&config), handed);
        Handover::remove(&config.data_dir);
        tokio::spawn(keeper.run());
        let runner = ActionRunner::new(client.clone(), &config.data_dir, pipelines.clone(), &config.centre.redact);
        tokio::spawn(runner.run(actions));
        tokio::spawn(watch_processes(pipelines.clone(), finish.clone()));
        tokio::spawn(orphans::reap(has_predecessor));
        for pipeline in pipelines.all().iter() {
            if let Some(saved) = trackers.get(pipeline.id()) {
                pipeline.resume_tracker(saved);
            }
        }
        let reader = Arc::new(LogReader::new(logs.clone()));
        let outbox = Arc::new(Outbox::new(spool, counters.clone()));
        let interval = instructions.watch_interval();
        let facts = AgentFacts {
            names: names.clone(),
            vector_version: vector_version.clone(),
            deployments: deployments.clone(),
        };
        let connection = Arc::new(ConnectionStatus::new(node));
        let (liveness, service_manager) = (Arc::new(Liveness::new()), Arc::new(ServiceManager::from_environment()));
        let origin = Origin {
            data_dir: config.data_dir.clone(),
            config_file: config.file.clone(),
            running_as: names.machine.running_as.clone(),
            started: (Instant::now(), clock::unix_millis()),
        };
        let (orders_sender, orders) = mpsc::channel(1);
        let upgrades = Arc::new(Upgrades::new(UpgradeParts {
            data_dir: config.data_dir.clone(),
            config: config.upgrade.clone(),
            tls: config.tls.clone(),
            deployment_mode: names.machine.deployment_mode,
            connection: connection.clone(),
            orders: orders_sender,
        }));
        tokio::spawn(upgrades.clone().prove(launch, liveness.watch()));
        let updater = AgentUpdater {
            upgrades: upgrades.clone(),
            desired,
            pushed: instructions.watch_update(),
            deployments: deployments.clone(),
            counters: counters.clone(),
        };
        tokio::spawn(updater.run());
        let heartbeat = Heartbeat {
            pipelines: pipelines.clone(),
            reporter: Reporter::new(facts, clock::unix_millis()),
            scraper,
            host: Host::new(&config.data_dir),
            outbox: outbox.clone(),
            logs,
            reader: reader.clone(),
            checkpoint,
            changed,
            report_made: report_made.clone(),
            interval: interval.clone(),
            log_flush_interval: config.vectorflow.log_flush_interval,
            counters: counters.clone(),
            connection: connection.clone(),
            liveness: liveness.clone(),
            watchdog: service_manager.watchdog(),
            started: origin.started.0,
            random: rand::random,
            successor,
            orders,
        };
        let monitor = Arc::new(Monitor {
            origin,
            pipelines: pipelines.clone(),
            outbox: outbox.clone(),
            counters: counters.clone(),
            connection: connection.clone(),
            addresses: addresses.clone(),
            liveness,
            interval,
            metrics_address: OnceLock::new(),
        });
        let servers = http::serve(&monitor, &upgrades, &config.data_dir, config.metrics_listen, &close);
        tokio::spawn(systemd::follow(service_manager.clone(), monitor, stop.clone()));
        if push {
            let data_dir = config.data_dir.clone();
            let (client, counters) = (client.clone(), counters.clone());
            let push = PushClient::new(client, data_dir, instructions.clone(), counters, PushTiming::default());
            tokio::spawn(push.run());
        }
        if addresses.are_several() {
            let client = client.clone();
            tokio::spawn(async move { client.keep_to_first_choice().await });
        }
        let uplink = Uplink {
            client,
            outbox: outbox.clone(),
            credentials: Credentials {
                data_dir: config.data_dir.clone(),
                enroll_token: config.token.clone(),
                names,
                vector_version,
            },
            counters: counters.clone(),
            connection,
            instructions,
            closing: close.clone(),
            random: rand::random,
        };
        let reloader = Reloader {
            overrides,
            config,
            pipelines: pipeline_manager,
            wanted,
            service_manager,
            counters,
            reload_requested: reload_requested.clone(),
            report_made,
            stop: stop.clone(),
        };
        tokio::spawn(reader.run(finish.clone()));
        Ok(App {
            pipelines,
            reloader: tokio::spawn(reloader.run()),
            reload_requested,
            heartbeat: tokio::spawn(heartbeat.run(finish.clone())),
            uplink: tokio::spawn(uplink.run()),
            outbox,
            servers,
            upgrades,
            stop,
            finish,
            close,
        })
    }

    async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        let failure = tokio::select! {
            name = end_signal(&mut signals, &self.reload_requested) => {
                tracing::info!(signal = name, "stopping: pipelines are stopped, then the last report is sent; a second signal stops the agent at once");
                None
            }
            ended = &mut self.reloader => Some(anyhow::anyhow!("the task that manages the pipelines ended unexpectedly: {ended:?}")),
            ended = &mut self.heartbeat => Some(anyhow::anyhow!("the heartbeat ended unexpectedly: {ended:?}")),
            ended = &mut self.uplink => Some(anyhow::anyhow!("the uplink ended unexpectedly: {ended:?}")),
        };
        let pipelines = self.pipelines.clone();
        let is_broken = failure.is_some();
        let in_order = async {
            tokio::select! {
                () = self.end_in_order(is_broken) => true,
                () = second_signal(&mut signals) => false,
            }
        };
        if !in_order.await {
            kill(&pipelines);
            anyhow::bail!("stopped at once by a second signal; processes were killed, the last report may be lost");
        }
        failure.map_or(Ok(()), Err)
    }

    /// Sources first: processes, then the last report, then the way out of it.
    async fn end_in_order(self, is_broken: bool) {
        if !is_broken {
            self.upgrades.stop();
        }
        self.stop.cancel();
        if !self.reloader.is_finished() {
            let _ = self.reloader.await;
        }
        if is_broken {
            return;
        }
        self.finish.cancel();
        let _ = timeout(FINAL_REPORT_TIMEOUT, self.heartbeat).await;
        self.close.cancel();
        // Before they are sent, for a power cut does not wait.
        self.outbox.sync();
        self.servers.wait().await;
        match timeout(LAST_REPORTS_TIMEOUT, self.uplink).await {
            Ok(_) => tracing::info!("ended"),
            Err(_) => tracing::warn!(
                reports = self.outbox.size().0,
                "stopped; the collector did not acknowledge the last reports in time, they are sent at the next start"
            ),
        }
    }
}

/// Waits for the signal that ends the agent; passes on those that ask for a reload.
async fn end_signal(signals: &mut Signals, reload_requested: &Notify) -> &'static str {
    loop {
        match signals.next().await {
            Wish::End(name) => return name,
            Wish::Reload => reload_requested.notify_one(),
        }
    }
}

/// Waits for a signal that is no echo of the first.
async fn second_signal(signals: &mut Signals) {
    let first = Instant::now();
    loop {
        if signals.next().await == Wish::Reload {
            continue;
        }
        if first.elapsed() > ECHO {
            return;
        }
    }
}

fn kill(pipelines: &PipelineSet) {
    for pid in pipelines.all().iter().filter_map(|pipeline| pipeline.state().pid) {
        process::signal_group(pid, Signal::SIGKILL);
    }
}

async fn learn_vector_version(commands: Vec<CommandConfig>, known: Arc<OnceLock<String>>) {
    if let Some(version) = vector_version::version(commands.iter()).await {
        let _ = known.set(version);
    }
}
