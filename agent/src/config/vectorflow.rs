//! Reads the settings for an agent under a VectorFlow server: `protocol`, and those that VectorFlow's own agent has.

use std::time::Duration;

use super::go_duration;
use super::mappings::Mappings;
use super::section::Section;
use super::settings::{self, Lookup};
use crate::model::centre::{DedicatedConfig, EngineConfig, EngineMetrics, PortRange};
use crate::model::pipeline::{CONFIG_PLACEHOLDER, CommandConfig, SIDECAR_SUFFIX};
use crate::model::protocol::ProtocolSetting;
use crate::model::vectorflow::{DEFAULT_LOG_FLUSH_INTERVAL, VectorFlowConfig};

/// The ports that VectorFlow's agent gives to its pipelines, from this one upwards: two for each of a thousand.
const PORTS: PortRange = PortRange { first: 8_688, last: 10_687 };

/// Reads `protocol`.
pub(super) fn read_protocol(root: &mut Section<'_>, env: Lookup<'_>) -> ProtocolSetting {
    let found = settings::first(("", None), &["SYSTOLE_PROTOCOL"], env, ("protocol", root.text("protocol")));
    let Some(found) = found else { return ProtocolSetting::default() };
    ProtocolSetting::parse(found.value.trim()).unwrap_or_else(|| {
        let what = format!("invalid protocol `{}`, expected auto, native or vectorflow", found.value);
        root.errors().add(found.place, what);
        ProtocolSetting::default()
    })
}

/// Reads the others. `accepts` is what the file says of pipelines of the centre, if anything. `replaces_agent`: the
/// agent starts with the environment of VectorFlow's.
pub(super) fn read(
    root: &mut Section<'_>,
    env: Lookup<'_>,
    accepts: Option<bool>,
    replaces_agent: bool,
) -> VectorFlowConfig {
    let mut config = VectorFlowConfig::default();
    let vector_bin = settings::first(
        ("", None),
        &["SYSTOLE_VECTOR_BIN", "VF_VECTOR_BIN"],
        env,
        ("vector_bin", root.text("vector_bin")),
    );
    config.accepts = accepts.unwrap_or(replaces_agent || vector_bin.is_some());
    if let Some(found) = vector_bin {
        config.vector_bin = found.value.trim().to_owned();
    }
    if let Some(wanted) = root.flag("cloud_labels") {
        config.cloud_labels = wanted;
    }
    let poll = ["SYSTOLE_POLL_INTERVAL", "VF_POLL_INTERVAL"];
    if let Some(interval) = duration(root, env, "poll_interval", &poll) {
        config.poll_interval = interval;
    }
    let flush = ["SYSTOLE_LOG_FLUSH_INTERVAL", "VF_LOG_FLUSH_INTERVAL"];
    let default = replaces_agent.then_some(DEFAULT_LOG_FLUSH_INTERVAL);
    config.log_flush_interval = duration(root, env, "log_flush_interval", &flush).or(default);
    config
}

fn duration(root: &mut Section<'_>, env: Lookup<'_>, key: &'static str, variables: &[&str]) -> Option<Duration> {
    let found = settings::first(("", None), variables, env, (key, root.text(key)))?;
    match go_duration::parse(&found.value) {
        Ok(duration) => Some(duration),
        Err(what) => {
            root.errors().add(found.place, what);
            None
        }
    }
}

/// What runs pipelines of a VectorFlow server where the file has no engine of that name. `is_inherited`: the agent starts
/// in place of VectorFlow's, and its file says nothing of pipelines.
pub(super) fn dedicated(config: &VectorFlowConfig, is_inherited: bool, mappings: &Mappings) -> DedicatedConfig {
    let sidecar = format!("{CONFIG_PLACEHOLDER}{}", SIDECAR_SUFFIX);
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let validate = [&config.vector_bin, "validate", "--no-environment", CONFIG_PLACEHOLDER, &sidecar];
    let command = CommandConfig {
        program: config.vector_bin.clone(),
        args: words(&["--config", CONFIG_PLACEHOLDER, "--config", &sidecar]),
        env: [].into(),
        working_dir: None,
        config_file: None,
        limits: Default::default(),
        run_as: None,
        validate: Some(words(&validate)),
    };
    let metrics = EngineMetrics {
        url: "http://127.0.0.1:{port}/metrics".to_owned(),
        mapping: mappings.default(),
        count_internal: false,
    };
    let engine = EngineConfig {
        command,
        ports: Some(PORTS),
        metrics: Some(metrics),
        api_url: Some("http://127.0.0.1:{api_port}".to_owned()),
    };
    DedicatedConfig { accepts: config.accepts, engine: Some(engine), is_inherited }
}
