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
    /// Bytes of all file systems on devices, each device once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_total_bytes: Option<u64>,
    /// Of these, in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_used_bytes: Option<u64>,
    /// Of these, free for users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_free_bytes: Option<u64>,
    /// Bytes read from disks since boot, counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_read_bytes: Option<u64>,
    /// Bytes written to disks since boot, counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_written_bytes: Option<u64>,
    /// Bytes received on all interfaces but the loopback, counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_rx_bytes: Option<u64>,
    /// Bytes sent on all interfaces but the loopback, counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_tx_bytes: Option<u64>,
}
