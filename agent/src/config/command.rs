//! Reads what a `[[pipeline]]` says of its command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::section::Section;
use super::{engines, limits};
use crate::model::pipeline::{CONFIG_PLACEHOLDER, CommandConfig};

/// Vector's options that name a configuration file.
const VECTOR_CONFIG_OPTIONS: [&str; 5] = ["--config", "-c", "--config-yaml", "--config-toml", "--config-json"];

/// Reads the command of an engine. It has no file: a pipeline of the centre brings its configuration.
pub(super) fn read_engine(section: &mut Section<'_>) -> Option<CommandConfig> {
    let command = section.texts("command");
    let env = section.text_table("env");
    let working_dir = absolute(section, "working_dir");
    let validate = section.texts("validate");
    let limits = limits::read(section, true);
    check_env(section, &env);
    let (program, args) = split(section, command?, validate.as_deref())?;
    engines::check_placeholder(section, &args);
    let validate =
        validate.map_or_else(|| vector_validate(&program), |words| Some(words).filter(|words| !words.is_empty()));
    Some(CommandConfig { program, args, env, working_dir, config_file: None, limits, run_as: None, validate })
}

/// Program and arguments.
fn split(
    section: &mut Section<'_>,
    command: Vec<String>,
    validate: Option<&[String]>,
) -> Option<(String, Vec<String>)> {
    if command.iter().chain(validate.into_iter().flatten()).any(|part| part.contains('\0')) {
        section.error("command", "contains a NUL character");
        return None;
    }
    let mut words = command.into_iter();
    let Some(program) = words.next().filter(|program| !program.trim().is_empty()) else {
        section.error(
            "command",
            "is empty; write the program and its arguments, like [\"vector\", \"--config\", \"x.yaml\"]",
        );
        return None;
    };
    Some((program, words.collect()))
}

/// Reads the command of a pipeline and all that goes with it.
pub(super) fn read(section: &mut Section<'_>) -> Option<CommandConfig> {
    let has_command = section.has("command");
    let command = section.texts("command");
    let env = section.text_table("env");
    let working_dir = absolute(section, "working_dir");
    let config_file = absolute(section, "config_file");
    let validate = section.texts("validate");
    let limits = limits::read(section, has_command);
    if !has_command {
        for (key, is_there) in [("config_file", config_file.is_some()), ("validate", validate.is_some())] {
            if is_there {
                section.error(key, "needs command");
            }
        }
    }
    check_env(section, &env);
    let (program, args) = split(section, command?, validate.as_deref())?;
    if let Some(file) = config_file.as_ref().filter(|file| !names(&args, file)) {
        section.error(
            "config_file",
            format!("is not in command; write `{}` or {CONFIG_PLACEHOLDER} in its place", file.display()),
        );
    }
    let config_file = config_file.or_else(|| vector_config(&program, &args, working_dir.as_deref()));
    let validate = match validate {
        Some(validate) => Some(validate).filter(|validate| !validate.is_empty()),
        None => config_file.as_ref().and_then(|_| vector_validate(&program)),
    };
    Some(CommandConfig { program, args, env, working_dir, config_file, limits, run_as: None, validate })
}

pub(super) fn absolute(section: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
    let path = section.text(key).map(PathBuf::from);
    if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
        section.error(key, format!("`{}` must be an absolute path", path.display()));
    }
    path
}

fn check_env(section: &mut Section<'_>, env: &BTreeMap<String, String>) {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            section.error(
                "env",
                format!("invalid variable `{name}`: names must not contain `=`, and neither names nor values NUL"),
            );
        }
    }
}

/// Whether the arguments name the file.
fn names(args: &[String], file: &Path) -> bool {
    args.iter().any(|arg| Path::new(arg) == file || arg.contains(CONFIG_PLACEHOLDER))
}

fn is_vector(program: &str) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "vector")
}

/// The file of a Vector that has just one, so that it need not be named twice.
fn vector_config(program: &str, args: &[String], working_dir: Option<&Path>) -> Option<PathBuf> {
    if !is_vector(program) {
        return None;
    }
    let mut files =
        args.iter().zip(args.iter().skip(1)).filter(|(option, _)| VECTOR_CONFIG_OPTIONS.contains(&option.as_str()));
    let (_, file) = files.next().filter(|_| files.next().is_none())?;
    if file.contains(['*', '?', '[']) || args.iter().any(|arg| arg == "--config-dir" || arg == "-C") {
        return None;
    }
    let path = working_dir.map_or_else(|| PathBuf::from(file), |dir| dir.join(file));
    (path.is_absolute() && !path.is_dir()).then_some(path)
}

/// Without the environment: health checks would need what the running process holds.
fn vector_validate(program: &str) -> Option<Vec<String>> {
    let words = [program, "validate", "--no-environment", CONFIG_PLACEHOLDER];
    is_vector(program).then(|| words.map(str::to_owned).to_vec())
}
