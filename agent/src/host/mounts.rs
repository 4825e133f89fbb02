//! The mounts that lie on devices, from /proc/self/mountinfo, each device once.
//!
//! Read as bytes: a mount point's name can be anything but NUL. Not from /proc/mounts, which has no
//! device numbers: one device has several names (`/dev/root`, `/dev/mapper/…`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Read-only images: they are full by nature, and lie in a file of another file system.
const IMAGES: [&[u8]; 4] = [b"squashfs", b"erofs", b"iso9660", b"cramfs"];

/// File systems on devices that nevertheless have an anonymous number.
const ANONYMOUS: [&[u8]; 2] = [b"btrfs", b"bcachefs"];

/// Mount points that are tried per device; a container host mounts one device hundreds of times.
const MAX_POINTS: usize = 4;

/// The device of a file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DeviceKey {
    /// Numbers of a device.
    Number(u32, u32),
    /// A ZFS pool, by name, with its data sets.
    Pool(OsString),
}

/// A device that is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Device {
    /// Its name where it was mounted first, such as `/dev/vda1`.
    pub(super) source: PathBuf,
    /// Where it is mounted, at most [`MAX_POINTS`]; of a pool, each data set once.
    pub(super) points: Vec<PathBuf>,
}

struct Mount {
    key: DeviceKey,
    source: OsString,
    point: PathBuf,
}

/// Reads the mounted devices.
pub(super) fn read(mountinfo: &Path) -> std::io::Result<BTreeMap<DeviceKey, Device>> {
    Ok(devices(&std::fs::read(mountinfo)?))
}

fn devices(mountinfo: &[u8]) -> BTreeMap<DeviceKey, Device> {
    // A later mount hides what was mounted at the same place before.
    let mut visible: BTreeMap<PathBuf, Option<Mount>> = BTreeMap::new();
    for line in mountinfo.split(|byte| *byte == b'\n') {
        if let Some((point, mount)) = mount_of(line) {
            visible.insert(point, mount);
        }
    }
    let mut mounts: Vec<Mount> = visible.into_values().flatten().collect();
    // The shortest path is the least likely to be a part of something.
    mounts.sort_by_key(|mount| mount.point.as_os_str().len());
    let mut devices: BTreeMap<DeviceKey, Device> = BTreeMap::new();
    let mut data_sets = std::collections::BTreeSet::new();
    for Mount { key, source, point } in mounts {
        let is_pool = matches!(key, DeviceKey::Pool(_));
        if is_pool && !data_sets.insert(source.clone()) {
            continue;
        }
        let device = devices.entry(key).or_default();
        if device.points.is_empty() {
            device.source = source.into();
        }
        if is_pool || device.points.len() < MAX_POINTS {
            device.points.push(point);
        }
    }
    devices
}

/// A line's mount point, and the mount if it is one on a device.
fn mount_of(line: &[u8]) -> Option<(PathBuf, Option<Mount>)> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let numbers = std::str::from_utf8(fields.get(2)?).ok()?;
    let (major, minor) = numbers.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    let point = PathBuf::from(unescape(fields.get(4)?));
    // Optional fields end with a hyphen.
    let end = 6 + fields.get(6..)?.iter().position(|field| *field == b"-")?;
    let (kind, source) = (*fields.get(end + 1)?, unescape(fields.get(end + 2)?));
    let is_device = source.as_encoded_bytes().starts_with(b"/dev/");
    let key = if kind == b"zfs" {
        Some(DeviceKey::Pool(pool_of(&source)))
    } else if (major != 0 && !IMAGES.contains(&kind)) || (ANONYMOUS.contains(&kind) && is_device) {
        Some(DeviceKey::Number(major, minor))
    } else {
        // Memory, layers over others, and mounts over the network, which may never answer.
        None
    };
    Some((point.clone(), key.map(|key| Mount { key, source, point })))
}

fn pool_of(data_set: &OsString) -> OsString {
    let pool = data_set.as_encoded_bytes().split(|byte| *byte == b'/').next().unwrap_or_default();
    OsString::from_vec(pool.to_vec())
}

/// The kernel writes blanks, line feeds and backslashes as `\` and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        };
        match after.get(..3).and_then(octal).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn points(devices: &BTreeMap<DeviceKey, Device>, key: &DeviceKey) -> Vec<Vec<u8>> {
        devices[key].points.iter().map(|point| point.as_os_str().as_bytes().to_vec()).collect()
    }

    #[test]
    fn mounts_are_read_as_bytes_and_a_device_counts_once_however_often_it_is_mounted() {
        let mountinfo = b"27 1 254:0 / / rw - ext4 /dev/vda rw\n\
            28 27 254:16 / /mnt/caf\xe9\\040au\\134lait rw shared:5 master:2 - xfs /dev/vdb rw\n\
            29 27 254:0 /etc/hosts /etc/hosts rw - ext4 /dev/root rw\n\
            not a line of it\n";
        let devices = devices(mountinfo);
        assert_eq!(devices.len(), 2);
        assert_eq!(points(&devices, &DeviceKey::Number(254, 0)), [b"/".to_vec(), b"/etc/hosts".to_vec()]);
        assert_eq!(points(&devices, &DeviceKey::Number(254, 16)), [b"/mnt/caf\xe9 au\\lait".to_vec()]);
    }

    #[test]
    fn mounts_without_a_device_are_left_out_and_pools_count_once() {
        let mountinfo = b"1 0 0:40 / /tank rw - zfs tank rw\n2 1 0:41 / /tank/a rw - zfs tank/a rw\n\
            3 1 0:41 /x /x rw - zfs tank/a rw\n4 1 0:42 / /net rw - nfs4 server:/x rw\n5 1 0:43 / /s rw - fuse.sshfs u@h:/ rw\n\
            6 1 7:1 / /snap rw - squashfs /dev/loop1 rw\n7 1 0:44 / /b rw - btrfs /dev/vdc rw\n8 1 0:44 / /b/sub rw - btrfs /dev/vdc rw\n\
            9 1 8:1 / /hidden rw - ext4 /dev/sda1 rw\n10 9 0:45 / /hidden rw - tmpfs none rw\n";
        let devices = devices(mountinfo);
        let keys: Vec<&DeviceKey> = devices.keys().collect();
        assert_eq!(keys, [&DeviceKey::Number(0, 44), &DeviceKey::Pool("tank".into())]);
        assert_eq!(points(&devices, keys[1]), [b"/x".to_vec(), b"/tank".to_vec()], "each data set once");
    }
}
