//! Configurations in the data directory that another agent has put there: VectorFlow's, which ran here before this
//! one, or between two runs of it. They are newer than what this agent knows, and they must run at once when the
//! server cannot be asked.
//!
//! That agent keeps no secrets. A configuration that names a variable which the node does not have waits for the
//! server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use systole_shared::PipelineId;
use systole_shared::desired::{ConfigFormat, DesiredPipeline, MAX_CONFIG_BYTES};

use crate::files::{self, checksum_of};
use crate::model::centre::{CentreTerms, VECTOR_ENGINE};
use crate::model::wanted::{DEDICATED_HEALTHY_FOR_MS, WantedPipeline, WantedState};
use crate::supervise::revisions::Revisions;

/// What configurations wait for while the server was not asked yet.
const FIRST_ANSWER: &str = "the server's first answer";

/// What a configuration waits for that names variables which only the server has.
const SECRETS: &str = "the server, which has the variable";

/// Where the configurations are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'p> {
    /// The data directory.
    pub(super) data_dir: &'p Path,
    /// Where this agent keeps the rest of what the centre wants.
    pub(super) centre_dir: &'p Path,
    /// Pipelines of the agent's own file, whose copies are in the same directory.
    pub(super) own: &'p BTreeSet<PipelineId>,
}

/// What another agent left: its pipelines, with what the stored state knows of them. None when it left nothing.
pub(super) fn read(places: Places<'_>, stored: Option<&WantedState>) -> Option<WantedState> {
    let known: BTreeMap<&PipelineId, &WantedPipeline> =
        stored.into_iter().flat_map(|state| &state.pipelines).map(|wanted| (wanted.id(), wanted)).collect();
    let mut pipelines = Vec::new();
    let mut is_another = false;
    for (id, config) in configurations(places) {
        let before = known.get(&id).copied();
        is_another |= !Revisions::is_own(places.centre_dir, &id, config.as_bytes());
        pipelines.push(wanted(id, config, before));
    }
    is_another.then_some(WantedState { generation: 0, terms: CentreTerms::Dedicated, pipelines, agent_update: None })
}

/// The same, while the server was not asked yet.
pub(super) fn on_hold(mut state: WantedState) -> WantedState {
    for wanted in &mut state.pipelines {
        wanted.waits_for = Some(FIRST_ANSWER.to_owned());
    }
    state
}

/// The configurations in the directory, by the pipelines whose they are.
fn configurations(places: Places<'_>) -> Vec<(PipelineId, String)> {
    let entries = std::fs::read_dir(places.data_dir.join("pipelines")).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".yaml")).and_then(|id| PipelineId::parse(id).ok());
        let Some(id) = id.filter(|id| files::name_of(id.as_str()) == id.as_str() && !places.own.contains(id)) else {
            continue;
        };
        let is_fit = entry.metadata().is_ok_and(|file| file.is_file() && file.len() <= MAX_CONFIG_BYTES as u64);
        match std::fs::read_to_string(entry.path()) {
            Ok(config) if is_fit => found.push((id, config)),
            _ => tracing::warn!(path = %entry.path().display(), "a configuration of another agent cannot be read"),
        }
    }
    found.sort();
    found
}

fn wanted(id: PipelineId, config: String, before: Option<&WantedPipeline>) -> WantedPipeline {
    let checksum = match before {
        Some(before) if before.pipeline.config == config => before.pipeline.checksum.clone(),
        _ => checksum_of(config.as_bytes()),
    };
    let mut wanted = match before {
        Some(before) => before.clone(),
        None => WantedPipeline {
            pipeline: DesiredPipeline {
                id,
                name: String::new(),
                version: 0,
                checksum: String::new(),
                engine: VECTOR_ENGINE.to_owned(),
                config: String::new(),
                format: ConfigFormat::Yaml,
                env: BTreeMap::new(),
                log_level: None,
                healthy_for_ms: DEDICATED_HEALTHY_FOR_MS,
                paused: false,
            },
            files: Vec::new(),
            waits_for: None,
            fault: None,
        },
    };
    let has = |name: &str| wanted.pipeline.env.contains_key(name) || std::env::var_os(name).is_some();
    wanted.waits_for = missing_variable(&config, has).map(|name| format!("{SECRETS} {name}"));
    wanted.fault = None;
    wanted.pipeline.checksum = checksum;
    wanted.pipeline.config = config;
    wanted
}

/// The first variable that a configuration of Vector names and the node does not have: `$NAME`, `${NAME}` and
/// `${NAME:?…}`, but not `${NAME:-…}`, which has a default, nor `$$`, which is a dollar sign.
fn missing_variable(config: &str, has: impl Fn(&str) -> bool) -> Option<&str> {
    let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    let mut rest = config;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let name = rest.strip_prefix('{').unwrap_or(rest);
        let end = name.bytes().position(|byte| !is_of_a_name(byte)).unwrap_or(name.len());
        let (name, after) = name.split_at(end);
        let has_default = rest.starts_with('{') && (after.starts_with('-') || after.starts_with(":-"));
        let is_name = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
        if is_name && !has_default && !has(name) {
            return Some(name);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use systole_shared::desired::SecretValue;

    use super::*;

    struct Scene {
        dir: tempfile::TempDir,
        own: BTreeSet<PipelineId>,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("pipelines")).unwrap();
            std::fs::create_dir_all(dir.path().join("desired/pipelines")).unwrap();
            Scene { dir, own: [PipelineId::parse("mine").unwrap()].into() }
        }

        fn write(&self, path: &str, text: &str) {
            std::fs::write(self.dir.path().join(path), text).unwrap();
        }

        fn read(&self, stored: Option<&WantedState>) -> Option<WantedState> {
            let centre_dir = self.dir.path().join("desired");
            read(Places { data_dir: self.dir.path(), centre_dir: &centre_dir, own: &self.own }, stored)
        }
    }

    #[test]
    fn configurations_of_another_agent_are_wanted() {
        let scene = Scene::new();
        assert_eq!(scene.read(None), None);
        scene.write("pipelines/mine.yaml", "of the own file");
        scene.write("pipelines/cma.yaml", "sources: {}\n");
        scene.write("pipelines/cma.yaml.vf-metrics.yaml", "api: {}\n");
        scene.write("pipelines/cmb.yaml", "password: ${VF_SECRET_DB}\n");
        let state = scene.read(None).unwrap();
        assert_eq!(state.terms, CentreTerms::Dedicated);
        let [a, b] = &state.pipelines[..] else { panic!("{state:?}") };
        assert_eq!((a.id().as_str(), a.pipeline.version, a.waits_for.as_deref()), ("cma", 0, None));
        assert_eq!(b.waits_for.as_deref(), Some("the server, which has the variable VF_SECRET_DB"));
        assert!(on_hold(state).pipelines.iter().all(|wanted| wanted.waits_for.as_deref() == Some(FIRST_ANSWER)));
    }

    #[test]
    fn stored_state_is_used_unless_another_agent_ran() {
        let scene = Scene::new();
        let own = |text: &str| scene.write("desired/pipelines/cma.own", &checksum_of(text.as_bytes()));
        scene.write("pipelines/cma.yaml", "one\n");
        let mut stored = scene.read(None).unwrap();
        own("one\n");
        stored.pipelines[0].pipeline.version = 7;
        stored.pipelines[0].pipeline.env.insert("VF_SECRET_DB".into(), SecretValue::new("x".into()));
        assert_eq!(scene.read(Some(&stored)), None, "it is as this agent left it");
        scene.write("pipelines/cma.yaml", "rolled back\n");
        own("rolled back\n");
        assert_eq!(scene.read(Some(&stored)), None, "this agent went back to it");
        scene.write("pipelines/cma.yaml", "two: ${VF_SECRET_DB}\n");
        let state = scene.read(Some(&stored)).unwrap();
        let wanted = &state.pipelines[0];
        assert_eq!((wanted.pipeline.version, wanted.waits_for.as_deref()), (7, None), "its secrets are still known");
        assert_eq!(wanted.pipeline.checksum, checksum_of(b"two: ${VF_SECRET_DB}\n"));
    }

    #[test]
    fn variables_without_a_value_are_found() {
        let missing = |config| missing_variable(config, |name| name == "HOME");
        assert_eq!(missing("a: $HOME ${HOME} $$NO $${NO} ${NO:-x} ${NO-x} 5$ $1"), None);
        assert_eq!(missing("a: \"${NO}\""), Some("NO"));
        assert_eq!(missing("a: $NO.x"), Some("NO.x"));
        assert_eq!(missing("a: ${NO:?why}"), Some("NO"));
    }
}
