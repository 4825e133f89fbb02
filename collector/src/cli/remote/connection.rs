//! A collector over a long time: where it is now, and a token that is valid now.

use reqwest::{Method, Response, StatusCode, Url};
use serde_json::Value;
use systole_shared::Token;
use tokio::sync::Mutex;

use super::api::{Api, Fault, NEXT_ADDRESS_AFTER};
use super::credential::{Credential, Place, Purpose};
use super::{RemoteArgs, address, named_urls};
use crate::clock::now_ms;
use crate::config::Config;

/// What commands need that follow a collector over restarts.
#[derive(Debug)]
pub(in crate::cli) struct Connection {
    api: Api,
    place: Place,
    credential: Mutex<Credential>,
    environment: Option<String>,
    config: Config,
}

impl Connection {
    /// Finds the collector and a token. [`Connection::close`] takes the token back.
    ///
    /// # Errors
    ///
    /// When no collector runs here and none is named, or no token can be made.
    pub(in crate::cli) async fn open(args: &RemoteArgs, config: &Config) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let place = Place::find(&named_urls(args), config)?;
        // Before a token is made for a collector that does not run.
        place.url()?;
        let api = Api::new(args.ca_file.as_deref())?;
        let credential = match args.token.clone().or_else(|| variable("SYSTOLE_TOKEN")) {
            Some(text) => Credential::Given(Token::new(&text)),
            None => Credential::make(config, args.environment.as_deref(), Purpose::Follow).await?,
        };
        let (credential, environment) = (Mutex::new(credential), args.environment.clone());
        Ok(Connection { api, place, credential, environment, config: config.clone() })
    }

    /// The client for queries.
    pub(in crate::cli) fn api(&self) -> &Api {
        &self.api
    }

    /// The address at this moment.
    ///
    /// # Errors
    ///
    /// When no collector runs on the data directory.
    pub(in crate::cli) fn url(&self) -> anyhow::Result<Url> {
        self.place.url()
    }

    /// The environment that was named.
    pub(in crate::cli) fn environment(&self) -> Option<&str> {
        self.environment.as_deref()
    }

    /// The token; a new one when an own token has expired.
    ///
    /// # Errors
    ///
    /// When no new token can be made.
    pub(in crate::cli) async fn token(&self) -> anyhow::Result<Token> {
        let mut credential = self.credential.lock().await;
        if credential.has_ended(now_ms()) {
            *credential = Credential::make(&self.config, self.environment(), Purpose::Follow).await?;
        }
        Ok(credential.token().clone())
    }

    /// Whether an own token has expired, so that the next one is another.
    pub(in crate::cli) async fn has_expired(&self) -> bool {
        self.credential.lock().await.has_ended(now_ms())
    }

    /// Asks a query of `/api/v1`.
    ///
    /// # Errors
    ///
    /// When there is no collector, no token, or no answer.
    pub(in crate::cli) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let token = self.token().await?;
        for _ in 1..self.place.count() {
            let base = self.url()?;
            let url = address(&base, path, query.iter().copied());
            match self.api.call(Method::GET, url, &token, None).await {
                Err(fault) if fault.is_of_one_address() => self.place.move_on(&base),
                answer => return Ok(answer?),
            }
        }
        let url = address(&self.url()?, path, query.iter().copied());
        Ok(self.api.call(Method::GET, url, &token, None).await?)
    }

    /// How many addresses there are.
    pub(super) fn count_addresses(&self) -> usize {
        self.place.count()
    }

    /// Uses the next address, after this one has failed.
    pub(super) fn move_on(&self, failed: &Url) {
        self.place.move_on(failed);
    }

    /// A page of a list of the environment that was named, as large as the collector returns it.
    ///
    /// # Errors
    ///
    /// As [`Connection::get`].
    pub(in crate::cli) async fn get_page(&self, list: &str, cursor: Option<&str>) -> anyhow::Result<Value> {
        let environment = self.environment().map(|name| ("environment", name));
        let cursor = cursor.map(|cursor| ("cursor", cursor));
        let query: Vec<_> = [("limit", "1000")].into_iter().chain(environment).chain(cursor).collect();
        self.get(&[list], &query).await
    }

    /// Opens a stream after the event with this id.
    pub(super) async fn stream(&self, url: Url, last_id: Option<&str>, client: &str) -> anyhow::Result<Response> {
        let token = self.token().await?;
        let opening = self.api.open(url, &token, last_id, client);
        if self.place.count() == 1 {
            return Ok(opening.await?);
        }
        Ok(tokio::time::timeout(NEXT_ADDRESS_AFTER, opening).await.map_err(|_| Fault::Late)??)
    }

    /// A fault with what to do about it.
    pub(in crate::cli) async fn explained(&self, fault: Fault) -> anyhow::Error {
        let is_unauthorized = fault.is_unauthorized();
        let is_wrong_path = matches!(fault, Fault::NoFeed(_) | Fault::Refused { status: StatusCode::NOT_FOUND, .. });
        let Ok(base) = self.url() else { return fault.into() };
        if matches!(fault, Fault::Network(_) | Fault::Late)
            && let Some(scheme) = self.api.other_scheme(&base).await
        {
            let (host, port) = (base.host_str().unwrap_or_default(), base.port_or_known_default().unwrap_or_default());
            return anyhow::Error::from(fault)
                .context(format!("{host}:{port} speaks {scheme}: use {scheme}://{host}:{port}"));
        }
        let error = anyhow::Error::from(fault);
        match &*self.credential.lock().await {
            Credential::Own { .. } if is_unauthorized => error.context(format!(
                "the collector does not know the token that was made in {}; name its data directory, or a --token",
                self.config.database
            )),
            _ if is_wrong_path => error.context(format!(
                "there is no feed of a collector under {base}; the address has a path only when a proxy adds one"
            )),
            _ => error.context("the collector refused the feed"),
        }
    }

    /// Takes back what was made for this.
    pub(in crate::cli) async fn close(&self) {
        self.credential.lock().await.give_back(&self.config).await;
    }
}
