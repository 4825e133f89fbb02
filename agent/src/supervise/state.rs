//! The state of a pipeline, and which of its states the next report shows.

use std::collections::VecDeque;

use systole_shared::{PipelineStatus, UnixMillis};

/// How a pipeline does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PipelineState {
    /// Where it stands.
    pub(crate) status: PipelineStatus,
    /// Why, when there is something to say.
    pub(crate) reason: Option<String>,
    /// Its process, while there is one.
    pub(crate) pid: Option<u32>,
    /// Start of that process.
    pub(crate) started_at: Option<UnixMillis>,
    /// How often it was started again.
    pub(crate) restarts: u64,
}

/// States that wait for a report: with more than a few no report is made, and then the newest count.
const MAX_UNREPORTED: usize = 16;

/// A pipeline's state and the ones before it that no report has shown yet.
///
/// A report shows one state. A pipeline that crashed and came back between two reports must not
/// look as if nothing had happened, so its states wait here and are shown one by one.
#[derive(Debug)]
pub(crate) struct PendingStates {
    current: PipelineState,
    unreported: VecDeque<PipelineState>,
}

impl PendingStates {
    /// Begins with a pipeline that nothing is known of.
    pub(crate) fn new() -> Self {
        let current =
            PipelineState { status: PipelineStatus::Pending, reason: None, pid: None, started_at: None, restarts: 0 };
        PendingStates { current, unreported: VecDeque::new() }
    }

    /// Continues from a state that an earlier program of the process has reported.
    pub(crate) fn restore(&mut self, change: impl FnOnce(&mut PipelineState)) {
        change(&mut self.current);
    }

    /// The state now.
    pub(crate) fn current(&self) -> &PipelineState {
        &self.current
    }

    /// Goes to a new state; returns whether there is something to show.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut PipelineState)) -> bool {
        let mut next = self.current.clone();
        change(&mut next);
        if next == self.current {
            return false;
        }
        let is_new = (next.status, &next.reason) != (self.current.status, &self.current.reason);
        self.current = next;
        if !is_new {
            return false;
        }
        // Passing states are shown only while they last.
        self.unreported.retain(|state| !is_transient(state.status));
        if self.unreported.len() == MAX_UNREPORTED {
            self.unreported.pop_front();
        }
        self.unreported.push_back(self.current.clone());
        true
    }

    /// The state for the next report.
    pub(crate) fn take_next(&mut self) -> PipelineState {
        let next = self.unreported.pop_front().unwrap_or_else(|| self.current.clone());
        // The last of them may have got its pid or count since.
        if self.unreported.is_empty() { self.current.clone() } else { next }
    }

    /// Whether a further report is due for what waits.
    pub(crate) fn has_unreported(&self) -> bool {
        !self.unreported.is_empty()
    }
}

fn is_transient(status: PipelineStatus) -> bool {
    matches!(status, PipelineStatus::Pending | PipelineStatus::Starting)
}

#[cfg(test)]
mod tests {
    use PipelineStatus::{Crashed, Pending, Running, Starting, Stopped};

    use super::*;

    fn go(states: &mut PendingStates, status: PipelineStatus) -> bool {
        states.change(|state| state.status = status)
    }

    #[test]
    fn crash_between_reports_is_reported_first() {
        let mut states = PendingStates::new();
        for status in [Starting, Running] {
            go(&mut states, status);
        }
        assert_eq!(states.take_next().status, Running);
        for status in [Crashed, Starting, Running] {
            assert!(go(&mut states, status));
        }
        assert_eq!(states.take_next().status, Crashed);
        assert!(states.has_unreported());
        assert_eq!(states.take_next().status, Running);
        assert!(!states.has_unreported());
        assert_eq!(states.take_next().status, Running);
    }

    #[test]
    fn transient_state_is_reported_while_it_lasts() {
        let mut states = PendingStates::new();
        assert_eq!(states.take_next().status, Pending);
        go(&mut states, Starting);
        assert_eq!(states.take_next().status, Starting);
    }

    #[test]
    fn pending_states_are_bounded_and_keep_the_latest() {
        let mut states = PendingStates::new();
        for _ in 0..100 {
            go(&mut states, Running);
            go(&mut states, Crashed);
        }
        go(&mut states, Stopped);
        let next: Vec<_> = (0..MAX_UNREPORTED).map(|_| states.take_next().status).collect();
        assert_eq!(next.last(), Some(&Stopped));
        assert!(!states.has_unreported());
    }

    #[test]
    fn repeated_state_is_not_reported() {
        let mut states = PendingStates::new();
        assert!(go(&mut states, Running));
        assert!(!go(&mut states, Running));
    }
}
