//! Makes pipelines of the desired state, beside those of the agent's own file.
//!
//! What cannot be taken is rejected with a reason, and what ran before under its id runs on. The own file
//! wins: a node's administrator decides what runs there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use systole_shared::PipelineId;
use systole_shared::desired::{DesiredPipeline, DesiredState, MAX_CONFIG_BYTES, MAX_DESIRED_PIPELINES};
use systole_shared::limits::MAX_PIPELINES_PER_REPORT;

use super::deployments::{Entry, Standing};
use super::ports::Ports;
use crate::files;
use crate::model::centre::{API_PORT_PLACEHOLDER, CentreConfig, CentreVersion, EngineConfig, PORT_PLACEHOLDER};
use crate::model::pipeline::{CommandConfig, MetricsConfig, PipelineConfig};
use crate::supervise::revision::checksum_of;

/// Why an agent without `accept_pipelines` runs nothing of the centre.
const NOT_ACCEPTED: &str = "this agent does not accept pipelines (accept_pipelines = false)";

/// Why one that is in the agent's own file is not taken.
const OWN_FILE_WINS: &str = "a pipeline with this id is in the agent's own file, which wins";

/// Longest time that a version can have until it is healthy. A longer one would keep its rollout for ever.
const MAX_HEALTHY_FOR: Duration = Duration::from_secs(3_600);

/// Variables that decide which code a process runs. The node's own file sets them, and no other place.
const REFUSED_VARIABLES: [&str; 4] = ["PATH", "GLIBC_TUNABLES", "BASH_ENV", "ENV"];
const REFUSED_PREFIXES: [&str; 4] = ["LD_", "DYLD_", "SYSTOLE_", "VF_"];

/// Merges again and again, and keeps what that needs to know of the last time.
#[derive(Debug)]
pub(crate) struct Merger {
    ports: Ports,
    /// Pipelines of the centre as they were taken last.
    taken: BTreeMap<PipelineId, PipelineConfig>,
}

/// The result.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Every pipeline to run or to watch, those of the own file first.
    pub(crate) pipelines: Vec<PipelineConfig>,
    /// What became of each pipeline of the centre.
    pub(crate) entries: Vec<Entry>,
}

impl Merger {
    /// With the ports of an earlier run of the agent in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        Merger { ports: Ports::load(dir), taken: BTreeMap::new() }
    }

    /// All pipelines of the node.
    pub(crate) fn merge(&mut self, centre: &CentreConfig, own: &[PipelineConfig], desired: &DesiredState) -> Merged {
        let mut merged = Merged { pipelines: own.to_vec(), entries: Vec::new() };
        let own: BTreeSet<&PipelineId> = own.iter().map(|pipeline| &pipeline.id).collect();
        let mut taken = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for pipeline in desired.pipelines.iter().take(MAX_DESIRED_PIPELINES) {
            if !seen.insert(pipeline.id.clone()) {
                continue;
            }
            let has_room = merged.pipelines.len() < MAX_PIPELINES_PER_REPORT;
            let made = if !centre.accepts {
                Err(NOT_ACCEPTED.to_owned())
            } else if own.contains(&pipeline.id) {
                Err(OWN_FILE_WINS.to_owned())
            } else if !has_room {
                Err(format!("this node has {MAX_PIPELINES_PER_REPORT} pipelines, which is the most"))
            } else {
                self.make(centre, pipeline)
            };
            let keeps_old = centre.accepts && !own.contains(&pipeline.id) && has_room;
            let (config, standing) = match made {
                Ok(config) if pipeline.paused => (Some(config), Standing::Paused),
                Ok(config) => (Some(config), Standing::Taken),
                Err(reason) => {
                    (self.taken.get(&pipeline.id).filter(|_| keeps_old).cloned(), Standing::Rejected(reason))
                }
            };
            if let Some(config) = config {
                taken.insert(pipeline.id.clone(), config.clone());
                merged.pipelines.push(config);
            }
            merged.entries.push(Entry { id: pipeline.id.clone(), version: pipeline.version, standing });
        }
        self.ports.keep(&taken.keys().cloned().collect());
        self.taken = taken;
        merged
    }

    fn make(&mut self, centre: &CentreConfig, pipeline: &DesiredPipeline) -> Result<PipelineConfig, String> {
        let engine = centre.engines.get(&pipeline.engine).ok_or_else(|| {
            let names: Vec<&str> = centre.engines.keys().map(String::as_str).collect();
            format!("this node has no engine \"{}\"; its engines: {}", pipeline.engine, names.join(", "))
        })?;
        if pipeline.config.len() > MAX_CONFIG_BYTES {
            return Err(format!("its configuration has more than {MAX_CONFIG_BYTES} bytes"));
        }
        let checksum = checksum_of(pipeline.config.as_bytes());
        if !checksum.eq_ignore_ascii_case(&pipeline.checksum) {
            return Err(format!(
                "its configuration does not have its checksum: expected {}, found {checksum}",
                pipeline.checksum
            ));
        }
        let port = match engine.ports {
            Some(range) => Some(self.ports.of(&pipeline.id, range).ok_or_else(|| {
                format!(
                    "all ports of engine \"{}\" are taken (port_range {}-{})",
                    pipeline.engine, range.first, range.last
                )
            })?),
            None => None,
        };
        let version = CentreVersion {
            version: pipeline.version,
            content: pipeline.config.as_bytes().into(),
            healthy_for: Duration::from_millis(pipeline.healthy_for_ms).min(MAX_HEALTHY_FOR),
            paused: pipeline.paused,
        };
        let mut config = PipelineConfig {
            id: pipeline.id.clone(),
            name: Some(pipeline.name.clone()).filter(|name| !name.is_empty()),
            labels: BTreeMap::new(),
            command: None,
            metrics: None,
            process: None,
            log_files: Default::default(),
            multiline: None,
            api_url: None,
            centre: Some(Arc::new(version)),
        };
        if pipeline.paused {
            return Ok(config);
        }
        config.command = Some(command_of(engine, pipeline, port)?);
        config.metrics = match &engine.metrics {
            Some(metrics) => Some(MetricsConfig {
                url: fill(&metrics.url, port).parse().map_err(|error| format!("metrics_url of its engine: {error}"))?,
                bearer_token: None,
                mapping: metrics.mapping.clone(),
                count_internal: metrics.count_internal,
            }),
            None => None,
        };
        config.api_url = engine.api_url.as_ref().map(|url| fill(url, port));
        Ok(config)
    }
}

/// The engine's command for this pipeline.
fn command_of(engine: &EngineConfig, pipeline: &DesiredPipeline, port: Option<u16>) -> Result<CommandConfig, String> {
    let CommandConfig { args, validate, env, .. } = &engine.command;
    let mut variables: BTreeMap<String, String> =
        env.iter().map(|(name, value)| (name.clone(), fill(value, port))).collect();
    for (name, value) in &pipeline.env {
        check_variable(name, value.reveal(), env)?;
        variables.insert(name.clone(), value.reveal().to_owned());
    }
    if let Some(level) = &pipeline.log_level {
        variables.insert("VECTOR_LOG".to_owned(), level.clone());
    }
    if let Some(port) = port {
        variables.insert("SYSTOLE_METRICS_PORT".to_owned(), port.to_string());
        variables.insert("SYSTOLE_API_PORT".to_owned(), (port + 1).to_string());
    }
    let fill_all = |words: &Vec<String>| words.iter().map(|word| fill(word, port)).collect();
    Ok(CommandConfig {
        args: fill_all(args),
        validate: validate.as_ref().map(fill_all),
        env: variables,
        // Only a name: engines know the format by its extension.
        config_file: Some(PathBuf::from(format!(
            "{}.{}",
            files::name_of(pipeline.id.as_str()),
            pipeline.format.as_str()
        ))),
        ..engine.command.clone()
    })
}

fn check_variable(name: &str, value: &str, of_the_node: &BTreeMap<String, String>) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
        return Err(format!("invalid environment variable \"{name}\""));
    }
    let is_refused =
        REFUSED_VARIABLES.contains(&name) || REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if is_refused || of_the_node.contains_key(name) {
        return Err(format!("the environment variable {name} can be set only in the node's own file"));
    }
    Ok(())
}

fn fill(text: &str, port: Option<u16>) -> String {
    let Some(port) = port else { return text.to_owned() };
    text.replace(PORT_PLACEHOLDER, &port.to_string()).replace(API_PORT_PLACEHOLDER, &(port + 1).to_string())
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
