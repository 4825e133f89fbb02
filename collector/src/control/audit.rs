//! The actions of administrators, operators and commands, for later questions.
//!
//! A row is written after its action, with the result, also when the action was refused for a reason that its author
//! should know. The action is not undone when the row cannot be written: the log then has it.

use systole_shared::TokenId;

use crate::auth::{Authenticator, Identity};
use crate::clock;
use crate::model::EnvironmentKey;
use crate::store::{NewAuditRow, Store};
use crate::telemetry::logging::chain;

/// Longest text of a row: a list of names is cut, not refused.
const MAX_TEXT_BYTES: usize = 1_024;

/// The result of an action that was done.
pub(crate) const DONE: &str = "ok";

/// The author of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    /// `None`: a command on the collector's host, or the collector itself.
    pub token: Option<TokenId>,
    pub name: String,
}

impl Actor {
    /// The token of a request; for a session, the token that opened it.
    pub(crate) fn of(auth: &Authenticator, identity: &Identity) -> Self {
        match auth.owner(identity) {
            Some((token, name)) => Actor { token: Some(token), name },
            None => Actor::command_line(),
        }
    }

    /// A command on the collector's host.
    pub(crate) fn command_line() -> Self {
        Actor { token: None, name: "command line".to_owned() }
    }

    /// What the collector does by itself: maintenance that ends, a rollout that halts.
    pub(crate) fn collector() -> Self {
        Actor { token: None, name: "collector".to_owned() }
    }
}

/// Writes down an action. `environment`: `None` for what concerns all of them. `action`: `noun.verb`, as in
/// `node.rename`. `subject`: the name and id of what it was done to. `result`: [`DONE`], or what came of it.
pub(crate) async fn record(
    store: &dyn Store,
    actor: &Actor,
    environment: Option<EnvironmentKey>,
    action: &str,
    subject: &str,
    result: &str,
) {
    let row = NewAuditRow {
        at: clock::now_ms(),
        environment: environment.map(|key| key.0),
        token: actor.token.map(|id| id.to_string()),
        actor: cut(&actor.name),
        action: cut(action),
        subject: cut(subject),
        result: cut(result),
    };
    if let Err(error) = store.add_audit(row).await {
        tracing::error!(
            error = %chain(&error), actor = %actor.name, action, subject, result, "cannot write to the audit"
        );
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "ä".repeat(MAX_TEXT_BYTES);
        assert_eq!(cut(&format!("x{long}")).len(), MAX_TEXT_BYTES - 1);
    }
}
