//! What `/proc/PID/stat` says of a process, also of one that has ended and is not waited for yet.

/// Of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PidStat {
    /// The process that must wait for it.
    pub(crate) parent: u32,
    /// Its start, in the kernel's ticks since boot. `exec` does not change it.
    pub(crate) start_ticks: u64,
}

/// Reads it; none where there is no such process, or no `/proc`.
pub(crate) fn read(pid: u32) -> Option<PidStat> {
    parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in it is bytes, in brackets, and may hold brackets and spaces itself.
fn parse(stat: &[u8]) -> Option<PidStat> {
    let end_of_name = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(17)?.parse().ok()?;
    Some(PidStat { parent, start_ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_and_start_are_read_after_any_name() {
        let stat = b"42 (a) Z 7) \xc3) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 1";
        assert_eq!(parse(stat), Some(PidStat { parent: 7, start_ticks: 98_765 }));
        assert_eq!(parse(b"42 (a) S 7"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn child_has_this_process_as_parent() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        assert_eq!(read(child.id()).unwrap().parent, std::process::id(), "alive, or a zombie");
        child.wait().unwrap();
    }
}
