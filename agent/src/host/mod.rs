//! Values of the host. A value that cannot be read is absent, never zero.
//!
//! Four independent readings, each on a thread of its own and with its own time-out: a file system
//! whose server is gone never answers, and must not take CPU, memory and network with it. Everything
//! comes from /proc and /sys as bytes, because names of mount points need not be UTF-8.

mod accumulated;
mod cpu;
mod device_counters;
mod file_systems;
mod mounts;
mod networks;
mod reading;
mod shutdown;

use std::path::Path;
use std::time::Duration;

use sysinfo::System;
use systole_shared::HostMetrics;

use self::device_counters::DeviceCounters;
use self::file_systems::FileSystems;
use self::reading::Reading;

/// How long a report waits for a reading: a tenth of the usual interval at most.
const READ_TIMEOUT: Duration = Duration::from_millis(300);

/// Reads the host's values, off the thread that everything else runs on.
pub(crate) struct Host {
    system: Reading<Option<System>>,
    counters: Reading<DeviceCounters>,
    file_systems: FileSystems,
}

impl Host {
    /// Keeps the counters' baselines in `data_dir`.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Host {
            system: Reading::new("memory and CPU", None),
            counters: Reading::new("disk and network counters", DeviceCounters::new(data_dir)),
            file_systems: FileSystems::default(),
        }
    }

    /// Whether the host is shutting down, as far as its service manager says so.
    pub(crate) async fn is_shutting_down(&self) -> bool {
        shutdown::is_shutting_down().await
    }

    /// Reads the values; those that take too long are absent. `None` when none did.
    pub(crate) async fn read(&self) -> Option<HostMetrics> {
        let (system, counters, space) = tokio::join!(
            self.system.read(read_system, READ_TIMEOUT),
            self.counters.read(DeviceCounters::read, READ_TIMEOUT),
            self.file_systems.read(READ_TIMEOUT),
        );
        let mut metrics = system.unwrap_or_default();
        if let Some(totals) = counters {
            metrics.disk_read_bytes = totals.disk_read;
            metrics.disk_written_bytes = totals.disk_written;
            metrics.net_rx_bytes = totals.net_received;
            metrics.net_tx_bytes = totals.net_sent;
        }
        if let Some(space) = space {
            metrics.fs_total_bytes = Some(space.total);
            metrics.fs_used_bytes = Some(space.used);
            metrics.fs_free_bytes = Some(space.free);
        }
        (metrics != HostMetrics::default()).then_some(metrics)
    }
}

fn read_system(system: &mut Option<System>) -> HostMetrics {
    let mut metrics = HostMetrics::default();
    read_memory(system, &mut metrics);
    if let Ok(load) = System::load_average() {
        metrics.load_avg_1 = Some(load.one);
        metrics.load_avg_5 = Some(load.five);
        metrics.load_avg_15 = Some(load.fifteen);
    }
    cpu::read(&mut metrics);
    metrics
}

fn read_memory(system: &mut Option<System>, metrics: &mut HostMetrics) {
    if system.is_none() {
        *system = System::new().ok();
    }
    let Some(system) = system else { return };
    system.refresh_memory();
    if system.total_memory() > 0 {
        metrics.memory_total_bytes = Some(system.total_memory());
        metrics.memory_used_bytes = Some(system.used_memory());
        metrics.memory_free_bytes = Some(system.available_memory());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn host_reports_memory_and_its_idle_time_is_part_of_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Host::new(dir.path()).read().await.unwrap();
        assert!(metrics.memory_total_bytes.unwrap() >= metrics.memory_used_bytes.unwrap());
        assert!(metrics.cpu_seconds_total.unwrap() >= metrics.cpu_seconds_idle.unwrap());
    }
}
