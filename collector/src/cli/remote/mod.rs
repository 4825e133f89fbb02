//! Commands that talk to a running collector over HTTP: where it is, the token, and requests.
//!
//! On the collector's host they need no token: they make one in the database, and take it back at the end.

pub(in crate::cli) mod api;
pub(in crate::cli) mod color;
pub(in crate::cli) mod connection;
pub(in crate::cli) mod credential;
pub(in crate::cli) mod feed;

use std::path::PathBuf;

use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Response, Url};
use serde_json::Value;
use systole_shared::Token;

use self::api::{Api, Fault};
use self::credential::{Credential, Place, Purpose};
use crate::config::Config;

/// Characters that need no escape in a segment of a path or in a value of a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the collector is, and the token for it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(in crate::cli) struct RemoteArgs {
    /// Address of the collector; several times for several collectors of a cluster [env: SYSTOLE_URL, SYSTOLE_URLS=A,B]
    /// [default: the collector that runs on DATA_DIR]
    #[arg(long = "url", value_name = "URL")]
    pub(in crate::cli) urls: Vec<String>,
    /// Token [env: SYSTOLE_TOKEN] [default: a temporary token, created in the database]
    #[arg(long, value_name = "TOKEN")]
    pub(in crate::cli) token: Option<String>,
    /// Environment (name); needed with a token for all environments when there are several
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) environment: Option<String>,
    /// Certificates (PEM) to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) ca_file: Option<PathBuf>,
}

/// The addresses that flags or variables name, none for the collector on the data directory.
fn named_urls(args: &RemoteArgs) -> Vec<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if !args.urls.is_empty() {
        return args.urls.clone();
    }
    match (variable("SYSTOLE_URL"), variable("SYSTOLE_URLS")) {
        (Some(url), _) => vec![url],
        (None, Some(urls)) => urls.split(',').map(|url| url.trim().to_owned()).collect(),
        (None, None) => Vec::new(),
    }
}

/// Whether an address is named, so that the command does not mean the collector on the data directory.
pub(in crate::cli) fn is_named(args: &RemoteArgs) -> bool {
    !named_urls(args).is_empty()
}

/// A collector that answers this command.
#[derive(Debug)]
pub(in crate::cli) struct Remote {
    api: Api,
    base: Url,
    credential: Credential,
    environment: Option<String>,
    config: Config,
}

impl Remote {
    /// Finds the collector and a token. [`Remote::close`] takes the token back.
    ///
    /// # Errors
    ///
    /// When no collector runs here and none is named, or no token can be made.
    pub(in crate::cli) async fn connect(args: &RemoteArgs, config: &Config, purpose: Purpose) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let place = Place::find(&named_urls(args), config)?;
        // Before a token is made for a collector that does not run.
        let mut base = place.url()?;
        let api = Api::new(args.ca_file.as_deref())?;
        for _ in 1..place.count() {
            if api.is_ready(&base).await {
                break;
            }
            place.move_on(&base);
            base = place.url()?;
        }
        let credential = match args.token.clone().or_else(|| variable("SYSTOLE_TOKEN")) {
            Some(text) => Credential::Given(Token::new(&text)),
            // For all environments, so that one that is not named is found as it is for any such token.
            None => Credential::make(config, None, purpose).await?,
        };
        let environment = args.environment.clone();
        Ok(Remote { api, base, credential, environment, config: config.clone() })
    }

    /// Sends a request to `/api/v1/…`, with the environment that was named.
    ///
    /// # Errors
    ///
    /// When the collector refuses it or does not answer.
    pub(in crate::cli) async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Fault> {
        let environment = self.environment.as_deref().map(|name| ("environment", name));
        let url = address(&self.base, path, query.iter().copied().chain(environment));
        let body = body.map(|body| body.to_string().into_bytes());
        self.api.call(method, url, self.credential.token(), body).await
    }

    /// Asks a query.
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub(in crate::cli) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Fault> {
        self.call(Method::GET, path, query, None).await
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub(in crate::cli) async fn stream(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Response, Fault> {
        let environment = self.environment.as_deref().map(|name| ("environment", name));
        let url = address(&self.base, path, query.iter().copied().chain(environment));
        self.api.open(url, self.credential.token(), None, "tap").await
    }

    /// A fault with what to do about it.
    pub(in crate::cli) async fn explained(&self, fault: Fault) -> anyhow::Error {
        if matches!(fault, Fault::Network(_) | Fault::Late)
            && let Some(scheme) = self.api.other_scheme(&self.base).await
        {
            let (host, port) =
                (self.base.host_str().unwrap_or_default(), self.base.port_or_known_default().unwrap_or_default());
            let hint = format!("{host}:{port} speaks {scheme}: use {scheme}://{host}:{port}");
            return anyhow::Error::from(fault).context(hint);
        }
        let is_unknown_token = fault.is_unauthorized() && matches!(self.credential, Credential::Own { .. });
        let error = anyhow::Error::from(fault);
        if is_unknown_token {
            return error.context(format!(
                "the collector does not know the token that was made in {}; name its data directory, or a --token",
                self.config.database
            ));
        }
        error.context(format!("the collector at {} refused the request", self.base))
    }

    /// Takes back what was made for this.
    pub(in crate::cli) async fn close(&self) {
        self.credential.give_back(&self.config).await;
    }
}

/// A path of the collector, which may be below one of a proxy.
pub(in crate::cli) fn under(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url.set_query(None);
    url
}

/// An address under `/api/v1`; each part of the path is one segment, whatever is in it.
fn address<'a>(base: &Url, path: &[&str], query: impl Iterator<Item = (&'a str, &'a str)>) -> Url {
    let mut url = base.clone();
    let encode = |text| utf8_percent_encode(text, PLAIN).to_string();
    let segments: Vec<String> = path.iter().map(|segment| encode(segment)).collect();
    url.set_path(&format!("{}/api/v1/{}", base.path().trim_end_matches('/'), segments.join("/")));
    let pairs: Vec<String> = query.map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    url.set_query(Some(pairs.join("&")).filter(|query| !query.is_empty()).as_deref());
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_keeps_the_path_of_a_proxy() {
        let under = |base: &str| under(&base.parse().unwrap(), "api/v1/events").to_string();
        assert_eq!(under("http://host:8080"), "http://host:8080/api/v1/events");
        assert_eq!(under("https://host/systole/"), "https://host/systole/api/v1/events");
    }

    #[test]
    fn address_escapes_ids_and_names() {
        let base = "http://host:1/behind/".parse().unwrap();
        let url = address(&base, &["secrets", "prod/db"], [("note", "a b&c")].into_iter());
        assert_eq!(url.as_str(), "http://host:1/behind/api/v1/secrets/prod%2Fdb?note=a%20b%26c");
        assert_eq!(address(&base, &["nodes"], std::iter::empty()).as_str(), "http://host:1/behind/api/v1/nodes");
    }
}
