//! The wall clock, read in this one place.

use systole_shared::UnixMillis;

/// Microseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub fn now_micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> UnixMillis {
    now_micros() / 1_000
}
