//! What the states of a systemd unit mean for a pipeline.

use nix::sys::signal::Signal;
use systole_shared::PipelineStatus;

use super::process::Process;
use super::process_tracker::Observation;
use super::systemctl::{AskError, Properties};

/// The process of a unit, from its properties.
pub(super) fn poll(name: &str, unit: Option<&Properties>) -> Observation {
    let Some(unit) = unit else { return Observation::Unknown { reason: format!("systemd does not report {name}") } };
    let property = |name: &str| unit.get(name).map_or("", String::as_str);
    if matches!(property("LoadState"), "not-found" | "masked" | "error" | "bad-setting") {
        return Observation::Absent {
            reason: format!("the unit {name} is {}", property("LoadState").replace('-', " ")),
        };
    }
    let pid = property("MainPID").parse().ok().filter(|pid| *pid > 0);
    let (active, sub) = (property("ActiveState"), property("SubState"));
    match (active, sub) {
        ("active" | "reloading" | "refreshing" | "deactivating", _) if pid.is_some() => Observation::Running {
            process: pid.and_then(Process::find),
            started_again: property("NRestarts").parse().unwrap_or(0),
        },
        ("active", "exited") => Observation::Ended {
            status: PipelineStatus::Stopped,
            reason: "the unit is active, but its process has ended".to_owned(),
        },
        // A unit that forks without telling which of its processes is the main one.
        ("active" | "reloading" | "refreshing", _) => {
            Observation::Running { process: None, started_again: property("NRestarts").parse().unwrap_or(0) }
        }
        ("activating", "auto-restart" | "auto-restart-queued") => Observation::Ended {
            status: PipelineStatus::Crashed,
            reason: format!("{}; systemd starts it again", end_of(unit)),
        },
        ("activating", _) => Observation::Starting { reason: format!("the unit is {active} ({sub})") },
        ("deactivating" | "inactive", _) if property("Result") == "success" => Observation::Ended {
            status: PipelineStatus::Stopped,
            reason: format!("the unit is {active}: {}", end_of(unit)),
        },
        ("failed", _) if property("Result") == "start-limit-hit" => Observation::Ended {
            status: PipelineStatus::CrashLoop,
            reason: format!("{}; systemd does not start it any more (start-limit-hit)", end_of(unit)),
        },
        ("failed" | "deactivating" | "inactive", _) => {
            Observation::Ended { status: PipelineStatus::Crashed, reason: end_of(unit) }
        }
        _ => Observation::Unknown { reason: format!("the unit is {active} ({sub})") },
    }
}

/// How the unit's last process ended, as a `reason`.
fn end_of(unit: &Properties) -> String {
    let property = |name: &str| unit.get(name).map_or("", String::as_str);
    let status: i32 = property("ExecMainStatus").parse().unwrap_or(0);
    let end = match property("ExecMainCode") {
        "1" | "exited" => format!("exit code {status}"),
        "2" | "3" | "killed" | "dumped" => match Signal::try_from(status) {
            Ok(signal) => format!("killed by signal {status} ({})", signal.as_str()),
            Err(_) => format!("killed by signal {status}"),
        },
        _ => "it has not run".to_owned(),
    };
    match property("Result") {
        "oom-kill" => format!("{end}: out of memory"),
        result @ ("timeout" | "watchdog" | "protocol" | "resources" | "exec-condition") => format!("{end} ({result})"),
        _ => end,
    }
}

/// Without an answer, a process that is alive counts as running.
pub(super) fn without_answer(error: &AskError, known: Option<Process>) -> Observation {
    match known.filter(|known| known.is_alive()) {
        Some(_) => Observation::Unchanged,
        None => Observation::Unknown { reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(words: &str) -> Observation {
        let unit = words.split(' ').map(|word| word.split_once('=').unwrap());
        poll("x.service", Some(&unit.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    fn ended(words: &str) -> (PipelineStatus, String) {
        match observation(words) {
            Observation::Ended { status, reason } => (status, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unit_states_map_to_statuses() {
        use PipelineStatus::{CrashLoop, Crashed, Stopped};
        let own = std::process::id();
        let running =
            observation(&format!("LoadState=loaded ActiveState=active SubState=running NRestarts=3 MainPID={own}"));
        assert_eq!(running, Observation::Running { process: Process::find(own), started_again: 3 });
        let stopping =
            observation(&format!("ActiveState=deactivating SubState=stop-sigterm NRestarts=3 MainPID={own}"));
        assert_eq!(stopping, running, "it runs until it has ended");
        assert_eq!(
            ended("ActiveState=failed SubState=failed Result=exit-code ExecMainCode=1 ExecMainStatus=1 MainPID=0"),
            (Crashed, "exit code 1".to_owned())
        );
        assert_eq!(
            ended("ActiveState=activating SubState=auto-restart Result=signal ExecMainCode=2 ExecMainStatus=9"),
            (Crashed, "killed by signal 9 (SIGKILL); systemd starts it again".to_owned())
        );
        assert_eq!(
            ended("ActiveState=failed SubState=failed Result=oom-kill ExecMainCode=2 ExecMainStatus=9").1,
            "killed by signal 9 (SIGKILL): out of memory"
        );
        assert_eq!(
            ended("ActiveState=failed SubState=failed Result=start-limit-hit ExecMainCode=1 ExecMainStatus=78").0,
            CrashLoop
        );
        assert_eq!(
            ended("ActiveState=inactive SubState=dead Result=success ExecMainCode=1 ExecMainStatus=0"),
            (Stopped, "the unit is inactive: exit code 0".to_owned())
        );
        assert_eq!(ended("ActiveState=active SubState=exited Result=success MainPID=0").0, Stopped);
        assert!(matches!(
            observation("ActiveState=activating SubState=start-pre MainPID=0"),
            Observation::Starting { .. }
        ));
        let Observation::Absent { reason } = observation("LoadState=not-found ActiveState=inactive SubState=dead")
        else {
            panic!()
        };
        assert_eq!(reason, "the unit x.service is not found");
    }
}
