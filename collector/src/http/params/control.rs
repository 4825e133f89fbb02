//! Parameters of what the centre decides.

use serde::Deserialize;
use systole_shared::limits::MAX_SHORT_TEXT_BYTES;
use utoipa::IntoParams;

use super::InEnvironment;
use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::http::error::ApiError;
use crate::model::EnvironmentKey;

/// How a pipeline is applied.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplyOptions {
    /// Only show what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Why, for the history. At most 1024 bytes.
    #[param(max_length = 1024)]
    pub note: Option<String>,
    /// The version that this replaces, 0 for none. Another one is a 409. Default: whatever there is.
    pub expected_version: Option<i64>,
}

impl ApplyOptions {
    /// The note, empty without one.
    ///
    /// # Errors
    ///
    /// A 400 problem when it is too long, or has control characters.
    pub(crate) fn note(&self) -> Result<String, ApiError> {
        match self.note.as_deref().unwrap_or_default().trim() {
            note if note.len() > MAX_SHORT_TEXT_BYTES => {
                Err(ApiError::bad_parameter("note", format!("is longer than {MAX_SHORT_TEXT_BYTES} bytes")))
            }
            note if note.contains(char::is_control) => Err(ApiError::bad_parameter("note", "has a control character")),
            note => Ok(note.to_owned()),
        }
    }
}

/// To which version.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RollBackTo {
    /// The version whose content comes back. Default: the stable version, or else the newest one before with another
    /// content.
    pub to: Option<i64>,
}

/// Which versions are compared.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct BetweenVersions {
    /// The older version; 0 is nothing. Default: the one before `to`.
    pub from: Option<i64>,
    /// The newer version. Default: the newest one.
    pub to: Option<i64>,
}

impl InEnvironment {
    /// The one environment of a change.
    ///
    /// # Errors
    ///
    /// As [`InEnvironment::scope`], 400 when the token sees several and none is named, and errors of the store.
    pub(crate) async fn one(&self, app: &App, identity: &Identity) -> Result<EnvironmentKey, ApiError> {
        match self.scope(app, identity)? {
            Scope::One(environment) => Ok(environment),
            Scope::All => {
                // One that a command has just made counts too.
                app.auth.refresh(&*app.store).await?;
                match app.auth.environments().as_slice() {
                    [only] => Ok(only.key),
                    several => {
                        let names: Vec<_> = several.iter().map(|environment| environment.name.as_str()).collect();
                        let detail = format!("is missing; this token sees {}", names.join(", "));
                        Err(ApiError::bad_parameter("environment", detail))
                    }
                }
            }
        }
    }
}
