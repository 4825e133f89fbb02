//! Metrics of a host, as its agent read them.

use serde::{Deserialize, Serialize};

/// Gauges of a host at the report's end, and counters since its boot. A value that could not be read is
/// absent, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct HostMetrics {
    /// Memory that the host has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// Memory in use, without caches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Memory that programs can still allocate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_free_bytes: Option<u64>,
    /// Seconds of all cores since boot, counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds_total: Option<f64>,
    /// Idle seconds of all cores since boot, counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds_idle: Option<f64>,
    /// Load average over one minute.
    #[serde(skip_serializing_if = "Option::is_none", rename = "loadAvg1")]
    pub load_avg_1: Option<f64>,
    /// Load average over five minutes.
    #[serde(skip_serializing_if = "Option::is_none", rename = "loadAvg5")]
    pub load_avg_5: Option<f64>,
    /// Load average over fifteen minutes.
    #[serde(skip_serializing_if = "Option::is_none", rename = "loadAvg15")]
    pub load_avg_15: Option<f64>,
    /// Bytes of all file systems on devices, each device once; mounts over the network have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_total_bytes: Option<u64>,
    /// Of these, in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_used_bytes: Option<u64>,
    /// Of these, free for users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_free_bytes: Option<u64>,
    /// Bytes read from disks since boot, counter: what each disk counts while it is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_read_bytes: Option<u64>,
    /// Bytes written to disks since boot, counter: what each disk counts while it is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_written_bytes: Option<u64>,
    /// Bytes received on network interfaces with a device, counter; where there are none, as in
    /// containers, on all but the loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_rx_bytes: Option<u64>,
    /// Bytes sent on the same interfaces, counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_tx_bytes: Option<u64>,
}

impl HostMetrics {
    /// These figures, and an earlier reading's where these lack one.
    #[must_use]
    pub fn or(self, earlier: &HostMetrics) -> HostMetrics {
        HostMetrics {
            memory_total_bytes: self.memory_total_bytes.or(earlier.memory_total_bytes),
            memory_used_bytes: self.memory_used_bytes.or(earlier.memory_used_bytes),
            memory_free_bytes: self.memory_free_bytes.or(earlier.memory_free_bytes),
            cpu_seconds_total: self.cpu_seconds_total.or(earlier.cpu_seconds_total),
            cpu_seconds_idle: self.cpu_seconds_idle.or(earlier.cpu_seconds_idle),
            load_avg_1: self.load_avg_1.or(earlier.load_avg_1),
            load_avg_5: self.load_avg_5.or(earlier.load_avg_5),
            load_avg_15: self.load_avg_15.or(earlier.load_avg_15),
            fs_total_bytes: self.fs_total_bytes.or(earlier.fs_total_bytes),
            fs_used_bytes: self.fs_used_bytes.or(earlier.fs_used_bytes),
            fs_free_bytes: self.fs_free_bytes.or(earlier.fs_free_bytes),
            disk_read_bytes: self.disk_read_bytes.or(earlier.disk_read_bytes),
            disk_written_bytes: self.disk_written_bytes.or(earlier.disk_written_bytes),
            net_rx_bytes: self.net_rx_bytes.or(earlier.net_rx_bytes),
            net_tx_bytes: self.net_tx_bytes.or(earlier.net_tx_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_that_is_absent_is_taken_from_the_earlier_reading() {
        let earlier = HostMetrics { net_rx_bytes: Some(1), load_avg_1: Some(0.5), ..HostMetrics::default() };
        let later = HostMetrics { net_rx_bytes: Some(2), ..HostMetrics::default() };
        assert_eq!(later.or(&earlier), HostMetrics { net_rx_bytes: Some(2), ..earlier });
    }
}
