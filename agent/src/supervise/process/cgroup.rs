//! A control group (version 2) for the processes of a pipeline, with its limits of memory and CPU.
//!
//! A group with processes of its own cannot hand controllers down. So the agent first moves into a
//! leaf beside those of its pipelines. Any failure is logged, and the pipeline runs
//! without.
//!
//! A group is made at each start of a command and removed at its end; nothing is remembered. A limit
//! that cannot be set never stops a pipeline from running. Address space (RLIMIT_AS) is not limited instead.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use systole_shared::PipelineId;

use crate::model::pipeline::LimitsConfig;

/// The leaf that the agent itself moves into.
const OWN_LEAF: &str = "agent.systole";

/// Microseconds over which CPU time is shared out, as the kernel's default has it.
const CPU_PERIOD_US: u64 = 100_000;

/// The kind of its file system in a line of `/proc/self/mountinfo`, where a separator precedes it.
const KIND_OF_CGROUP2: &[u8] = b" - cgroup2 ";

/// Letters of the pipeline's id in the group's name.
const MAX_NAME_LETTERS: usize = 40;

/// An error of a control group.
#[derive(Debug, thiserror::Error)]
pub(in crate::supervise) enum CgroupError {
    /// Another system, or only version 1.
    #[error("this host has no cgroup v2")]
    None,
    /// The agent's group does not have this controller.
    #[error("the agent's control group {group} does not have the {controller} controller (with systemd: Delegate=yes)")]
    NoController {
        /// The agent's group.
        group: String,
        /// What is missing there.
        controller: &'static str,
    },
    /// A file of the group cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file, or folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The group of a pipeline's process; removed when it is dropped.
#[derive(Debug)]
pub(in crate::supervise) struct Group {
    dir: PathBuf,
    memory_max: Option<u64>,
    oom_kills: u64,
}

impl Group {
    /// Makes the group that these limits need; none if they need none.
    pub(in crate::supervise) fn make(id: &PipelineId, limits: &LimitsConfig) -> Result<Option<Group>, CgroupError> {
        if limits.memory_max.is_none() && limits.cpu_max_millis.is_none() {
            return Ok(None);
        }
        // Bytes: a mount point or a group of any name must not hide all others.
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let root = mount_point(&mounts).ok_or(CgroupError::None)?;
        let own = fs::read("/proc/self/cgroup").unwrap_or_default();
        let own = lines(&own).find_map(|line| line.strip_prefix(b"0::")).ok_or(CgroupError::None)?;
        Group::make_in(&root, Path::new(OsStr::from_bytes(own)), id, limits).map(Some)
    }

    /// The same below `root`, for an agent whose group is `own`.
    fn make_in(root: &Path, own: &Path, id: &PipelineId, limits: &LimitsConfig) -> Result<Group, CgroupError> {
        let own = root.join(own.strip_prefix("/").unwrap_or(own));
        let is_moved = own.file_name().is_some_and(|name| name == OWN_LEAF);
        let base = if is_moved { own.parent().unwrap_or(root) } else { &own };
        let known = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
        let wanted = [("memory", limits.memory_max.is_some()), ("cpu", limits.cpu_max_millis.is_some())];
        let wanted = wanted.into_iter().filter_map(|(controller, is_wanted)| is_wanted.then_some(controller));
        for controller in wanted.clone() {
            if !known.split_ascii_whitespace().any(|known| known == controller) {
                return Err(CgroupError::NoController { group: base.display().to_string(), controller });
            }
        }
        if !is_moved {
            let leaf = base.join(OWN_LEAF);
            make_dir(&leaf)?;
            write(&leaf.join("cgroup.procs"), &std::process::id().to_string())?;
        }
        for controller in wanted {
            write(&base.join("cgroup.subtree_control"), &format!("+{controller}"))?;
        }
        let dir = base.join(name_of(id));
        make_dir(&dir)?;
        if let Some(bytes) = limits.memory_max {
            write(&dir.join("memory.max"), &bytes.to_string())?;
        }
        if let Some(millis) = limits.cpu_max_millis {
            write(&dir.join("cpu.max"), &format!("{} {CPU_PERIOD_US}", millis * CPU_PERIOD_US / 1_000))?;
        }
        let oom_kills = oom_kills(&dir);
        Ok(Group { dir, memory_max: limits.memory_max, oom_kills })
    }

    /// The file through which a process joins.
    pub(in crate::supervise) fn door(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// An addition to the reason of an end, if the kernel killed for want of memory.
    pub(in crate::supervise) fn oom(&self) -> Option<String> {
        let bytes = self.memory_max.filter(|_| oom_kills(&self.dir) > self.oom_kills)?;
        Some(format!("out of memory, memory_max is {bytes} bytes"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What does not go now is used again at the next start.
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Where cgroup v2 is mounted.
fn mount_point(mounts: &[u8]) -> Option<PathBuf> {
    let is_cgroup2 = |line: &&[u8]| line.windows(KIND_OF_CGROUP2.len()).any(|part| part == KIND_OF_CGROUP2);
    let line = lines(mounts).find(is_cgroup2)?;
    let path = line.split(|&byte| byte == b' ').nth(4)?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

/// A name that no two pipelines share, and that an operator can still read.
fn name_of(id: &PipelineId) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() || "-_".contains(letter) { letter } else { '_' };
    let readable: String = id.as_str().chars().take(MAX_NAME_LETTERS).map(letter).collect();
    let hash = Sha256::digest(id.as_str().as_bytes());
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("pipeline-{readable}-{hash}")
}

fn oom_kills(dir: &Path) -> u64 {
    let events = fs::read_to_string(dir.join("memory.events")).unwrap_or_default();
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

fn make_dir(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(CgroupError::Write { path: path.display().to_string(), source: error })
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    fs::write(path, text).map_err(|source| CgroupError::Write { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LimitsConfig = LimitsConfig { nice: None, memory_max: Some(1 << 29), cpu_max_millis: Some(1_500) };

    /// A folder in place of a group that is delegated to the agent.
    fn given(controllers: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a.service")).unwrap();
        fs::write(root.path().join("a.service/cgroup.controllers"), controllers).unwrap();
        root
    }

    fn id() -> PipelineId {
        PipelineId::parse("eu/orders").unwrap()
    }

    #[test]
    fn agent_moves_aside_and_the_group_has_its_limits() {
        let root = given("cpuset cpu io memory pids\n");
        let group = Group::make_in(root.path(), Path::new("/a.service"), &id(), &LIMITS).unwrap();
        let read = |path: &str| fs::read_to_string(root.path().join("a.service").join(path)).unwrap();
        assert_eq!(read("agent.systole/cgroup.procs"), std::process::id().to_string());
        assert_eq!(read("cgroup.subtree_control"), "+cpu", "one after another, the last one is seen here");
        let name = name_of(&id());
        assert!(name.starts_with("pipeline-eu_orders-"), "{name}");
        assert_eq!(read(&format!("{name}/memory.max")), (1_u64 << 29).to_string());
        assert_eq!(read(&format!("{name}/cpu.max")), "150000 100000");
        assert_eq!(group.door(), root.path().join("a.service").join(&name).join("cgroup.procs"));

        // A second one finds the agent moved already.
        let other = PipelineId::parse("eu_orders").unwrap();
        let second = Group::make_in(root.path(), Path::new("/a.service/agent.systole"), &other, &LIMITS).unwrap();
        assert_eq!(second.dir.parent(), group.dir.parent());
        assert_ne!(second.dir, group.dir);
    }

    #[test]
    fn oom_kill_is_reported_for_the_current_run_only() {
        let root = given("cpu memory");
        let dir = root.path().join("a.service").join(name_of(&id()));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("memory.events"), "oom 4\noom_kill 4\n").unwrap();
        let group = Group::make_in(root.path(), Path::new("/a.service"), &id(), &LIMITS).unwrap();
        assert_eq!(group.oom(), None);
        fs::write(dir.join("memory.events"), "oom 5\noom_kill 5\n").unwrap();
        assert_eq!(group.oom().as_deref(), Some("out of memory, memory_max is 536870912 bytes"));
    }

    #[test]
    fn missing_controller_is_named_and_nothing_changes() {
        let root = given("cpu");
        let error = Group::make_in(root.path(), Path::new("/a.service"), &id(), &LIMITS).unwrap_err();
        assert!(error.to_string().contains("memory controller"), "{error}");
        assert!(!root.path().join("a.service/agent.systole").exists());
    }

    #[test]
    fn cgroup_v2_mount_is_found() {
        let mounts = b"31 1 0:26 / /mnt/r\xe9sum\xe9 rw - tmpfs tmpfs rw\n41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point(b"31 1 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw\n"), None);
    }
}
