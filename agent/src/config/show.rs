//! The effective configuration as `check-config` prints it: TOML-like, and never a secret.

use std::collections::BTreeMap;
use std::fmt;

use reqwest::Url;
use systole_shared::Token;

use super::{Config, LogFormat};
use crate::model::centre::{CentreConfig, EngineConfig, PortRange};
use crate::model::log_files::Links;
use crate::model::multiline::MultilineRule;
use crate::model::pipeline::{CommandConfig, LimitsConfig, PipelineConfig, ProcessConfig};
use crate::model::vectorflow::VectorFlowConfig;

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(path) => writeln!(f, "# read from {}", path.display())?,
            None => writeln!(f, "# no file was read")?,
        }
        match self.urls.as_slice() {
            [url] => writeln!(f, "url = {:?}", url.as_str())?,
            urls => writeln!(f, "urls = {:?}", urls.iter().map(Url::as_str).collect::<Vec<_>>())?,
        }
        writeln!(f, "protocol = {:?}", self.protocol.as_str())?;
        writeln!(f, "token = {}", secret(self.token.as_ref()))?;
        writeln!(f, "data_dir = {:?}", self.data_dir.display().to_string())?;
        if let Some(name) = &self.name {
            writeln!(f, "name = {name:?}")?;
        }
        if let Some(id) = &self.machine_id {
            writeln!(f, "machine_id = {id:?}")?;
        }
        writeln!(f, "machine_id_from = {:?}", self.machine_id_from.as_str())?;
        writeln!(f, "spool_max_bytes = {}", self.spool.bytes)?;
        let (certificate, key) = self.tls.client.as_ref().map(|(certificate, key)| (certificate, key)).unzip();
        for (name, path) in
            [("ca_file", self.tls.ca.as_ref()), ("client_cert_file", certificate), ("client_key_file", key)]
        {
            if let Some(path) = path {
                writeln!(f, "{name} = {:?}", path.display().to_string())?;
            }
        }
        let upgrade = &self.upgrade;
        if let Some(accept) = upgrade.accept {
            writeln!(f, "accept_upgrades = {accept}")?;
        }
        if let Some(key) = &upgrade.key {
            writeln!(f, "update_key = {:?}", key.to_base64())?;
        }
        writeln!(f, "upgrade_timeout = {}", upgrade.timeout.as_secs())?;
        match self.metrics_listen {
            Some(address) => writeln!(f, "metrics_listen = \"{address}\"")?,
            None => writeln!(f, "metrics_listen = \"off\"")?,
        }
        let format = if self.log.format == LogFormat::Json { "json" } else { "text" };
        writeln!(f, "log_level = {:?}", self.log.level.as_str().to_lowercase())?;
        writeln!(f, "log_format = {format:?}")?;
        show_centre(f, &self.centre)?;
        show_vectorflow(f, &self.vectorflow)?;
        table(f, "labels", &self.labels)?;
        for (name, engine) in &self.centre.engines {
            writeln!(f)?;
            show_engine(f, name, engine)?;
        }
        for pipeline in &self.pipelines {
            writeln!(f)?;
            show_pipeline(f, pipeline)?;
        }
        Ok(())
    }
}

fn show_centre(f: &mut fmt::Formatter<'_>, centre: &CentreConfig) -> fmt::Result {
    writeln!(f, "accept_pipelines = {}", centre.accepts)?;
    writeln!(f, "push = {}", centre.push)?;
    writeln!(f, "tap_redact = {:?}", centre.redact)?;
    if centre.accepts {
        writeln!(f, "desired_dir = {:?}", centre.dir.display().to_string())?;
    }
    Ok(())
}

fn show_vectorflow(f: &mut fmt::Formatter<'_>, config: &VectorFlowConfig) -> fmt::Result {
    let VectorFlowConfig { vector_bin, accepts, cloud_labels, poll_interval, log_flush_interval } = config;
    writeln!(f, "vector_bin = {vector_bin:?}")?;
    writeln!(f, "cloud_labels = {cloud_labels}")?;
    writeln!(f, "poll_interval = \"{}s\"", poll_interval.as_secs_f64())?;
    if let Some(interval) = log_flush_interval {
        writeln!(f, "log_flush_interval = \"{}s\"", interval.as_secs_f64())?;
    }
    writeln!(f, "# pipelines of a VectorFlow server are {}", if *accepts { "run" } else { "not run" })
}

fn show_engine(f: &mut fmt::Formatter<'_>, name: &str, engine: &EngineConfig) -> fmt::Result {
    writeln!(f, "[engine.{name:?}]")?;
    show_command(f, &engine.command)?;
    writeln!(f, "validate = {:?}", engine.command.validate.as_deref().unwrap_or_default())?;
    match &engine.command.run_as {
        Some(user) => writeln!(f, "run_as = {user:?}")?,
        None => writeln!(f, "# runs as the agent's own user: no run_as")?,
    }
    if let Some(PortRange { first, last }) = engine.ports {
        writeln!(f, "port_range = \"{first}-{last}\"")?;
    }
    if let Some(metrics) = &engine.metrics {
        writeln!(f, "metrics_url = {:?}", metrics.url)?;
        writeln!(f, "metrics = {:?}", metrics.mapping.name())?;
    }
    if let Some(url) = &engine.api_url {
        writeln!(f, "api_url = {url:?}")?;
    }
    Ok(())
}

/// The command and what goes with it, without its file.
fn show_command(f: &mut fmt::Formatter<'_>, command: &CommandConfig) -> fmt::Result {
    let whole: Vec<&str> =
        std::iter::once(command.program.as_str()).chain(command.args.iter().map(String::as_str)).collect();
    writeln!(f, "command = {whole:?}")?;
    if !command.env.is_empty() {
        // Values of variables are often secrets.
        let names: Vec<&str> = command.env.keys().map(String::as_str).collect();
        writeln!(f, "env = {{ {} }}  # values not shown", names.join(" = …, ") + " = …")?;
    }
    if let Some(dir) = &command.working_dir {
        writeln!(f, "working_dir = {:?}", dir.display().to_string())?;
    }
    let LimitsConfig { nice, memory_max, cpu_max_millis } = command.limits;
    if let Some(nice) = nice {
        writeln!(f, "nice = {nice}")?;
    }
    if let Some(bytes) = memory_max {
        writeln!(f, "memory_max = {bytes}")?;
    }
    if let Some(millis) = cpu_max_millis {
        writeln!(f, "cpu_max = {}.{:03}", millis / 1_000, millis % 1_000)?;
    }
    Ok(())
}

fn show_pipeline(f: &mut fmt::Formatter<'_>, pipeline: &PipelineConfig) -> fmt::Result {
    writeln!(f, "[[pipeline]]")?;
    writeln!(f, "id = {:?}", pipeline.id.as_str())?;
    if let Some(name) = &pipeline.name {
        writeln!(f, "name = {name:?}")?;
    }
    table(f, "labels", &pipeline.labels)?;
    match &pipeline.command {
        Some(command) => {
            show_command(f, command)?;
            if let Some(file) = &command.config_file {
                writeln!(f, "config_file = {:?}  # the command reads a copy", file.display().to_string())?;
                writeln!(f, "validate = {:?}", command.validate.as_deref().unwrap_or_default())?;
            }
        }
        None => writeln!(f, "# only watched: no command")?,
    }
    match &pipeline.process {
        Some(ProcessConfig::PidFile(path)) => writeln!(f, "pid_file = {:?}", path.display().to_string())?,
        Some(ProcessConfig::SystemdUnit(name)) => writeln!(f, "systemd_unit = {name:?}")?,
        None => {}
    }
    if pipeline.log_files.journal_unit.is_some() {
        writeln!(f, "journal = true")?;
    }
    if !pipeline.log_files.patterns.is_empty() {
        writeln!(f, "log_files = {:?}", pipeline.log_files.patterns)?;
        if pipeline.log_files.links == Links::Followed {
            writeln!(f, "follow_symlinks = true")?;
        }
    }
    match pipeline.multiline.as_deref() {
        Some(MultilineRule::StackTraces) => writeln!(f, "multiline = true")?,
        Some(MultilineRule::Start(start)) => writeln!(f, "multiline = {{ start = {:?} }}", start.as_str())?,
        None => {}
    }
    if let Some(metrics) = &pipeline.metrics {
        writeln!(f, "metrics_url = {:?}", metrics.url.as_str())?;
        writeln!(f, "metrics = {:?}", metrics.mapping.name())?;
        if metrics.bearer_token.is_some() {
            writeln!(f, "metrics_bearer_token = {}", secret(metrics.bearer_token.as_ref()))?;
        }
    }
    if let Some(url) = &pipeline.api_url {
        writeln!(f, "api_url = {url:?}")?;
    }
    Ok(())
}

fn secret(token: Option<&Token>) -> String {
    // No hint of it either: a short token would be shown whole.
    if token.is_some() { "\"…\"  # set, not shown".to_owned() } else { "\"\"  # none".to_owned() }
}

fn table(f: &mut fmt::Formatter<'_>, key: &str, values: &BTreeMap<String, String>) -> fmt::Result {
    if values.is_empty() {
        return Ok(());
    }
    let entries: Vec<String> = values.iter().map(|(name, value)| format!("{name:?} = {value:?}")).collect();
    writeln!(f, "{key} = {{ {} }}", entries.join(", "))
}
