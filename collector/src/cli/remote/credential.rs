//! The collector's address, and the token for it.
//!
//! On the collector's host a command makes a token of the kind that browsers have. It ends by itself, and is
//! revoked and removed like a session, so that the list of tokens does not grow. The database is not kept open
//! meanwhile.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Url;
use systole_shared::{Token, TokenId, TokenKind, UnixMillis};

use super::super::access::find_environment;
use super::super::no_database;
use crate::app::open_store;
use crate::auth::{self, CommandRole};
use crate::clock::now_ms;
use crate::config::Config;
use crate::store::{Access, NewToken};

/// What a command does with its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Purpose {
    /// Reads, as long as an operator watches.
    Follow,
    /// Decides what runs.
    Administer,
}

impl Purpose {
    /// Lifetime of the token when the command ends without revoking it.
    fn lifetime(self) -> Duration {
        match self {
            Purpose::Follow => Duration::from_secs(12 * 3_600),
            // A rollout that `apply --wait` follows takes minutes.
            Purpose::Administer => Duration::from_secs(2 * 3_600),
        }
    }

    fn role(self) -> CommandRole {
        match self {
            Purpose::Follow => CommandRole::Viewer,
            Purpose::Administer => CommandRole::Admin,
        }
    }
}

/// The collector's address.
#[derive(Debug)]
pub(in crate::cli) enum Place {
    /// Of the collector, or those of a cluster's: the first one is in use.
    Named(Mutex<VecDeque<Url>>),
    /// Wherever the collector on this data directory listens now: its port may change with a restart.
    DataDir(Box<Config>),
}

impl Place {
    /// As it was named, or the collector on the data directory.
    pub(in crate::cli) fn find(named: &[String], config: &Config) -> anyhow::Result<Self> {
        if named.is_empty() {
            return Ok(Place::DataDir(Box::new(config.clone())));
        }
        let mut urls = VecDeque::with_capacity(named.len());
        for text in named {
            let url: Url = text
                .parse()
                .with_context(|| format!("--url: invalid address {text:?}, expected e.g. http://host:8080"))?;
            if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
                bail!("--url: invalid address {text:?}, expected e.g. http://host:8080");
            }
            urls.push_back(url);
        }
        Ok(Place::Named(Mutex::new(urls)))
    }

    /// How many addresses there are.
    pub(in crate::cli) fn count(&self) -> usize {
        match self {
            Place::Named(urls) => urls.lock().unwrap_or_else(PoisonError::into_inner).len(),
            Place::DataDir(_) => 1,
        }
    }

    /// Uses the next address, unless another task did so since `failed` was in use.
    pub(in crate::cli) fn move_on(&self, failed: &Url) {
        let Place::Named(urls) = self else { return };
        let mut urls = urls.lock().unwrap_or_else(PoisonError::into_inner);
        if urls.front() == Some(failed) {
            urls.rotate_left(1);
        }
    }

    /// The address at this moment.
    pub(in crate::cli) fn url(&self) -> anyhow::Result<Url> {
        match self {
            Place::Named(urls) => {
                let urls = urls.lock().unwrap_or_else(PoisonError::into_inner);
                // There is one at least.
                urls.front().cloned().context("no address is named")
            }
            Place::DataDir(config) => {
                let file = config.data_dir.join("listen-address");
                let text = std::fs::read_to_string(&file).with_context(|| {
                    let data = config.data_dir.display();
                    let hint = no_database::running().map(|hint| format!("; {hint}")).unwrap_or_default();
                    format!("no collector is running on {data}; give its --data-dir, or its --url and a --token{hint}")
                })?;
                let address: SocketAddr =
                    text.trim().parse().with_context(|| format!("{} does not contain an address", file.display()))?;
                let scheme = if config.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", reachable(address)).parse().context("an address makes a URL")
            }
        }
    }
}

/// An address that a collector listens on, as one that can be called.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The token that gives access to the collector.
#[derive(Debug)]
pub(in crate::cli) enum Credential {
    Given(Token),
    /// Made here, to be taken back. The database is not kept open meanwhile.
    Own {
        id: TokenId,
        token: Token,
        ends_at: UnixMillis,
    },
}

impl Credential {
    /// The secret.
    pub(in crate::cli) fn token(&self) -> &Token {
        match self {
            Credential::Given(token) | Credential::Own { token, .. } => token,
        }
    }

    /// Whether it has ended by itself, so that another one can be made.
    pub(in crate::cli) fn has_ended(&self, now: UnixMillis) -> bool {
        matches!(self, Credential::Own { ends_at, .. } if *ends_at <= now)
    }

    /// Makes a token of the kind that browsers have: the collector removes them when they have ended, so that the
    /// list of tokens does not grow by one with every command.
    pub(in crate::cli) async fn make(
        config: &Config,
        environment: Option<&str>,
        purpose: Purpose,
    ) -> anyhow::Result<Self> {
        if let Some(fault) = no_database::explain(config) {
            bail!("{fault}; or give a --url and a --token");
        }
        let store = open_store(&config.database, Access::Shared).await?;
        let environment = match environment {
            Some(name) => Some(find_environment(&*store, name).await?.key),
            None => None,
        };
        let token = auth::new_token(TokenKind::Session);
        let now = now_ms();
        let ends_at = now.saturating_add(i64::try_from(purpose.lifetime().as_millis()).unwrap_or(i64::MAX));
        let stored = store
            .create_token(NewToken {
                kind: TokenKind::Session,
                environment,
                parent: None,
                label: purpose.role().label(),
                hash: token.hash(),
                hint: token.hint(),
                created_at: now,
                expires_at: Some(ends_at),
            })
            .await?;
        store.close().await;
        Ok(Credential::Own { id: stored.id, token, ends_at })
    }

    /// Takes an own token back. One that cannot be taken back ends by itself.
    pub(in crate::cli) async fn give_back(&self, config: &Config) {
        let Credential::Own { id, .. } = self else { return };
        if let Ok(store) = open_store(&config.database, Access::Shared).await {
            let _ = store.revoke_token(*id, now_ms()).await;
            store.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_turns_and_a_failure_that_is_known_moves_none() {
        let urls = ["http://a:1/", "http://b:1/"].map(|url| url.parse::<Url>().unwrap());
        let place = Place::Named(Mutex::new(urls.clone().into()));
        place.move_on(&urls[0]);
        place.move_on(&urls[0]);
        assert_eq!((place.url().unwrap(), place.count()), (urls[1].clone(), 2));
        place.move_on(&urls[1]);
        assert_eq!(place.url().unwrap(), urls[0]);
    }

    #[test]
    fn unspecified_address_is_reached_on_loopback() {
        for (listen, call) in [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:81", "[::1]:81"), ("10.0.0.1:82", "10.0.0.1:82")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), call.parse().unwrap());
        }
    }
}
