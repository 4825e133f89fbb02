//! The push stream of an agent: connected again after 1 s, doubling to 30 s.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use systole_shared::sse::{Decoder, Item};
use systole_shared::vectorflow::PushEvent;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::State;
use crate::harness::client::ApiClient;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A stream that lived for this long resets the pause.
const LONG_LIVED: Duration = Duration::from_secs(5);

/// Ends with the agent.
pub(super) struct PushTask(JoinHandle<()>);

impl PushTask {
    pub(super) fn start(
        client: ApiClient,
        path: String,
        messages: mpsc::Sender<PushEvent>,
        state: Arc<Mutex<State>>,
    ) -> Self {
        PushTask(tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let begin = Instant::now();
                stream(&client, &path, &messages, &state).await;
                pause = if begin.elapsed() > LONG_LIVED { FIRST_PAUSE } else { pause };
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }))
    }
}

impl Drop for PushTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn stream(client: &ApiClient, path: &str, messages: &mpsc::Sender<PushEvent>, state: &Arc<Mutex<State>>) {
    let Ok(mut response) = client.request(Method::GET, path).send().await else { return };
    if response.status().as_u16() != 200 {
        return;
    }
    state.lock().unwrap_or_else(PoisonError::into_inner).push_connections += 1;
    let mut decoder = Decoder::default();
    while let Ok(Some(chunk)) = response.chunk().await {
        let Ok(items) = decoder.push(&chunk) else { return };
        for item in items {
            let Item::Event { data, .. } = item else { continue };
            let event: PushEvent = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
            state.lock().unwrap_or_else(PoisonError::into_inner).push_events.push(event.clone());
            if messages.send(event).await.is_err() {
                return;
            }
        }
    }
}
