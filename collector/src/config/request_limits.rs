//! What one token or one address may ask for, and how many lines a node may log. 0 is no limit everywhere.

use std::fmt;

use super::lookup::Lookup;

/// Rates of requests that cost the database something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestLimits {
    /// `max_enrolments_per_minute`: with one token, a third of them at once; from one address four times as
    /// many. Default 3000: a fleet of 10,000 agents enrols in three minutes, and a flood takes about a
    /// hundredth of the database's time.
    pub enrolments_per_minute: u32,
    /// `max_sessions_per_minute`: the same for sessions of browsers. Default 300.
    pub sessions_per_minute: u32,
    /// `max_unknown_tokens_per_minute`: requests of one address with a token that must be looked up in the
    /// database. Default 600.
    pub unknown_tokens_per_minute: u32,
}

/// Log lines that are taken of one node on average; ten minutes' worth may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogLimits {
    /// `max_log_lines_per_second`: default 1000, five pipelines that an agent reports all it may of.
    pub lines_per_second: u32,
    /// `max_log_bytes_per_second`: default 256 KiB.
    pub bytes_per_second: u32,
    /// `retention_logs_bytes`: bytes that lines of all nodes take, about; of more the oldest are removed.
    /// Default 0.
    pub kept_bytes: u64,
}

/// Queries of one token, its sessions included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueryLimits {
    /// `max_queries_per_token`: that run at a time; others wait. Default 2.
    pub per_token: u32,
}

impl RequestLimits {
    /// No limits.
    #[cfg(test)]
    pub(crate) const NONE: RequestLimits =
        RequestLimits { enrolments_per_minute: 0, sessions_per_minute: 0, unknown_tokens_per_minute: 0 };

    pub(super) fn read(lookup: &mut Lookup<'_>) -> Self {
        RequestLimits {
            enrolments_per_minute: lookup.get("max_enrolments_per_minute", 3_000, parse_limit),
            sessions_per_minute: lookup.get("max_sessions_per_minute", 300, parse_limit),
            unknown_tokens_per_minute: lookup.get("max_unknown_tokens_per_minute", 600, parse_limit),
        }
    }

    pub(super) fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "max_enrolments_per_minute = {}", self.enrolments_per_minute)?;
        writeln!(f, "max_sessions_per_minute = {}", self.sessions_per_minute)?;
        writeln!(f, "max_unknown_tokens_per_minute = {}", self.unknown_tokens_per_minute)
    }
}

impl LogLimits {
    /// No limits.
    pub(crate) const NONE: LogLimits = LogLimits { lines_per_second: 0, bytes_per_second: 0, kept_bytes: 0 };

    pub(super) fn read(lookup: &mut Lookup<'_>) -> Self {
        LogLimits {
            lines_per_second: lookup.get("max_log_lines_per_second", 1_000, parse_limit),
            bytes_per_second: lookup.get("max_log_bytes_per_second", 256 * 1_024, parse_limit),
            kept_bytes: lookup.get("retention_logs_bytes", 0, parse_bytes),
        }
    }

    pub(super) fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "max_log_lines_per_second = {}", self.lines_per_second)?;
        writeln!(f, "max_log_bytes_per_second = {}", self.bytes_per_second)?;
        writeln!(f, "retention_logs_bytes = {}", self.kept_bytes)
    }
}

impl QueryLimits {
    pub(super) fn read(lookup: &mut Lookup<'_>) -> Self {
        QueryLimits { per_token: lookup.get("max_queries_per_token", 2, parse_limit) }
    }

    pub(super) fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "max_queries_per_token = {}", self.per_token)
    }
}

fn parse_limit(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "is no number (0 is no limit)".to_owned())
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "is no number of bytes (0 is no bound)".to_owned())
}
