//! Makes pipelines of the desired state, beside those of the agent's own file.
//!
//! What cannot be taken is rejected with a reason, and what ran before under its id runs on. The own file
//! wins: a node's administrator decides what runs there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use systole_shared::PipelineId;
use systole_shared::desired::{DesiredPipeline, MAX_CONFIG_BYTES, MAX_DESIRED_PIPELINES};
use systole_shared::limits::MAX_PIPELINES_PER_REPORT;

use super::cert_files::CertFiles;
use super::deployments::{Entry, Standing};
use super::ports::Ports;
use crate::files;
use crate::model::centre::{
    API_PORT_PLACEHOLDER, CentreConfig, CentreTerms, CentreVersion, CopyPlace, EngineConfig, Hold, PORT_PLACEHOLDER,
};
use crate::model::pipeline::{CommandConfig, MetricsConfig, PipelineConfig};
use crate::model::wanted::{WantedPipeline, WantedState};

/// Why an agent without `accept_pipelines` runs nothing of the centre.
const NOT_ACCEPTED: &str = "this agent does not accept pipelines (accept_pipelines = false)";

/// Why one that is in the agent's own file is not taken.
const OWN_FILE_WINS: &str = "a pipeline with this id is in the agent's own file, which wins";

/// Longest time that a version can have until it is healthy. A longer one would keep its rollout for ever.
const MAX_HEALTHY_FOR: Duration = Duration::from_secs(3_600);

/// Variables that decide which code a process runs. The node's own file sets them, and no other place.
const REFUSED_VARIABLES: [&str; 4] = ["PATH", "GLIBC_TUNABLES", "BASH_ENV", "ENV"];
const REFUSED_PREFIXES: [&str; 4] = ["LD_", "DYLD_", "SYSTOLE_", "VF_"];

/// The names that VectorFlow gives to secrets mean nothing to an agent.
const SECRET_PREFIX: &str = "VF_SECRET_";

/// Merges again and again, and keeps what that needs to know of the last time.
#[derive(Debug)]
pub(crate) struct Merger {
    ports: Ports,
    cert_files: CertFiles,
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
    /// With the ports of an earlier run of the agent in `dir`, and files of configurations in `data_dir`.
    pub(crate) fn new(dir: &Path, data_dir: &Path) -> Self {
        let cert_files = CertFiles::in_dir(&data_dir.join("certs"));
        Merger { ports: Ports::load(dir), cert_files, taken: BTreeMap::new() }
    }

    /// All pipelines of the node.
    pub(crate) fn merge(&mut self, centre: &CentreConfig, own: &[PipelineConfig], wanted: &WantedState) -> Merged {
        let mut merged = Merged { pipelines: own.to_vec(), entries: Vec::new() };
        let own: BTreeSet<&PipelineId> = own.iter().map(|pipeline| &pipeline.id).collect();
        let mut taken = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let (terms, accepts) = (wanted.terms, centre.accepts(wanted.terms));
        for wanted in wanted.pipelines.iter().take(MAX_DESIRED_PIPELINES) {
            let pipeline = &wanted.pipeline;
            if !seen.insert(pipeline.id.clone()) {
                continue;
            }
            let has_room = merged.pipelines.len() < MAX_PIPELINES_PER_REPORT;
            let made = if !accepts {
                Err(NOT_ACCEPTED.to_owned())
            } else if own.contains(&pipeline.id) {
                Err(OWN_FILE_WINS.to_owned())
            } else if !has_room {
                Err(format!("this node has {MAX_PIPELINES_PER_REPORT} pipelines, which is the most"))
            } else {
                self.make(centre, wanted, terms)
            };
            let keeps_old = accepts && !own.contains(&pipeline.id) && has_room;
            let (config, standing) = match made {
                Ok(config) if pipeline.paused => (Some(config), Standing::Paused),
                Ok(config) => (Some(config), Standing::Taken),
                Err(reason) => {
                    self.cert_files.keep(&wanted.files);
                    let old = self.taken.get(&pipeline.id).filter(|old| is_kept(old)).cloned();
                    let config = old.or_else(|| shown_refusal(wanted, terms, &reason)).filter(|_| keeps_old);
                    (config, Standing::Rejected(reason))
                }
            };
            if let Some(config) = config {
                taken.insert(pipeline.id.clone(), config.clone());
                merged.pipelines.push(config);
            }
            merged.entries.push(Entry { id: pipeline.id.clone(), version: pipeline.version, standing });
        }
        self.ports.keep(&taken.keys().cloned().collect());
        self.cert_files.end_merge();
        self.taken = taken;
        merged
    }

    fn make(
        &mut self,
        centre: &CentreConfig,
        wanted: &WantedPipeline,
        terms: CentreTerms,
    ) -> Result<PipelineConfig, String> {
        let pipeline = &wanted.pipeline;
        let engine = centre.engine(&pipeline.engine, terms).ok_or_else(|| {
            let names = centre.engine_names(terms).join(", ");
            format!("this node has no engine \"{}\"; its engines: {names}", pipeline.engine)
        })?;
        if pipeline.config.len() > MAX_CONFIG_BYTES {
            return Err(format!("its configuration has more than {MAX_CONFIG_BYTES} bytes"));
        }
        if let Some(fault) = &wanted.fault {
            return Err(fault.clone());
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
        let hold = match &wanted.waits_for {
            _ if pipeline.paused => Some(Hold::Paused),
            Some(what) => Some(Hold::WaitsFor(what.clone())),
            None => None,
        };
        if hold.is_some() {
            self.cert_files.keep(&wanted.files);
            return Ok(pipeline_of(wanted, terms, hold));
        }
        let command = command_of(engine, pipeline, port)?;
        let metrics = match &engine.metrics {
            Some(metrics) => Some(MetricsConfig {
                url: fill(&metrics.url, port).parse().map_err(|error| format!("metrics_url of its engine: {error}"))?,
                bearer_token: None,
                mapping: metrics.mapping.clone(),
                count_internal: metrics.count_internal,
            }),
            None => None,
        };
        let api_url = engine.api_url.as_ref().map(|url| fill(url, port));
        // Last, so that a pipeline that is rejected has changed no file.
        let files_digest = self.cert_files.place(&wanted.files)?;
        let config = pipeline_of(wanted, terms, None);
        let centre =
            config.centre.map(|centre| Arc::new(CentreVersion { files_digest, ..CentreVersion::clone(&centre) }));
        Ok(PipelineConfig { command: Some(command), metrics, api_url, centre, ..config })
    }
}

/// The pipeline without what its engine adds.
fn pipeline_of(wanted: &WantedPipeline, terms: CentreTerms, hold: Option<Hold>) -> PipelineConfig {
    let pipeline = &wanted.pipeline;
    let version = CentreVersion {
        version: pipeline.version,
        content: pipeline.config.as_bytes().into(),
        checksum: pipeline.checksum.clone(),
        healthy_for: Duration::from_millis(pipeline.healthy_for_ms).min(MAX_HEALTHY_FOR),
        hold,
        files_digest: String::new(),
        place: match terms {
            CentreTerms::Consent => CopyPlace::CentreDir,
            CentreTerms::Dedicated => CopyPlace::DataDir,
        },
    };
    PipelineConfig {
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
    }
}

/// A rejected pipeline that nothing ran before, for a centre that learns only from the states of pipelines.
fn shown_refusal(wanted: &WantedPipeline, terms: CentreTerms, reason: &str) -> Option<PipelineConfig> {
    let hold = || Some(Hold::Refused(reason.to_owned()));
    (terms == CentreTerms::Dedicated).then(|| pipeline_of(wanted, terms, hold()))
}

/// Whether what was taken before stays when its successor is rejected.
fn is_kept(config: &PipelineConfig) -> bool {
    matches!(config.hold(), None | Some(Hold::Paused))
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
        if level.contains('\0') {
            return Err("its log level has a NUL character".to_owned());
        }
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
    let is_refused = REFUSED_VARIABLES.contains(&name)
        || (REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !name.starts_with(SECRET_PREFIX));
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
