//! The installer, with a temporary directory as its root.

#![expect(clippy::unwrap_used, reason = "what these tests stand on may panic as they may")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A place to install from and one to install to.
struct Host {
    directory: TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Host { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(host.root()).unwrap();
        host
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn binary(&self) -> PathBuf {
        self.root().join("usr/local/bin/systole-agent")
    }

    fn config(&self) -> PathBuf {
        self.root().join("etc/systole/agent.toml")
    }

    /// A release with a program that only prints its version.
    fn release(&self, version: &str) -> PathBuf {
        let release = self.directory.path().join(version);
        fs::create_dir_all(&release).unwrap();
        let program = release.join("systole-agent");
        fs::write(&program, format!("#!/bin/sh\necho \"systole-agent {version}\"\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(deploy().join("systemd/systole-agent.service"), release.join("systole-agent.service")).unwrap();
        let mut sums = Command::new("sha256sum");
        let sums = sums.args(["systole-agent", "systole-agent.service"]).current_dir(&release).output().unwrap();
        fs::write(release.join("SHA256SUMS"), sums.stdout).unwrap();
        release
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new("sh");
        command.arg(deploy().join("install.sh")).args(args).arg("--root").arg(self.root());
        command.output().unwrap()
    }

    fn install(&self, release: &Path, more: &[&str]) -> Output {
        let from = release.display().to_string();
        let args: Vec<&str> = ["--from", &from].into_iter().chain(more.iter().copied()).collect();
        self.run(&args)
    }

    fn installed(&self) -> String {
        let output = Command::new(self.binary()).arg("--version").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Every file below the root, with its content.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut rest = vec![self.root()];
        while let Some(directory) = rest.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    files.insert(path.clone(), Vec::new());
                    rest.push(path);
                } else {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy")
}

fn assert_done(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

fn assert_refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{output:?}");
}

#[test]
fn upgrade_keeps_the_configuration_and_is_idempotent() {
    let host = Host::new();
    assert_done(&host.install(&host.release("1.9.0"), &[]));
    assert_eq!(host.installed(), "systole-agent 1.9.0");
    let unit = fs::read_to_string(host.root().join("etc/systemd/system/systole-agent.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/systole-agent run"));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(host.binary()), 0o755);
    assert_eq!(mode(host.config()), 0o640);
    assert_eq!(mode(host.root().join("var/lib/systole-agent")), 0o700);

    fs::write(host.config(), "url = \"http://mine:1\"\n").unwrap();
    fs::write(host.root().join("var/lib/systole-agent/node-token"), "n").unwrap();
    let newer = host.release("1.10.0");
    assert_done(&host.install(&newer, &[]));
    assert_eq!(host.installed(), "systole-agent 1.10.0");
    assert_eq!(fs::read_to_string(host.config()).unwrap(), "url = \"http://mine:1\"\n");
    let before = host.files();
    let again = host.install(&newer, &[]);
    assert_done(&again);
    assert!(String::from_utf8_lossy(&again.stdout).contains("installed already"), "{again:?}");
    assert_eq!(host.files(), before);
}

#[test]
fn downgrade_needs_force() {
    let host = Host::new();
    assert_done(&host.install(&host.release("1.10.0"), &[]));
    for older in ["1.9.0", "1.10.0-rc1"] {
        let older = host.release(older);
        assert_refused(&host.install(&older, &[]), "older");
        assert_eq!(host.installed(), "systole-agent 1.10.0");
    }
    assert_done(&host.install(&host.release("1.9.0"), &["--force"]));
    assert_eq!(host.installed(), "systole-agent 1.9.0");
    assert_done(&host.install(&host.release("1.10.0-rc1"), &[]));
    assert_done(&host.install(&host.release("1.10.0"), &[]));
}

#[test]
fn wrong_checksum_is_not_installed() {
    let host = Host::new();
    let release = host.release("1.0.0");
    fs::write(release.join("systole-agent"), "#!/bin/sh\necho systole-agent 6.6.6\n").unwrap();
    assert_refused(&host.install(&release, &[]), "SHA256SUMS");
    let unnamed = host.release("1.0.1");
    fs::write(unnamed.join("SHA256SUMS"), "").unwrap();
    assert_refused(&host.install(&unnamed, &[]), "does not name");
    fs::remove_file(unnamed.join("SHA256SUMS")).unwrap();
    assert_refused(&host.install(&unnamed, &[]), "is missing");
    assert_eq!(host.files(), BTreeMap::new());
}

#[test]
fn dry_run_prints_its_steps_and_changes_nothing() {
    let host = Host::new();
    let first = host.install(&host.release("1.0.0"), &["--dry-run"]);
    assert_done(&first);
    assert!(String::from_utf8_lossy(&first.stdout).contains("would run: mv"), "{first:?}");
    assert_eq!(host.files(), BTreeMap::new());
    assert_done(&host.install(&host.release("1.0.0"), &[]));
    let before = host.files();
    assert_done(&host.install(&host.release("2.0.0"), &["--dry-run"]));
    assert_done(&host.run(&["--uninstall", "--purge", "--dry-run"]));
    assert_eq!(host.files(), before);
}

#[test]
fn uninstall_keeps_user_files_without_purge() {
    let host = Host::new();
    assert_done(&host.install(&host.release("1.0.0"), &["--prefix", "/opt/systole"]));
    let binary = host.root().join("opt/systole/bin/systole-agent");
    assert!(binary.exists());
    let unit = host.root().join("etc/systemd/system/systole-agent.service");
    assert!(fs::read_to_string(&unit).unwrap().contains("ExecStart=/opt/systole/bin/systole-agent run"));
    assert_done(&host.run(&["--uninstall", "--prefix", "/opt/systole"]));
    assert!(!binary.exists() && !unit.exists());
    assert!(host.config().exists() && host.root().join("var/lib/systole-agent").exists());
    assert_done(&host.run(&["--uninstall", "--purge"]));
    assert!(!host.root().join("etc/systole").exists() && !host.root().join("var/lib/systole-agent").exists());
    assert_done(&host.run(&["--uninstall"]));
}

#[test]
fn pipelines_of_the_collector_need_consent() {
    for (option, accepts) in [(None, false), (Some("--no-accept-pipelines"), false), (Some("--accept-pipelines"), true)]
    {
        let host = Host::new();
        assert_done(&host.install(&host.release("1.0.0"), option.as_slice()));
        let config = fs::read_to_string(host.config()).unwrap();
        let lines: Vec<&str> = config.lines().collect();
        assert!(lines.contains(&format!("accept_pipelines = {accepts}").as_str()), "{config}");
        assert_eq!(lines.contains(&"[engine.vector]"), accepts, "{config}");
        let metrics = fs::read_to_string(host.root().join("etc/systole/vector-metrics.yaml")).unwrap();
        let example = fs::read_to_string(deploy().join("vector-metrics.yaml")).unwrap();
        let plain =
            |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(plain(&metrics), plain(&example));
    }
}

#[test]
fn wrong_usage_prints_an_error() {
    let host = Host::new();
    for args in [&[][..], &["--from"], &["--what"], &["--uninstall", "--from", "x"], &["--purge", "--from", "x"]] {
        let output = host.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("see --help"), "{args:?}: {output:?}");
    }
}

#[test]
fn collector_is_installed_with_its_timer() {
    let host = Host::new();
    let release = host.release("1.0.0");
    let program = release.join("systole-collector");
    fs::write(&program, "#!/bin/sh\necho systole-collector 1.0.0\n").unwrap();
    let units = ["", "-backup"].map(|unit| format!("systole-collector{unit}.service"));
    let units = [units[0].as_str(), units[1].as_str(), "systole-collector-backup.timer"];
    for unit in units {
        fs::copy(deploy().join("systemd").join(unit), release.join(unit)).unwrap();
    }
    assert_refused(&host.install(&release, &["--collector"]), "does not name");
    let sums = Command::new("sh").args(["-c", "sha256sum systole-*"]).current_dir(&release).output().unwrap();
    fs::write(release.join("SHA256SUMS"), sums.stdout).unwrap();
    assert_done(&host.install(&release, &["--collector", "--prefix", "/opt/systole"]));
    let etc = host.root().join("etc");
    for unit in units {
        let text = fs::read_to_string(etc.join("systemd/system").join(unit)).unwrap();
        assert!(!text.contains("/usr/local/bin"), "{unit} starts a program that is not there");
    }
    assert!(host.root().join("opt/systole/bin/systole-collector").exists());
    assert!(etc.join("systole/collector.toml").exists() && !etc.join("systole/agent.toml").exists());
    let again = host.install(&release, &["--collector", "--prefix", "/opt/systole"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("installed already"), "{again:?}");
    assert_done(&host.run(&["--uninstall", "--purge", "--collector", "--prefix", "/opt/systole"]));
    assert!(!etc.join("systole").exists() && !host.root().join("var/lib/systole").exists());
    assert_eq!(host.run(&["--uninstall", "--collector", "--accept-pipelines"]).status.code(), Some(2));
}
