//! Reads what a process writes, until the pipe ends or nobody wants to wait for that any longer.

use std::sync::Arc;

use systole_shared::LogStream;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Pipeline;
use crate::logs::lines::LineSplitter;

/// One read from a pipe: what a Linux pipe holds is 64 KiB, an eighth of it keeps many agents' pipes small.
const READ_BYTES: usize = 8 * 1024;

/// The readers of one process.
pub(crate) struct Output {
    readers: TaskTracker,
    give_up: CancellationToken,
}

impl Output {
    /// Begins to read both pipes into the pipeline's lines.
    pub(crate) fn follow(
        pipeline: &Arc<Pipeline>,
        stdout: Option<tokio::process::ChildStdout>,
        stderr: Option<tokio::process::ChildStderr>,
    ) -> Self {
        let output = Output { readers: TaskTracker::new(), give_up: CancellationToken::new() };
        if let Some(pipe) = stdout {
            output.readers.spawn(read(pipeline.clone(), pipe, LogStream::Stdout, output.give_up.clone()));
        }
        if let Some(pipe) = stderr {
            output.readers.spawn(read(pipeline.clone(), pipe, LogStream::Stderr, output.give_up.clone()));
        }
        output.readers.close();
        output
    }

    /// Waits until both pipes have ended and every line is taken.
    pub(crate) async fn ended(&self) {
        self.readers.wait().await;
    }

    /// Takes what was read so far as the end: something that outlived the process holds a pipe open.
    pub(crate) async fn give_up(&self) {
        self.give_up.cancel();
        self.readers.wait().await;
    }
}

async fn read(
    pipeline: Arc<Pipeline>,
    mut pipe: impl AsyncRead + Unpin,
    stream: LogStream,
    give_up: CancellationToken,
) {
    let mut splitter = LineSplitter::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = tokio::select! {
            biased;
            read = pipe.read(&mut buffer) => read,
            () = give_up.cancelled() => break,
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(length) => pipeline.take_lines(stream, |emit| splitter.push(&buffer[..length], emit)),
        }
    }
    pipeline.take_lines(stream, |emit| splitter.finish().into_iter().for_each(emit));
}
