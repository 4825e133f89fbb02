//! The desired state on disk: `<desired-dir>/state.json`, readable by the agent alone, for it holds secrets.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::model::wanted::WantedState;

/// The form of the file. A later form is not read, and the state is fetched again.
const FORMAT: u32 = 1;

/// What is kept.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredState {
    format: u32,
    /// The `ETag` that the state came with.
    #[serde(default)]
    pub(super) etag: Option<String>,
    /// The state itself.
    #[serde(rename = "desired")]
    pub(super) wanted: WantedState,
}

impl StoredState {
    /// A state as it was fetched.
    pub(super) fn new(wanted: WantedState, etag: Option<String>) -> Self {
        StoredState { format: FORMAT, etag, wanted }
    }
}

/// The file of the desired state.
#[derive(Clone, Debug)]
pub(super) struct StateFile(PathBuf);

impl StateFile {
    /// In this directory.
    pub(super) fn in_dir(dir: &Path) -> Self {
        StateFile(dir.join("state.json"))
    }

    /// What was kept; none when there is nothing, or nothing that this version reads.
    pub(super) fn read(&self) -> Option<StoredState> {
        let content = std::fs::read(&self.0).ok()?;
        match serde_json::from_slice::<StoredState>(&content) {
            Ok(state) if state.format == FORMAT => Some(state),
            Ok(state) => {
                tracing::warn!(
                    format = state.format,
                    "the desired state on disk has another format; it is fetched again"
                );
                None
            }
            // Without the error's text, which may quote a value.
            Err(_) => {
                tracing::warn!(path = %self.0.display(), "the desired state on disk cannot be read; it is fetched again");
                None
            }
        }
    }

    /// Keeps the state. A crash leaves the old one or the new one.
    ///
    /// # Errors
    ///
    /// When the disk takes no file.
    pub(super) fn write(&self, state: &StoredState) -> io::Result<()> {
        if let Some(dir) = self.0.parent() {
            files::make_dir(dir)?;
        }
        files::replace(&self.0, &serde_json::to_vec(state)?)
    }

    /// Removes the state: an agent that accepts no pipelines needs no secrets.
    pub(super) fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.0.display(), "cannot remove the desired state");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use systole_shared::PipelineId;
    use systole_shared::desired::{ConfigFormat, DesiredPipeline, DesiredState, SecretValue};

    use super::*;
    use crate::model::centre::CentreTerms;
    use crate::model::wanted::{WantedFile, WantedPipeline};

    #[test]
    fn state_is_private_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::in_dir(&dir.path().join("desired"));
        assert!(file.read().is_none());
        let pipeline = DesiredPipeline {
            id: PipelineId::parse("orders").unwrap(),
            name: "Orders".into(),
            version: 1,
            checksum: String::new(),
            engine: "vector".into(),
            config: "sources: {}\n".into(),
            format: ConfigFormat::Yaml,
            env: [("DB".to_owned(), SecretValue::new("hunter2".into()))].into(),
            log_level: None,
            healthy_for_ms: 1,
            paused: false,
        };
        let files = vec![WantedFile { name: "ca.pem".into(), data: "AA==".into() }];
        let pipelines = vec![WantedPipeline { files, waits_for: Some("x".into()), ..pipeline.clone().into() }];
        let wanted = WantedState { generation: 7, terms: CentreTerms::Dedicated, pipelines, agent_update: None };
        file.write(&StoredState::new(wanted.clone(), Some("\"7\"".into()))).unwrap();
        let read = file.read().unwrap();
        assert_eq!((read.wanted, read.etag.as_deref()), (wanted, Some("\"7\"")));
        let before = DesiredState { generation: 8, pipelines: vec![pipeline], agent_update: None };
        let before = serde_json::json!({"format": 1, "desired": before});
        std::fs::write(&file.0, before.to_string()).unwrap();
        let read = file.read().unwrap().wanted;
        assert_eq!((read.generation, read.terms, read.pipelines.len()), (8, CentreTerms::Consent, 1));
        assert_eq!(file.0.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file.0, "{\"format\":1,\"desired\":").unwrap();
        assert!(file.read().is_none());
        file.remove();
        assert!(!file.0.exists());
    }
}
