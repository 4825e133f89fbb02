//! Parses values of settings, and formats them.

use std::path::PathBuf;
use std::time::Duration;

use super::Database;
use crate::config::PostgresUrl;

/// Reads the address of a database.
pub(crate) fn parse_database(url: &str) -> Result<Database, String> {
    if PostgresUrl::is_meant(url) {
        return url.parse().map(|url| Database::Postgres(Box::new(url)));
    }
    match url.strip_prefix("sqlite://") {
        Some("") => Err("the path is missing, expected e.g. sqlite:///path/to/collector.db".to_owned()),
        Some(path) if path.contains(":memory:") || path.starts_with("file:") => {
            Err("the database must be a file that several connections can open".to_owned())
        }
        Some(path) => Ok(Database::Sqlite(PathBuf::from(path))),
        None => Err("expected a sqlite:// or postgres:// address".to_owned()),
    }
}

pub(super) fn parse_ring_budget(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "expected a number of bytes".to_owned())?;
    if bytes < 1 << 20 { Err("must be at least 1 MiB (1048576)".to_owned()) } else { Ok(bytes) }
}

pub(super) fn parse_low_disk(text: &str) -> Result<Option<u64>, String> {
    match text {
        "auto" => Ok(None),
        text => text.parse().map(Some).map_err(|_| "expected auto or a number of bytes".to_owned()),
    }
}

pub(super) fn write_low_disk(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "auto".to_owned(), |bytes| bytes.to_string())
}

pub(super) fn parse_duration_in(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let value = parse_duration(text).ok_or_else(|| "expected a duration, e.g. 500ms, 5s, 10m, 24h or 7d".to_owned())?;
    if value < least || value > most {
        return Err(format!("must be between {least:?} and {most:?}"));
    }
    Ok(value)
}

/// Formats a duration in its largest whole unit.
pub(super) fn write_duration(value: Duration) -> String {
    let ms = value.as_millis();
    let (unit, unit_ms) = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
        .into_iter()
        .find(|(_, unit_ms)| ms > 0 && ms.is_multiple_of(*unit_ms))
        .unwrap_or(("ms", 1));
    format!("{}{unit}", ms / unit_ms)
}

/// `500ms`, `5s`, `10m`, `24h`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms: u64 = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

pub(super) fn parse_stream_count<T: std::str::FromStr + Default + PartialEq>(text: &str) -> Result<T, String> {
    let count = text.parse().map_err(|_| "expected a number of streams".to_owned())?;
    if count == T::default() { Err("must be at least 1".to_owned()) } else { Ok(count) }
}

/// Origins as browsers send them: scheme, host, and port when it is not the scheme's own.
pub(super) fn parse_origins(text: &str) -> Result<Vec<String>, String> {
    let origins: Vec<&str> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
    let is_origin = |origin: &str| {
        origin == "*"
            || ["http://", "https://"].iter().any(|scheme| {
                origin.strip_prefix(scheme).is_some_and(|host| !host.is_empty() && !host.contains(['/', ';', ' ']))
            })
    };
    match origins.iter().find(|origin| !is_origin(origin)) {
        Some(origin) => Err(format!("invalid origin {origin:?}, expected e.g. https://dashboard.example")),
        None => Ok(origins.into_iter().map(str::to_owned).collect()),
    }
}

/// `http://host:port` or `https://host:port`, without a path.
pub(super) fn parse_advertise_url(text: &str) -> Result<Option<String>, String> {
    let expected =
        || "expected the address of this collector for others, e.g. https://collector-1.example:8080".to_owned();
    let host = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme)).ok_or_else(expected)?;
    let host = host.strip_suffix('/').unwrap_or(host);
    if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
        return Err(expected());
    }
    Ok(Some(text.trim_end_matches('/').to_owned()))
}
