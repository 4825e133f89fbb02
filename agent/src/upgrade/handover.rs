//! The moment in which the process becomes another program.
//!
//! It is one step without a wait: the last report is made, what it does not hold is written to a file, and the
//! process calls `exec`. The agent has one thread, so nothing can come between: no scrape, no start and no end
//! of a process. If `exec` fails, nothing has happened, and the agent continues.
//!
//! The lock of the data directory passes on as standard input, because that is the one open file that a
//! program can take over without unsafe code. Everything else is opened again.
//!
//! `exec` keeps the process id and the parent of all children. It is called on the main thread, so their signal
//! at the parent's death is not sent: the kernel sends it when the thread ends that started them.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::marker::Marker;
use crate::data_dir_lock::DataDirLock;
use crate::files;
use crate::logging::Log;
use crate::supervise::Pipeline;
use crate::supervise::handover::{HandedPipeline, NotHanded};
use crate::supervise::process::{orphans, pid_stat, rlimit};

/// In the data directory.
const FILE: &str = "handover.json";

/// The form of the file. A program that does not know it goes back to the one before.
const FORMAT: u32 = 1;

/// What standard input is when it was neither a terminal nor another path.
const NULL: &str = "/dev/null";

/// What one program hands to the next.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Handover {
    format: u32,
    /// The process. Another one is a new process, and has no children.
    pid: u32,
    start_ticks: u64,
    /// What standard input was.
    stdin: PathBuf,
    /// The limit of open files before the agent raised it.
    open_files: Option<u64>,
    /// The pipelines.
    pub(crate) pipelines: Vec<HandedPipeline>,
}

/// Asks the heartbeat to let the process become another program.
#[derive(Debug)]
pub(crate) struct Order {
    /// The program.
    pub(super) program: PathBuf,
    /// What the program finds about the upgrade.
    pub(super) marker: Marker,
    /// Where the agent learns that it is still the same program.
    pub(super) answer: oneshot::Sender<HandoverError>,
}

/// Why the process is still the same program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandoverError {
    /// A pipeline cannot be handed over.
    #[error(transparent)]
    Pipeline(#[from] NotHanded),
    /// Reports would be lost.
    #[error("the disk of data_dir does not take reports; they wait in memory and would be lost")]
    ReportsInMemory,
    /// Two agents could run.
    #[error("the data directory has no lock")]
    NoLock,
    /// The state cannot be written, or the program cannot be executed.
    #[error("{what}: {source}")]
    System {
        /// What failed.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Order {
    /// The process is still the same program.
    pub(crate) fn answer(self, error: HandoverError) {
        // Without a reader the order was dropped.
        let _ = self.answer.send(error);
    }
}

impl HandoverError {
    /// Whether another try in a moment may succeed.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, HandoverError::Pipeline(NotHanded::Busy(_)))
    }
}

/// Carries orders out.
pub(crate) struct Successor {
    /// Where the state is written.
    pub(crate) data_dir: PathBuf,
    /// The lock of that directory; none where it cannot be locked.
    pub(crate) lock: Option<Arc<DataDirLock>>,
    /// The agent's own log, whose last lines are written before.
    pub(crate) log: Log,
}

impl Successor {
    /// Becomes the program of the order. Called right after a report was made.
    ///
    /// # Errors
    /// Returns only when that is not possible.
    pub(crate) fn become_next(&self, pipelines: &[Arc<Pipeline>], order: &Order) -> Result<Infallible, HandoverError> {
        let lock = self.lock.as_ref().ok_or(HandoverError::NoLock)?;
        let handed = pipelines.iter().map(|pipeline| pipeline.hand_over(pipeline.tracker_to_hand_over()));
        let handed = handed.collect::<Result<Vec<_>, _>>()?;
        let kept: BTreeSet<u32> = handed.iter().filter_map(HandedPipeline::pid).collect();
        let system = |what: &str| {
            let what = what.to_owned();
            move |source| HandoverError::System { what, source }
        };
        let lock = lock.share().map_err(system("cannot pass the lock of data_dir on"))?;
        let stdin = stdin_path();
        self.write(handed, &stdin).map_err(system("cannot write handover.json in data_dir"))?;
        order.marker.write(&self.data_dir).map_err(system("cannot write upgrade.json in data_dir"))?;
        tracing::info!(program = %order.program.display(), from = order.marker.from, to = order.marker.to, processes = kept.len(),
            "the agent becomes another program; its pipelines run on");
        self.log.flush();
        orphans::kill_all_except(&kept);
        let error = exec(&order.program, Some(lock));
        restore_stdin(&stdin);
        Handover::remove(&self.data_dir);
        Err(HandoverError::System { what: format!("cannot execute {}", order.program.display()), source: error })
    }

    fn write(&self, pipelines: Vec<HandedPipeline>, stdin: &Path) -> io::Result<()> {
        let (pid, start_ticks) = this_process().ok_or(io::ErrorKind::Unsupported)?;
        let handover = Handover {
            format: FORMAT,
            pid,
            start_ticks,
            stdin: stdin.to_owned(),
            open_files: rlimit::original(),
            pipelines,
        };
        files::write(&self.data_dir.join(FILE), &serde_json::to_vec(&handover)?)
    }
}

impl Handover {
    /// What the program before this one handed over; none when this process is a new one.
    ///
    /// # Errors
    /// When it is there, and this program cannot read it: its children would be left alone.
    pub(super) fn read(data_dir: &Path) -> Result<Option<Self>, String> {
        /// What every version can read.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            pid: u32,
            start_ticks: u64,
        }
        let Ok(json) = std::fs::read(data_dir.join(FILE)) else { return Ok(None) };
        // Half a file is of a program that ended while it wrote: its children have ended with it.
        let Ok(Head { format, pid, start_ticks }) = serde_json::from_slice(&json) else { return Ok(None) };
        if this_process() != Some((pid, start_ticks)) {
            return Ok(None);
        }
        if format != FORMAT {
            return Err(format!("handover.json has format {format}, this version reads {FORMAT}"));
        }
        serde_json::from_slice(&json).map(Some).map_err(|error| format!("handover.json cannot be read: {error}"))
    }

    /// Takes over what belongs to the process: its lock, its standard input, and its limits.
    pub(crate) fn take_process(&self, data_dir: &Path) -> Option<DataDirLock> {
        let lock = DataDirLock::inherit(data_dir);
        restore_stdin(&self.stdin);
        if let Some(soft) = self.open_files {
            rlimit::set_original(soft);
        }
        lock
    }

    /// Removes the file: what it says is true for a moment only, and it may hold secrets of pipelines.
    pub(crate) fn remove(data_dir: &Path) {
        drop(std::fs::remove_file(data_dir.join(FILE)));
    }
}

/// Executes a program with the arguments of this one. Returns only if that fails.
pub(super) fn exec(program: &Path, stdin: Option<File>) -> io::Error {
    let mut args = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command.args(args);
    if let Some(stdin) = stdin {
        command.stdin(stdin);
    }
    command.exec()
}

/// Id and start of this process, which `exec` does not change.
fn this_process() -> Option<(u32, u64)> {
    let pid = std::process::id();
    Some((pid, pid_stat::read(pid)?.start_ticks))
}

/// What standard input is, if it can be opened again.
fn stdin_path() -> PathBuf {
    let path = std::fs::read_link("/proc/self/fd/0").ok().filter(|path| path.is_absolute());
    path.unwrap_or_else(|| PathBuf::from(NULL))
}

/// The agent does not read it, but a terminal there decides what SIGHUP means.
fn restore_stdin(path: &Path) {
    let opened = File::open(path).or_else(|_| File::open(NULL));
    let restored = opened.and_then(|file| nix::unistd::dup2_stdin(file).map_err(io::Error::from));
    if let Err(error) = restored {
        tracing::warn!(%error, "cannot restore standard input");
    }
}
