//! Configuration: flags over environment over file (TOML) over defaults.
//!
//! Everything is read through one look-up, and every mistake is reported in one run, each with the
//! place that it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::feed::StreamLimits;
use crate::store::postgres::{PostgresUrl, without_password};

/// Components with a history unless another number is configured; see docs/benchmarks.md for what they cost.
const DEFAULT_COMPONENT_SERIES: usize = 20_000;

/// What the collector runs with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// `listen`: address and port. Default 127.0.0.1:8080; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `data_dir`: made if it is missing. Default ./systole-data.
    pub data_dir: PathBuf,
    /// `database_url`: default `sqlite://<data_dir>/collector.db`.
    pub database: Database,
    /// `interval`: how often agents report, 100ms to 5m. Default 5s.
    pub interval: Duration,
    /// `startup_grace`: how long after the start silence of nodes does not count. Default 60s.
    pub startup_grace: Duration,
    /// `ring_budget`: memory of the sample rings in bytes, from 1 MiB. Default 512 MiB.
    pub ring_budget_bytes: usize,
    /// `max_component_series`: components over all nodes that a history is kept of; those that come
    /// later have live samples only. Default 20000, 0 for none.
    pub max_component_series: usize,
    pub retention: Retention,
    pub low_disk: LowDisk,
    /// `log_search`: indexed or scan. The index costs some 5 µs and 25 bytes a line on SQLite, three times
    /// that on PostgreSQL. Default indexed.
    pub log_search: LogSearch,
    pub log: LogConfig,
    /// `max_streams`: default 20000; `max_streams_per_token`: default 50; `max_new_streams_per_second`:
    /// default 2000.
    pub streams: StreamLimits,
    /// `cors_origins`: pages of which origins may read, separated by commas; `*` is any. Default none.
    pub cors_origins: Vec<String>,
    /// `tls_cert_file` and `tls_key_file`: with them HTTPS is served, with HTTP/2. Default none.
    pub tls: Option<TlsFiles>,
}

/// Where the collector's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The certificate and its chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// Where the data is.
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

/// How long data is kept.
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
}

/// When the disk of a SQLite database counts as low. `None` (`auto`) depends on the disk; 0 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LowDisk {
    /// `low_disk_warn_bytes`: with less room than this the oldest log lines go before their time.
    /// Default auto: 1 GiB, or a tenth of the disk if that is less.
    pub warn_bytes: Option<u64>,
    /// `low_disk_stop_bytes`: with less room than this reports are refused. Default auto: 256 MiB, or a
    /// fortieth of the disk if that is less.
    pub stop_bytes: Option<u64>,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// `log_level`: error, warn, info, debug or trace. Default info.
    pub level: tracing::Level,
    /// `log_format`: text or json. Default text.
    pub format: LogFormat,
}

/// How log lines are searched.
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

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// Where values come from. Keys are those of the file.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Values of flags.
    pub flags: BTreeMap<&'static str, String>,
    /// Values of the environment, by the name of the variable.
    pub environment: BTreeMap<String, String>,
    /// The file, and its name for messages.
    pub file: Option<(PathBuf, String)>,
}

impl Sources {
    /// With the environment of this process.
    pub(crate) fn from_process(flags: BTreeMap<&'static str, String>, file: Option<&Path>) -> Result<Self, Mistakes> {
        let environment = own_variables(std::env::vars_os())?;
        let named = file.map(Path::to_owned).or_else(|| environment.get("SYSTOLE_CONFIG").map(PathBuf::from));
        let file = match named {
            Some(path) => {
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| Mistakes(vec![format!("config: cannot read {}: {error}", path.display())]))?;
                Some((path, text))
            }
            None => None,
        };
        Ok(Sources { flags, environment, file })
    }
}

/// Variables that may be settings. The others are none of our business, whatever they hold.
fn own_variables(all: impl Iterator<Item = (OsString, OsString)>) -> Result<BTreeMap<String, String>, Mistakes> {
    let mut mistakes = Vec::new();
    let mut own = BTreeMap::new();
    for (name, value) in all {
        let Some(name) = name.to_str().filter(|name| name.starts_with("SYSTOLE_")) else { continue };
        match value.into_string() {
            Ok(value) => {
                own.insert(name.to_owned(), value);
            }
            Err(value) => mistakes.push(format!("{name}: {value:?} is not UTF-8")),
        }
    }
    if mistakes.is_empty() { Ok(own) } else { Err(Mistakes(mistakes)) }
}

impl Config {
    /// Reads every setting and tells every mistake.
    pub(crate) fn read(sources: &Sources) -> Result<Self, Mistakes> {
        let mut lookup = Lookup::new(sources);
        let listen = lookup.get("listen", SocketAddr::from(([127, 0, 0, 1], 8080)), |text| {
            text.parse().map_err(|_| "is no address like 127.0.0.1:8080".to_owned())
        });
        let data_dir = lookup.get("data_dir", PathBuf::from("./systole-data"), |text| match text {
            "" => Err("is empty".to_owned()),
            text => Ok(PathBuf::from(text)),
        });
        let database = lookup.get("database_url", Database::Sqlite(data_dir.join("collector.db")), parse_database);
        let interval = lookup.get("interval", Duration::from_secs(5), |text| {
            parse_duration_in(text, Duration::from_millis(100), Duration::from_secs(300))
        });
        let startup_grace = lookup.get("startup_grace", Duration::from_secs(60), |text| {
            parse_duration_in(text, Duration::ZERO, Duration::from_secs(3_600))
        });
        let ring_budget_bytes = lookup.get("ring_budget", 512 << 20, parse_ring_budget);
        let max_component_series = lookup.get("max_component_series", DEFAULT_COMPONENT_SERIES, |text| {
            text.parse().map_err(|_| "is no number of series".to_owned())
        });
        let day = Duration::from_secs(86_400);
        let retention = |text: &str| parse_duration_in(text, Duration::from_secs(3_600), day * 3_650);
        let retention = Retention {
            minutes: lookup.get("retention_minutes", day * 7, retention),
            hours: lookup.get("retention_hours", day * 90, retention),
            days: lookup.get("retention_days", day * 730, retention),
            logs: lookup.get("retention_logs", day * 3, retention),
            events: lookup.get("retention_events", day * 7, retention),
        };
        let low_disk = LowDisk {
            warn_bytes: lookup.get("low_disk_warn_bytes", None, parse_low_disk),
            stop_bytes: lookup.get("low_disk_stop_bytes", None, parse_low_disk),
        };
        if let LowDisk { warn_bytes: Some(warn @ 1..), stop_bytes: Some(stop) } = low_disk
            && stop > warn
        {
            lookup
                .mistakes
                .push(format!("low_disk_stop_bytes: {stop} is more than low_disk_warn_bytes, which is {warn}"));
        }
        let log_search = lookup.get("log_search", LogSearch::Indexed, |text| match text {
            "indexed" => Ok(LogSearch::Indexed),
            "scan" => Ok(LogSearch::Scan),
            _ => Err("is neither indexed nor scan".to_owned()),
        });
        let log = LogConfig {
            level: lookup.get("log_level", tracing::Level::INFO, |text| {
                text.parse().map_err(|_| "is none of error, warn, info, debug, trace".to_owned())
            }),
            format: lookup.get("log_format", LogFormat::Text, |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("is neither text nor json".to_owned()),
            }),
        };
        let streams = StreamLimits {
            streams: lookup.get("max_streams", 20_000, parse_stream_count),
            streams_per_token: lookup.get("max_streams_per_token", 50, parse_stream_count),
            new_per_second: lookup.get("max_new_streams_per_second", 2_000, parse_stream_count),
        };
        let cors_origins = lookup.get("cors_origins", Vec::new(), parse_origins);
        let tls = read_tls(&mut lookup);
        lookup.finish()?;
        Ok(Config {
            listen,
            data_dir,
            database,
            interval,
            startup_grace,
            ring_budget_bytes,
            max_component_series,
            retention,
            low_disk,
            log_search,
            log,
            streams,
            cors_origins,
            tls,
        })
    }
}

impl fmt::Display for Config {
    /// As a file that reads back to the same, but for the password of a database, which is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Strings of JSON are strings of TOML.
        let mut text = |key: &str, value: String| writeln!(f, "{key} = {}", serde_json::Value::String(value));
        text("listen", self.listen.to_string())?;
        text("data_dir", self.data_dir.display().to_string())?;
        text("database_url", self.database.to_string())?;
        text("interval", write_duration(self.interval))?;
        text("startup_grace", write_duration(self.startup_grace))?;
        text("retention_minutes", write_duration(self.retention.minutes))?;
        text("retention_hours", write_duration(self.retention.hours))?;
        text("retention_days", write_duration(self.retention.days))?;
        text("retention_logs", write_duration(self.retention.logs))?;
        text("retention_events", write_duration(self.retention.events))?;
        text("log_search", if self.log_search == LogSearch::Indexed { "indexed" } else { "scan" }.to_owned())?;
        text("log_level", self.log.level.to_string().to_lowercase())?;
        text("log_format", if self.log.format == LogFormat::Text { "text" } else { "json" }.to_owned())?;
        text("low_disk_warn_bytes", write_low_disk(self.low_disk.warn_bytes))?;
        text("low_disk_stop_bytes", write_low_disk(self.low_disk.stop_bytes))?;
        text("cors_origins", self.cors_origins.join(","))?;
        if let Some(tls) = &self.tls {
            text("tls_cert_file", tls.cert.display().to_string())?;
            text("tls_key_file", tls.key.display().to_string())?;
        }
        writeln!(f, "ring_budget = {}", self.ring_budget_bytes)?;
        writeln!(f, "max_component_series = {}", self.max_component_series)?;
        writeln!(f, "max_streams = {}", self.streams.streams)?;
        writeln!(f, "max_streams_per_token = {}", self.streams.streams_per_token)?;
        writeln!(f, "max_new_streams_per_second = {}", self.streams.new_per_second)
    }
}

/// Two files or none.
fn read_tls(lookup: &mut Lookup<'_>) -> Option<TlsFiles> {
    let mut path = |key| {
        lookup.get(key, None, |text| match text {
            "" => Err("is empty".to_owned()),
            text => Ok(Some(PathBuf::from(text))),
        })
    };
    match (path("tls_cert_file"), path("tls_key_file")) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            lookup.mistakes.push("tls_key_file: is missing, tls_cert_file is given".to_owned());
            None
        }
        (None, Some(_)) => {
            lookup.mistakes.push("tls_cert_file: is missing, tls_key_file is given".to_owned());
            None
        }
    }
}

fn parse_stream_count<T: std::str::FromStr + Default + PartialEq>(text: &str) -> Result<T, String> {
    let count = text.parse().map_err(|_| "is no number of streams".to_owned())?;
    if count == T::default() { Err("must be at least 1".to_owned()) } else { Ok(count) }
}

/// Origins as browsers send them: scheme, host, and port when it is not the scheme's own.
fn parse_origins(text: &str) -> Result<Vec<String>, String> {
    let origins: Vec<&str> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
    let is_origin = |origin: &str| {
        origin == "*"
            || ["http://", "https://"]
                .iter()
                .any(|scheme| origin.strip_prefix(scheme).is_some_and(|host| !host.is_empty() && !host.contains('/')))
    };
    match origins.iter().find(|origin| !is_origin(origin)) {
        Some(origin) => Err(format!("has {origin:?}, which is no origin like https://dashboard.example")),
        None => Ok(origins.into_iter().map(str::to_owned).collect()),
    }
}

struct Lookup<'a> {
    sources: &'a Sources,
    file: toml::Table,
    known: BTreeSet<&'static str>,
    mistakes: Vec<String>,
}

impl<'a> Lookup<'a> {
    fn new(sources: &'a Sources) -> Self {
        let mut mistakes = Vec::new();
        let file = match &sources.file {
            Some((path, text)) => text.parse::<toml::Table>().unwrap_or_else(|error| {
                mistakes.push(format!("{}: {}", path.display(), error.to_string().trim_end()));
                toml::Table::new()
            }),
            None => toml::Table::new(),
        };
        Lookup { sources, file, known: BTreeSet::new(), mistakes }
    }

    /// The value of a key from the first source that has it.
    fn get<T>(&mut self, key: &'static str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.known.insert(key);
        let variable = variable(key);
        let (text, place) = if let Some(text) = self.sources.flags.get(key) {
            (text.clone(), format!("--{}", key.replace('_', "-")))
        } else if let Some(text) = self.sources.environment.get(&variable) {
            (text.clone(), variable)
        } else if let Some(value) = self.file.get(key) {
            match value {
                toml::Value::String(text) => (text.clone(), key.to_owned()),
                toml::Value::Integer(number) => (number.to_string(), key.to_owned()),
                other => {
                    self.mistakes.push(format!("{key}: must be a string or a number, is a {}", other.type_str()));
                    return default;
                }
            }
        } else {
            return default;
        };
        parse(text.trim()).unwrap_or_else(|fault| {
            let shown = without_password(&text);
            self.mistakes.push(format!("{place}: {shown:?} {fault}"));
            default
        })
    }

    fn finish(mut self) -> Result<(), Mistakes> {
        for key in self.file.keys().filter(|key| !self.known.contains(key.as_str())) {
            let known: Vec<_> = self.known.iter().copied().collect();
            self.mistakes.push(format!("{key}: there is no such setting; known are {}", known.join(", ")));
        }
        if self.mistakes.is_empty() { Ok(()) } else { Err(Mistakes(self.mistakes)) }
    }
}

fn variable(key: &str) -> String {
    format!("SYSTOLE_{}", key.to_uppercase())
}

/// Reads the address of a database.
pub(crate) fn parse_database(url: &str) -> Result<Database, String> {
    if PostgresUrl::is_meant(url) {
        return url.parse().map(|url| Database::Postgres(Box::new(url)));
    }
    match url.strip_prefix("sqlite://") {
        Some("") => Err("names no file; write sqlite:///path/to/collector.db".to_owned()),
        Some(path) if path.contains(":memory:") || path.starts_with("file:") => {
            Err("is no path; the database must be a file that several connections open".to_owned())
        }
        Some(path) => Ok(Database::Sqlite(PathBuf::from(path))),
        None => Err("is neither a sqlite:// nor a postgres:// address".to_owned()),
    }
}

fn parse_ring_budget(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "is no number of bytes".to_owned())?;
    if bytes < 1 << 20 { Err("is less than 1 MiB (1048576)".to_owned()) } else { Ok(bytes) }
}

fn parse_low_disk(text: &str) -> Result<Option<u64>, String> {
    match text {
        "auto" => Ok(None),
        text => text.parse().map(Some).map_err(|_| "is neither auto nor a number of bytes".to_owned()),
    }
}

fn write_low_disk(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "auto".to_owned(), |bytes| bytes.to_string())
}

fn parse_duration_in(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let value = parse_duration(text).ok_or_else(|| "is no duration like 500ms, 5s, 10m, 24h or 7d".to_owned())?;
    if value < least || value > most {
        return Err(format!("is not between {least:?} and {most:?}"));
    }
    Ok(value)
}

/// In the largest unit that has it whole.
fn write_duration(value: Duration) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(flags: &[(&'static str, &str)], environment: &[(&str, &str)], file: &str) -> Sources {
        Sources {
            flags: flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
            environment: environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            file: Some((PathBuf::from("collector.toml"), file.to_owned())),
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = "listen = '127.0.0.1:1'\ndata_dir = '/file'\ninterval = '10s'\n";
        let environment = [("SYSTOLE_LISTEN", "127.0.0.1:2"), ("SYSTOLE_DATA_DIR", "/env")];
        let config = Config::read(&sources(&[("listen", "127.0.0.1:3")], &environment, file)).unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.data_dir, PathBuf::from("/env"));
        assert_eq!(config.interval, Duration::from_secs(10));
        assert_eq!(config.database, Database::Sqlite("/env/collector.db".into()));
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_place() {
        let file = "interval = '7 parsecs'\nretention_logs = true\nlisten_on = 1\n";
        let environment = [("SYSTOLE_LOG_FORMAT", "xml"), ("SYSTOLE_DATABASE_URL", "mysql://x")];
        let Mistakes(mistakes) = Config::read(&sources(&[("listen", "nowhere")], &environment, file)).unwrap_err();
        let places: Vec<_> = mistakes.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(
            places,
            ["--listen", "SYSTOLE_DATABASE_URL", "interval", "retention_logs", "SYSTOLE_LOG_FORMAT", "listen_on"]
        );
    }

    #[test]
    fn reports_are_not_refused_before_logs_give_way() {
        let low_disk = |file| Config::read(&sources(&[], &[], file)).map(|config| config.low_disk);
        let Mistakes(mistakes) = low_disk("low_disk_warn_bytes = 10\nlow_disk_stop_bytes = 11").unwrap_err();
        assert!(mistakes[0].starts_with("low_disk_stop_bytes: "), "{mistakes:?}");
        low_disk("low_disk_warn_bytes = 10\nlow_disk_stop_bytes = 10").unwrap();
        let never = low_disk("low_disk_warn_bytes = 0\nlow_disk_stop_bytes = 11").unwrap();
        assert_eq!(never, LowDisk { warn_bytes: Some(0), stop_bytes: Some(11) });
        low_disk("low_disk_warn_bytes = -1").unwrap_err();
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_with_its_line() {
        let Mistakes(mistakes) = Config::read(&sources(&[], &[], "listen = \n")).unwrap_err();
        assert!(mistakes[0].contains("collector.toml") && mistakes[0].contains("line 1"), "{mistakes:?}");
    }

    #[test]
    fn what_is_printed_reads_back_to_the_same() {
        let odd = "data_dir = 'C:\\with \"quotes\"'\ninterval = '1500ms'\nstartup_grace = '0s'\n\
            retention_logs = '90m'\nretention_hours = '100d'\nretention_days = '900d'\nretention_events = '36h'\nlow_disk_warn_bytes = 4096\nlow_disk_stop_bytes = '0'\nlog_level = 'debug'\nlog_format = 'json'\nlog_search = 'scan'\n";
        for file in ["", odd] {
            let config = Config::read(&sources(&[], &[], file)).unwrap();
            let printed = config.to_string();
            assert_eq!(Config::read(&sources(&[], &[], &printed)).unwrap(), config, "{printed}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_text_is_a_mistake_only_if_it_is_ours() {
        use std::os::unix::ffi::OsStringExt;
        let broken = || OsString::from_vec(vec![0xff]);
        let foreign = own_variables([(broken(), broken()), ("HOME".into(), broken())].into_iter());
        assert_eq!(foreign, Ok(BTreeMap::new()));
        let Mistakes(mistakes) = own_variables([("SYSTOLE_LISTEN".into(), broken())].into_iter()).unwrap_err();
        assert!(mistakes[0].starts_with("SYSTOLE_LISTEN: "), "{mistakes:?}");
    }

    #[test]
    fn a_database_is_a_file() {
        for url in ["sqlite://", "sqlite://:memory:", "sqlite://file:x?mode=memory"] {
            assert!(parse_database(url).is_err(), "{url}");
        }
        assert_eq!(parse_database("sqlite:///var/x.db"), Ok(Database::Sqlite("/var/x.db".into())));
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = "postgres://me:secret@db/fleet?sslmode=verify-full";
        let config = Config::read(&sources(&[("database_url", url)], &[], "")).unwrap();
        let shown = "postgres://me:***@db/fleet?sslmode=verify-full";
        assert!(config.to_string().contains(shown) && !format!("{config:?}").contains("secret"));
        let broken = Config::read(&sources(&[("database_url", &url.replace("sslmode", "ssl"))], &[], ""));
        let Mistakes(mistakes) = broken.unwrap_err();
        assert!(mistakes[0].starts_with("--database-url: ") && !mistakes[0].contains("secret"), "{mistakes:?}");
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("24h"), Some(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        for text in ["", "5", "h", "-5s", "5 s", "99999999999999999999d", "1.5h"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }
}
