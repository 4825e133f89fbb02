//! The agent's own log, on standard error.
//!
//! A thread of its own writes it: whoever reads standard error may be slow or stuck, and a full pipe
//! must not hold up the heartbeat. What does not fit meanwhile is dropped, and how much that was is
//! written as soon as there is room.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::clock;
use crate::config::{LogConfig, LogFormat};

/// Lines that wait to be written: minutes of a busy agent, and less than a megabyte.
const MAX_WAITING: usize = 2_048;

/// How long the last lines may take to be written when the agent ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Begins to log. A second call has no effect.
pub(crate) fn begin(config: LogConfig) -> io::Result<Log> {
    let log = Log::to(io::stderr(), config.format)?;
    let builder = tracing_subscriber::fmt().with_max_level(config.level).with_writer(log.clone()).with_target(false);
    let begun = match config.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    drop(begun);
    Ok(log)
}

/// Lines on their way to the writing thread.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    dropped: u64,
    is_writing: bool,
}

impl Log {
    fn to(sink: impl Write + Send + 'static, format: LogFormat) -> io::Result<Log> {
        let log = Log(Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new() }));
        let shared = log.0.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_to(sink, format))?;
        Ok(log)
    }

    /// Waits until everything is written, but not long.
    pub(crate) fn flush(&self) {
        let waits = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        drop(self.0.changed.wait_timeout_while(self.0.waiting(), FLUSH_TIMEOUT, waits));
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // What is behind it is whole after every statement.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut sink: impl Write, format: LogFormat) {
        loop {
            let (line, dropped) = self.next();
            // There is nowhere to tell of a failure.
            let _ = sink.write_all(&line);
            if dropped > 0 {
                let _ = writeln!(sink, "{}", notice(dropped, format));
            }
        }
    }

    fn next(&self) -> (Vec<u8>, u64) {
        let mut waiting = self.waiting();
        waiting.is_writing = false;
        self.changed.notify_all();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.is_writing = true;
                return (line, std::mem::take(&mut waiting.dropped));
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What stands in the log for lines that were dropped, in the log's own format.
fn notice(dropped: u64, format: LogFormat) -> String {
    let message = "lines of this log were dropped: nobody read them in time";
    let at = chrono::DateTime::from_timestamp_millis(clock::unix_millis()).unwrap_or_default();
    let at = at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    match format {
        LogFormat::Text => format!("{at}  WARN {message} dropped={dropped}"),
        LogFormat::Json => {
            serde_json::json!({ "timestamp": at, "level": "WARN", "message": message, "dropped": dropped }).to_string()
        }
    }
}

impl Write for Log {
    /// Takes one whole line, as the formatter gives it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.waiting();
        if waiting.lines.len() < MAX_WAITING {
            waiting.lines.push_back(line.to_vec());
            self.0.changed.notify_all();
        } else {
            waiting.dropped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Log;

    fn make_writer(&'w self) -> Log {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    /// What is read of a log that was flooded while nobody read.
    fn flooded(format: LogFormat, line: &str) -> impl Iterator<Item = String> {
        let (reader, writer) = io::pipe().unwrap();
        let mut log = Log::to(writer, format).unwrap();
        for _ in 0..2 * MAX_WAITING {
            log.write_all(line.as_bytes()).unwrap();
        }
        Log::flush(&log);
        BufReader::new(reader).lines().map(Result::unwrap).take(2 * MAX_WAITING)
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up_and_the_loss_is_told() {
        let line = format!("{}\n", "x".repeat(1_000));
        let told = flooded(LogFormat::Text, &line).find(|line| line.contains("lines of this log were dropped"));
        assert!(told.is_some());
    }

    #[test]
    fn a_log_of_json_tells_of_its_loss_in_json() {
        let line = format!("{{\"message\":\"{}\"}}\n", "x".repeat(1_000));
        let told = flooded(LogFormat::Json, &line)
            .map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap())
            .find(|line| line["dropped"].as_u64().is_some_and(|dropped| dropped > 0));
        let told = told.unwrap();
        assert_eq!(told["level"], "WARN");
        assert!(chrono::DateTime::parse_from_rfc3339(told["timestamp"].as_str().unwrap()).is_ok());
    }

    #[test]
    fn a_flush_returns_when_everything_is_written() {
        let (reader, writer) = io::pipe().unwrap();
        let mut log = Log::to(writer, LogFormat::Text).unwrap();
        (0..100).for_each(|number| writeln!(log, "{number}").unwrap());
        Log::flush(&log);
        assert!(log.0.waiting().lines.is_empty());
        // `writeln!` hands over a number and its line end apart.
        let lines: Vec<_> = BufReader::new(reader).lines().take(100).map(Result::unwrap).collect();
        assert_eq!(lines[99], "99");
    }
}
