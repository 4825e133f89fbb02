//! What a VectorFlow server wants of a node, in the terms of the model.

use std::time::Duration;

use sha2::{Digest, Sha256};
use systole_shared::PipelineId;
use systole_shared::desired::{AgentUpdate, ConfigFormat, DesiredPipeline, SecretValue};
use systole_shared::vectorflow::{ConfigPipeline, ConfigResponse, PendingAction, SampleRequest};

use super::checksum;
use crate::model::action::{ActionId, NodeAction, NodeRequest};
use crate::model::centre::{CentreTerms, VECTOR_ENGINE};
use crate::model::wanted::{DEDICATED_HEALTHY_FOR_MS, WantedFile, WantedPipeline, WantedState};

/// Secret back ends whose values the server sends. Of the others it sends only the name.
const RESOLVED_BACKENDS: [&str; 2] = ["BUILTIN", "VAULT"];

/// How long one component of a sample is read.
const SAMPLE_TIME: Duration = Duration::from_secs(15);

/// Events of one component of a sample.
const SAMPLE_LIMITS: (u64, u64) = (1, 1_000);

/// The only action that is pending in a configuration.
const SELF_UPDATE: &str = "self_update";

/// The parts of an answer.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) state: WantedState,
    pub(super) interval: Option<Duration>,
    pub(super) push_url: Option<String>,
    pub(super) samples: Vec<NodeAction>,
    /// Pipelines whose checksum is not one of their content, with the checksum.
    pub(super) mismatches: Vec<(PipelineId, String)>,
}

impl Wanted {
    /// Takes an answer apart. What cannot be used costs nothing else.
    pub(super) fn of(config: ConfigResponse) -> Self {
        let ConfigResponse { pipelines, poll_interval_ms, secret_backend, push_url, sample_requests, .. } = config;
        let backend = secret_backend.filter(|name| !RESOLVED_BACKENDS.contains(&name.as_str()));
        let mut mismatches = Vec::new();
        let mut wanted = Vec::with_capacity(pipelines.len());
        for pipeline in pipelines {
            let Ok(id) = PipelineId::parse(&pipeline.pipeline_id) else {
                tracing::warn!(id = %pipeline.pipeline_id.escape_debug(), "the server wants a pipeline with an invalid id; it is skipped");
                continue;
            };
            if !checksum::is_of(&pipeline) {
                mismatches.push((id.clone(), pipeline.checksum.clone()));
            }
            wanted.push(pipeline_of(id, pipeline, backend.as_deref()));
        }
        let agent_update = config.pending_action.and_then(update_of);
        let generation = generation_of(&wanted, agent_update.as_ref());
        let state = WantedState { generation, terms: CentreTerms::Dedicated, pipelines: wanted, agent_update };
        let samples = sample_requests.into_iter().filter_map(sample_of).collect();
        // 0 is no interval.
        let interval = poll_interval_ms.filter(|ms| *ms > 0).map(Duration::from_millis);
        Wanted { state, interval, push_url, samples, mismatches }
    }
}

fn pipeline_of(id: PipelineId, pipeline: ConfigPipeline, backend: Option<&str>) -> WantedPipeline {
    let ConfigPipeline { pipeline_name, version, config_yaml, checksum, log_level, secrets, cert_files, .. } = pipeline;
    let fault = backend.and_then(|backend| {
        let name = unresolved_secret(&config_yaml)?;
        Some(format!(
            "its configuration needs the secret {name} of the secret back end {backend}, which the server does not \
             resolve and the agent cannot ask; choose another back end, or the secrets of Vector itself"
        ))
    });
    let env = secrets.unwrap_or_default().into_iter().map(|(name, value)| (name, SecretValue::new(value)));
    let files = cert_files.unwrap_or_default().into_iter();
    WantedPipeline {
        pipeline: DesiredPipeline {
            id,
            name: pipeline_name,
            version,
            checksum,
            engine: VECTOR_ENGINE.to_owned(),
            config: config_yaml,
            format: ConfigFormat::Yaml,
            env: env.collect(),
            log_level: log_level.filter(|level| !level.is_empty()),
            healthy_for_ms: DEDICATED_HEALTHY_FOR_MS,
            paused: false,
        },
        files: files.map(|file| WantedFile { name: file.filename, data: file.data }).collect(),
        waits_for: None,
        fault,
    }
}

/// The first `SECRET[name]` that only the server could resolve. Vector's own have the form `SECRET[backend.key]`.
fn unresolved_secret(config: &str) -> Option<&str> {
    let names = config.split("SECRET[").skip(1).filter_map(|rest| rest.split_once(']'));
    names.map(|(name, _)| name).find(|name| !name.is_empty() && !name.contains(['.', '\n']))
}

/// The update that an action asks for.
pub(super) fn update_of(action: PendingAction) -> Option<AgentUpdate> {
    let PendingAction { kind, target_version, download_url, checksum, signature } = action;
    if kind != SELF_UPDATE {
        tracing::debug!(kind, "the server asks for an action that this agent does not know");
        return None;
    }
    Some(AgentUpdate { version: target_version, url: download_url, sha256: checksum, signature })
}

/// The action that a sample is.
pub(super) fn sample_of(request: SampleRequest) -> Option<NodeAction> {
    let SampleRequest { request_id, pipeline_id, component_keys, limit } = request;
    let Ok(pipeline) = PipelineId::parse(&pipeline_id) else {
        tracing::warn!(request = request_id, "the server asks for a sample of a pipeline with an invalid id");
        return None;
    };
    let limit = usize::try_from(limit.clamp(SAMPLE_LIMITS.0, SAMPLE_LIMITS.1)).unwrap_or(1);
    let sample = crate::model::action::SampleRequest {
        limit_each: limit,
        limit: limit * component_keys.len().max(1),
        components: component_keys,
        time_each: SAMPLE_TIME,
    };
    Some(NodeAction { id: ActionId::new(&request_id), pipeline, request: NodeRequest::Sample(sample) })
}

/// A number that changes with what is wanted: the server has none.
fn generation_of(pipelines: &[WantedPipeline], update: Option<&AgentUpdate>) -> u64 {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(&(pipelines, update)).unwrap_or_default());
    let digest: [u8; 32] = digest.finalize().into();
    u64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted(config: serde_json::Value) -> Wanted {
        Wanted::of(serde_json::from_value(config).unwrap())
    }

    #[test]
    fn answer_is_taken_apart() {
        let config = "sources: {}\n";
        let answer = json!({
            "pipelines": [
                {"pipelineId": "cma", "pipelineName": "Orders", "version": 3, "configYaml": config,
                    "checksum": crate::files::checksum_of(config.as_bytes()), "logLevel": "debug",
                    "certFiles": [{"name": "CA", "filename": "ca.pem", "data": "AA=="}]},
                {"pipelineId": "", "version": 1, "configYaml": "", "checksum": ""},
                {"pipelineId": "cmb", "version": 1, "configYaml": "x", "checksum": "of something else", "logLevel": ""},
            ],
            "pollIntervalMs": 15_000, "secretBackend": "BUILTIN", "pushUrl": "http://x/push",
            "sampleRequests": [{"requestId": "r1", "pipelineId": "cma", "componentKeys": ["in", "out"], "limit": 5_000}],
            "pendingAction": {"type": "self_update", "targetVersion": "9", "downloadUrl": "https://x", "checksum": "c"},
            "later": true,
        });
        let found = wanted(answer.clone());
        assert_eq!((found.interval, found.push_url.as_deref()), (Some(Duration::from_secs(15)), Some("http://x/push")));
        let [a, b] = &found.state.pipelines[..] else { panic!("{found:?}") };
        assert_eq!(
            (a.pipeline.version, a.pipeline.log_level.as_deref(), a.files[0].name.as_str()),
            (3, Some("debug"), "ca.pem")
        );
        assert_eq!(b.pipeline.log_level, None);
        assert_eq!(found.mismatches, [(b.pipeline.id.clone(), "of something else".to_owned())]);
        let NodeRequest::Sample(sample) = &found.samples[0].request else { panic!("{found:?}") };
        assert_eq!((sample.limit_each, sample.limit, sample.components.len()), (1_000, 2_000, 2));
        assert_eq!(found.state.agent_update.as_ref().unwrap().version, "9");
        let mut other = answer.clone();
        assert_eq!(wanted(answer).state, found.state, "the same is the same");
        other["pipelines"][0]["logLevel"] = json!("info");
        assert_ne!(wanted(other).state.generation, found.state.generation);
    }

    #[test]
    fn maintenance_wants_nothing_and_names_no_push_channel() {
        let found = wanted(json!({"pipelines": [], "pollIntervalMs": 0}));
        assert!(found.state.pipelines.is_empty() && found.push_url.is_none() && found.interval.is_none());
    }

    #[test]
    fn secrets_that_no_side_resolves_are_a_fault_of_their_pipeline_alone() {
        let pipeline =
            |id: &str, config: &str| json!({"pipelineId": id, "version": 1, "configYaml": config, "checksum": ""});
        let pipelines = [
            pipeline("a", "password: \"SECRET[db]\"\n"),
            pipeline("b", "password: \"SECRET[backend.db]\"\n"),
            pipeline("c", "x: y\n"),
        ];
        let faults = |backend: &str| -> Vec<bool> {
            let found =
                wanted(json!({"pipelines": pipelines, "secretBackend": backend, "secretBackendConfig": {"a": 1}}));
            found.state.pipelines.iter().map(|wanted| wanted.fault.is_some()).collect()
        };
        assert_eq!(faults("AWS_SM"), [true, false, false]);
        assert_eq!(faults("VAULT"), [false, false, false]);
    }
}
