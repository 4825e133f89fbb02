//! What the machine itself shows. Files of the system are read as bytes: they need not be UTF-8.

use std::path::Path;

use sha2::{Digest, Sha256};

/// Facts that hold for the agent's whole life.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// As Go names it, like `linux`.
    pub(crate) os: &'static str,
    /// As Go names it, like `amd64`.
    pub(crate) arch: &'static str,
    /// `STANDALONE` or `DOCKER`.
    pub(crate) deployment_mode: &'static str,
    /// What stays the same when the host is installed anew, if anything does.
    pub(crate) id: Option<String>,
    /// The user that the agent runs as.
    pub(crate) running_as: String,
}

impl Machine {
    /// Looks. `id` is the user's own machine id, over the machine's.
    pub(crate) fn detect(id: Option<&str>) -> Self {
        Machine {
            os: os(),
            arch: arch(),
            deployment_mode: deployment_mode(),
            id: id.map(str::to_owned).or_else(machine_id),
            running_as: running_as(),
        }
    }
}

/// The host's name as it is now; it may change while the agent runs.
pub(crate) fn host_name() -> String {
    let name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// A hash of the machine's id: systemd asks that the id itself stay on the machine.
fn machine_id() -> Option<String> {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"].iter().find_map(|path| std::fs::read(path).ok())?;
    let id = String::from_utf8_lossy(&id);
    let id = id.trim();
    if id.is_empty() || id == "uninitialized" {
        return None;
    }
    let digest = Sha256::digest(format!("systole-agent:{id}"));
    Some(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn deployment_mode() -> &'static str {
    let cgroup = std::fs::read("/proc/1/cgroup").unwrap_or_default();
    let cgroup = String::from_utf8_lossy(&cgroup);
    let contained = Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        || ["docker", "containerd", "kubepods"].iter().any(|name| cgroup.contains(name));
    if contained { "DOCKER" } else { "STANDALONE" }
}

fn running_as() -> String {
    let uid = nix::unistd::Uid::effective();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}
