//! Bytes of disks and network interfaces since the host's boot, as totals that only grow.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::accumulated::Accumulated;
use super::mounts::{self, Device, DeviceKey};
use super::networks;
use crate::files;

/// Beside what else must survive the agent.
const FILE: &str = "host-counters.json";

/// The unit of /proc/diskstats, whatever the device's own is.
const SECTOR_BYTES: u64 = 512;

/// Loop devices: what they read and write, the device below them counts as well.
const LOOP_MAJOR: u32 = 7;

/// Totals; absent where nothing could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) disk_read: Option<u64>,
    pub(super) disk_written: Option<u64>,
    pub(super) net_received: Option<u64>,
    pub(super) net_sent: Option<u64>,
}

/// The totals' offsets, as they are kept for the agent's next start.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// The kernel's boot; counters begin from zero with another one.
    kernel_boot: String,
    disk_read: Accumulated,
    disk_written: Accumulated,
    net_received: Accumulated,
    net_sent: Accumulated,
}

/// Reads the counters, and keeps what makes totals of them.
pub(super) struct DeviceCounters {
    /// The file system's root; another one in tests.
    root: PathBuf,
    file: PathBuf,
    kept: Option<Kept>,
}

impl DeviceCounters {
    /// Keeps its file in `data_dir`.
    pub(super) fn new(data_dir: &Path) -> Self {
        DeviceCounters { root: "/".into(), file: data_dir.join(FILE), kept: None }
    }

    /// Reads the totals.
    pub(super) fn read(&mut self) -> Totals {
        let disks = self.disks();
        let networks = networks::read(&self.root.join("sys/class/net")).ok();
        let mut kept = self.kept.take().unwrap_or_else(|| self.load());
        let mut is_changed = false;
        let mut total = |of: &mut Accumulated, now: Option<Vec<(String, u64)>>| {
            let (total, changed) = of.update(now?.into_iter());
            is_changed |= changed;
            Some(total)
        };
        let disk = |value: fn(&(u64, u64)) -> u64| {
            Some(disks.as_ref()?.iter().map(|(name, bytes)| (name.clone(), value(bytes))).collect())
        };
        let network = |value: fn(&networks::Traffic) -> u64| {
            Some(networks.as_ref()?.iter().map(|(name, bytes)| (name.clone(), value(bytes))).collect())
        };
        let totals = Totals {
            disk_read: total(&mut kept.disk_read, disk(|(read, _)| *read)),
            disk_written: total(&mut kept.disk_written, disk(|(_, written)| *written)),
            net_received: total(&mut kept.net_received, network(|traffic| traffic.received)),
            net_sent: total(&mut kept.net_sent, network(|traffic| traffic.sent)),
        };
        if is_changed {
            self.save(&kept);
        }
        self.kept = Some(kept);
        totals
    }

    /// Bytes read and written by mounted device; `None` where no device has a line in diskstats.
    fn disks(&self) -> Option<BTreeMap<String, (u64, u64)>> {
        let devices = mounts::read(&self.root.join("proc/self/mountinfo")).ok()?;
        let statistics = std::fs::read(self.root.join("proc/diskstats")).ok()?;
        let disks = disks_of(&devices, &String::from_utf8_lossy(&statistics));
        (!disks.is_empty()).then_some(disks)
    }

    fn kernel_boot(&self) -> String {
        let id = std::fs::read(self.root.join("proc/sys/kernel/random/boot_id")).unwrap_or_default();
        String::from_utf8_lossy(&id).trim().to_owned()
    }

    fn load(&self) -> Kept {
        let kernel_boot = self.kernel_boot();
        let kept: Option<Kept> = std::fs::read(&self.file).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let is_same = |kept: &Kept| kept.kernel_boot == kernel_boot && !kernel_boot.is_empty();
        kept.filter(is_same).unwrap_or(Kept { kernel_boot, ..Kept::default() })
    }

    fn save(&self, kept: &Kept) {
        let written =
            serde_json::to_vec(kept).map_err(std::io::Error::from).and_then(|json| files::replace(&self.file, &json));
        if let Err(error) = written {
            tracing::debug!(%error, "cannot save the host's counters; after a restart one minute may have no rates");
        }
    }
}

fn disks_of(devices: &BTreeMap<DeviceKey, Device>, diskstats: &str) -> BTreeMap<String, (u64, u64)> {
    let lines = diskstats.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let key = (u32::try_from(number(0)?).ok()?, u32::try_from(number(1)?).ok()?);
        let bytes = (number(5)?.saturating_mul(SECTOR_BYTES), number(9)?.saturating_mul(SECTOR_BYTES));
        Some((key, fields.get(2)?.to_string(), bytes))
    });
    let named: Vec<String> = devices
        .iter()
        .filter(|(key, _)| matches!(key, DeviceKey::Number(0, _)))
        .filter_map(|(_, device)| name_of(&device.source))
        .collect();
    lines
        .filter(|((major, minor), name, _)| {
            let is_mounted = devices.contains_key(&DeviceKey::Number(*major, *minor)) || named.contains(name);
            is_mounted && *major != LOOP_MAJOR
        })
        .map(|(_, name, bytes)| (name, bytes))
        .collect()
}

/// The kernel's name of a device, for file systems that hide its numbers.
fn name_of(source: &Path) -> Option<String> {
    let path = std::fs::canonicalize(source).unwrap_or_else(|_| source.to_owned());
    Some(path.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up root with these disks mounted, each with its sectors, and these interfaces.
    fn set(root: &Path, disks: &[(u32, u64)], interfaces: &[(&str, u64)]) {
        let write = |path: &str, text: String| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let mounts: String =
            disks.iter().map(|(n, _)| format!("{n} 1 8:{n} / /{n} rw - ext4 /dev/d{n} rw\n")).collect();
        write("proc/self/mountinfo", mounts);
        let lines: String = disks.iter().map(|(n, s)| format!("8 {n} d{n} 1 0 {s} 0 1 0 {s} 0 0 0 0\n")).collect();
        write("proc/diskstats", lines);
        write("proc/sys/kernel/random/boot_id", "boot-1\n".to_owned());
        let _ = std::fs::remove_dir_all(root.join("sys"));
        for (name, bytes) in interfaces {
            write(&format!("sys/class/net/{name}/statistics/rx_bytes"), format!("{bytes}\n"));
            write(&format!("sys/class/net/{name}/statistics/tx_bytes"), format!("{bytes}\n"));
        }
    }

    fn counters(root: &Path) -> DeviceCounters {
        DeviceCounters { root: root.to_owned(), file: root.join(FILE), kept: None }
    }

    #[test]
    fn device_that_is_removed_makes_no_total_fall_also_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = counters(dir.path());
        set(dir.path(), &[(1, 2), (2, 4)], &[("veth1", 100), ("veth2", 10)]);
        let first = host.read();
        assert_eq!((first.disk_read, first.net_sent), (Some(6 * 512), Some(110)));
        set(dir.path(), &[(1, 3)], &[("veth2", 15)]);
        let second = host.read();
        assert_eq!((second.disk_read, second.disk_written), (Some(7 * 512), Some(7 * 512)));
        assert_eq!((second.net_received, second.net_sent), (Some(115), Some(115)));
        let mut restarted = counters(dir.path());
        set(dir.path(), &[(1, 4)], &[("veth2", 16), ("veth3", 5_000)]);
        let third = restarted.read();
        assert_eq!((third.disk_read, third.net_sent), (Some(8 * 512), Some(116)));
    }

    #[test]
    fn loop_devices_are_left_out_because_the_disk_below_counts_the_same_bytes() {
        let key = DeviceKey::Number;
        let devices = BTreeMap::from([(key(7, 0), Device::default()), (key(8, 1), Device::default())]);
        let found =
            disks_of(&devices, "7 0 loop0 1 0 9 0 1 0 9 0\n8 1 sda1 1 0 2 0 1 0 3 0\n8 2 sda2 1 0 5 0 1 0 5 0\n");
        assert_eq!(found, BTreeMap::from([("sda1".to_owned(), (1_024, 1_536))]));
    }
}
