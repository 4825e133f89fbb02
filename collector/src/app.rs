//! Assembles the collector: one [`App`] behind an `Arc`, and one [`configure`] that production and tests share.
//!
//! What only the collector that leads runs is in `leader`.

mod leader;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::leader::LeaderParts;
use crate::alerts::board::AlertBoard;
use crate::alerts::target::{NoClient, Sender};
use crate::auth::Authenticator;
use crate::cluster::members::Announcement;
use crate::cluster::{Cluster, ClusterError, Follower, Repeated, RoleTask};
use crate::config::{Config, Database};
use crate::control::actions::Actions;
use crate::control::delivery::Delivery;
use crate::control::secrets::Secrets;
use crate::feed::{Feed, FeedParts, WorkerNotifier};
use crate::http::{self, BodyBudget};
use crate::ingest::fleet::Fleet;
use crate::ingest::long_work::LongWork;
use crate::model::directory::NodeDirectory;
use crate::model::watched::WatchedStates;
use crate::query::share::QueryShares;
use crate::store::marker::{self, MarkerError};
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Access, ClusterStore, Store, StoreError, disk, private};
use crate::tasks::disk_guard::{DiskGuard, DiskState};
use crate::tasks::driver::{Driver, JITTER, TaskStatuses};
use crate::tasks::growth::Growth;
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
    /// The way to the committer, here or in the collector that leads.
    pub cluster: Arc<Cluster>,
    /// `None` on SQLite.
    pub cluster_store: Option<Arc<dyn ClusterStore>>,
    pub fleet: Arc<Fleet>,
    pub recent_samples: Arc<RecentSamples>,
    pub feed: Arc<Feed>,
    /// Labels of nodes, for filters.
    pub directory: Arc<NodeDirectory>,
    pub telemetry: Arc<Telemetry>,
    pub query_shares: Arc<QueryShares>,
    /// Last results of the background tasks, of those included that only a leader runs.
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
    /// The tasks of every collector.
    pub tasks: Driver,
    /// Ends the role: a leader takes no more reports and finishes those that wait.
    pub role: CancellationToken,
    pub role_task: JoinHandle<Result<(), ClusterError>>,
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
    #[error("cannot begin to work")]
    Role(#[source] ClusterError),
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
    let Opened { store, timeseries, .. } = open(database, access).await?;
    Ok((store, timeseries))
}

/// An open database.
struct Opened {
    store: Arc<dyn Store>,
    timeseries: Arc<TimeSeries>,
    /// `None` on SQLite.
    cluster: Option<Arc<dyn ClusterStore>>,
}

async fn open(database: &Database, access: Access) -> Result<Opened, StoreError> {
    match database {
        Database::Sqlite(path) => {
            if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                private::create_dir(dir)
                    .map_err(|source| StoreError::Open { url: path.display().to_string(), source: source.into() })?;
            }
            let opened = SqliteStore::open(path, access).map_err(|error| told_of_full_disk(path, error))?;
            let (store, timeseries) = timeseries::over(Arc::new(opened));
            Ok(Opened { store, timeseries, cluster: None })
        }
        Database::Postgres(url) => {
            let opened = Arc::new(PostgresStore::open(url, access).await?);
            let (store, timeseries) = timeseries::over(Arc::clone(&opened));
            Ok(Opened { store, timeseries, cluster: Some(opened) })
        }
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

/// How long a start waits for its role: another collector may lead and answer, or the lock of a killed one may not be free
/// yet.
const ROLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a collector serves.
pub(crate) struct Served {
    /// The address that it is bound to.
    pub address: SocketAddr,
    /// SHA-256 of the certificate that is served, which may be renewed; `None` without TLS.
    pub certificate: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

/// Loads what the database holds and starts everything that runs beside the requests.
pub(crate) async fn create_app(config: Config, served: Served) -> Result<(Arc<App>, Background), CreateError> {
    let Opened { store, timeseries, cluster: cluster_store } = open(&config.database, Access::Clustered).await?;
    if !config.accepts_empty_database {
        marker::check(&config.data_dir, &config.database.to_string(), &*store).await?;
    }
    // A data directory without a byte left does not keep a collector on another disk from its work.
    if let Err(error) = marker::write(&config.data_dir, &*store).await {
        tracing::warn!(error = %chain(&error), "an empty database cannot be recognized at the next start");
    }
    let started_at = crate::clock::now_ms();
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
    let secret = match &cluster_store {
        Some(store) => Some(store.cluster_secret().await?),
        None => None,
    };
    let cluster = Arc::new(Cluster::new(uuid::Uuid::now_v7().to_string(), advertised(&config, served.address), secret));
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
        is_clustered: cluster_store.is_some(),
    };
    let feed = Arc::new(Feed::new(&store.feed_position().await?, feed_parts));
    let directory = Arc::new(NodeDirectory::default());
    let watched = Arc::new(WatchedStates::default());
    let alerts = Arc::new(AlertBoard::new(config.alerts.clone()));
    let sender = Sender::new(&config.alerts)?;
    let now = tokio::time::Instant::now();
    let fleet = Arc::new(Fleet::new(std::iter::empty(), config.interval, config.startup_grace, now));
    let rollouts = Arc::new(Notify::new());
    let delivery = Delivery::new(store.desired_generations().await?);
    let mut tasks = Driver::new(Arc::clone(&telemetry), JITTER);
    let leader = Arc::new(LeaderParts {
        config: config.clone(),
        store: Arc::clone(&store),
        timeseries: Arc::clone(&timeseries),
        cluster: Arc::clone(&cluster),
        fleet: Arc::clone(&fleet),
        recent_samples: Arc::clone(&recent_samples),
        feed: Arc::clone(&feed),
        directory: Arc::clone(&directory),
        watched: Arc::clone(&watched),
        alerts: Arc::clone(&alerts),
        alert_sender: sender.clone(),
        auth: Arc::clone(&auth),
        delivery: Arc::clone(&delivery),
        rollouts: Arc::clone(&rollouts),
        telemetry: Arc::clone(&telemetry),
        statuses: tasks.statuses(),
    });
    let role = RoleTask {
        follower: Follower {
            cluster: Arc::clone(&cluster),
            store: Arc::clone(&store),
            timeseries: Arc::clone(&timeseries),
            feed: Arc::clone(&feed),
            fleet: Arc::clone(&fleet),
            directory: Arc::clone(&directory),
            recent_samples: Arc::clone(&recent_samples),
            delivery: Arc::clone(&delivery),
            rollouts: Arc::clone(&rollouts),
            state: leader,
        },
        store: cluster_store.clone(),
        repeated: Repeated::default(),
    };
    let disk = guard.state();
    tasks.spawn(TokenRefresh::new(Arc::clone(&auth), Arc::clone(&store)));
    tasks.spawn(Growth {
        store: Arc::clone(&store),
        data_dir: config.data_dir.clone(),
        database: match &config.database {
            Database::Sqlite(path) => Some(path.clone()),
            Database::Postgres(_) => None,
        },
        telemetry: Arc::clone(&telemetry),
    });
    let stop = tasks.stop_token();
    tasks.spawn(TableSizes { store: Arc::clone(&store), telemetry: Arc::clone(&telemetry), stop });
    tasks.spawn(guard);
    if let Some(cluster_store) = &cluster_store {
        let announcement = Announcement {
            cluster: Arc::clone(&cluster),
            store: Arc::clone(cluster_store),
            feed: Arc::clone(&feed),
            telemetry: Arc::clone(&telemetry),
            certificate: served.certificate,
            started_at,
        };
        // Before it leads: followers look for its address.
        announcement.write().await?;
        tasks.spawn(announcement);
    }
    let stop_role = CancellationToken::new();
    let mut role_task = tokio::spawn(role.run(stop_role.clone()));
    tokio::select! {
        ended = &mut role_task => return Err(role_failed(ended)),
        waited = tokio::time::timeout(ROLE_TIMEOUT, cluster.has_role()) => if waited.is_err() {
            tracing::warn!("no collector leads yet; reports are refused until one does");
        }
    }
    let limits = config.limits;
    let body_budget = Arc::new(BodyBudget::new(limits.body_budget_bytes, limits.body_budget_per_sender_bytes));
    let query_shares = Arc::new(QueryShares::new(config.queries, Arc::clone(&telemetry)));
    let app = Arc::new(App {
        config,
        store,
        timeseries,
        auth,
        secrets,
        cluster,
        cluster_store,
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
    let background = Background { tasks, role: stop_role, role_task, feed: stop_feed };
    Ok((app, background))
}

fn role_failed(ended: Result<Result<(), ClusterError>, tokio::task::JoinError>) -> CreateError {
    match ended {
        Ok(Err(ClusterError::Load(error))) => CreateError::Store(error),
        Ok(Err(error)) => CreateError::Role(error),
        Ok(Ok(())) => CreateError::Role(ClusterError::CommitterEnded),
        Err(error) => CreateError::Role(ClusterError::Failed(error)),
    }
}

/// Where other collectors reach this one.
fn advertised(config: &Config, address: SocketAddr) -> String {
    if let Some(url) = &config.advertise_url {
        return url.clone();
    }
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    if !address.ip().is_unspecified() {
        return format!("{scheme}://{address}");
    }
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{scheme}://{}:{}", host.as_deref().unwrap_or("localhost"), address.port())
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
