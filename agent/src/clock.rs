//! The wall clock, in one place.
//!
//! Logic takes `now` as a value, and intervals are measured with tokio's monotonic clock; only outer
//! layers use this module.

use systole_shared::UnixMillis;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "this is the process's clock module")]
pub(crate) fn unix_millis() -> UnixMillis {
    chrono::Utc::now().timestamp_millis()
}

/// A time as people and programs read it, to the second; none for one that no calendar has.
pub(crate) fn rfc3339(at: UnixMillis) -> Option<String> {
    let time = chrono::DateTime::from_timestamp_millis(at)?;
    Some(time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
}
