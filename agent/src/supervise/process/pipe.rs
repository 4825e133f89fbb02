//! Reads what a process writes into a pipe, until the pipe ends or nobody wants to wait for that any
//! longer.

use std::sync::Arc;

use systole_shared::LogStream;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::logs::Line;
use crate::logs::lines::LineSplitter;
use crate::logs::multiline::{Entry, Joiner, MAX_WAIT};
use crate::supervise::Pipeline;

/// One read from a pipe: what a Linux pipe holds is 64 KiB, an eighth of it keeps many agents' pipes small.
const READ_BYTES: usize = 8 * 1024;

/// Reads a pipe into the pipeline's lines.
pub(super) async fn read_pipe(
    pipeline: Arc<Pipeline>,
    mut pipe: impl AsyncRead + Unpin,
    stream: LogStream,
    give_up: CancellationToken,
) {
    let mut splitter = LineSplitter::default();
    let mut joiner = Joiner::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = tokio::select! {
            biased;
            read = pipe.read(&mut buffer) => read,
            () = give_up.cancelled() => break,
            () = sleep(MAX_WAIT), if joiner.is_waiting() => {
                push(&pipeline, stream, joiner.flush());
                continue;
            }
        };
        let mut bytes = match read {
            Ok(0) | Err(_) => break,
            Ok(length) => &buffer[..length],
        };
        let (config, at, now) = (pipeline.config(), clock::unix_millis(), Instant::now());
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let (used, line) = splitter.take(bytes);
            bytes = &bytes[used..];
            let line = line.map(|text| Entry { text, at, end: 0, check: Default::default() });
            entries.extend(line.into_iter().flat_map(|line| joiner.push(config.multiline.as_ref(), line, now)));
        }
        push(&pipeline, stream, entries);
    }
    let (config, at, now) = (pipeline.config(), clock::unix_millis(), Instant::now());
    let rest = splitter.finish().map(|text| Entry { text, at, end: 0, check: Default::default() });
    let rest: Vec<Entry> =
        rest.into_iter().flat_map(|line| joiner.push(config.multiline.as_ref(), line, now)).collect();
    push(&pipeline, stream, rest.into_iter().chain(joiner.flush()));
}

fn push(pipeline: &Pipeline, stream: LogStream, entries: impl IntoIterator<Item = Entry>) {
    let now = Instant::now();
    pipeline.with_logs(|logs| {
        for Entry { text, at, .. } in entries {
            logs.push(Line { at, stream, text: text.text, level: text.level }, now);
        }
    });
}
