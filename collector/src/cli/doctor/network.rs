//! The port of the collector, and the name of its database.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use systole_shared::Finding;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_postgres::config::Host;

use crate::config::{Config, Database};

/// Longest wait for a name or a connection.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a collector runs, or could listen.
pub(super) async fn check_port(config: &Config) -> Finding {
    let written = std::fs::read_to_string(config.data_dir.join("listen-address")).ok();
    let running = written.and_then(|text| text.trim().parse::<SocketAddr>().ok());
    if let Some(address) = running {
        let to = if address.ip().is_unspecified() {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
        } else {
            address
        };
        if matches!(timeout(STEP_TIMEOUT, TcpStream::connect(to)).await, Ok(Ok(_))) {
            return Finding::ok("port", format!("a collector listens on {address}"));
        }
    }
    match TcpListener::bind(config.listen).await {
        Ok(_) => {
            let message = format!("{} is free: no collector runs here", config.listen);
            let remedy = "systemctl start systole-collector; if it does not stay up: journalctl -u systole-collector";
            Finding::warning("port", message, remedy)
        }
        Err(error) => {
            let port = config.listen.port();
            let remedy = format!("stop what listens there (ss -ltnp 'sport = :{port}'), or set listen to another port");
            Finding::problem("port", format!("cannot listen on {}: {error}", config.listen), remedy)
        }
    }
}

/// The host of PostgreSQL.
pub(super) async fn check_dns(config: &Config) -> Vec<Finding> {
    let Database::Postgres(url) = &config.database else { return Vec::new() };
    let mut findings = Vec::new();
    for host in url.config.get_hosts() {
        let Host::Tcp(name) = host else { continue };
        if name.parse::<IpAddr>().is_ok() {
            continue;
        }
        findings.push(match timeout(STEP_TIMEOUT, lookup_host((name.as_str(), 5_432))).await {
            Ok(Ok(_)) => Finding::ok("dns", format!("{name} is known")),
            Ok(Err(error)) => unknown(name, &error.to_string()),
            Err(_) => unknown(name, "no answer in time"),
        });
    }
    findings
}

fn unknown(name: &str, why: &str) -> Finding {
    let remedy = "correct database_url, or the name servers of this host (/etc/resolv.conf)";
    Finding::problem("dns", format!("cannot resolve {name}: {why}"), remedy)
}
