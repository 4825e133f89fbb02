//! The one place where this process reads the time of day.
//!
//! Logic takes `now` as an argument, and its callers read the time here. Spans of time are measured with
//! `tokio::time::Instant`, which a test can pause.

use systole_shared::UnixMillis;

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> UnixMillis {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    chrono::Utc::now().timestamp_millis()
}

/// A time as people read it, in UTC: `2026-11-20T18:31:05Z`.
pub(crate) fn to_rfc3339(at: UnixMillis) -> String {
    chrono::DateTime::from_timestamp_millis(at)
        .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        .unwrap_or_else(|| format!("{at} ms"))
}
