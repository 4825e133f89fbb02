//! Pipelines that the server refuses, such as one that it does not know any more: they are asked for less and less
//! often, so that they do not cost the others their requests.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// After the second refusal in a row; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// The server may know the pipeline again.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Pipelines that are remembered: a node has no more.
const MAX_REMEMBERED: usize = systole_shared::limits::MAX_PIPELINES_PER_REPORT;

/// The refusals so far.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<String, Refused>);

#[derive(Debug)]
struct Refused {
    times: u32,
    until: Instant,
}

impl Refusals {
    /// The server refused what was sent of a pipeline. Returns whether it is the first time in a row.
    pub(super) fn refuse(&mut self, pipeline: &str, now: Instant) -> bool {
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(pipeline) {
            self.0.clear();
        }
        let refused = self.0.entry(pipeline.to_owned()).or_insert(Refused { times: 0, until: now });
        refused.times += 1;
        // The first one may be because of what was sent.
        if let Some(doublings) = refused.times.checked_sub(2) {
            refused.until = now + FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(LONGEST_WAIT);
        }
        refused.times == 1
    }

    /// The server took what was sent of a pipeline.
    pub(super) fn accept(&mut self, pipeline: &str) {
        self.0.remove(pipeline);
    }

    /// Whether nothing is to be sent of a pipeline now.
    pub(super) fn is_muted(&self, pipeline: &str, now: Instant) -> bool {
        self.0.get(pipeline).is_some_and(|refused| now < refused.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pipeline_that_is_refused_again_and_again_is_asked_for_less_often() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert!(refusals.refuse("p", now));
        assert!(!refusals.is_muted("p", now), "it may have been what was sent");
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(!refusals.refuse("p", now));
            let wait = (0..=600).find(|seconds| !refusals.is_muted("p", now + Duration::from_secs(*seconds)));
            waits.push(wait.unwrap());
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
        assert!(!refusals.is_muted("other", now));
        refusals.accept("p");
        assert!(!refusals.is_muted("p", now) && refusals.refuse("p", now));
    }
}
