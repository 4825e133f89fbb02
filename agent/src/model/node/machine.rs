//! What the machine itself shows. Files of the system are read as bytes: they need not be UTF-8.

use std::path::Path;

use sha2::{Digest, Sha256};

/// Facts that hold for the agent's lifetime.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// As Go names it, like `linux`.
    pub(crate) os: &'static str,
    /// As Go names it, like `amd64`.
    pub(crate) arch: &'static str,
    /// `STANDALONE` or `DOCKER`.
    pub(crate) deployment_mode: &'static str,
    /// What stays the same when the host is installed again, if anything does.
    pub(crate) id: Option<String>,
    /// The user that the agent runs as.
    pub(crate) running_as: String,
}

/// What identifies the machine when it enrols again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MachineIdSource {
    /// The operating system's `/etc/machine-id`. Copies of an image may have the same.
    #[default]
    MachineId,
    /// The cloud's instance: of cloud-init, or else of the firmware.
    Cloud,
    /// The UUID of the firmware, which only root can read.
    Dmi,
    /// The host's name.
    Hostname,
}

impl MachineIdSource {
    /// Each source.
    pub(crate) const ALL: [MachineIdSource; 4] =
        [MachineIdSource::MachineId, MachineIdSource::Cloud, MachineIdSource::Dmi, MachineIdSource::Hostname];

    /// As the configuration names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            MachineIdSource::MachineId => "machine-id",
            MachineIdSource::Cloud => "cloud",
            MachineIdSource::Dmi => "dmi",
            MachineIdSource::Hostname => "hostname",
        }
    }

    /// Files that may have the id, the best first.
    fn files(self) -> &'static [&'static str] {
        const PRODUCT_UUID: &str = "sys/class/dmi/id/product_uuid";
        match self {
            MachineIdSource::MachineId => &["etc/machine-id", "var/lib/dbus/machine-id"],
            MachineIdSource::Cloud => &["var/lib/cloud/data/instance-id", PRODUCT_UUID],
            MachineIdSource::Dmi => &[PRODUCT_UUID],
            MachineIdSource::Hostname => &[],
        }
    }
}

impl Machine {
    /// Checks. `id` is the user's own machine id, over the machine's.
    pub(crate) fn detect(id: Option<&str>, from: MachineIdSource) -> Self {
        Machine {
            os: os(),
            arch: arch(),
            deployment_mode: deployment_mode(),
            id: id.map(str::to_owned).or_else(|| machine_id(Path::new("/"), from, &host_name())),
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

/// A hash of the machine's id: systemd asks that the id itself stay on the machine. `None` when the source has none:
/// another source could be the one that several hosts have in common.
fn machine_id(root: &Path, from: MachineIdSource, hostname: &str) -> Option<String> {
    let id = match from {
        MachineIdSource::Hostname => hostname.to_owned(),
        _ => from.files().iter().find_map(|path| read_id(&root.join(path)))?,
    };
    let digest = Sha256::digest(match from {
        MachineIdSource::MachineId => format!("systole-agent:{id}"),
        from => format!("systole-agent:{}:{id}", from.as_str()),
    });
    Some(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// An id that stands alone in a file. Images that are not set up yet, and firmware without an id, have none.
fn read_id(path: &Path) -> Option<String> {
    let id = std::fs::read(path).ok()?;
    let id = String::from_utf8_lossy(&id).trim().to_owned();
    let is_blank = id.chars().all(|c| matches!(c, '0' | 'f' | 'F' | '-'));
    (!is_blank && id != "uninitialized" && id != "iid-datasource-none").then_some(id)
}

/// Files that a container runtime mounts into its containers, from its own directory of the container.
const MOUNTED_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

fn deployment_mode() -> &'static str {
    let is_contained = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() || is_container(Path::new("/"));
    if is_contained { "DOCKER" } else { "STANDALONE" }
}

/// Whether the system below `root` is a container. With cgroup v2 its own cgroup is `/` and shows nothing, but its
/// mounts do.
fn is_container(root: &Path) -> bool {
    let text = |path: &str| String::from_utf8_lossy(&std::fs::read(root.join(path)).unwrap_or_default()).into_owned();
    let is_mounted_by_a_runtime = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        let (Some(from), Some(to)) = (fields.next(), fields.next()) else { return false };
        MOUNTED_FILES.contains(&to)
            && ["docker", "containerd", "containers", "kubelet", "pods"]
                .iter()
                .any(|name| from.split('/').any(|part| part == *name))
    };
    root.join(".dockerenv").exists()
        || root.join("run/.containerenv").exists()
        || ["docker", "containerd", "kubepods"].iter().any(|name| text("proc/1/cgroup").contains(name))
        || text("proc/self/mountinfo").lines().any(is_mounted_by_a_runtime)
}

fn running_as() -> String {
    let uid = nix::unistd::Uid::effective();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn each_source_has_an_id_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let id = |from| machine_id(root.path(), from, "host");
        assert_eq!(
            [MachineIdSource::MachineId, MachineIdSource::Cloud, MachineIdSource::Dmi].map(id),
            [None, None, None]
        );
        write(root.path(), "etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        write(root.path(), "sys/class/dmi/id/product_uuid", "4C4C4544-0042\n");
        let dmi = id(MachineIdSource::Dmi);
        let of_firmware = id(MachineIdSource::Cloud);
        assert!(dmi.is_some() && of_firmware.is_some());
        write(root.path(), "var/lib/cloud/data/instance-id", "i-0a1b2c\n");
        let ids = MachineIdSource::ALL.map(id);
        assert!(ids.iter().all(Option::is_some), "{ids:?}");
        assert_ne!(id(MachineIdSource::Cloud), of_firmware, "the instance wins");
        let mut distinct = ids.to_vec();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), ids.len());
        assert_ne!(machine_id(root.path(), MachineIdSource::Hostname, "other"), id(MachineIdSource::Hostname));
        // As versions before had it: the node stays the same.
        let digest = Sha256::digest("systole-agent:0123456789abcdef0123456789abcdef");
        let expected: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(id(MachineIdSource::MachineId), Some(expected));
    }

    #[test]
    fn container_is_known_by_its_files_its_cgroup_or_its_mounts() {
        let with = |path: &str, text: &str| {
            let root = tempfile::tempdir().unwrap();
            write(root.path(), path, text);
            is_container(root.path())
        };
        assert!(with(".dockerenv", "") && with("run/.containerenv", ""));
        assert!(with("proc/1/cgroup", "12:pids:/docker/0123\n") && with("proc/1/cgroup", "0::/kubepods/besteffort\n"));
        assert!(!with("proc/1/cgroup", "0::/init.scope\n"));
        let mount = |from: &str, to: &str| format!("36 35 98:0 {from} {to} rw - ext4 /dev/sda1 rw\n");
        let in_container = mount("/var/lib/docker/containers/0123/hostname", "/etc/hostname");
        assert!(with("proc/self/mountinfo", &in_container));
        let on_the_host = mount("/", "/var/lib/docker/overlay2") + &mount("/", "/etc");
        assert!(!with("proc/self/mountinfo", &on_the_host));
    }

    #[test]
    fn id_that_says_nothing_is_none() {
        let root = tempfile::tempdir().unwrap();
        for blank in [
            "",
            "\n",
            "uninitialized\n",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF",
            "iid-datasource-none",
        ] {
            write(root.path(), "sys/class/dmi/id/product_uuid", blank);
            assert_eq!(machine_id(root.path(), MachineIdSource::Dmi, "host"), None, "{blank:?}");
        }
    }
}
