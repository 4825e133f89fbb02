//! The message for a data directory without a database: a mistyped directory must not become an empty database.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Config, Database};

/// Number of collectors in a message.
const MAX_NAMED: usize = 3;

/// The kernel's name of a process has at most 15 bytes.
const PROCESS_NAME: &str = "systole-collect";

/// Explains what to do if the configured database does not exist.
pub(super) fn explain(config: &Config) -> Option<String> {
    let Database::Sqlite(path) = &config.database else { return None };
    if path.exists() {
        return None;
    }
    let mut text = format!("there is no database {}", path.display());
    if let Ok(address) = fs::read_to_string(config.data_dir.join("listen-address")) {
        let dir = config.data_dir.display();
        text += &format!("; the collector on {dir} ({}) uses another one: set --database-url to it", address.trim());
    } else if let Some(hint) = running() {
        text += &format!("; {hint}");
    } else {
        text += "; set --data-dir to that of a collector, or start `systole-collector serve`, which creates it";
    }
    Some(text)
}

/// Finds the data directories of the collectors on this host, as far as this user can see them.
pub(super) fn running() -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut places: Vec<String> = processes.filter_map(|process| place(&process.path())).collect();
    places.sort();
    places.dedup();
    places.truncate(MAX_NAMED);
    (!places.is_empty()).then(|| format!("a collector of this host runs with {}", places.join(", another with ")))
}

/// The options that select the database of a collector's process.
fn place(process: &Path) -> Option<String> {
    if fs::read(process.join("comm")).ok()?.trim_ascii_end() != PROCESS_NAME.as_bytes() {
        return None;
    }
    let command_line = fs::read(process.join("cmdline")).ok()?;
    let arguments: Vec<String> =
        command_line.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    if !arguments.iter().any(|argument| argument == "serve") {
        return None;
    }
    // The lock beside the database. Only the owner and root can see the open files.
    if let Some(database) = lock_of(process) {
        return Some(match database.parent() {
            Some(dir) if database.file_name()? == "collector.db" => format!("--data-dir {}", dir.display()),
            _ => format!("--database-url sqlite://{}", database.display()),
        });
    }
    let value = |flag: &str| {
        let with_equals = format!("{flag}=");
        let mut left = arguments.iter();
        while let Some(argument) = left.next() {
            if argument == flag {
                return left.next().cloned();
            }
            if let Some(value) = argument.strip_prefix(&with_equals) {
                return Some(value.to_owned());
            }
        }
        None
    };
    // An address can contain a password.
    if value("--database-url").is_some_and(|url| url.starts_with("postgres")) {
        return Some("--database-url postgres://…".to_owned());
    }
    Some(format!("--data-dir {}", value("--data-dir")?))
}

fn lock_of(process: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(process.join("fd")).ok()?.flatten();
    let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    let lock = targets.find(|target| target.extension().is_some_and(|extension| extension == "lock"))?;
    Some(lock.with_extension(""))
}
