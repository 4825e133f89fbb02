//! Reads what a `[[pipeline]]` says of a process that somebody else runs.

use std::path::PathBuf;

use super::section::Section;
use crate::model::pipeline::ProcessConfig;

/// Kinds of units that have a process.
const UNIT_KINDS: [&str; 2] = [".service", ".scope"];

/// Reads `pid_file` and `systemd_unit`.
pub(super) fn read(section: &mut Section<'_>, has_command: bool) -> Option<ProcessConfig> {
    let pid_file = section.text("pid_file").map(PathBuf::from);
    let unit = section.text("systemd_unit");
    for (key, is_there) in [("pid_file", pid_file.is_some()), ("systemd_unit", unit.is_some())] {
        if is_there && has_command {
            section.error(key, "stands beside command; the agent knows the process that it runs");
        }
    }
    match (pid_file, unit) {
        (Some(_), Some(_)) => {
            section.error("systemd_unit", "stands beside pid_file; keep one of them");
            None
        }
        (Some(path), None) if !path.is_absolute() => {
            section.error("pid_file", format!("`{}` must be an absolute path", path.display()));
            None
        }
        (Some(path), None) => Some(ProcessConfig::PidFile(path)),
        (None, Some(unit)) => match unit_name(&unit) {
            Some(name) => Some(ProcessConfig::SystemdUnit(name)),
            None => {
                section.error(
                    "systemd_unit",
                    format!(
                        "`{unit}` is no name of a unit that has a process, like vector.service or vector@eu.service"
                    ),
                );
                None
            }
        },
        (None, None) => None,
    }
}

/// Longest name of a unit that systemd takes.
const MAX_UNIT_NAME_BYTES: usize = 255;

/// The whole name of a unit. Names that systemd refuses are refused here: one of them would make the
/// answer for all units fail.
fn unit_name(text: &str) -> Option<String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'.' | b'@' | b'\\' | b'-');
    if !text.bytes().all(is_name) || text.starts_with(['-', '.', '@']) {
        return None;
    }
    let name = if UNIT_KINDS.iter().any(|kind| text.ends_with(kind)) {
        text.to_owned()
    } else if text.contains('.') {
        return None;
    } else {
        // As systemctl has it: a name without a kind is a service.
        format!("{text}.service")
    };
    let (stem, _) = name.rsplit_once('.')?;
    // `vector@.service` is a template: there is no process of it, and systemd asks for the instance.
    let is_template = stem.split_once('@').is_some_and(|(_, instance)| instance.is_empty());
    (name.len() <= MAX_UNIT_NAME_BYTES && !stem.is_empty() && !is_template).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_its_whole_name_and_nothing_that_a_program_could_take_for_an_option() {
        assert_eq!(unit_name("vector").as_deref(), Some("vector.service"));
        assert_eq!(unit_name("vector@eu-1.service").as_deref(), Some("vector@eu-1.service"));
        for wrong in ["--all", "vector.timer", "a b", "*", ".service"] {
            assert_eq!(unit_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn unit_that_systemd_refuses_is_refused() {
        for wrong in ["vector@", "vector@.service", "@eu.service", "vector.service.", "a/b.service", "v\u{e9}ctor"] {
            assert_eq!(unit_name(wrong), None, "{wrong}");
        }
        assert_eq!(unit_name("vector@a@b.service").as_deref(), Some("vector@a@b.service"));
        assert_eq!(unit_name(&"x".repeat(247)).map(|name| name.len()), Some(255));
        assert_eq!(unit_name(&"x".repeat(248)), None, "it is too long with its kind");
    }
}
