//! Log lines as Vector writes them: text on standard error, or JSON on standard output.

use std::io::Write;

use super::args::LogFormat;
use crate::clock;

/// Writes lines and numbers those that tests count.
#[derive(Debug)]
pub struct Logger {
    format: LogFormat,
    life: String,
    /// Numbered lines so far.
    pub lines: u64,
}

impl Logger {
    /// A log of this life of the process.
    pub fn new(format: LogFormat, life: &str) -> Self {
        Logger { format, life: life.to_owned(), lines: 0 }
    }

    /// A line with a number, the first is 1: `… line=000001 life=1a2b3c4d`.
    pub fn numbered(&mut self, events: u64) {
        self.lines += 1;
        let text = format!("Collected events. line={:06} life={} events={events}", self.lines, self.life);
        self.line("INFO", "vector::sinks::blackhole::sink", &text);
    }

    /// A line without a number.
    pub fn line(&self, level: &str, target: &str, message: &str) {
        let at = chrono::DateTime::from_timestamp_micros(clock::now_micros()).unwrap_or_default();
        let at = at.format("%Y-%m-%dT%H:%M:%S%.6fZ");
        let line = match self.format {
            LogFormat::Text => format!("{at} {level:>5} {target}: {message}\n"),
            LogFormat::Json => {
                let at = at.to_string();
                format!(
                    "{}\n",
                    serde_json::json!({"timestamp": at, "level": level, "message": message, "target": target})
                )
            }
        };
        self.raw(line.as_bytes());
    }

    /// Writes bytes unchanged. They are lost when the reader has gone, as with any program.
    pub fn raw(&self, bytes: &[u8]) {
        let _ = match self.format {
            LogFormat::Text => std::io::stderr().write_all(bytes),
            LogFormat::Json => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
        };
    }

    /// Vector's first lines.
    pub fn started(&self, configs: &str) {
        self.line("INFO", "vector::app", "Log level is enabled. level=\"info\"");
        self.line("INFO", "vector::app", &format!("Loading configs. paths=[{configs}]"));
        self.line("INFO", "vector::topology::running", "Running healthchecks.");
        self.line("INFO", "vector::topology::builder", "Healthcheck passed.");
        let text = "Vector has started. debug=\"false\" version=\"0.58.0\" arch=\"x86_64\" revision=\"stub\"";
        self.line("INFO", "vector", text);
    }

    /// Vector's lines at SIGTERM.
    pub fn stopping(&self) {
        self.line("INFO", "vector::signal", "Signal received. signal=\"SIGTERM\"");
        self.line("INFO", "vector", "Vector is stopping.");
    }

    /// Vector's last lines.
    pub fn stopped(&self) {
        self.line("INFO", "vector", "Vector has stopped.");
        self.line("INFO", "vector::app", "All components shut down gracefully.");
    }

    /// Writes the last line of a crashing process.
    pub fn last_words(&mut self) {
        let text = format!("Fatal: the stub crashes on request. life={}", self.life);
        self.line("ERROR", "vector::topology", &text);
        self.raw(format!("thread 'main' panicked at src/stub.rs:1:1:\nlast words life={}\n", self.life).as_bytes());
    }

    /// Bytes that are not UTF-8, then a character in two writes.
    pub fn torn(&self) {
        self.raw(b"torn \xff\xfe\xc3\x28 bytes\n");
        let whole = "whole \u{1F980} crab\n".as_bytes();
        let (first, second) = whole.split_at(8);
        self.raw(first);
        self.raw(second);
    }
}
