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
    /// How often it was started anew.
    pub(crate) restarts: u64,
}

/// States that wait to be shown: more than a few mean that nobody reports, and then the newest count.
const MAX_UNSHOWN: usize = 16;

/// A pipeline's state and the ones before it that no report has shown yet.
///
/// A report shows one state. A pipeline that crashed and came back between two reports must not
/// look as if nothing had happened, so its states wait here and are shown one by one.
#[derive(Debug)]
pub(crate) struct StateBook {
    current: PipelineState,
    unshown: VecDeque<PipelineState>,
}

impl StateBook {
    /// Begins with a pipeline that nothing is known of.
    pub(crate) fn new() -> Self {
        let current =
            PipelineState { status: PipelineStatus::Pending, reason: None, pid: None, started_at: None, restarts: 0 };
        StateBook { current, unshown: VecDeque::new() }
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
        let news = (next.status, &next.reason) != (self.current.status, &self.current.reason);
        self.current = next;
        if !news {
            return false;
        }
        // Passing states are shown only while they last.
        self.unshown.retain(|state| !is_passing(state.status));
        if self.unshown.len() == MAX_UNSHOWN {
            self.unshown.pop_front();
        }
        self.unshown.push_back(self.current.clone());
        true
    }

    /// The state for the next report.
    pub(crate) fn show(&mut self) -> PipelineState {
        let shown = self.unshown.pop_front().unwrap_or_else(|| self.current.clone());
        // The last of them may have got its pid or count since.
        if self.unshown.is_empty() { self.current.clone() } else { shown }
    }

    /// Whether a further report is due for what waits.
    pub(crate) fn has_more(&self) -> bool {
        !self.unshown.is_empty()
    }
}

fn is_passing(status: PipelineStatus) -> bool {
    matches!(status, PipelineStatus::Pending | PipelineStatus::Starting)
}

#[cfg(test)]
mod tests {
    use PipelineStatus::{Crashed, Pending, Running, Starting, Stopped};

    use super::*;

    fn go(book: &mut StateBook, status: PipelineStatus) -> bool {
        book.change(|state| state.status = status)
    }

    #[test]
    fn a_crash_between_two_reports_is_shown_before_what_followed() {
        let mut book = StateBook::new();
        for status in [Starting, Running] {
            go(&mut book, status);
        }
        assert_eq!(book.show().status, Running);
        for status in [Crashed, Starting, Running] {
            assert!(go(&mut book, status));
        }
        assert_eq!(book.show().status, Crashed);
        assert!(book.has_more());
        assert_eq!(book.show().status, Running);
        assert!(!book.has_more());
        assert_eq!(book.show().status, Running);
    }

    #[test]
    fn a_passing_state_is_shown_while_it_lasts() {
        let mut book = StateBook::new();
        assert_eq!(book.show().status, Pending);
        go(&mut book, Starting);
        assert_eq!(book.show().status, Starting);
    }

    #[test]
    fn the_states_that_wait_are_bounded_and_the_newest_stay() {
        let mut book = StateBook::new();
        for _ in 0..100 {
            go(&mut book, Running);
            go(&mut book, Crashed);
        }
        go(&mut book, Stopped);
        let shown: Vec<_> = (0..MAX_UNSHOWN).map(|_| book.show().status).collect();
        assert_eq!(shown.last(), Some(&Stopped));
        assert!(!book.has_more());
    }

    #[test]
    fn the_same_state_again_is_no_news() {
        let mut book = StateBook::new();
        assert!(go(&mut book, Running));
        assert!(!go(&mut book, Running));
    }
}
