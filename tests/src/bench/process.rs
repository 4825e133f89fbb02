//! What a process costs, read from Linux's /proc; zero elsewhere.

/// Linux's unit of processor time in /proc, `USER_HZ`, is fixed.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time so far, user and system.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, second, may hold spaces and ends with the last parenthesis; utime and stime are the
    // 14th and 15th field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// Resident memory now.
pub fn memory_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// Resident memory at its highest.
pub fn peak_memory_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_is_read() {
        let own = std::process::id();
        assert!(!cfg!(target_os = "linux") || memory_bytes(own) > 1 << 20);
        assert!(peak_memory_bytes(own) >= memory_bytes(own) / 2);
    }
}
