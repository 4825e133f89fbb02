//! Builds the configuration from flags, environment and file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use systole_shared::Token;
use toml::Table;

use super::errors::ConfigErrors;
use super::section::Section;
use super::settings::{self, Found, Lookup};
use super::urls::FoundUrls;
use super::{
    Config, DEFAULT_DATA_DIR, DEFAULT_FILE, LogConfig, LogFormat, VECTORFLOW_DATA_DIR, engines, file, lines, mappings,
    pipelines, upgrade, vectorflow,
};
use crate::http_client::{self, TlsError};
use crate::model::log_files::OwnFiles;
use crate::model::node::node_token;
use crate::model::tls::TlsFiles;

/// What the command line says; it wins over everything else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// `--url`, once for each address.
    pub(crate) urls: Vec<String>,
    /// `--token`.
    pub(crate) token: Option<String>,
    /// `--data-dir`.
    pub(crate) data_dir: Option<String>,
    /// `--metrics-listen`.
    pub(crate) metrics_listen: Option<String>,
    /// `--log-level`.
    pub(crate) log_level: Option<String>,
    /// `--log-format`.
    pub(crate) log_format: Option<String>,
    /// `check-config --offline`: files that the configuration names may be missing.
    pub(crate) offline: bool,
}

/// The data directory, for commands that need nothing else: the rest of the configuration may be
/// missing, wrong, or not readable for this user.
pub(crate) fn find_data_dir(flags: &Overrides, env: Lookup<'_>) -> Result<PathBuf, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let mut found = data_dir_of(&mut Section::new("", Table::new(), &mut errors), flags, env);
    if let (None, Some(path)) = (&found, file_of(flags, env)) {
        let (table, _) = file::read_table(&path, &mut errors);
        if flags.config.is_some() && !errors.is_empty() {
            return Err(errors);
        }
        found = data_dir_of(&mut Section::new("", table, &mut errors), flags, env);
    }
    Ok(or_default(found, env))
}

/// What the configuration has already, whatever else is wrong with it: ids of pipelines, and the units of those that
/// are watched.
pub(crate) fn known_units(flags: &Overrides, env: Lookup<'_>) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut errors = ConfigErrors::default();
    let table = file_of(flags, env).map(|path| file::read_table(&path, &mut errors).0).unwrap_or_default();
    let pipelines = table.get("pipeline").and_then(toml::Value::as_array).into_iter().flatten();
    let texts = |key: &'static str| {
        let pipelines = pipelines.clone();
        pipelines.filter_map(move |pipeline| pipeline.get(key)?.as_str().map(str::to_owned)).collect()
    };
    (texts("id"), texts("systemd_unit"))
}

/// Reads the configuration of another host, whose keys, tokens and certificates are not here. What they hold is missing
/// in the result.
pub(crate) fn load_offline(flags: &Overrides, env: Lookup<'_>) -> Result<Config, ConfigErrors> {
    load(&Overrides { offline: true, ..flags.clone() }, env)
}

/// Reads the configuration, or all its errors.
pub(crate) fn load(flags: &Overrides, env: Lookup<'_>) -> Result<Config, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let path = file_of(flags, env);
    let (table, text) = path.as_ref().map(|path| file::read_table(path, &mut errors)).unwrap_or_default();
    let unreadable = !errors.is_empty();
    let mut own_files = lines::secret_files(&table);
    own_files.extend(path.clone());

    let mut root = Section::new("", table, &mut errors);
    let settings = Settings::take(&mut root, flags, env);
    let machine_id = settings::first(("", None), &["SYSTOLE_MACHINE_ID"], env, ("machine_id", root.text("machine_id")));
    let machine_id_from = settings::first(
        ("", None),
        &["SYSTOLE_MACHINE_ID_FROM"],
        env,
        ("machine_id_from", root.text("machine_id_from")),
    );
    let machine_id_from = settings::machine_id_from(machine_id_from, root.errors());
    let name = settings::first(("", None), &["SYSTOLE_NAME"], env, ("name", root.text("name")));
    let name = settings::node_name(name, root.errors());
    let spool_bytes = settings::first(
        ("", None),
        &["SYSTOLE_SPOOL_MAX_BYTES"],
        env,
        ("spool_max_bytes", root.number("spool_max_bytes").map(|bytes| bytes.to_string())),
    );
    let spool = settings::spool(spool_bytes, root.errors());
    let metrics_listen = settings::first(
        ("--metrics-listen", flags.metrics_listen.as_deref()),
        &["SYSTOLE_METRICS_LISTEN", "VF_METRICS_PORT"],
        env,
        ("metrics_listen", root.text("metrics_listen")),
    );
    let metrics_listen = settings::metrics_listen(metrics_listen, root.errors());
    let tls = tls_files(&mut root, env);
    let upgrade = upgrade::read(&mut root, env);
    let user_mappings = mappings::read(&mut root);
    let mut pipelines = pipelines::read(&mut root, &user_mappings);
    let (mut centre, accepts) = engines::read(&mut root, &user_mappings);
    let protocol = vectorflow::read_protocol(&mut root, env);
    let vectorflow = vectorflow::read(&mut root, env, accepts, settings.replaces_vectorflow_agent());
    let is_inherited = accepts.is_none() && settings.replaces_vectorflow_agent();
    centre.dedicated = vectorflow::dedicated(&vectorflow, is_inherited, &user_mappings);
    root.finish();

    let urls = settings.urls.check(unreadable, protocol, &mut errors);
    let data_dir = or_default(settings.data_dir, env);
    if settings.token.is_none() && !settings.token_is_broken && !unreadable && !node_token::exists(&data_dir) {
        errors.add_of_host(
            "token",
            format!(
                "is missing, and {} contains no node token yet; create one with `systole-collector token create --kind enroll` \
                 and set it as `token`, `token_file`, SYSTOLE_TOKEN or --token",
                data_dir.display()
            ),
        );
    }
    settings::check_data_dir(&data_dir, &mut errors);
    settings::check_labels("labels", &settings.labels, &mut errors);
    own_files.extend(tls.client.as_ref().map(|(_, key)| key.clone()));
    let own_files = Arc::new(OwnFiles::new(data_dir.clone(), own_files));
    for pipeline in &mut pipelines {
        pipeline.log_files.own = own_files.clone();
    }
    if flags.offline {
        errors.forget_those_of_host();
    }
    match urls {
        Some(urls) if errors.is_empty() => Ok(Config {
            urls,
            protocol,
            vectorflow,
            token: settings.token,
            centre: centre.below(&data_dir),
            data_dir,
            name,
            labels: settings.labels,
            machine_id: machine_id.map(|found| found.value),
            machine_id_from,
            tls,
            upgrade,
            metrics_listen,
            log: settings.log,
            spool,
            pipelines,
            file: path,
            text,
            errors: None,
        }),
        _ => Err(errors),
    }
}

/// Whether there is a configuration file, and not only flags and variables.
pub(crate) fn has_file(flags: &Overrides, env: Lookup<'_>) -> bool {
    file_of(flags, env).is_some()
}

/// The file that is read, if any.
fn file_of(flags: &Overrides, env: Lookup<'_>) -> Option<PathBuf> {
    let named =
        flags.config.clone().or_else(|| env("SYSTOLE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
    named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()))
}

/// The configuration file, if it can be read, and the data directory, even if there are errors.
pub(super) fn places(flags: &Overrides, env: Lookup<'_>) -> Option<(PathBuf, PathBuf)> {
    let path = file_of(flags, env)?;
    let text = std::fs::read_to_string(&path).ok()?;
    // A file that is no TOML as a whole may still have the one line that counts.
    let line = || text.lines().find(|line| line.trim_start().starts_with("data_dir")).unwrap_or_default().parse();
    let table: Table = text.parse().or_else(|_| line()).unwrap_or_default();
    let mut ignored = ConfigErrors::default();
    let found = data_dir_of(&mut Section::new("", table, &mut ignored), flags, env);
    Some((path, or_default(found, env)))
}

fn data_dir_of(root: &mut Section<'_>, flags: &Overrides, env: Lookup<'_>) -> Option<Found> {
    settings::first(
        ("--data-dir", flags.data_dir.as_deref()),
        &["SYSTOLE_DATA_DIR", "VF_DATA_DIR"],
        env,
        ("data_dir", root.text("data_dir")),
    )
}

/// The data directory, or the default one: that of VectorFlow's agent for an agent with its environment, unless the
/// agent has one of its own already.
fn or_default(found: Option<Found>, env: Lookup<'_>) -> PathBuf {
    let is_set = |name: &str| env(name).is_some_and(|value| !value.trim().is_empty());
    let own = Path::new(DEFAULT_DATA_DIR);
    match found {
        Some(found) => PathBuf::from(found.value),
        None if is_set("VF_URL") && !is_set("SYSTOLE_URL") && !is_set("SYSTOLE_URLS") && !node_token::exists(own) => {
            PathBuf::from(VECTORFLOW_DATA_DIR)
        }
        None => own.to_owned(),
    }
}

/// The files for TLS; they are read here once, so that a error in them is found before it matters.
fn tls_files(root: &mut Section<'_>, env: Lookup<'_>) -> TlsFiles {
    let mut file = |key, variable| settings::first(("", None), &[variable], env, (key, root.text(key)));
    let ca = file("ca_file", "SYSTOLE_CA_FILE");
    let certificate = file("client_cert_file", "SYSTOLE_CLIENT_CERT_FILE");
    let key = file("client_key_file", "SYSTOLE_CLIENT_KEY_FILE");
    let path = |found: &Found| PathBuf::from(found.value.trim());
    let places = [&ca, &certificate].map(|found| found.as_ref().map(|found| found.place.clone()).unwrap_or_default());
    let client = match (&certificate, &key) {
        (Some(certificate), Some(key)) => Some((path(certificate), path(key))),
        (None, None) => None,
        (Some(alone), None) => {
            root.errors().add(&alone.place, "needs its key: client_key_file");
            None
        }
        (None, Some(alone)) => {
            root.errors().add(&alone.place, "needs its certificate: client_cert_file");
            None
        }
    };
    let files = TlsFiles { ca: ca.as_ref().map(path), client };
    if !files.is_empty() {
        http_client::install_tls();
        if let Err(error) = http_client::for_collector(true, &files) {
            let place = if matches!(error, TlsError::Ca { .. }) { &places[0] } else { &places[1] };
            root.errors().add_of_host(place, error.to_string());
        }
    }
    files
}

/// The settings that flags and variables can give, too.
struct Settings {
    urls: FoundUrls,
    token: Option<Token>,
    token_is_broken: bool,
    data_dir: Option<Found>,
    labels: BTreeMap<String, String>,
    log: LogConfig,
}

impl Settings {
    fn take(root: &mut Section<'_>, flags: &Overrides, env: Lookup<'_>) -> Self {
        let urls = FoundUrls::take(root, flags, env);
        let data_dir = data_dir_of(root, flags, env);
        let (token, token_is_broken) = Self::take_token(root, flags, env);
        let labels = Self::take_labels(root, env);
        let log = Self::take_log(root, flags, env);
        Settings { urls, token, token_is_broken, data_dir, labels, log }
    }

    /// Whether the agent starts with the environment of VectorFlow's.
    fn replaces_vectorflow_agent(&self) -> bool {
        self.urls.is_of_vectorflow()
    }

    fn take_token(root: &mut Section<'_>, flags: &Overrides, env: Lookup<'_>) -> (Option<Token>, bool) {
        let in_file = root.text("token");
        let token_file = root.text("token_file");
        if in_file.is_some() && token_file.is_some() {
            root.error("token_file", "is set together with `token`; remove one of them");
        }
        let found = settings::first(
            ("--token", flags.token.as_deref()),
            &["SYSTOLE_TOKEN", "VF_TOKEN"],
            env,
            ("token", in_file),
        );
        match (found, token_file) {
            (Some(found), _) => (Some(Token::new(&found.value)).filter(|token| !token.is_empty()), false),
            (None, Some(path)) => {
                let token = file::read_secret(&path, "token_file", root.errors());
                let broken = token.is_none();
                (token, broken)
            }
            (None, None) => (None, false),
        }
    }

    fn take_labels(root: &mut Section<'_>, env: Lookup<'_>) -> BTreeMap<String, String> {
        let mut labels = root.text_table("labels");
        if let Some(text) = env("SYSTOLE_LABELS") {
            labels.extend(settings::labels_of(&text, Some(("SYSTOLE_LABELS", root.errors()))));
        } else if let Some(text) = env("VF_NODE_LABELS").or_else(|| env("VF_LABELS")) {
            labels.extend(settings::labels_of(&text, None));
        }
        labels
    }

    fn take_log(root: &mut Section<'_>, flags: &Overrides, env: Lookup<'_>) -> LogConfig {
        let mut log = LogConfig { level: tracing::Level::INFO, format: LogFormat::Text };
        let level = settings::first(
            ("--log-level", flags.log_level.as_deref()),
            &["SYSTOLE_LOG_LEVEL", "VF_LOG_LEVEL"],
            env,
            ("log_level", root.text("log_level")),
        );
        if let Some(found) = level {
            match settings::log_level(&found.value) {
                Ok(level) => log.level = level,
                // The VectorFlow agent takes an unknown level as info.
                Err(_) if found.place == "VF_LOG_LEVEL" => {}
                Err(what) => root.errors().add(found.place, what),
            }
        }
        let format = settings::first(
            ("--log-format", flags.log_format.as_deref()),
            &["SYSTOLE_LOG_FORMAT"],
            env,
            ("log_format", root.text("log_format")),
        );
        if let Some(found) = format {
            match settings::log_format(&found.value) {
                Ok(format) => log.format = format,
                Err(what) => root.errors().add(found.place, what),
            }
        }
        log
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
