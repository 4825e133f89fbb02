//! Runs `serve`: bind, run, and stop in an order that loses nothing.
//!
//! Sources stop first (watchdog, token follower, rollups, retention), then the committer takes no more
//! reports and finishes those that wait, then subscribers get their goodbye, then the listener
//! closes. Every part has a deadline, so that a stop always ends.
//!
//! Transparent huge pages are disabled (PR_SET_THP_DISABLE). The allocator asks for them, and they turn
//! the untouched halves of buffers into memory: 21 KB per idle stream instead of 13.

mod cors;
mod handshakes;
mod https;
mod plain_http;
mod reload;
mod sockets;
pub(crate) mod tls;

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::STRICT_TRANSPORT_SECURITY;
use actix_web::middleware::{Condition, DefaultHeaders};
use actix_web::{App as ActixApp, HttpServer};
use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::reload::{CertificateReload, ReloadRequest};
use self::tls::Certificates;
use crate::app::{self, Background, Served};
use crate::clock;
use crate::cluster::ClusterError;
use crate::config::Config;
use crate::feed::HELD_BACK_BYTES;
use crate::store::private;

/// Longest time for the sources to stop.
const SOURCES_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a leader may take to stop its tasks and to finish what waits, with their own bounds within it.
const ROLE_TIMEOUT: Duration = Duration::from_secs(13);

/// How long streams and requests may take to end.
const CONNECTIONS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long queries that are under way may take to end.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a request's head: a client that sends none is closed.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept: agents report every 5 s and stay.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// For a year browsers ask for this host by HTTPS alone: a token must not go out in plain text by a mistyped address.
const ONLY_HTTPS: &str = "max-age=31536000";
/// Longest time for closing a connection.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections that may wait to be taken: thousands of dashboards come back at once. The system has a
/// bound of its own (net.core.somaxconn, 4,096).
const BACKLOG: u32 = 8_192;

/// Serves until SIGTERM or SIGINT; a second one ends the process at once. SIGHUP reads certificates again.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let reload = Arc::new(ReloadRequest::default());
    tokio::spawn(reload_at_hangup(Arc::clone(&reload), config.tls.is_some()));
    tokio::spawn(stop_at_signal(stop.clone()));
    run(config, stop, reload, |_| ()).await
}

/// Serves until `stop`. `ready` gets the address once requests are taken.
pub(crate) async fn run(
    config: Config,
    stop: CancellationToken,
    reload: Arc<ReloadRequest>,
    ready: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    raise_open_files();
    use_small_pages();
    let certificates = config.tls.clone().map(|files| Certificates::load(files, clock::now_ms())).transpose()?;
    let certificates = certificates.map(Arc::new);
    let tls = certificates.as_ref().map(Certificates::server_config).transpose()?;
    // Bound before anything else is touched: an address in use is the most common error.
    let listener = TcpListener::bind(config.listen).with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr().context("cannot read the listening address")?;
    let data_dir = config.data_dir.clone();
    let database = config.database.clone();
    let served = Served { address, certificate: fingerprint_of(certificates.clone()) };
    let (app, mut background) = app::create_app(config, served).await?;
    if let Some(certificates) = certificates {
        background.tasks.spawn(CertificateReload::new(certificates, reload, Arc::clone(&app.alerts)));
    }
    let origins = app.config.cors_origins.clone();
    let is_tls = tls.is_some();
    let factory = {
        let app = app.clone();
        move || {
            ActixApp::new()
                .wrap(DefaultHeaders::new().add(("X-Content-Type-Options", "nosniff")))
                .wrap(Condition::new(is_tls, DefaultHeaders::new().add((STRICT_TRANSPORT_SECURITY, ONLY_HTTPS))))
                .wrap(Condition::new(!origins.is_empty(), cors::allow(&origins)))
                .configure(app::configure(app.clone()))
        }
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let server = match tls {
        Some(tls) => https::listen(listener, tls, factory, app.telemetry.clone()),
        None => HttpServer::new(factory)
            .disable_signals()
            .backlog(BACKLOG)
            .client_request_timeout(REQUEST_HEAD_TIMEOUT)
            .client_disconnect_timeout(CLOSING_TIMEOUT)
            .keep_alive(KEEP_ALIVE)
            // The request of a client that has disconnected is cancelled: it cannot read the answer.
            .h1_allow_half_closed(false)
            // An event must not wait until the one before it is acknowledged.
            .tcp_nodelay(true)
            .h1_write_buffer_size(HELD_BACK_BYTES)
            .on_connect(|connection, _| sockets::tune(connection))
            .shutdown_timeout(CONNECTIONS_TIMEOUT.as_secs())
            .listen(listener)
            .map(HttpServer::run),
    };
    let server = server.context("cannot start the server")?;
    let handle = server.handle();
    let mut server = tokio::spawn(server);
    let address_file = AddressFile::write(data_dir.join("listen-address"), address);
    tracing::info!(url = %format!("{scheme}://{address}"), %database, "collector is listening");
    ready(address);

    let mut failure = None;
    tokio::select! {
        () = stop.cancelled() => tracing::info!("collector is stopping"),
        ended = &mut server => {
            ended.context("the server failed")?.context("the server failed")?;
            anyhow::bail!("the server ended unexpectedly");
        }
        // Without it no report is acknowledged: a restart is better.
        panicked = background.tasks.panicked() => failure = Some(panicked),
        ended = &mut background.role_task => match ended.context("the task of the role failed")? {
            // It has stopped everything else that a leader runs.
            Err(ClusterError::Panicked(panicked)) => failure = Some(panicked),
            ended => {
                ended?;
                anyhow::bail!("the committer ended unexpectedly");
            }
        },
    }
    let store = app.store.clone();
    stop_background(background).await;
    handle.stop(true).await;
    let _ = server.await;
    drop(app);
    if tokio::time::timeout(STORE_TIMEOUT, store.close()).await.is_err() {
        tracing::warn!("a query did not end in time; the database will recover at the next start");
    }
    drop(address_file);
    tracing::info!("collector has stopped");
    // Without the task something is never done again: better to be started again.
    failure.map_or(Ok(()), |panicked| Err(panicked.into()))
}

/// Every agent and every subscriber is an open file, and the usual soft limit of 1,024 is there for
/// programs that use select(2).
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files; connections beyond it are refused");
    }
}

/// The allocator asks for huge pages, and with them every buffer of a connection counts whole: a stream
/// that is only there took 21 KiB instead of 13.
#[cfg(target_os = "linux")]
fn use_small_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "huge pages stay in use");
    }
}

#[cfg(not(target_os = "linux"))]
fn use_small_pages() {}

/// SHA-256 of the certificate that new connections get, by which other collectors know this one.
fn fingerprint_of(certificates: Option<Arc<Certificates>>) -> Arc<dyn Fn() -> Option<String> + Send + Sync> {
    Arc::new(move || certificates.as_ref().and_then(|certificates| certificates.fingerprint()))
}

async fn stop_background(background: Background) {
    background.role.cancel();
    let has_ended = background.role_task.is_finished();
    if !has_ended && tokio::time::timeout(ROLE_TIMEOUT, background.role_task).await.is_err() {
        tracing::error!("the role did not end in time");
    }
    background.tasks.stop(SOURCES_TIMEOUT).await;
    background.feed.cancel();
}

/// Publishes the listening address to programs on this host while the collector runs.
struct AddressFile(PathBuf);

impl AddressFile {
    fn write(path: PathBuf, address: SocketAddr) -> Self {
        let written = path.parent().map_or(Ok(()), private::create_dir).and_then(|()| {
            let unfinished = path.with_extension("tmp");
            let mut file = private::open(OpenOptions::new().write(true).truncate(true), &unfinished)?;
            file.write_all(address.to_string().as_bytes())?;
            std::fs::rename(&unfinished, &path)
        });
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "cannot write the address file");
        }
        AddressFile(path)
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// SIGHUP ends a process that does not receive it, and service managers send it for a reload.
async fn reload_at_hangup(reload: Arc<ReloadRequest>, has_certificate: bool) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("cannot receive SIGHUP; it will end this process");
        return;
    };
    while hangup.recv().await.is_some() {
        if has_certificate {
            tracing::info!("SIGHUP: reloading the certificate; other settings need a restart");
        } else {
            tracing::info!("SIGHUP: there is no certificate to reload; settings need a restart");
        }
        reload.make();
    }
}

async fn stop_at_signal(stop: CancellationToken) {
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt)] = signals else {
        tracing::error!("cannot receive signals; only SIGKILL will end this process");
        return;
    };
    for round in 0.. {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if round > 0 {
            std::process::exit(1);
        }
        stop.cancel();
    }
}

#[cfg(test)]
mod tests;
