//! Bytes by network interface, each byte once.
//!
//! A bridge, a bond, a VLAN and a container's veth carry what a network card carries as well. So only
//! interfaces with a device count. A container has none of those: there all but the loopback count,
//! without those that lie on others.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

/// Bytes of an interface since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// What an interface is, as its directory in sysfs shows it.
struct Interface {
    name: String,
    has_device: bool,
    /// It belongs to an interface with a device, which counts for both (virtual machines).
    is_part: bool,
    /// It lies on another one.
    is_stacked: bool,
    /// It is a port of a bridge.
    is_port: bool,
}

/// Reads the interfaces that count, by name. `classes` is `/sys/class/net`.
pub(super) fn read(classes: &Path) -> std::io::Result<BTreeMap<String, Traffic>> {
    let entries = std::fs::read_dir(classes)?.flatten();
    let interfaces: Vec<Interface> = entries
        .filter(|entry| entry.file_name() != "lo")
        .map(|entry| look(&entry.path(), &entry.file_name()))
        .collect();
    let counted = choose(&interfaces).into_iter().filter_map(|interface| {
        let statistics = classes.join(&interface.name).join("statistics");
        let number = |name: &str| {
            let text = std::fs::read(statistics.join(name)).ok()?;
            std::str::from_utf8(&text).ok()?.trim().parse().ok()
        };
        Some((interface.name.clone(), Traffic { received: number("rx_bytes")?, sent: number("tx_bytes")? }))
    });
    Ok(counted.collect())
}

fn choose(interfaces: &[Interface]) -> Vec<&Interface> {
    let with_device: Vec<_> = interfaces.iter().filter(|one| one.has_device && !one.is_part).collect();
    if !with_device.is_empty() {
        return with_device;
    }
    let lowest: Vec<_> = interfaces.iter().filter(|one| !one.is_stacked).collect();
    // Ports of a bridge are the ways to containers, unless they are the only way out.
    let ways_out: Vec<_> = lowest.iter().copied().filter(|one| !one.is_port).collect();
    if ways_out.is_empty() { lowest } else { ways_out }
}

fn look(directory: &Path, name: &OsStr) -> Interface {
    let has = |entry: &str| directory.join(entry).symlink_metadata().is_ok();
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_stacked = entries.into_iter().any(|entry| entry.file_name().as_encoded_bytes().starts_with(b"lower_"));
    Interface {
        name: name.to_string_lossy().into_owned(),
        has_device: has("device"),
        is_part: has("master/device"),
        is_stacked,
        is_port: has("brport"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interfaces of a made-up sysfs: a name, its entries, and its bytes.
    fn sysfs(interfaces: &[(&str, &[&str], u64)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, entries, bytes) in interfaces {
            let interface = dir.path().join(name);
            std::fs::create_dir_all(interface.join("statistics")).unwrap();
            entries.iter().for_each(|entry| std::fs::create_dir_all(interface.join(entry)).unwrap());
            std::fs::write(interface.join("statistics/rx_bytes"), format!("{bytes}\n")).unwrap();
            std::fs::write(interface.join("statistics/tx_bytes"), format!("{}\n", bytes * 2)).unwrap();
        }
        dir
    }

    fn counted(interfaces: &[(&str, &[&str], u64)]) -> Vec<(String, u64)> {
        let dir = sysfs(interfaces);
        read(dir.path()).unwrap().into_iter().map(|(name, traffic)| (name, traffic.received)).collect()
    }

    #[test]
    fn interfaces_with_a_device_count_and_what_lies_on_them_does_not() {
        let found = counted(&[
            ("lo", &[], 9),
            ("eth0", &["device", "brport"], 100),
            ("eth1", &["device"], 20),
            ("eth1.7", &["lower_eth1"], 20),
            ("br0", &["lower_eth0"], 100),
            ("vethab", &["brport"], 50),
            ("enp9", &["device", "master/device"], 20),
        ]);
        assert_eq!(found, [("eth0".to_owned(), 100), ("eth1".to_owned(), 20)]);
    }

    #[test]
    fn without_a_device_all_count_but_those_that_lie_on_others() {
        let container: &[(&str, &[&str], u64)] =
            &[("lo", &[], 9), ("eth0", &[], 70), ("docker0", &["lower_veth1"], 30), ("veth1", &["brport"], 30)];
        assert_eq!(counted(container), [("eth0".to_owned(), 70)]);
        let bridged: &[(&str, &[&str], u64)] = &[("br0", &["lower_eth0"], 70), ("eth0", &["brport"], 70)];
        assert_eq!(counted(bridged), [("eth0".to_owned(), 70)]);
        assert_eq!(counted(&[("lo", &[], 9)]), []);
    }
}
