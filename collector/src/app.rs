//! Assembles the collector: one [`App`] behind an `Arc`, and one [`configure`] that production and tests share.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use systole_shared::NodeStatus;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alerts::board::AlertBoard;
use crate::alerts::target::{NoClient, Sender};
use crate::auth::Authenticator;
use crate::config::{Config, Database, LogSearch, Retention};
use crate::control::actions::Actions;
use crate::control::delivery::Delivery;
use crate::control::secrets::Secrets;
use crate::feed::{Feed, FeedParts, WorkerNotifier};
use crate::http::{self, BodyBudget};
use crate::ingest::committer::{Committer, CommitterParts};
use crate::ingest::fleet::Fleet;
use crate::ingest::long_work::LongWork;
use crate::ingest::state::{IngestState, NodeState};
use crate::model::directory::NodeDirectory;
use crate::model::live::LiveNode;
use crate::model::watched::WatchedStates;
use crate::query::share::QueryShares;
use crate::store::marker::{self, MarkerError};
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Access, Store, StoreError, disk, private};
use crate::tasks::alerts::AlertTasks;
use crate::tasks::disk_guard::{DiskGuard, DiskState};
use crate::tasks::driver::{Driver, JITTER, TaskStatuses};
use crate::tasks::growth::Growth;
use crate::tasks::liveness::Liveness;
use crate::tasks::log_index::LogIndex;
use crate::tasks::log_size::LogSize;
use crate::tasks::maintenance::EndOfMaintenance;
use crate::tasks::removal::NodeRemovals;
use crate::tasks::retention::Expiry;
use crate::tasks::rollouts::Rollouts;
use crate::tasks::rollup::Rollup;
use crate::tasks::table_sizes::TableSizes;
use crate::tasks::token_refresh::TokenRefresh;
use crate::telemetry::Telemetry;
use crate::telemetry::logging::chain;
use crate::timeseries::recent::RecentSamples;
use crate::timeseries::{self, TimeSeries};

/// Everything that a request may need.
pub(crate) struct App {
    pub config: Config,
    pub store: Arc<dyn Store>,
    pub timeseries: Arc<TimeSeries>,
    pub auth: Arc<Authenticator>,
    /// Values that only nodes receive.
    pub secrets: Arc<Secrets>,
    pub committer: Committer,
    pub fleet: Arc<Fleet>,
    pub recent_samples: Arc<RecentSamples>,
    pub feed: Arc<Feed>,
    /// Labels of nodes, for filters.
    pub directory: Arc<NodeDirectory>,
    pub telemetry: Arc<Telemetry>,
    pub query_shares: Arc<QueryShares>,
    /// Last results of the background tasks.
    pub tasks: TaskStatuses,
    /// Whether there is room for what reports bring.
    pub disk: Arc<DiskState>,
    /// Room for opened reports on their way to the database.
    pub report_room: Arc<BodyBudget>,
    /// Turns of nodes that send long bodies.
    pub long_work: LongWork,
    /// Room for bodies that are not whole yet.
    pub body_budget: Arc<BodyBudget>,
    /// What nodes should run, and the streams that report it.
    pub delivery: Arc<Delivery>,
    /// What operators ask of nodes at once.
    pub actions: Arc<Actions>,
    /// Alerts, silences and the results of targets.
    pub alerts: Arc<AlertBoard>,
    /// Sends what a person wants to try.
    pub sender: Sender,
    /// States of nodes and pipelines, for alerts.
    pub watched: Arc<WatchedStates>,
    /// Wakes the task of rollouts: notified after each change of pipelines, nodes or rollouts.
    pub rollouts: Arc<Notify>,
    pub started_at: systole_shared::UnixMillis,
}

/// Bytes of opened reports that may be on their way at once. This is what bounds the memory of a flood; the
/// largest body is an eighth of it.
const REPORT_ROOM_BYTES: usize = 64 << 20;

/// Those of one node: half, so that a node does not take the room from the others.
const REPORT_ROOM_PER_NODE_BYTES: usize = REPORT_ROOM_BYTES / 2;

/// Free disk space that opening a database needs.
const OPENING_BYTES: u64 = 1 << 20;

/// The background tasks, and their stop in this order.
pub(crate) struct Background {
    /// Everything but the committer and the feed.
    pub tasks: Driver,
    /// Takes no more reports and finishes those that wait.
    pub committer: CancellationToken,
    pub committer_task: JoinHandle<()>,
    /// Says goodbye to subscribers.
    pub feed: CancellationToken,
}

/// An error of assembling the collector.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Marker(#[from] MarkerError),
    #[error(transparent)]
    Client(#[from] NoClient),
}

/// Opens the store that the configuration names, for what needs no minutes.
pub(crate) async fn open_store(database: &Database, access: Access) -> Result<Arc<dyn Store>, StoreError> {
    Ok(open_database(database, access).await?.0)
}

/// Opens the store that the configuration names, with its time series.
pub(crate) async fn open_database(
    database: &Database,
    access: Access,
) -> Result<(Arc<dyn Store>, Arc<TimeSeries>), StoreError> {
    match database {
        Database::Sqlite(path) => {
            if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                private::create_dir(dir)
                    .map_err(|source| StoreError::Open { url: path.display().to_string(), source: source.into() })?;
            }
            let opened = SqliteStore::open(path, access).map_err(|error| told_of_full_disk(path, error))?;
            Ok(timeseries::over(opened))
        }
        Database::Postgres(url) => Ok(timeseries::over(PostgresStore::open(url, access).await?)),
    }
}

/// SQLite needs some room even to read, and says "disk I/O error" without it.
fn told_of_full_disk(path: &std::path::Path, error: StoreError) -> StoreError {
    match disk::space_under(disk::directory_of(path)) {
        Ok(space) if space.free_bytes < OPENING_BYTES => {
            StoreError::NoRoom { database: path.display().to_string(), source: Box::new(error) }
        }
        _ => error,
    }
}

/// Loads what the database holds and starts everything that runs beside the requests.
pub(crate) async fn create_app(config: Config) -> Result<(Arc<App>, Background), CreateError> {
    let (store, timeseries) = open_database(&config.database, Access::Exclusive).await?;
    if !config.accepts_empty_database {
        marker::check(&config.data_dir, &config.database.to_string(), &*store).await?;
    }
    // A data directory without a byte left does not keep a collector on another disk from its work.
    if let Err(error) = marker::write(&config.data_dir, &*store).await {
        tracing::warn!(error = %chain(&error), "an empty database cannot be recognized at the next start");
    }
    let telemetry = Arc::new(Telemetry::new());
    let mut guard = disk_guard(&config, &store, &timeseries, &telemetry);
    // A failure is reported by the task, which tries again at once.
    let _ = guard.measure().await;
    let auth = Arc::new(Authenticator::load(&*store, config.requests).await?);
    let secrets = Arc::new(Secrets::new(Arc::clone(&store), config.secret_key_file()));
    // Reports are more important: pipelines that run need no secret.
    if let Err(error) = secrets.check().await {
        tracing::warn!(error = %chain(&error), "the secrets cannot be used; pipelines that use them cannot be delivered");
    }
    let snapshot = timeseries.load().await?;
    let recent_samples = Arc::new(RecentSamples::new(config.ring_budget_bytes));
    let stop_feed = CancellationToken::new();
    let feed_parts = FeedParts {
        store: Arc::clone(&store),
        timeseries: Arc::clone(&timeseries),
        recent_samples: Arc::clone(&recent_samples),
        auth: Arc::clone(&auth),
        telemetry: Arc::clone(&telemetry),
        limits: config.streams,
        stop: stop_feed.clone(),
    };
    let feed = Arc::new(Feed::new(&snapshot.position, feed_parts));
    let state = IngestState::load(snapshot, config.limits);
    let known = state.nodes.values().map(|node| {
        // The watchdog marks these again, and their pipelines with them.
        let status = if node.has_stale_pipelines() { NodeStatus::Unknown } else { node.status };
        (node.key, status)
    });
    let directory = Arc::new(NodeDirectory::default());
    let removed = timeseries.load_removed().await?;
    let removed = removed.into_iter().map(|node| (node.entry(), LiveNode::default()));
    directory.load(state.nodes.values().map(|node| (node.entry(), node.live())).chain(removed));
    directory.put_pipelines(state.dimensions.entries());
    let watched = Arc::new(WatchedStates::default());
    watched.load(state.nodes.values().map(NodeState::watched));
    let now = tokio::time::Instant::now();
    let fleet = Arc::new(Fleet::new(known, config.interval, config.startup_grace, now));
    let stop_committer = CancellationToken::new();
    let rollouts = Arc::new(Notify::new());
    let delivery = Delivery::new(store.desired_generations().await?);
    let parts = CommitterParts {
        timeseries: Arc::clone(&timeseries),
        fleet: Arc::clone(&fleet),
        recent_samples: Arc::clone(&recent_samples),
        feed: Arc::clone(&feed),
        directory: Arc::clone(&directory),
        watched: Arc::clone(&watched),
        auth: Arc::clone(&auth),
        telemetry: Arc::clone(&telemetry),
        interval_ms: config.interval.as_millis() as u64,
        minutes_retention: config.retention.minutes,
        limits: config.limits,
        unreported_retention: unreported_retention(&config.retention),
        log_limits: config.logs,
        rollouts: Arc::clone(&rollouts),
        events_retention: config.retention.events,
    };
    let (committer, committer_task) = Committer::start(state, parts, stop_committer.clone());
    let mut tasks = Driver::new(Arc::clone(&telemetry), JITTER);
    let disk = guard.state();
    tasks.spawn(Liveness { fleet: Arc::clone(&fleet), committer: committer.clone() });
    tasks.spawn(EndOfMaintenance {
        directory: Arc::clone(&directory),
        committer: committer.clone(),
        store: Arc::clone(&store),
    });
    tasks.spawn(NodeRemovals::new(Arc::clone(&store), Arc::clone(&telemetry)));
    tasks.spawn(TokenRefresh::new(Arc::clone(&auth), Arc::clone(&store)));
    tasks.spawn(Rollouts::new(Arc::clone(&store), Arc::clone(&delivery), Arc::clone(&rollouts)));
    tasks.spawn(Rollup {
        store: Arc::clone(&store),
        timeseries: Arc::clone(&timeseries),
        telemetry: Arc::clone(&telemetry),
    });
    tasks.spawn(Expiry {
        timeseries: Arc::clone(&timeseries),
        store: Arc::clone(&store),
        retention: config.retention,
        telemetry: Arc::clone(&telemetry),
    });
    let alerts = Arc::new(AlertBoard::new(config.alerts.clone()));
    let sender = Sender::new(&config.alerts)?;
    let alert_tasks = AlertTasks {
        store: Arc::clone(&store),
        timeseries: Arc::clone(&timeseries),
        committer: committer.clone(),
        watched: Arc::clone(&watched),
        auth: Arc::clone(&auth),
        board: Arc::clone(&alerts),
        sender: sender.clone(),
        telemetry: Arc::clone(&telemetry),
        interval: config.interval,
        grace: config.startup_grace,
    };
    alert_tasks.start(&mut tasks);
    let stop = tasks.stop_token();
    tasks.spawn(TableSizes { store: Arc::clone(&store), telemetry: Arc::clone(&telemetry), stop });
    tasks.spawn(guard);
    tasks.spawn(Growth {
        store: Arc::clone(&store),
        data_dir: config.data_dir.clone(),
        database: match &config.database {
            Database::Sqlite(path) => Some(path.clone()),
            Database::Postgres(_) => None,
        },
        telemetry: Arc::clone(&telemetry),
    });
    if config.logs.kept_bytes > 0 {
        tasks.spawn(LogSize::new(
            Arc::clone(&store),
            Arc::clone(&timeseries),
            config.logs.kept_bytes,
            Arc::clone(&telemetry),
        ));
    }
    match config.log_search {
        LogSearch::Indexed => {
            tasks.spawn(LogIndex { store: Arc::clone(&store), telemetry: Arc::clone(&telemetry) });
        }
        LogSearch::Scan => store.drop_log_index().await?,
    }
    let limits = config.limits;
    let body_budget = Arc::new(BodyBudget::new(limits.body_budget_bytes, limits.body_budget_per_sender_bytes));
    let started_at = crate::clock::now_ms();
    let query_shares = Arc::new(QueryShares::new(config.queries, Arc::clone(&telemetry)));
    let app = Arc::new(App {
        config,
        store,
        timeseries,
        auth,
        secrets,
        committer,
        fleet,
        recent_samples,
        feed,
        directory,
        telemetry,
        query_shares,
        tasks: tasks.statuses(),
        disk,
        report_room: Arc::new(BodyBudget::new(REPORT_ROOM_BYTES, REPORT_ROOM_PER_NODE_BYTES)),
        long_work: LongWork::new(),
        body_budget,
        actions: Actions::new(Arc::clone(&delivery)),
        delivery,
        alerts,
        sender,
        watched,
        rollouts,
        started_at,
    });
    let (streams, stop_streams) = (Arc::clone(&app.delivery), stop_feed.clone());
    tokio::spawn(async move {
        stop_streams.cancelled().await;
        streams.push.stop();
    });
    let background = Background { tasks, committer: stop_committer, committer_task, feed: stop_feed };
    Ok((app, background))
}

/// After this time without a report nothing is left of a pipeline. Days are removed whole, so it is one more.
fn unreported_retention(retention: &Retention) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    let Retention { minutes, hours, days, logs, events, audit: _ } = *retention;
    DAY + minutes.max(hours).max(days).max(logs).max(events)
}

/// Guards the disk that the database is on, or else the data directory.
fn disk_guard(
    config: &Config,
    store: &Arc<dyn Store>,
    timeseries: &Arc<TimeSeries>,
    telemetry: &Arc<Telemetry>,
) -> DiskGuard {
    let directory = match &config.database {
        Database::Sqlite(path) => disk::directory_of(path).to_owned(),
        Database::Postgres(_) => config.data_dir.clone(),
    };
    let measure = Box::new(move || disk::space_under(&directory));
    DiskGuard::new(
        Arc::clone(store),
        Arc::clone(timeseries),
        measure,
        config.low_disk,
        config.retention,
        Arc::clone(telemetry),
    )
}

/// All routes over one app, as one worker serves them.
pub(crate) fn configure(app: Arc<App>) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config.app_data(web::Data::new(WorkerNotifier::new(Arc::clone(&app.feed))));
        config.app_data(web::Data::from(app));
        http::configure(config);
    }
}
