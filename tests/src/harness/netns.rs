//! Hosts of their own on one machine: network namespaces on a bridge, and packets that are dropped between them.
//!
//! A cut drops packets in both directions and says nothing to either end, as a broken network does. It needs root, `ip`
//! (iproute2) and `nft` (nftables).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

/// Drops what comes from and goes to the addresses of a set.
const RULES: &str = "\
table inet cut {
    set away { type ipv4_addr; }
    chain in { type filter hook input priority 0; ip saddr @away drop; }
    chain out { type filter hook output priority 0; ip daddr @away drop; }
}
";

/// Where every host listens; each has ports of its own.
const PORT: u16 = 8_080;

/// Some hosts on a bridge. The test itself is on the bridge as well. Everything is removed with the last handle.
#[derive(Debug)]
pub struct Network {
    name: String,
    prefix: [u8; 3],
    hosts: u8,
}

impl Network {
    /// Why a network of such hosts cannot be made here, if it cannot.
    pub fn obstacle() -> Option<&'static str> {
        if !Uid::effective().is_root() {
            return Some("network namespaces need root");
        }
        for (program, missing) in [("ip", "ip is missing (iproute2)"), ("nft", "nft is missing (nftables)")] {
            let found = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if found.is_err() {
                return Some(missing);
            }
        }
        let probe = format!("syprobe{}", std::process::id());
        let made = try_run(&["ip", "netns", "add", &probe]);
        let _ = try_run(&["ip", "netns", "del", &probe]);
        if made { None } else { Some("the kernel makes no network namespace here") }
    }

    /// Makes a network with so many hosts.
    ///
    /// # Panics
    ///
    /// When [`Self::obstacle`] names one.
    pub fn new(hosts: u8) -> Self {
        remove_left();
        // Other tests, and other networks of this machine, have other addresses.
        let prefix = [10, rand::random_range(64..128), rand::random_range(0..255)];
        let network = Network { name: format!("sy{:x}", std::process::id()), prefix, hosts };
        let bridge = &network.name;
        run(&["ip", "link", "add", bridge, "type", "bridge"]);
        for address in [network.own_address(), network.own_database_address()] {
            run(&["ip", "addr", "add", &format!("{address}/24"), "dev", bridge]);
        }
        run(&["ip", "link", "set", bridge, "up"]);
        for host in 0..hosts {
            let (namespace, outside) = (network.namespace(host), format!("{bridge}o{host}"));
            let inside = |args: &[&str]| run(&[&["ip", "-n", &namespace], args].concat());
            run(&["ip", "netns", "add", &namespace]);
            run(&["ip", "link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &namespace]);
            run(&["ip", "link", "set", &outside, "master", bridge, "up"]);
            inside(&["addr", "add", &format!("{}/24", network.address(host)), "dev", "eth0"]);
            inside(&["link", "set", "eth0", "up"]);
            inside(&["link", "set", "lo", "up"]);
            run(&["ip", "netns", "exec", &namespace, "nft", RULES]);
        }
        network
    }

    /// The address of the test's clients.
    pub fn own_address(&self) -> Ipv4Addr {
        self.numbered(254)
    }

    /// The address of the test's PostgreSQL: another one, so that it can be cut alone.
    pub fn own_database_address(&self) -> Ipv4Addr {
        self.numbered(253)
    }

    /// The address of a host.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        self.numbered(host + 1)
    }

    /// Where a program of the host listens.
    pub fn socket(&self, host: u8) -> SocketAddr {
        SocketAddr::from((self.address(host), PORT))
    }

    /// The name of a host's namespace, for `ip netns exec`.
    pub fn namespace(&self, host: u8) -> String {
        format!("{}n{host}", self.name)
    }

    /// Whether packets between this host and an address are dropped from now on.
    pub fn set_cut(&self, host: u8, other: Ipv4Addr, is_cut: bool) {
        let what = if is_cut { "add" } else { "delete" };
        let namespace = self.namespace(host);
        run(&[
            "ip",
            "netns",
            "exec",
            &namespace,
            "nft",
            what,
            "element",
            "inet",
            "cut",
            "away",
            &format!("{{ {other} }}"),
        ]);
    }

    fn numbered(&self, last: u8) -> Ipv4Addr {
        let [first, second, third] = self.prefix;
        Ipv4Addr::new(first, second, third, last)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            let _ = try_run(&["ip", "netns", "del", &self.namespace(host)]);
        }
        let _ = try_run(&["ip", "link", "del", &self.name]);
    }
}

/// Removes what processes left that were killed.
fn remove_left() {
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let network = name.strip_prefix("sy").and_then(|name| name.split_once('n'));
        let Some(pid) = network.and_then(|(pid, _)| u32::from_str_radix(pid, 16).ok()) else { continue };
        if !Path::new("/proc").join(pid.to_string()).exists() {
            let _ = try_run(&["ip", "netns", "del", &name]);
            let _ = try_run(&["ip", "link", "del", &format!("sy{pid:x}")]);
        }
    }
}

fn try_run(command: &[&str]) -> bool {
    let status = Command::new(command[0]).args(&command[1..]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn run(command: &[&str]) {
    let output =
        Command::new(command[0]).args(&command[1..]).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
