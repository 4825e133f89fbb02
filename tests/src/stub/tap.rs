//! `vector tap` and the API that it reads. Not Vector's own protocol, which only Vector speaks: a request names
//! the component, and events come as lines until the connection ends.
//!
//! As Vector: notices on standard error, events on standard output, exit 0 at the end of the time or of the
//! process, and 69 when the API does not answer. Up to 0.54 the address has the path `/graphql`, and none from 0.55 on.

use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval, timeout_at};

use super::args::{TapOptions, version};
use super::http::read_request;

/// Vector's exit code without an API.
const EXIT_UNAVAILABLE: u8 = 69;

/// Between two portions of events.
const PORTION: Duration = Duration::from_millis(50);

/// A day: for a tap without an end.
const FOREVER_MS: u64 = 86_400_000;

/// Serves taps of these components.
pub async fn serve(listener: TcpListener, components: Vec<String>, rate: f64) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_one(stream, components.clone(), rate));
    }
}

async fn serve_one(mut stream: TcpStream, components: Vec<String>, rate: f64) {
    let Some(request) = read_request(&mut stream).await else { return };
    let Some(component) = request.target.strip_prefix("/tap/") else { return };
    let is_known = components.iter().any(|id| id == component || component.split('.').next() == Some(id));
    if stream.write_all(if is_known { b"matched\n" } else { b"unknown\n" }).await.is_err() {
        return;
    }
    let (begin, mut sent) = (Instant::now(), 0_u64);
    let mut ticks = interval(PORTION);
    loop {
        ticks.tick().await;
        let due = (begin.elapsed().as_secs_f64() * rate) as u64;
        let mut lines = String::new();
        while is_known && sent < due {
            sent += 1;
            let log = serde_json::json!({"message": format!("event {sent}"), "component": component,
                "password": "hunter2", "user": {"name": "alice", "token": "s3cr3t"}, "source_type": "demo_logs"});
            lines.push_str(&format!("{}\n", serde_json::json!({"log": log})));
        }
        if stream.write_all(lines.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Whether the API of this version of Vector is GraphQL.
fn has_graphql(version: &str) -> bool {
    let minor = version.strip_prefix("0.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    minor.is_some_and(|minor| minor < 55)
}

/// Runs `vector tap`.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command's own output")]
pub async fn run(options: &TapOptions) -> ExitCode {
    eprintln!("2026-11-20T18:21:53.101010Z  INFO vector::app: Log level is enabled. level=\"info\"");
    let (address, path) = options.url.trim_start_matches("http://").split_once('/').unwrap_or((&options.url, ""));
    let address = address.trim_start_matches("http://");
    let is_right = path == if has_graphql(&version()) { "graphql" } else { "" };
    let Ok(mut stream) = TcpStream::connect(if is_right { address } else { "0.0.0.0:0" }).await else {
        eprintln!("Vector API server isn't reachable ({}).", options.url);
        return ExitCode::from(EXIT_UNAVAILABLE);
    };
    let request = format!("GET /tap/{} HTTP/1.1\r\n\r\n", options.outputs_of);
    if stream.write_all(request.as_bytes()).await.is_err() {
        return ExitCode::from(EXIT_UNAVAILABLE);
    }
    let end = Instant::now() + Duration::from_millis(options.duration_ms.unwrap_or(FOREVER_MS));
    let mut lines = BufReader::new(stream).lines();
    let (mut begin, mut count) = (Instant::now(), 0);
    while let Ok(Ok(Some(line))) = timeout_at(end, lines.next_line()).await {
        match line.as_str() {
            "matched" => {
                eprintln!("[tap] Pattern '{}' successfully matched.", options.outputs_of);
            }
            "unknown" => {
                eprintln!(
                    "[tap] Pattern '{}' failed to match: will retry on configuration reload.",
                    options.outputs_of
                );
            }
            event => {
                if begin.elapsed() >= Duration::from_millis(options.interval) {
                    (begin, count) = (Instant::now(), 0);
                }
                count += 1;
                if count <= options.limit {
                    println!("{event}");
                }
            }
        }
    }
    ExitCode::SUCCESS
}
