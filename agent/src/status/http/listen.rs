//! The two listeners, and how much of the agent they may take.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::future::ready;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::host_names;
use super::routes::{respond, respond_to_upgrade, wrong_name};
use crate::model::node::machine;
use crate::status::monitor::Monitor;
use crate::upgrade::Upgrades;
use crate::upgrade::cli::PAGE;

/// Connections at once on each listener: a scraper and a few curious ones.
const MAX_CONNECTIONS: usize = 8;

/// How long a connection may last, one request and its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest request; its head is all that is read of it. hyper's least.
const MAX_REQUEST_BYTES: usize = 8 * 1024;

/// Between two tries to listen.
const RETRY: Duration = Duration::from_secs(10);

/// How long a listener that cannot accept rests: the process has no file descriptors left.
const REST: Duration = Duration::from_secs(1);

/// Where to listen.
#[derive(Debug)]
pub(super) enum ListenAddress {
    /// A TCP port.
    Port(SocketAddr),
    /// A Unix socket that only the agent's user may use.
    Socket(PathBuf),
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListenAddress {
    async fn open(&self) -> io::Result<Listener> {
        match self {
            ListenAddress::Port(address) => TcpListener::bind(address).await.map(Listener::Tcp),
            ListenAddress::Socket(path) => bind(path).map(Listener::Unix),
        }
    }

    /// Opens, however long that takes; none when the agent ends before.
    async fn keep_trying(&self, end: &CancellationToken) -> Option<Listener> {
        let mut was_told = false;
        loop {
            match self.open().await {
                Ok(listener) => return Some(listener),
                Err(error) if !was_told => {
                    tracing::warn!(%error, "cannot open {self}; retrying, the agent works without it");
                    was_told = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = sleep(RETRY) => {}
                () = end.cancelled() => return None,
            }
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Port(address) => write!(f, "the agent's own metrics: {address}"),
            ListenAddress::Socket(path) => write!(f, "`systole-agent status`: {}", path.display()),
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    // Only one agent uses the data directory, so the agent that made it has ended.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Listener {
    async fn accept(&self) -> io::Result<Either<TcpStream, UnixStream>> {
        match self {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| Either::Left(stream)),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Either::Right(stream)),
        }
    }
}

/// Serves at a place until `end`.
pub(super) async fn serve(
    place: ListenAddress,
    monitor: Arc<Monitor>,
    upgrades: Arc<Upgrades>,
    end: CancellationToken,
) {
    let Some(listener) = place.keep_trying(&end).await else { return };
    // On the socket there are no names.
    let mut named = None;
    if let Listener::Tcp(listener) = &listener
        && let Ok(address) = listener.local_addr()
    {
        named = Some(address);
        let _ = monitor.metrics_address.set(address);
        tracing::info!(%address, "the agent's own metrics are served");
    }
    tokio::select! {
        () = accept_all(&listener, named, &monitor, &upgrades) => {}
        () = end.cancelled() => {}
    }
    if let ListenAddress::Socket(path) = &place {
        let _ = fs::remove_file(path);
    }
}

async fn accept_all(listener: &Listener, named: Option<SocketAddr>, monitor: &Arc<Monitor>, upgrades: &Arc<Upgrades>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok(stream) => {
                let (monitor, upgrades) = (monitor.clone(), upgrades.clone());
                tokio::spawn(async move {
                    let _ = timeout(CONNECTION_TIMEOUT, converse(stream, named, monitor, upgrades)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                sleep(REST).await;
            }
        }
    }
}

/// One request and one answer. A client that breaks off has read enough.
async fn converse(
    stream: Either<TcpStream, UnixStream>,
    named: Option<SocketAddr>,
    monitor: Arc<Monitor>,
    upgrades: Arc<Upgrades>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let is_ours = named
            .is_none_or(|listen| host_names::is_ours(request.uri(), request.headers(), listen, &machine::host_name()));
        // On the socket only: a port can be reached by every user of the host.
        if named.is_none() && request.uri().path() == PAGE {
            return ready(Ok::<_, Infallible>(respond_to_upgrade(&upgrades, request.method(), request.uri())));
        }
        let response = if is_ours { respond(&monitor, request.method(), request.uri().path()) } else { wrong_name() };
        ready(Ok(response))
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(MAX_REQUEST_BYTES);
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}
