//! Where a process writes its output: into files that outlive the agent, or, while the agent's disk
//! does not take any, into pipes.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::LogStream;
use tokio::process::Child;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pipe::read_pipe;
use crate::logs::Writers;
use crate::supervise::Pipeline;

/// How long the disk may take before a start, or for the last lines of an end.
const DISK_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two checks whether a process still writes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The output of one run of a process.
pub(in crate::supervise) struct Output {
    pipeline: Arc<Pipeline>,
    way: Way,
}

/// Which way the output goes.
enum Way {
    /// The pipeline's files.
    Files,
    /// Pipes, and their readers.
    Pipes { readers: TaskTracker, give_up: CancellationToken },
}

impl Output {
    /// Makes ready for a process, with its standard output and error.
    pub(in crate::supervise) async fn prepare(pipeline: &Arc<Pipeline>) -> (Self, Stdio, Stdio) {
        let files = timeout(DISK_TIMEOUT, pipeline.logs().begin_output()).await;
        let error = match files {
            Ok(Ok(Writers { stdout, stderr })) => {
                pipeline.logs().set_through_pipes(false);
                let output = Output { pipeline: pipeline.clone(), way: Way::Files };
                return (output, stdout.into(), stderr.into());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the disk does not answer".to_owned(),
        };
        if pipeline.logs().set_through_pipes(true) {
            tracing::warn!(pipeline = %pipeline.id(), error,
                "cannot write output to data_dir; it goes through pipes until the next start: unreported lines are lost if the agent is killed");
        }
        let way = Way::Pipes { readers: TaskTracker::new(), give_up: CancellationToken::new() };
        (Output { pipeline: pipeline.clone(), way }, Stdio::piped(), Stdio::piped())
    }

    /// Continues the files of a process that runs already.
    pub(in crate::supervise) async fn resume(pipeline: &Arc<Pipeline>) -> Self {
        let _ = timeout(DISK_TIMEOUT, pipeline.logs().resume_output()).await;
        Output { pipeline: pipeline.clone(), way: Way::Files }
    }

    /// Begins to read what the process writes.
    pub(in crate::supervise) fn follow(&self, child: &mut Child) {
        let Way::Pipes { readers, give_up } = &self.way else { return };
        if let Some(pipe) = child.stdout.take() {
            readers.spawn(read_pipe(self.pipeline.clone(), pipe, LogStream::Stdout, give_up.clone()));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.spawn(read_pipe(self.pipeline.clone(), pipe, LogStream::Stderr, give_up.clone()));
        }
        readers.close();
    }

    /// Waits until no process writes and every line is read.
    pub(in crate::supervise) async fn ended(&self) {
        match &self.way {
            Way::Pipes { readers, .. } => readers.wait().await,
            Way::Files => {
                while !self.read_all().await {
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    /// Takes what was written so far: something that outlived the process may still write. What comes
    /// through a pipe then is lost, what comes into a file is read later.
    pub(in crate::supervise) async fn give_up(&self) {
        match &self.way {
            Way::Pipes { readers, give_up } => {
                give_up.cancel();
                readers.wait().await;
            }
            Way::Files => drop(timeout(DISK_TIMEOUT, self.read_all()).await),
        }
    }

    async fn read_all(&self) -> bool {
        let rule = self.pipeline.config().multiline.clone();
        self.pipeline.logs().finish_output(rule).await
    }
}
