//! The services that run on this host, as `systemctl` shows them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::model::pipeline::CommandConfig;

/// Units that are asked for at once.
const AT_ONCE: usize = 100;

/// What is asked of each.
const PROPERTIES: &str = "Id,MainPID,ExecStart,Environment,WorkingDirectory";

/// A service that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Its whole name.
    pub(super) name: String,
    /// What it runs.
    pub(super) command: CommandConfig,
}

/// Why systemd cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemdError {
    /// There is none here.
    #[error("cannot start systemctl: {0}; adopt finds units of systemd only")]
    Start(#[source] io::Error),
    /// It has no answer.
    #[error("systemctl {args}: {said}")]
    Refused {
        /// What was asked.
        args: String,
        /// What it said.
        said: String,
    },
}

/// The services that run, by name.
///
/// # Errors
/// When systemd cannot be asked.
pub(super) fn running() -> Result<Vec<Unit>, SystemdError> {
    let list = ask(&["list-units", "--type=service", "--state=running", "--no-legend", "--plain", "--no-pager"])?;
    let mut names: Vec<&str> = list.lines().filter_map(|line| line.split_ascii_whitespace().next()).collect();
    names.sort_unstable();
    let mut units = Vec::new();
    for names in names.chunks(AT_ONCE) {
        let args: Vec<&str> =
            ["show", "--no-pager", "--property", PROPERTIES, "--"].iter().chain(names).copied().collect();
        units.extend(ask(&args)?.split("\n\n").filter_map(|text| unit_of(text, &command_line)));
    }
    Ok(units)
}

fn ask(args: &[&str]) -> Result<String, SystemdError> {
    let mut command = Command::new("systemctl");
    command.args(args).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().map_err(SystemdError::Start)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it failed").to_owned();
        return Err(SystemdError::Refused { args: args[..1].join(" "), said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The arguments of a process, if this user may see them.
fn command_line(pid: u32) -> Option<Vec<String>> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args: Vec<String> =
        bytes.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
    let end = args.iter().rposition(|arg| !arg.is_empty())?;
    Some(args[..=end].to_vec())
}

/// Reads the properties of one unit.
fn unit_of(text: &str, command_line: &dyn Fn(u32) -> Option<Vec<String>>) -> Option<Unit> {
    let properties: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let name = properties.get("Id").filter(|name| !name.is_empty())?;
    let pid = properties.get("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0);
    // `systemctl show` loses the quotes of arguments; the process has them as they are.
    let args = pid.and_then(command_line).or_else(|| properties.get("ExecStart").and_then(|start| argv_of(start)))?;
    let (program, args) = args.split_first()?;
    let env = properties.get("Environment").copied().unwrap_or_default();
    let env = env.split_ascii_whitespace().filter_map(|pair| pair.split_once('='));
    let env = env.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect();
    let working_dir = properties.get("WorkingDirectory").filter(|dir| dir.starts_with('/')).map(PathBuf::from);
    let command = CommandConfig {
        program: program.clone(),
        args: args.to_vec(),
        env,
        working_dir,
        config_file: None,
        limits: Default::default(),
        run_as: None,
        validate: None,
    };
    Some(Unit { name: (*name).to_owned(), command })
}

/// `{ path=/usr/bin/vector ; argv[]=/usr/bin/vector --config x ; ignore_errors=no ; … }`
fn argv_of(start: &str) -> Option<Vec<String>> {
    let (_, argv) = start.split_once("argv[]=")?;
    let argv = argv.split(" ; ").next()?;
    Some(argv.split_ascii_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "MainPID=7\nId=vector.service\nExecStart={ path=/usr/bin/vector ; argv[]=/usr/bin/vector --config /etc/v.yaml ; ignore_errors=no ; pid=7 }\nEnvironment=A=1 B=\"2\"\nWorkingDirectory=\n";

    #[test]
    fn command_is_that_of_the_process_or_of_the_unit() {
        let unit = unit_of(SHOWN, &|_| None).unwrap();
        assert_eq!((unit.name.as_str(), unit.command.program.as_str()), ("vector.service", "/usr/bin/vector"));
        assert_eq!(unit.command.args, ["--config", "/etc/v.yaml"]);
        assert_eq!((unit.command.env["A"].as_str(), unit.command.env["B"].as_str()), ("1", "2"));
        let quoted = unit_of(SHOWN, &|pid| Some(vec![format!("p{pid}"), "a b".to_owned()])).unwrap();
        assert_eq!((quoted.command.program.as_str(), quoted.command.args), ("p7", vec!["a b".to_owned()]));
        assert_eq!(unit_of("Id=\n", &|_| None), None);
        assert_eq!(unit_of("Id=x.service\nMainPID=0\n", &|_| None), None);
    }
}
