//! Processor time since boot, from /proc/stat: sysinfo gives only shares between two readings.

use systole_shared::HostMetrics;

/// The kernel's unit of time towards programs, the same on every architecture that Linux supports here.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads total and idle seconds of all cores.
pub(super) fn read(metrics: &mut HostMetrics) {
    let Ok(stat) = std::fs::read("/proc/stat") else { return };
    if let Some((total, idle)) = parse(&String::from_utf8_lossy(&stat)) {
        metrics.cpu_seconds_total = Some(total);
        metrics.cpu_seconds_idle = Some(idle);
    }
}

/// Total and idle seconds. The guests' time is left out, for it is part of the user's already;
/// waiting for a disk is idle.
fn parse(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_ascii_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0.0);
    Some((ticks.iter().sum::<f64>() / TICKS_PER_SECOND, idle / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_includes_iowait_and_total_counts_guests_once() {
        let stat = "cpu  100 20 30 400 50 6 7 8 90 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse(stat), Some((6.21, 4.5)));
        assert_eq!(parse("intr 1"), None);
    }
}
