//! A collector for the time of one command, on a data directory on which none runs.
//!
//! It listens on a free port of the loopback, so no agent finds it. It takes the database's lock like any other: a
//! collector that runs already is never disturbed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::no_database;
use super::remote::{self, RemoteArgs};
use crate::config::Config;
use crate::server;

/// Longest wait for a connection that says whether a collector runs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A collector of this process.
pub(super) struct Local {
    config: Config,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Local {
    /// Starts one if the command means the collector on the data directory and none runs there.
    ///
    /// # Errors
    ///
    /// When there is no database, or it cannot be opened.
    pub(super) async fn needed(args: &RemoteArgs, config: &Config) -> anyhow::Result<Option<Self>> {
        if remote::is_named(args) || runs(config).await {
            return Ok(None);
        }
        if let Some(fault) = no_database::explain(config) {
            bail!("{fault}; or give a --url and a --token");
        }
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let config = Config { listen, tls: None, ..config.clone() };
        let stop = CancellationToken::new();
        let (ready, is_ready) = oneshot::channel();
        let run = server::run(config.clone(), stop.clone(), Default::default(), move |address| {
            let _ = ready.send(address);
        });
        let task = tokio::spawn(run);
        if is_ready.await.is_err() {
            task.await.context("the collector failed")??;
            bail!("the collector ended before it was ready");
        }
        Ok(Some(Local { config, stop, task }))
    }

    /// Its configuration, which says how to reach it.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Stops it in order.
    ///
    /// # Errors
    ///
    /// When it failed.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await.context("the collector failed")?
    }
}

/// Whether the port takes connections that the last collector on the data directory listened on. A killed one has left
/// the file.
async fn runs(config: &Config) -> bool {
    let Ok(text) = std::fs::read_to_string(config.data_dir.join("listen-address")) else { return false };
    let Ok(address) = text.trim().parse::<SocketAddr>() else { return false };
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((ip, address.port()))).await;
    matches!(connected, Ok(Ok(_)))
}
