//! The collector's directory, its certificate and its backups.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Uid, User, access, geteuid};
use systole_shared::{Finding, UnixMillis};

use crate::clock::to_rfc3339;
use crate::config::{Config, TlsFiles};
use crate::server::tls::{KeyPair, ValidityFault, chain_fault};
use crate::store::last_backup;
use crate::telemetry::logging::chain;

const AS_ROOT: &str = "run doctor as root or as the collector's user";

/// A night and a day without a backup: the timer makes one a day.
const BACKUP_AGE_MS: i64 = 48 * 3_600_000;

/// Whether the collector can use its directory, and others cannot.
pub(super) fn check_data_dir(dir: &Path) -> Vec<Finding> {
    const CHECK: &str = "data_dir";
    let shown = dir.display();
    let metadata = match dir.metadata() {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            let remedy = "remove the file, or set another data_dir";
            return vec![Finding::problem(CHECK, format!("{shown} is a file, not a directory"), remedy)];
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let remedy = "name that of the service with --data-dir, or start `systole-collector serve`, which makes it";
            return vec![Finding::problem(CHECK, format!("{shown} does not exist"), remedy)];
        }
        Err(error) => return vec![Finding::problem(CHECK, format!("cannot read {shown}: {error}"), AS_ROOT)],
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries.flatten(),
        Err(error) => return vec![Finding::problem(CHECK, format!("cannot read {shown}: {error}"), AS_ROOT)],
    };
    let files: Vec<(PathBuf, Metadata)> =
        entries.filter_map(|entry| Some((entry.path(), entry.path().symlink_metadata().ok()?))).collect();
    let owner = name_of(metadata.uid());
    let mut findings = Vec::new();
    if metadata.mode() & 0o022 != 0 {
        let message = format!("users other than {owner} can write to {shown}");
        findings.push(Finding::problem(CHECK, message, format!("chmod 700 {shown}")));
    }
    if let Err(error) = access(dir, AccessFlags::W_OK)
        && (geteuid().is_root() || geteuid() == Uid::from_raw(metadata.uid()))
    {
        let message = format!("cannot write to {shown}: {error}");
        findings.push(Finding::problem(CHECK, message, "mount the disk for writing, or set another data_dir"));
    }
    if let Some((path, foreign)) = files.iter().find(|(_, file)| file.uid() != metadata.uid()) {
        let message = format!("{} belongs to {}, not to {owner}", path.display(), name_of(foreign.uid()));
        findings.push(Finding::problem(CHECK, message, format!("chown -R {owner}: {shown}")));
    }
    for (path, _) in files.iter().filter(|(_, file)| file.is_file() && file.mode() & 0o077 != 0) {
        let path = path.display();
        findings.push(Finding::problem(CHECK, format!("other users can read {path}"), format!("chmod 600 {path}")));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{shown} belongs to {owner} and is private")));
    }
    findings
}

fn name_of(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("user {uid}"), |user| user.name)
}

/// The certificate that is served, with its key and its chain.
pub(super) fn check_certificate(config: &Config, now: UnixMillis) -> Vec<Finding> {
    let Some(files) = &config.tls else {
        return vec![if config.listen.ip().is_loopback() {
            Finding::ok("tls", "there is no certificate; only this host can reach the collector")
        } else {
            let message = format!("{} is served without TLS: tokens are readable on the network", config.listen);
            Finding::warning("tls", message, "set tls_cert_file and tls_key_file, or serve behind a proxy with TLS")
        }];
    };
    let mut findings = vec![judge_pair(files, now)];
    if let Ok(key) = files.key.metadata()
        && key.mode() & 0o007 != 0
    {
        let key = files.key.display();
        let message = format!("every user can read the key {key}");
        findings.push(Finding::problem("tls_key", message, format!("chmod o= {key}")));
    }
    findings
}

fn judge_pair(files: &TlsFiles, now: UnixMillis) -> Finding {
    let renew = format!("renew {}; the collector reads it again within a minute", files.cert.display());
    let pair = match KeyPair::read(files) {
        Ok(pair) => pair,
        Err(error) => {
            let remedy = "correct tls_cert_file and tls_key_file; the collector's user must be able to read both";
            return Finding::problem("tls", chain(&error), remedy);
        }
    };
    match pair.validity_fault(now) {
        Some(fault @ ValidityFault::Soon(_)) => Finding::warning("tls", fault.to_string(), renew),
        Some(fault @ ValidityFault::NotYet(_)) => {
            Finding::problem("tls", fault.to_string(), "correct the clock of this host")
        }
        Some(fault) => Finding::problem("tls", fault.to_string(), renew),
        None => match chain_fault(files) {
            Some(fault) => {
                let remedy =
                    format!("put the certificates of {} in order: the own one, then its issuer", files.cert.display());
                Finding::warning("tls", fault, remedy)
            }
            None => Finding::ok("tls", format!("{} is valid", files.cert.display())),
        },
    }
}

/// The age of the last backup.
pub(super) fn check_backup(data_dir: &Path, now: UnixMillis) -> Finding {
    const REMEDY: &str = "systemctl enable --now systole-collector-backup.timer, or run `systole-collector backup`";
    match last_backup::read(data_dir) {
        None => Finding::warning("backup", "no backup was made yet", REMEDY),
        Some(backup) if now - backup.finished_at > BACKUP_AGE_MS => {
            let hours = (now - backup.finished_at) / 3_600_000;
            let message = format!("the last backup is {hours} h old: {}", backup.file.display());
            Finding::warning("backup", message, format!("see journalctl -u systole-collector-backup; {REMEDY}"))
        }
        Some(backup) if !backup.file.exists() => {
            let message = format!("the last backup {} is gone", backup.file.display());
            Finding::warning("backup", message, "check that the disk of the backups is mounted")
        }
        Some(backup) => {
            Finding::ok("backup", format!("{} of {}", backup.file.display(), to_rfc3339(backup.finished_at)))
        }
    }
}
