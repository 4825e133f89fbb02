//! The feed behind nginx, which buffers small responses.

use std::time::Duration;

use reqwest::Method;
use systole_shared::sse::{Decoder, Item};
use systole_tests::clock;
use systole_tests::harness::reports::{distinct_counts, running, with_lines};
use systole_tests::harness::{ApiClient, Nginx, NodeClient, TestCollector};
use tokio::time::{Instant, timeout, timeout_at};

/// On a machine with other load. A proxy that buffers some kilobytes delays events by
/// minutes.
const AT_ONCE: Duration = Duration::from_secs(50);
/// nginx drops a response that sends nothing for 60 s.
const STAYS: Duration = Duration::from_secs(180);
/// Pings come every 10 s.
const PING: Duration = Duration::from_secs(60);

/// A stream as a browser would ask for it.
struct Stream {
    response: reqwest::Response,
    decoder: Decoder,
}

impl Stream {
    async fn open(client: &ApiClient) -> Self {
        let request = client.request(Method::GET, "/api/v1/events?every=0&types=log_entry");
        let request = request.header("accept", "text/event-stream").header("accept-encoding", "gzip, br");
        let response = timeout(AT_ONCE, request.send()).await.expect("the head comes at once").expect("an answer");
        assert_eq!(response.status(), 200);
        Stream { response, decoder: Decoder::default() }
    }

    /// The next event of this type; panics when it does not come in time, or the stream ends.
    async fn next(&mut self, wanted: &str, time: Duration) -> String {
        let deadline = Instant::now() + time;
        loop {
            let chunk = timeout_at(deadline, self.response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("no {wanted} within {time:?}"));
            let chunk = chunk.unwrap_or_else(|error| panic!("waiting for {wanted}: {error}"));
            let chunk = chunk.unwrap_or_else(|| panic!("the stream has ended before {wanted}"));
            for item in self.decoder.push(&chunk).expect("events are bounded") {
                if let Item::Event { kind, data, .. } = item
                    && kind == wanted
                {
                    return data;
                }
            }
        }
    }
}

async fn say(node: &mut NodeClient, line: &str) {
    node.report(vec![with_lines(running("orders", distinct_counts(1)), clock::now_ms(), [line.to_owned()])]).await;
}

#[tokio::test]
async fn streams_stay_open_behind_nginx_with_defaults_and_gzip() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let viewer = collector.viewer().await;
    let token = viewer.token().expect("a viewer has a token");
    let plain = Nginx::start(collector.address(), "").await;
    let packing = Nginx::start(collector.address(), "gzip on;\ngzip_types *;").await;
    let behind = |nginx: &Nginx| ApiClient::new(&nginx.url()).with_token(token);
    let clients = [behind(&plain), behind(&packing)];
    let request = clients[1].request(Method::GET, "/api/v1/nodes").header("accept-encoding", "gzip");
    let answer = request.send().await.expect("an answer");
    let encoding = answer.headers().get("content-encoding").and_then(|value| value.to_str().ok());
    assert_eq!(encoding, Some("gzip"), "it does pack other answers");

    // Chunks pass at once in any case, but without this header nginx buffers what a slow client does not read,
    // and the collector never learns that it is slow.
    let direct = viewer.request(Method::GET, "/api/v1/events").send().await.expect("an answer");
    assert_eq!(direct.headers().get("x-accel-buffering").and_then(|value| value.to_str().ok()), Some("no"));
    drop(direct);

    let mut streams = [Stream::open(&clients[0]).await, Stream::open(&clients[1]).await];
    for stream in &mut streams {
        stream.next("hello", AT_ONCE).await;
    }
    say(&mut node, "first").await;
    for stream in &mut streams {
        assert!(stream.next("log_entry", AT_ONCE).await.contains("first"));
    }
    let begin = Instant::now();
    while begin.elapsed() < STAYS {
        for stream in &mut streams {
            stream.next("ping", PING).await;
        }
    }
    say(&mut node, "last").await;
    for stream in &mut streams {
        assert!(stream.next("log_entry", AT_ONCE).await.contains("last"));
    }
}
