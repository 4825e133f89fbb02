//! Single settings: reads each from the first place that has it, and validates it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use reqwest::Url;
use systole_shared::limits::{MAX_LABELS, MAX_SHORT_TEXT_BYTES};

use super::errors::ConfigErrors;
use super::{DEFAULT_METRICS_LISTEN, LogFormat};
use crate::model::node::machine::MachineIdSource;
use crate::model::spool::Bounds;

/// A value and the place it came from, as errors name it.
pub(crate) struct Found {
    /// The value as it was written.
    pub(crate) value: String,
    /// Such as `--url`, `SYSTOLE_URL` or `url`.
    pub(crate) place: String,
}

/// Where variables come from: the environment, or a map in tests.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Takes the first of flag, variables (in order) and file. Empty variables count as absent.
pub(crate) fn first(
    flag: (&str, Option<&str>),
    variables: &[&str],
    env: Lookup<'_>,
    file: (&str, Option<String>),
) -> Option<Found> {
    if let (name, Some(value)) = flag {
        return Some(Found { value: value.to_owned(), place: name.to_owned() });
    }
    for name in variables {
        if let Some(value) = env(name).filter(|value| !value.trim().is_empty()) {
            return Some(Found { value, place: (*name).to_owned() });
        }
    }
    file.1.map(|value| Found { value, place: file.0.to_owned() })
}

/// Reads an http or https address that requests may go to.
pub(crate) fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| format!("invalid URL ({error}), expected http://HOST:PORT"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("must begin with http:// or https:// and contain a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user or password: URLs are written to logs; use a token".to_owned());
    }
    Ok(url)
}

/// Reads the collector's address: the prefix of every request.
pub(crate) fn collector_url(text: &str) -> Result<Url, String> {
    let mut url = http_url(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query (?) or a fragment (#)".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The collector's database in its data directory.
const COLLECTOR_DATABASE: &str = "collector.db";

/// Notes a data directory that cannot be the agent's.
pub(crate) fn check_data_dir(path: &Path, errors: &mut ConfigErrors) {
    if path.exists() && !path.is_dir() {
        errors.add_of_host("data_dir", format!("{} is a file, expected a directory", path.display()));
    } else if path.join(COLLECTOR_DATABASE).exists() {
        errors.add_of_host(
            "data_dir",
            format!("{} is the data directory of systole-collector; choose another one", path.display()),
        );
    }
}

/// Reads the node's name.
pub(crate) fn node_name(found: Option<Found>, errors: &mut ConfigErrors) -> Option<String> {
    let Found { value, place } = found?;
    let name = value.trim();
    if name.len() > MAX_SHORT_TEXT_BYTES || name.contains(char::is_control) {
        errors.add(place, format!("must be at most {MAX_SHORT_TEXT_BYTES} bytes without control characters"));
        return None;
    }
    Some(name.to_owned())
}

/// Reads where the machine id is from.
pub(crate) fn machine_id_from(found: Option<Found>, errors: &mut ConfigErrors) -> MachineIdSource {
    let Some(Found { value, place }) = found else { return MachineIdSource::default() };
    let known = MachineIdSource::ALL.into_iter().find(|source| source.as_str() == value.trim());
    known.unwrap_or_else(|| {
        let names = MachineIdSource::ALL.map(MachineIdSource::as_str).join(", ");
        errors.add(place, format!("invalid source {value:?}, expected one of {names}"));
        MachineIdSource::default()
    })
}

/// Reads a level of the agent's own log.
pub(crate) fn log_level(text: &str) -> Result<tracing::Level, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "trace" => Ok(tracing::Level::TRACE),
        "debug" => Ok(tracing::Level::DEBUG),
        "info" => Ok(tracing::Level::INFO),
        "warn" | "warning" => Ok(tracing::Level::WARN),
        "error" => Ok(tracing::Level::ERROR),
        other => Err(format!("invalid level `{other}`, expected one of error, warn, info, debug, trace")),
    }
}

/// Reads a format of the agent's own log.
pub(crate) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("invalid format `{other}`, expected text or json")),
    }
}

/// The least spool: some reports of a node with many pipelines.
const MIN_SPOOL_BYTES: u64 = 64 * 1024;

/// Reads how much may wait for the collector.
pub(crate) fn spool(found: Option<Found>, errors: &mut ConfigErrors) -> Bounds {
    let mut bounds = Bounds::default();
    if let Some(found) = found {
        match found.value.trim().parse() {
            Ok(bytes) if bytes >= MIN_SPOOL_BYTES => bounds.bytes = bytes,
            _ => errors.add(
                found.place,
                format!("invalid size `{}`, expected a number of bytes, at least {MIN_SPOOL_BYTES}", found.value),
            ),
        }
    }
    bounds
}

/// Reads where the agent's own metrics are served. The VectorFlow agent's variable is a port of the
/// loopback, 0 for off.
pub(crate) fn metrics_listen(found: Option<Found>, errors: &mut ConfigErrors) -> Option<SocketAddr> {
    let Some(Found { value, place }) = found else { return Some(DEFAULT_METRICS_LISTEN) };
    let text = value.trim();
    if place == "VF_METRICS_PORT" {
        return match text.parse() {
            Ok(0) => None,
            Ok(port) => Some(SocketAddr::new(DEFAULT_METRICS_LISTEN.ip(), port)),
            Err(_) => {
                errors.add(place, format!("invalid port `{text}`, expected 0 to 65535 (0 for off)"));
                None
            }
        };
    }
    if text == "off" {
        return None;
    }
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            errors.add(
                place,
                format!("invalid address `{text}`, expected ADDR:PORT, like {DEFAULT_METRICS_LISTEN}, or off"),
            );
            None
        }
    }
}

/// Reads `k=v,k2=v2`. Values may be empty or hold `=`.
///
/// `strict` entries without `=` or key are errors; otherwise they are skipped, as the
/// VectorFlow agent does with its own variables.
pub(crate) fn labels_of(text: &str, strict: Option<(&str, &mut ConfigErrors)>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut broken = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match entry.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                labels.insert(key.trim().to_owned(), value.trim().to_owned());
            }
            _ => broken.push(entry),
        }
    }
    if let (Some((place, errors)), false) = (strict, broken.is_empty()) {
        errors.add(place, format!("invalid label `{}`, expected key=value,key2=value2", broken.join(",")));
    }
    labels
}

/// Notes labels that the protocol would cut or leave out.
pub(crate) fn check_labels(key: &str, labels: &BTreeMap<String, String>, errors: &mut ConfigErrors) {
    if labels.len() > MAX_LABELS {
        errors.add(key, format!("has {} labels, at most {MAX_LABELS} are allowed", labels.len()));
    }
    for (name, value) in labels {
        if name.trim().is_empty() {
            errors.add(key, "contains a label without a name");
        }
        if name.len() > MAX_SHORT_TEXT_BYTES || value.len() > MAX_SHORT_TEXT_BYTES {
            errors.add(key, format!("label `{name:.40}` is longer than {MAX_SHORT_TEXT_BYTES} bytes"));
        }
    }
}
