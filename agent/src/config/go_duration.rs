//! Durations as Go writes them, like `5s`, `1m30s` and `500ms`.

use std::time::Duration;

/// The units, the longer names first.
const UNITS: [(&str, f64); 8] =
    [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];

/// Reads a duration above zero.
///
/// # Errors
///
/// When it is none: what is expected.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration `{text}`, expected one above zero, like 5s, 1m30s or 500ms");
    let mut rest = text.trim();
    rest = rest.strip_prefix('+').unwrap_or(rest);
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let (unit, length) = UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(invalid)?;
        seconds += number * length;
        rest = &rest[unit.len()..];
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero()).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_are_read() {
        for (text, millis) in [("5s", 5_000), ("1m30s", 90_000), ("500ms", 500), ("1.5h", 5_400_000), ("+2s", 2_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(parse(" .5s "), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn what_is_no_duration_above_zero_is_an_error() {
        for text in ["", "0", "0s", "-1s", "5", "s", "5x", "1.2.3s", "5 s", "1e3s", "9999999999999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
