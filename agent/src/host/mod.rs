//! What the host says of itself. What cannot be read is absent, never zero.

#[cfg(target_os = "linux")]
mod cpu;
mod disks;

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sysinfo::{Networks, System};
use systole_shared::HostMetrics;

/// How long a reading may hold up a report: a file system whose device is gone never answers.
const READ_CEILING: Duration = Duration::from_millis(300);

/// Reads the host's figures, off the thread that everything else runs on.
#[derive(Clone, Default)]
pub(crate) struct Host {
    /// Taken for the length of a reading; while one hangs, no second one hangs beside it.
    reader: Arc<Mutex<Reader>>,
}

/// What lives from reading to reading.
#[derive(Default)]
struct Reader {
    system: Option<System>,
    networks: Option<Networks>,
}

impl Host {
    /// Reads the figures, or `None` when they do not come in time.
    pub(crate) async fn read(&self) -> Option<HostMetrics> {
        let reader = self.reader.clone();
        let reading = tokio::task::spawn_blocking(move || match reader.try_lock() {
            Ok(mut reader) => Some(reader.read()),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned).read()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        });
        tokio::time::timeout(READ_CEILING, reading).await.ok()?.ok()?
    }
}

impl Reader {
    fn read(&mut self) -> HostMetrics {
        let mut metrics = HostMetrics::default();
        self.read_memory(&mut metrics);
        read_load(&mut metrics);
        #[cfg(target_os = "linux")]
        cpu::read(&mut metrics);
        disks::read(&mut metrics);
        self.read_networks(&mut metrics);
        metrics
    }

    fn read_memory(&mut self, metrics: &mut HostMetrics) {
        if self.system.is_none() {
            self.system = System::new().ok();
        }
        let Some(system) = &mut self.system else { return };
        system.refresh_memory();
        if system.total_memory() > 0 {
            metrics.memory_total_bytes = Some(system.total_memory());
            metrics.memory_used_bytes = Some(system.used_memory());
            metrics.memory_free_bytes = Some(system.available_memory());
        }
    }

    fn read_networks(&mut self, metrics: &mut HostMetrics) {
        match &mut self.networks {
            Some(networks) => networks.refresh(true),
            none => *none = Networks::new_with_refreshed_list().ok(),
        }
        let Some(networks) = &self.networks else { return };
        let others: Vec<_> = networks.iter().filter(|(name, _)| !is_loopback(name)).map(|(_, data)| data).collect();
        metrics.net_rx_bytes = Some(others.iter().map(|data| data.total_received()).sum());
        metrics.net_tx_bytes = Some(others.iter().map(|data| data.total_transmitted()).sum());
    }
}

fn is_loopback(name: &OsStr) -> bool {
    name == "lo" || name == "lo0"
}

fn read_load(metrics: &mut HostMetrics) {
    if let Ok(load) = System::load_average() {
        metrics.load_avg_1 = Some(load.one);
        metrics.load_avg_5 = Some(load.five);
        metrics.load_avg_15 = Some(load.fifteen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_tells_its_memory_and_its_idle_time_is_part_of_its_time() {
        let metrics = Host::default().read().await.unwrap();
        assert!(metrics.memory_total_bytes.unwrap() >= metrics.memory_used_bytes.unwrap());
        if cfg!(target_os = "linux") {
            assert!(metrics.cpu_seconds_total.unwrap() >= metrics.cpu_seconds_idle.unwrap());
        }
    }
}
