//! Free ports.
//!
//! Programs under test open their port some time after it was chosen, and again after they were killed. Tests run at
//! once, in processes that know nothing of each other. So a port is reserved for as long as the test's process lives,
//! by a lock on one byte of a file that all of them share.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Below the range that Linux takes for outgoing connections, so that a port that was free is not
/// taken by one of those a moment later.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// The shared file, and the ports that this process has reserved. The kernel releases the locks with the process.
static RESERVED: LazyLock<Mutex<(File, BTreeSet<u16>)>> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("systole-test-ports-{}", nix::unistd::Uid::effective()));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a lock file opens");
    Mutex::new((file, BTreeSet::new()))
});

/// An address on the loopback that is free now, and that no other test receives while this one runs.
///
/// # Panics
///
/// When the lock file cannot be used.
pub fn free_address() -> SocketAddr {
    let [port] = free_ports();
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// So many ports in a row, each as in [`free_address`].
///
/// # Panics
///
/// When the lock file cannot be used.
pub fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let first = rand::random_range(RANGE);
        let ports = std::array::from_fn(|index| first.saturating_add(u16::try_from(index).unwrap_or(u16::MAX)));
        // A lock of this process does not block this process.
        let is_free = |port: &u16| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            !reserved.1.contains(port) && lock_byte(&reserved.0, *port) && TcpListener::bind(address).is_ok()
        };
        if ports.iter().all(is_free) {
            reserved.1.extend(ports);
            return ports;
        }
    }
}

/// Locks the byte of a port, unless another process has it.
fn lock_byte(file: &File, port: u16) -> bool {
    let lock = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: i64::from(port),
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).is_ok()
}
