//! The file beside a configuration with which a Vector shows its metrics and answers taps, where a command names
//! it: the VectorFlow agent has it under the same name.
//!
//! It is written at each start, because the ports of a pipeline may change, and removed with the process.

use std::path::{Path, PathBuf};

use crate::model::pipeline::{CONFIG_PLACEHOLDER, CommandConfig, SIDECAR_SUFFIX};

/// Variables of a command of the centre with its ports.
const METRICS_PORT: &str = "SYSTOLE_METRICS_PORT";
const API_PORT: &str = "SYSTOLE_API_PORT";

/// Where the file of a configuration is.
pub(super) fn path_of(config: &Path) -> PathBuf {
    let mut path = config.as_os_str().to_owned();
    path.push(SIDECAR_SUFFIX);
    path.into()
}

/// What the file says, for a command that names it.
pub(super) fn of(command: &CommandConfig) -> Option<String> {
    let name = format!("{CONFIG_PLACEHOLDER}{SIDECAR_SUFFIX}");
    if !command.args.iter().any(|arg| arg.contains(&name)) {
        return None;
    }
    let (metrics, api) = (command.env.get(METRICS_PORT)?, command.env.get(API_PORT)?);
    Some(format!(
        "api:\n  enabled: true\n  address: 127.0.0.1:{api}\n\
         sources:\n  vf_internal_metrics:\n    type: internal_metrics\n  vf_host_metrics:\n    type: host_metrics\n\
         sinks:\n  vf_metrics_exporter:\n    type: prometheus_exporter\n    \
         inputs: [vf_internal_metrics, vf_host_metrics]\n    address: 127.0.0.1:{metrics}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_command_that_names_it_has_one() {
        let mut command = CommandConfig {
            program: "vector".into(),
            args: ["--config", "{config}", "--config", "{config}.vf-metrics.yaml"].map(str::to_owned).to_vec(),
            env: [(METRICS_PORT, "8688"), (API_PORT, "8689")].map(|(name, port)| (name.into(), port.into())).into(),
            working_dir: None,
            config_file: None,
            limits: Default::default(),
            run_as: None,
            validate: None,
        };
        let text = of(&command).unwrap();
        assert!(text.contains("api:\n  enabled: true\n  address: 127.0.0.1:8689\n"), "{text}");
        assert!(text.ends_with("    address: 127.0.0.1:8688\n"), "{text}");
        assert_eq!(path_of(Path::new("/d/a.yaml")), Path::new("/d/a.yaml.vf-metrics.yaml"));
        command.args.truncate(2);
        assert_eq!(of(&command), None);
    }
}
