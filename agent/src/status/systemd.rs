//! What systemd is told: ready, how it goes, still alive, ending.
//!
//! A few lines over the standard library: the crate for it blocks when systemd does not read, and
//! nothing may hold up the heartbeat; it also cannot speak to a socket in the abstract namespace.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::monitor::Monitor;

/// The service manager that started the agent, if one did that wants to hear from it.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub(crate) fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).and_then(|path| {
            let connected = connect(path.as_bytes());
            connected
                .inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET cannot be used; systemd hears nothing"))
                .ok()
        });
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0).map(Duration::from_micros);
        ServiceManager { socket, watchdog }
    }

    /// The agent is up.
    pub(crate) fn ready(&self) {
        self.notify("READY=1");
    }

    /// A line for `systemctl status`.
    pub(crate) fn status(&self, line: &str) {
        self.notify(&format!("STATUS={}", line.replace('\n', " ")));
    }

    /// A reload begins; [`Self::ready`] says that it is over.
    pub(crate) fn reloading(&self) {
        if let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) {
            self.notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", Duration::from(now).as_micros()));
        }
    }

    /// The agent ends.
    pub(crate) fn stopping(&self) {
        self.notify("STOPPING=1");
    }

    fn notify(&self, what: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(what.as_bytes())
        {
            tracing::debug!(%error, what, "systemd did not take a notification");
        }
    }

    /// The watchdog that systemd asks for.
    pub(crate) fn watchdog(self: &Arc<Self>) -> Watchdog {
        // Half of the time, as systemd recommends.
        Watchdog { manager: self.clone(), every: self.watchdog.map(|limit| limit / 2), next: Instant::now() }
    }
}

fn connect(path: &[u8]) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address(path)?)?;
    Ok(socket)
}

fn address(path: &[u8]) -> std::io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = path.strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))
}

/// Tells systemd that the one who holds this lives. Held by the heartbeat: when that hangs, systemd
/// starts the agent anew.
#[derive(Debug)]
pub(crate) struct Watchdog {
    manager: Arc<ServiceManager>,
    every: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    /// Waits until it is time to be fed; for ever where there is none.
    pub(crate) async fn next_ping(&self) {
        match self.every {
            Some(_) => sleep_until(self.next).await,
            None => std::future::pending().await,
        }
    }

    /// Says that the heartbeat lives.
    pub(crate) fn ping(&mut self) {
        if let Some(every) = self.every {
            self.manager.notify("WATCHDOG=1");
            self.next = Instant::now() + every;
        }
    }
}

/// Tells how the agent does: ready after its first report, and from then on a line that stays true.
pub(crate) async fn follow(manager: Arc<ServiceManager>, monitor: Arc<Monitor>, end: CancellationToken) {
    if manager.socket.is_none() {
        return;
    }
    let (mut reports_made, mut connection) = (monitor.liveness.watch(), monitor.connection.watch());
    let mut last_line = String::new();
    let mut is_ready = false;
    loop {
        tokio::select! {
            Ok(()) = reports_made.changed() => {}
            Ok(()) = connection.changed() => {}
            () = end.cancelled() => return manager.stopping(),
        }
        if !is_ready && reports_made.borrow_and_update().is_some() {
            is_ready = true;
            manager.ready();
        }
        let line = monitor.line();
        if line != last_line {
            manager.status(&line);
            last_line = line;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn manager_at(path: &[u8], watchdog: Option<Duration>) -> Arc<ServiceManager> {
        Arc::new(ServiceManager { socket: Some(connect(path).unwrap()), watchdog })
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_twice_in_its_time_and_only_by_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_nonblocking(true).unwrap();
        let mut watchdog = manager_at(path.as_os_str().as_bytes(), Some(Duration::from_secs(30))).watchdog();
        for _ in 0..3 {
            timeout(Duration::from_secs(16), watchdog.next_ping()).await.unwrap();
            assert!(systemd.recv(&mut [0]).is_err(), "not fed yet");
            watchdog.ping();
            assert_eq!(heard(&systemd), "WATCHDOG=1");
        }
    }

    #[tokio::test]
    async fn a_socket_in_the_abstract_namespace_is_reached_and_a_full_one_holds_nobody_up() {
        let name = format!("systole-notify-{}", std::process::id());
        let address = address(format!("@{name}").as_bytes()).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        let manager = manager_at(format!("@{name}").as_bytes(), None);
        manager.reloading();
        let last_line = heard(&systemd);
        let at = last_line.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(at.parse::<u64>().unwrap() > 0);
        for _ in 0..10_000 {
            manager.status("nobody reads");
        }
    }
}
