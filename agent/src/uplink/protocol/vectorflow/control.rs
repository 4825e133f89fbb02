//! What a VectorFlow server asks of the node: the configuration, the push channel, and answers to samples and taps.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::ACCEPT;
use systole_shared::vectorflow::{ConfigResponse, SampleResults, rates};
use systole_shared::{PipelineId, Token};
use tokio::sync::watch;
use tokio::time::Instant;

use super::answers::{sample_results, tap_events};
use super::pace::Pace;
use super::wanted::Wanted;
use super::{FORM, VectorFlowClient};
use crate::model::action::{ActionAnswer, NodeAction, TapPace};
use crate::uplink::instructions::Instructions;
use crate::uplink::protocol::DesiredAnswer;
use crate::uplink::push::StreamNote;
use crate::uplink::request_error::RequestError;
use crate::uplink::transport::{OpenStream, Try};

/// What the token of a node begins with.
pub(in crate::uplink::protocol) const NODE_TOKEN_PREFIX: &str = "vf_node_";

/// The path of the push channel, for a server whose own address for it cannot be used.
const PUSH_PATH: &str = "api/agent/push";

/// The configurations of a node: 200 that a person wrote have much less.
const MAX_CONFIG_BYTES: usize = 64 * 1024 * 1024;

/// A keepalive comes every 30 s. Two may be missing, and some.
const SILENCE: Duration = Duration::from_secs(75);

/// A push channel that was opened. Its first line says nothing of what comes.
pub(in crate::uplink::protocol) const STREAM_OPENED: StreamNote =
    StreamNote { silence: Some(SILENCE), is_welcome: false, goodbye: None };

/// How a VectorFlow server takes the events of taps: 120 requests in a minute, of all taps of the node. It does not say
/// whether a consumer still waits.
pub(in crate::uplink::protocol) const TAP_PACE: TapPace = TapPace {
    batch_time: Duration::from_secs(1),
    batch_events: 20,
    gap: Duration::from_millis(600),
    sign_of_life: None,
};

/// What is kept between the requests of this file.
#[derive(Debug)]
pub(super) struct Control {
    configs: Pace,
    samples: Pace,
    taps: Pace,
    /// Where the push channel is; none before the server has said it.
    push_url: watch::Sender<Option<Url>>,
    /// Checksums of pipelines that were warned of.
    warned: Mutex<BTreeMap<PipelineId, String>>,
}

impl Default for Control {
    fn default() -> Self {
        Control {
            configs: Pace::below(rates::CONFIG),
            samples: Pace::below(rates::SAMPLES),
            taps: Pace::below(rates::TAP_EVENTS),
            push_url: watch::Sender::new(None),
            warned: Mutex::default(),
        }
    }
}

impl VectorFlowClient {
    /// Asks for the configuration.
    ///
    /// # Errors
    ///
    /// When the server does not answer with it.
    pub(in crate::uplink::protocol) async fn desired(
        &self,
        token: &Token,
        instructions: &Instructions,
    ) -> Result<DesiredAnswer, RequestError> {
        self.control.configs.turn().await;
        let begin = Instant::now();
        let answer = self.config(token).await;
        let Wanted { state, interval, push_url, samples, mismatches } = match answer {
            Ok(config) => {
                self.counters.polls.observe(begin.elapsed());
                Wanted::of(config)
            }
            Err(error) => {
                self.counters.poll_errors.add(1);
                return Err(error);
            }
        };
        self.warn_of(mismatches);
        if let Some(interval) = interval {
            instructions.set_interval(interval);
        }
        // In maintenance the server names none, and the one that is open stays.
        if let Some(push_url) = push_url {
            self.set_push_url(&push_url);
        }
        for sample in samples {
            instructions.act(sample);
        }
        Ok(DesiredAnswer::Other { wanted: state, etag: None })
    }

    async fn config(&self, token: &Token) -> Result<ConfigResponse, RequestError> {
        let request = |to: Try<'_>| self.transport.get(to, "api/agent/config", Some(token));
        let answer = self.transport.exchange(request, FORM, MAX_CONFIG_BYTES).await?;
        self.transport.read_secret(&answer.body)
    }

    /// Warns once of each checksum that is none of its content.
    fn warn_of(&self, mismatches: Vec<(PipelineId, String)>) {
        let mut warned = self.control.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let current: BTreeMap<_, _> = mismatches.into_iter().collect();
        for (pipeline, checksum) in &current {
            if warned.get(pipeline) != Some(checksum) {
                tracing::warn!(%pipeline, checksum, "the server's checksum of a pipeline is not one of what it sent; the pipeline is taken as it came");
            }
        }
        *warned = current;
    }

    fn set_push_url(&self, text: &str) {
        let Some(url) = push_url_of(self.transport.base(), text) else { return };
        self.control.push_url.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&url);
            if is_new {
                if url.as_str() != text {
                    tracing::info!(named = text, used = %url, "the push channel that the server names is at another address than the server; its usual path is used");
                }
                *known = Some(url.clone());
            }
            is_new
        });
    }

    /// Opens the push channel. Waits until the server has said that it has one.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(in crate::uplink::protocol) async fn push(&self, token: &Token) -> Result<OpenStream, RequestError> {
        let mut known = self.control.push_url.subscribe();
        let url = match known.wait_for(Option::is_some).await.map(|url| url.clone()) {
            Ok(Some(url)) => url,
            // The sender is `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        };
        // There is one address; it is in the URL.
        let request = |_: Try<'_>| self.transport.get_at(url.clone(), token).header(ACCEPT, "text/event-stream");
        self.transport.open(request, FORM).await
    }

    /// Sends an answer to a sample or a tap.
    ///
    /// # Errors
    ///
    /// When the server does not take it.
    pub(in crate::uplink::protocol) async fn answer_action(
        &self,
        token: &Token,
        action: &NodeAction,
        answer: &ActionAnswer,
    ) -> Result<(), RequestError> {
        let results = sample_results(action, answer);
        if !results.is_empty() {
            self.control.samples.turn().await;
            self.post("api/agent/samples", Some(token), &SampleResults { results }).await?;
        }
        for events in tap_events(action, answer) {
            self.control.taps.turn().await;
            self.post("api/agent/tap-events", Some(token), &events).await?;
        }
        Ok(())
    }
}

/// Where the push channel is: at the address that the server names, if scheme, host and port are its own. The token of
/// the node goes nowhere else. A server behind a proxy may not know its own address; then its usual path is used.
fn push_url_of(base: &Url, text: &str) -> Option<Url> {
    let named = Url::parse(text).ok().filter(|url| url.origin() == base.origin() && url.username().is_empty());
    named.or_else(|| base.join(&format!("{}/{PUSH_PATH}", base.path().trim_end_matches('/'))).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_channel_is_at_the_server_only() {
        let url = |base: &str, text: &str| push_url_of(&base.parse().unwrap(), text).unwrap().to_string();
        let base = "https://vf.example/";
        assert_eq!(url(base, "https://vf.example/api/agent/push?x=1"), "https://vf.example/api/agent/push?x=1");
        assert_eq!(url(base, "https://vf.example:443/push"), "https://vf.example/push");
        for foreign in [
            "http://vf.example/push",
            "https://vf.example:8443/push",
            "https://other.example/push",
            "",
            "/push",
            "https://a@vf.example/p",
        ] {
            assert_eq!(url(base, foreign), "https://vf.example/api/agent/push", "{foreign}");
        }
        assert_eq!(url("http://h:1/prefix", "ws://h:1/x"), "http://h:1/prefix/api/agent/push");
    }
}
