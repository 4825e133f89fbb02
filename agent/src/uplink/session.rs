//! The session with the collector: unenrolled, enrolled, or rejected.

use systole_shared::Token;

use super::send::Sent;
use super::task::{SendState, Uplink};
use crate::clock;
use crate::model::node::node_token;

/// Where the session is. `refused` is a token of the node that the collector did not accept.
enum Session {
    /// The node has no token: it enrols.
    Unenrolled { refused: Option<Token> },
    /// The node has a token: it sends reports.
    Enrolled { token: Token, refused: Option<Token> },
    /// The node cannot enrol: it waits for an operator, and tries again from time to time.
    Rejected { refused: Option<Token> },
}

impl Session {
    fn with(token: Option<Token>) -> Self {
        match token {
            Some(token) => Session::Enrolled { token, refused: None },
            None => Session::Unenrolled { refused: None },
        }
    }
}

impl Uplink {
    /// Sends reports, until the agent ends and everything is sent.
    pub(crate) async fn run(self) {
        let mut state = SendState::new();
        if !self.learn_protocol(&mut state).await {
            return;
        }
        let mut session = Session::with(node_token::read(&self.credentials.data_dir));
        loop {
            session = match session {
                Session::Unenrolled { refused } => match self.enroll(&mut state, refused.as_ref()).await {
                    Some(token) => Session::Enrolled { token, refused },
                    None => Session::Rejected { refused },
                },
                Session::Rejected { refused } => {
                    self.stay_silent(&mut state).await;
                    if self.closing.is_cancelled() {
                        return;
                    }
                    // An operator may have put another token there meanwhile.
                    Session::with(node_token::read(&self.credentials.data_dir).or(refused))
                }
                Session::Enrolled { token, refused } => {
                    match self.send_next(&token, refused.is_some(), &mut state).await {
                        Sent::Acknowledged => Session::Enrolled { token, refused: None },
                        Sent::Failed => Session::Enrolled { token, refused },
                        Sent::TokenRefused => Session::Unenrolled { refused: Some(token) },
                        Sent::Closed => return,
                    }
                }
            };
        }
    }
}

impl Uplink {
    /// Learns the collector's protocol, however long that takes. Returns false when the agent ends before.
    async fn learn_protocol(&self, state: &mut SendState) -> bool {
        let is_enrolled = node_token::exists(&self.credentials.data_dir);
        while let Err(error) = self.client.decide(is_enrolled).await {
            if self.closing.is_cancelled() {
                return false;
            }
            self.counters.send_errors.add(1);
            self.connection.record_failure(&error, clock::unix_millis());
            let wait = self.backoff(state, error.retry_after());
            if !std::mem::replace(&mut state.is_undecided_logged, true) {
                tracing::warn!(%error, "cannot find out which protocol the collector speaks, asking again; pipelines keep running");
            }
            self.wait(wait).await;
        }
        true
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
