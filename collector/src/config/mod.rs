//! Configuration. Precedence, highest first: flags, environment, TOML file, defaults.
//!
//! All settings are read through one look-up. One run reports all errors, each with its source.

pub(crate) mod alerts;
mod limits;
mod lookup;
pub(crate) mod postgres_url;
mod request_limits;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use self::alerts::AlertSettings;
pub(crate) use self::limits::IngestLimits;
pub(crate) use self::lookup::{ConfigErrors, Sources};
pub(crate) use self::postgres_url::{PostgresUrl, without_password};
pub(crate) use self::request_limits::{LogLimits, QueryLimits, RequestLimits};
pub(crate) use self::values::{parse_database, parse_duration};

use self::lookup::Lookup;
use self::values::{
    parse_advertise_url, parse_duration_in, parse_low_disk, parse_origins, parse_ring_budget, parse_stream_count,
    write_duration, write_low_disk,
};

/// The settings of the collector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// `listen`: address and port. Default 127.0.0.1:8080; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `advertise_url`: where other collectors of the same PostgreSQL reach this one. Default: the listen address, with
    /// the host's name when it listens on all addresses.
    pub advertise_url: Option<String>,
    /// `serve --init`, not a setting: accepts an empty database even if another one was used before.
    pub accepts_empty_database: bool,
    /// `data_dir`: made if it is missing. Default ./systole-data.
    pub data_dir: PathBuf,
    /// `database_url`: default `sqlite://<data_dir>/collector.db`.
    pub database: Database,
    /// `interval`: how often agents report, 100ms to 5m. Default 5s.
    pub interval: Duration,
    /// `startup_grace`: time after the start in which silence of nodes does not count. Default 20s.
    pub startup_grace: Duration,
    /// `ring_budget`: memory of the sample rings in bytes, from 1 MiB. Default 512 MiB.
    pub ring_budget_bytes: usize,
    pub limits: IngestLimits,
    pub retention: Retention,
    pub low_disk: LowDisk,
    /// `log_search`: indexed or scan. The index costs some 5 µs and 25 bytes a line on SQLite, three times
    /// that on PostgreSQL. Default indexed.
    pub log_search: LogSearch,
    pub log: LogConfig,
    /// `agent_push`: whether agents may hold a stream open, so that changes reach them at once. Default true.
    pub agent_push: bool,
    /// `max_streams`: default 20000; `max_streams_per_token`: default 50; `max_new_streams_per_second`:
    /// default 5000.
    pub streams: StreamLimits,
    pub requests: RequestLimits,
    pub queries: QueryLimits,
    pub logs: LogLimits,
    /// `cors_origins`: pages of which origins may read, separated by commas; `*` is any. Default none.
    pub cors_origins: Vec<String>,
    /// `frame_ancestors`: pages of which origins may show the dashboard in a frame. Default none.
    pub frame_ancestors: Vec<String>,
    /// `tls_cert_file` and `tls_key_file`: with them HTTPS is served, with HTTP/2. Default none.
    pub tls: Option<TlsFiles>,
    /// `secret_key_file`: the key of the secrets. Default `<data_dir>/secret.key`, made at first use.
    pub secret_key_file: Option<PathBuf>,
    pub alerts: AlertSettings,
}

/// Limits of open and new streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamLimits {
    /// At a time; each costs a socket and some kilobytes.
    pub streams: usize,
    /// At a time of one token: a dashboard's tabs, and its reconnects that are not noticed yet.
    pub streams_per_token: usize,
    /// New ones per second.
    pub new_per_second: u32,
}

/// The files of the collector's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The certificate and its chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// The database of the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// `sqlite://<path>`.
    Sqlite(PathBuf),
    /// `postgres://…` or `postgresql://…`.
    Postgres(Box<PostgresUrl>),
}

impl fmt::Display for Database {
    /// The address, without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Database::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Database::Postgres(url) => url.fmt(f),
        }
    }
}

/// The retention of each kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// `retention_minutes`: default 7d.
    pub minutes: Duration,
    /// `retention_hours`: default 90d.
    pub hours: Duration,
    /// `retention_days`: default 730d.
    pub days: Duration,
    /// `retention_logs`: default 3d.
    pub logs: Duration,
    /// `retention_events`: default 7d.
    pub events: Duration,
    /// `retention_audit`: default 400d, so that a year can be compared with the one before.
    pub audit: Duration,
}

/// The limits below which the disk of a SQLite database counts as low. `None` (`auto`) depends on the disk;
/// 0 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LowDisk {
    /// `low_disk_warn_bytes`: with less room than this the oldest log lines go before their time.
    /// Default auto: 1 GiB, or a tenth of the disk if that is less.
    pub warn_bytes: Option<u64>,
    /// `low_disk_stop_bytes`: with less room than this reports are refused. Default auto: 256 MiB, or a
    /// fortieth of the disk if that is less.
    pub stop_bytes: Option<u64>,
}

/// Level and format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// `log_level`: error, warn, info, debug or trace. Default info.
    pub level: tracing::Level,
    /// `log_format`: text or json. Default text.
    pub format: LogFormat,
}

/// The method of log searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogSearch {
    /// By an index that is made in the background.
    Indexed,
    /// By reading all of them.
    Scan,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Agents need at most two intervals to come back to a collector that was away: 10 s of the default interval. As much
/// again is for thousands that come at once.
const STARTUP_GRACE: Duration = Duration::from_secs(20);

impl Config {
    /// The file with the key of the secrets.
    pub(crate) fn secret_key_file(&self) -> PathBuf {
        self.secret_key_file.clone().unwrap_or_else(|| self.data_dir.join("secret.key"))
    }

    /// Reads every setting, and returns all errors at once.
    pub(crate) fn read(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut lookup = Lookup::new(sources);
        let listen = lookup.get("listen", SocketAddr::from(([127, 0, 0, 1], 8080)), |text| {
            text.parse().map_err(|_| "expected an address, e.g. 127.0.0.1:8080".to_owned())
        });
        let advertise_url = lookup.get("advertise_url", None, parse_advertise_url);
        let data_dir = lookup.get("data_dir", PathBuf::from("./systole-data"), |text| match text {
            "" => Err("must not be empty".to_owned()),
            text => Ok(PathBuf::from(text)),
        });
        let database = lookup.get("database_url", Database::Sqlite(data_dir.join("collector.db")), parse_database);
        let interval = lookup.get("interval", Duration::from_secs(5), |text| {
            parse_duration_in(text, Duration::from_millis(100), Duration::from_secs(300))
        });
        let startup_grace = lookup.get("startup_grace", STARTUP_GRACE, |text| {
            parse_duration_in(text, Duration::ZERO, Duration::from_secs(3_600))
        });
        let ring_budget_bytes = lookup.get("ring_budget", 512 << 20, parse_ring_budget);
        let limits = IngestLimits::read(&mut lookup);
        let day = Duration::from_secs(86_400);
        let retention = |text: &str| parse_duration_in(text, Duration::from_secs(3_600), day * 3_650);
        let retention = Retention {
            minutes: lookup.get("retention_minutes", day * 7, retention),
            hours: lookup.get("retention_hours", day * 90, retention),
            days: lookup.get("retention_days", day * 730, retention),
            logs: lookup.get("retention_logs", day * 3, retention),
            events: lookup.get("retention_events", day * 7, retention),
            audit: lookup.get("retention_audit", day * 400, retention),
        };
        let low_disk = LowDisk {
            warn_bytes: lookup.get("low_disk_warn_bytes", None, parse_low_disk),
            stop_bytes: lookup.get("low_disk_stop_bytes", None, parse_low_disk),
        };
        if let LowDisk { warn_bytes: Some(warn @ 1..), stop_bytes: Some(stop) } = low_disk
            && stop > warn
        {
            lookup.mistakes.push(format!("low_disk_stop_bytes: {stop} is larger than low_disk_warn_bytes ({warn})"));
        }
        let log_search = lookup.get("log_search", LogSearch::Indexed, |text| match text {
            "indexed" => Ok(LogSearch::Indexed),
            "scan" => Ok(LogSearch::Scan),
            _ => Err("expected indexed or scan".to_owned()),
        });
        let log = LogConfig {
            level: lookup.get("log_level", tracing::Level::INFO, |text| {
                text.parse().map_err(|_| "expected one of error, warn, info, debug, trace".to_owned())
            }),
            format: lookup.get("log_format", LogFormat::Text, |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("expected text or json".to_owned()),
            }),
        };
        let agent_push = lookup.get("agent_push", true, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        });
        let streams = StreamLimits {
            streams: lookup.get("max_streams", 20_000, parse_stream_count),
            streams_per_token: lookup.get("max_streams_per_token", 50, parse_stream_count),
            new_per_second: lookup.get("max_new_streams_per_second", 5_000, parse_stream_count),
        };
        let requests = RequestLimits::read(&mut lookup);
        let queries = QueryLimits::read(&mut lookup);
        let logs = LogLimits::read(&mut lookup);
        let cors_origins = lookup.get("cors_origins", Vec::new(), parse_origins);
        let frame_ancestors = lookup.get("frame_ancestors", Vec::new(), parse_origins);
        let tls = read_tls(&mut lookup);
        let secret_key_file = lookup.get("secret_key_file", None, |text| match text {
            "" => Err("must not be empty".to_owned()),
            text => Ok(Some(PathBuf::from(text))),
        });
        let alerts = AlertSettings::read(&mut lookup);
        lookup.finish()?;
        Ok(Config {
            listen,
            advertise_url,
            data_dir,
            database,
            interval,
            startup_grace,
            accepts_empty_database: false,
            ring_budget_bytes,
            limits,
            retention,
            low_disk,
            log_search,
            log,
            agent_push,
            streams,
            requests,
            queries,
            logs,
            cors_origins,
            frame_ancestors,
            tls,
            secret_key_file,
            alerts,
        })
    }
}

impl fmt::Display for Config {
    /// As a file that reads back to the same, but for the password of a database, which is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Strings of JSON are strings of TOML.
        let mut text = |key: &str, value: String| writeln!(f, "{key} = {}", serde_json::Value::String(value));
        text("listen", self.listen.to_string())?;
        if let Some(url) = &self.advertise_url {
            text("advertise_url", url.clone())?;
        }
        text("data_dir", self.data_dir.display().to_string())?;
        text("database_url", self.database.to_string())?;
        text("interval", write_duration(self.interval))?;
        text("startup_grace", write_duration(self.startup_grace))?;
        text("retention_minutes", write_duration(self.retention.minutes))?;
        text("retention_hours", write_duration(self.retention.hours))?;
        text("retention_days", write_duration(self.retention.days))?;
        text("retention_logs", write_duration(self.retention.logs))?;
        text("retention_events", write_duration(self.retention.events))?;
        text("retention_audit", write_duration(self.retention.audit))?;
        text("log_search", if self.log_search == LogSearch::Indexed { "indexed" } else { "scan" }.to_owned())?;
        text("log_level", self.log.level.to_string().to_lowercase())?;
        text("log_format", if self.log.format == LogFormat::Text { "text" } else { "json" }.to_owned())?;
        text("agent_push", self.agent_push.to_string())?;
        text("low_disk_warn_bytes", write_low_disk(self.low_disk.warn_bytes))?;
        text("low_disk_stop_bytes", write_low_disk(self.low_disk.stop_bytes))?;
        text("cors_origins", self.cors_origins.join(","))?;
        text("frame_ancestors", self.frame_ancestors.join(","))?;
        if let Some(file) = &self.secret_key_file {
            text("secret_key_file", file.display().to_string())?;
        }
        if let Some(tls) = &self.tls {
            text("tls_cert_file", tls.cert.display().to_string())?;
            text("tls_key_file", tls.key.display().to_string())?;
        }
        self.requests.write(f)?;
        self.queries.write(f)?;
        self.logs.write(f)?;
        writeln!(f, "ring_budget = {}", self.ring_budget_bytes)?;
        for (key, value) in self.limits.entries() {
            writeln!(f, "{key} = {value}")?;
        }
        writeln!(f, "max_streams = {}", self.streams.streams)?;
        writeln!(f, "max_streams_per_token = {}", self.streams.streams_per_token)?;
        writeln!(f, "max_new_streams_per_second = {}", self.streams.new_per_second)?;
        self.alerts.write(f)
    }
}

/// Two files or none.
fn read_tls(lookup: &mut Lookup<'_>) -> Option<TlsFiles> {
    let mut path = |key| {
        lookup.get(key, None, |text| match text {
            "" => Err("must not be empty".to_owned()),
            text => Ok(Some(PathBuf::from(text))),
        })
    };
    match (path("tls_cert_file"), path("tls_key_file")) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            lookup.mistakes.push("tls_key_file: is missing, but tls_cert_file is set".to_owned());
            None
        }
        (None, Some(_)) => {
            lookup.mistakes.push("tls_cert_file: is missing, but tls_key_file is set".to_owned());
            None
        }
    }
}

#[cfg(test)]
mod tests;
