//! What words and numbers mean as levels.

use crate::LogLevel;

/// Names that the wire does not know, of programs: log15, zerolog, .NET, `java.util.logging`, syslog, …
const MORE_NAMES: [(&str, LogLevel); 20] = [
    ("trc", LogLevel::Trace),
    ("trce", LogLevel::Trace),
    ("finest", LogLevel::Trace),
    ("finer", LogLevel::Trace),
    ("verbose", LogLevel::Debug),
    ("dbug", LogLevel::Debug),
    ("fine", LogLevel::Debug),
    ("config", LogLevel::Debug),
    ("inf", LogLevel::Info),
    ("note", LogLevel::Info),
    ("system", LogLevel::Info),
    ("wrn", LogLevel::Warn),
    ("eror", LogLevel::Error),
    ("erro", LogLevel::Error),
    ("severe", LogLevel::Error),
    ("alert", LogLevel::Error),
    ("emergency", LogLevel::Error),
    ("ftl", LogLevel::Error),
    ("pnc", LogLevel::Error),
    ("fail", LogLevel::Error),
];

/// Names that are words of the language, too: they count within marks only, as in `[Note]`.
const AMBIGUOUS: [&str; 6] = ["note", "system", "fine", "config", "fail", "alert"];

/// Reads a name in any case. Also with a number, as in `DEBUG2`.
pub(super) fn of_name(name: &str) -> Option<LogLevel> {
    let more =
        |name: &str| MORE_NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, level)| *level);
    let known = |name: &str| LogLevel::parse(name).or_else(|| more(name));
    known(name).or_else(|| {
        let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
        known(stem).filter(|level| *level <= LogLevel::Debug)
    })
}

/// Whether a name may be a word of the language.
pub(super) fn is_ambiguous(name: &str) -> bool {
    AMBIGUOUS.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// Reads the first letter of a name.
pub(super) fn of_letter(letter: char) -> Option<LogLevel> {
    match letter {
        'T' => Some(LogLevel::Trace),
        'D' => Some(LogLevel::Debug),
        'I' | 'N' | 'A' => Some(LogLevel::Info),
        'W' => Some(LogLevel::Warn),
        'E' | 'F' | 'C' => Some(LogLevel::Error),
        _ => None,
    }
}

/// Reads a severity as syslog counts: 0 is an emergency, 7 is for developers.
pub(super) fn of_syslog(severity: u64) -> Option<LogLevel> {
    match severity {
        0..=3 => Some(LogLevel::Error),
        4 => Some(LogLevel::Warn),
        5 | 6 => Some(LogLevel::Info),
        7 => Some(LogLevel::Debug),
        _ => None,
    }
}

/// Reads a number as GELF (syslog), bunyan and pino (tens) count.
pub(super) fn of_number(number: u64) -> Option<LogLevel> {
    match number {
        0..=7 => of_syslog(number),
        10..20 => Some(LogLevel::Trace),
        20..30 => Some(LogLevel::Debug),
        30..40 => Some(LogLevel::Info),
        40..50 => Some(LogLevel::Warn),
        50..=60 => Some(LogLevel::Error),
        _ => None,
    }
}

/// Reads OpenTelemetry's severity number.
pub(super) fn of_otel(number: u64) -> Option<LogLevel> {
    match number {
        1..=4 => Some(LogLevel::Trace),
        5..=8 => Some(LogLevel::Debug),
        9..=12 => Some(LogLevel::Info),
        13..=16 => Some(LogLevel::Warn),
        17..=24 => Some(LogLevel::Error),
        _ => None,
    }
}
