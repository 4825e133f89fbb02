//! File systems and disks, each device counted once however often it is mounted.

use std::collections::BTreeMap;

use sysinfo::{Disk, Disks};
use systole_shared::HostMetrics;

/// File systems without a device of their own: layers over others, memory, read-only images.
const NOT_ON_DEVICES: [&str; 6] = ["overlay", "tmpfs", "devtmpfs", "ramfs", "squashfs", "aufs"];

/// Figures of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Device {
    total: u64,
    used: u64,
    free: u64,
    read: u64,
    written: u64,
}

/// Reads the figures of all devices.
pub(super) fn read(metrics: &mut HostMetrics) {
    let Ok(disks) = Disks::new_with_refreshed_list() else { return };
    let mut devices: BTreeMap<String, Device> = BTreeMap::new();
    for disk in disks.iter() {
        let kind = disk.file_system().to_string_lossy();
        if NOT_ON_DEVICES.contains(&kind.as_ref()) {
            continue;
        }
        let usage = disk.usage();
        let device = Device {
            total: disk.total_space(),
            used: used_bytes(disk),
            free: disk.available_space(),
            read: usage.total_read_bytes,
            written: usage.total_written_bytes,
        };
        add(&mut devices, &disk.name().to_string_lossy(), &kind, device);
    }
    if devices.is_empty() {
        return;
    }
    let sum = |of: fn(&Device) -> u64| Some(devices.values().map(of).sum());
    metrics.fs_total_bytes = sum(|device| device.total);
    metrics.fs_used_bytes = sum(|device| device.used);
    metrics.fs_free_bytes = sum(|device| device.free);
    metrics.disk_read_bytes = sum(|device| device.read);
    metrics.disk_written_bytes = sum(|device| device.written);
}

/// Bytes in use, as df counts them: what is reserved for root is neither used nor free for users, so
/// the difference of the two would say too much.
fn used_bytes(disk: &Disk) -> u64 {
    #[cfg(target_os = "linux")]
    if let Ok(system) = nix::sys::statvfs::statvfs(disk.mount_point()) {
        return system.blocks().saturating_sub(system.blocks_free()) * system.fragment_size();
    }
    disk.total_space().saturating_sub(disk.available_space())
}

/// A device that is there already is the same one mounted again; of ZFS, the pool is the device.
fn add(devices: &mut BTreeMap<String, Device>, name: &str, kind: &str, device: Device) {
    let name = if kind == "zfs" { name.split('/').next().unwrap_or(name) } else { name };
    let known = devices.entry(name.to_owned()).or_default();
    if device.total > known.total {
        *known = device;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_counts_once_however_often_it_is_mounted() {
        let mut devices = BTreeMap::new();
        let disk = |total| Device { total, ..Device::default() };
        add(&mut devices, "/dev/vda1", "ext4", disk(100));
        add(&mut devices, "/dev/vda1", "ext4", disk(100));
        add(&mut devices, "tank/a", "zfs", disk(40));
        add(&mut devices, "tank/b", "zfs", disk(50));
        let totals: Vec<u64> = devices.values().map(|device| device.total).collect();
        assert_eq!(totals, [100, 50]);
    }
}
