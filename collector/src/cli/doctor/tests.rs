//! Planted faults, each found with its remedy.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use systole_shared::Verdict;
use systole_tests::harness::tls::Authority;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::store::last_backup::{self, LastBackup};
use crate::store::sqlite::{SqliteBackup, SqliteStore};
use crate::store::{Access, private};

/// A host with a database and no collector that runs.
struct Host {
    dir: TempDir,
    settings: BTreeMap<&'static str, String>,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        private::create_dir(&data_dir).unwrap();
        let database = data_dir.join("collector.db");
        drop(SqliteStore::open(&database, Access::Exclusive).unwrap());
        // All of it in one file.
        let copy = data_dir.join("copy.db");
        private::open(std::fs::OpenOptions::new().write(true), &copy).unwrap();
        SqliteBackup::open(&database).unwrap().write(&copy).unwrap();
        for ending in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(data_dir.join(format!("collector.db{ending}")));
        }
        std::fs::rename(copy, database).unwrap();
        let settings = BTreeMap::from([
            ("data_dir", data_dir.display().to_string()),
            ("listen", "127.0.0.1:0".to_owned()),
            // Whatever disk the test runs on.
            ("low_disk_warn_bytes", "0".to_owned()),
            ("low_disk_stop_bytes", "0".to_owned()),
        ]);
        Host { dir, settings }
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    fn set(&mut self, key: &'static str, value: impl std::fmt::Display) {
        self.settings.insert(key, value.to_string());
    }

    async fn examine(&self) -> Vec<Finding> {
        let sources = Sources { flags: self.settings.clone(), ..Sources::default() };
        examine(Ok(sources), &self.dir.path().join("collector.env")).await
    }

    /// The finding of a check, which is not in order.
    async fn fault(&self, check: &str) -> String {
        let findings = self.examine().await;
        let fault = findings.iter().find(|finding| finding.check == check && finding.verdict != Verdict::Ok);
        fault.unwrap_or_else(|| panic!("no fault of {check}: {findings:#?}")).to_string()
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[tokio::test]
async fn good_host_has_no_problem() {
    let findings = Host::new().examine().await;
    assert!(!has_problem(&findings), "{findings:#?}");
    for check in ["configuration", "data_dir", "tls", "database", "clock", "disk", "growth", "secrets", "version"] {
        assert!(findings.iter().any(|finding| finding.check == check && finding.verdict == Verdict::Ok), "{check}");
    }
}

#[tokio::test]
async fn invalid_setting_of_the_service_is_found() {
    let host = Host::new();
    std::fs::write(host.dir.path().join("collector.env"), "SYSTOLE_INTERVAL=fast\nOTHER=1\n").unwrap();
    let fault = host.fault("configuration").await;
    assert!(fault.contains("SYSTOLE_INTERVAL") && fault.contains("check-config"), "{fault}");
}

#[tokio::test]
async fn open_rights_are_found() {
    let host = Host::new();
    Host::chmod(&host.data_dir(), 0o777);
    assert!(host.fault("data_dir").await.contains("chmod 700"));
    Host::chmod(&host.data_dir(), 0o700);
    std::fs::write(host.data_dir().join("secret.key"), "k").unwrap();
    Host::chmod(&host.data_dir().join("secret.key"), 0o644);
    assert!(host.fault("data_dir").await.contains("chmod 600"));
}

#[tokio::test]
async fn missing_and_foreign_databases_are_found() {
    let mut host = Host::new();
    std::fs::remove_file(host.data_dir().join("collector.db")).unwrap();
    assert!(host.fault("database").await.contains("there is no database"));
    std::fs::write(host.data_dir().join("collector.db"), "no database, and longer than a header of one").unwrap();
    let fault = host.fault("database").await;
    assert!(fault.contains("Fix: "), "{fault}");
    std::fs::write(host.data_dir().join("collector.db"), "short").unwrap();
    assert!(host.fault("database").await.contains("Fix: "));
    assert_eq!(std::fs::read(host.data_dir().join("collector.db")).unwrap(), b"short", "nothing is written");
    host.set("data_dir", host.dir.path().join("none").display());
    assert!(host.fault("data_dir").await.contains("--data-dir"));
}

#[tokio::test]
async fn certificates_are_checked_with_key_and_chain() {
    let mut host = Host::new();
    let authority = Authority::new(host.dir.path(), "authority");
    let (cert, key) = authority.sign("good");
    Host::chmod(&key, 0o600);
    host.set("tls_cert_file", cert.display());
    host.set("tls_key_file", key.display());
    assert!(!has_problem(&host.examine().await));
    Host::chmod(&key, 0o644);
    assert!(host.fault("tls_key").await.contains("chmod o="));
    let (old, old_key) = authority.sign_until("old", (2020, 1, 1));
    host.set("tls_cert_file", old.display());
    assert!(host.fault("tls").await.contains("do not match"));
    host.set("tls_key_file", old_key.display());
    assert!(host.fault("tls").await.contains("renew"));
    let (other, _) = authority.sign("other");
    let mixed = std::fs::read_to_string(&cert).unwrap() + &std::fs::read_to_string(other).unwrap();
    std::fs::write(&cert, mixed).unwrap();
    host.set("tls_cert_file", cert.display());
    host.set("tls_key_file", key.display());
    assert!(host.fault("tls").await.contains("in order"));
}

#[tokio::test]
async fn taken_port_and_unknown_database_host_are_found() {
    let mut host = Host::new();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    host.set("listen", taken.local_addr().unwrap());
    assert!(host.fault("port").await.contains("ss -ltnp"));
    host.set("database_url", "postgres://systole@no-such-host.invalid/systole?connect_timeout=2");
    assert!(host.fault("dns").await.contains("/etc/resolv.conf"));
}

#[tokio::test]
async fn full_disk_is_found() {
    let mut host = Host::new();
    host.set("low_disk_warn_bytes", u64::MAX / 2);
    assert!(host.fault("disk").await.contains("retention_logs_bytes"));
    host.set("low_disk_stop_bytes", u64::MAX / 2);
    assert!(host.fault("disk").await.starts_with("problem"));
}

#[tokio::test]
async fn missing_token_and_old_backup_are_found() {
    let host = Host::new();
    assert!(host.fault("token").await.contains("token create --kind enroll"));
    assert!(host.fault("backup").await.contains("systole-collector-backup.timer"));
    let file = host.data_dir().join("collector.db");
    let mut backup = LastBackup { finished_at: clock::now_ms() - 49 * 3_600_000, file, bytes: 1 };
    last_backup::write(&host.data_dir(), &backup).unwrap();
    assert!(host.fault("backup").await.contains("49 h old"));
    backup = LastBackup { finished_at: clock::now_ms(), file: "/no/such.db".into(), ..backup };
    last_backup::write(&host.data_dir(), &backup).unwrap();
    assert!(host.fault("backup").await.contains("mounted"));
}
