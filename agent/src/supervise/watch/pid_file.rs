//! The file in which a program leaves its process id.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use systole_shared::PipelineStatus;

use super::process::Process;
use super::process_tracker::Observation;

/// More than an id and white space before it take. Some programs write further lines of any text, which
/// are not read.
const MAX_BYTES: u64 = 64;

/// Reads the process from the file. `known` is the one that was there before.
pub(super) fn poll(path: &Path, known: Option<Process>) -> Observation {
    let shown = path.display();
    let pid = read(path);
    if let Some(process) = pid.as_ref().ok().and_then(|pid| Process::find((*pid)?)) {
        return Observation::running(process);
    }
    // Files are removed too early, and written in two steps: a process that is alive counts as running.
    if let Some(process) = known.filter(|known| known.is_alive()) {
        return Observation::running(process);
    }
    match pid {
        // A process that ends in order removes the file.
        Err(error) if error.kind() == io::ErrorKind::NotFound && known.is_some() => Observation::Ended {
            status: PipelineStatus::Stopped,
            reason: format!("the process is gone, and so is {shown}"),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Observation::Absent { reason: format!("there is no process: {shown} does not exist") }
        }
        Err(error) => Observation::Unknown { reason: format!("{shown} cannot be read: {error}") },
        Ok(None) => Observation::Unknown { reason: format!("{shown} holds no process id") },
        Ok(Some(pid)) => Observation::Ended {
            status: PipelineStatus::Crashed,
            reason: format!("the process is gone: {shown} names {pid}, which does not run"),
        },
    }
}

/// The id in the file; `None` if it holds none.
fn read(path: &Path) -> io::Result<Option<u32>> {
    // Anything else than a file, such as a pipe, could make the reader wait.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let mut words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let pid = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    Ok(pid.filter(|pid| *pid > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(observation: &Observation) -> Option<PipelineStatus> {
        match observation {
            Observation::Ended { status, .. } => Some(*status),
            _ => None,
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn pid_file_distinguishes_running_crashed_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        assert!(matches!(poll(&path, None), Observation::Absent { .. }));
        std::fs::write(&path, "not a number\n").unwrap();
        assert!(matches!(poll(&path, None), Observation::Unknown { .. }));

        let mut child = std::process::Command::new("sleep").arg("300").spawn().unwrap();
        std::fs::write(&path, format!(" {}\n", child.id())).unwrap();
        let running = poll(&path, None);
        let process = Process::find(child.id()).unwrap();
        assert_eq!(running, Observation::running(process));
        std::fs::write(&path, "").unwrap();
        assert_eq!(poll(&path, Some(process)), running, "a file that is being written is no end");

        std::fs::write(&path, child.id().to_string()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(status(&poll(&path, Some(process))), Some(PipelineStatus::Crashed));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(status(&poll(&path, Some(process))), Some(PipelineStatus::Stopped));
    }

    #[test]
    fn pid_file_of_several_lines_is_read_as_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postmaster.pid");
        // As PostgreSQL writes it, cut within a letter by the bound.
        std::fs::write(&path, format!("\n4711\n/srv/{}\n5432\n", "\u{e9}".repeat(60))).unwrap();
        assert_eq!(read(&path).unwrap(), Some(4711));
        std::fs::write(&path, b"4711\nr\xe9sum\xe9\n").unwrap();
        assert_eq!(read(&path).unwrap(), Some(4711));
        std::fs::write(&path, b"\xe9 4711\n").unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn pipe_as_pid_file_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(poll(&path, None), Observation::Unknown { .. }));
    }
}
