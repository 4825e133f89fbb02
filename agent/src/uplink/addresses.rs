//! Which of the collector's addresses the node uses. Pure: it neither sends nor waits.
//!
//! Each collector of a cluster takes every request, so one address is in use for all of them: reports, the desired
//! state, the push stream, answers to actions. A request that fails there is tried at the next address. The order is
//! the node's own, so that a fleet spreads over the collectors, and so do the nodes of one that fails.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::watch;

use crate::scrape::stable_hash::StableHasher;

/// Longest wait for the beginning of an answer, while there is another address to try.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The same after rounds in which every address was too slow: collectors that are overloaded must not receive each
/// request again before they could answer it. It is the limit of a request to a single address.
const LONGEST_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The addresses of the collector, at least one.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// In the order of this node.
    urls: Vec<Url>,
    first_answer_timeout: Duration,
    state: Mutex<State>,
    /// The address that answered last.
    answered: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// The address that a request tries first.
    current: usize,
    /// How often another address answered than the one before.
    switches: u64,
    /// Rounds in a row without an answer in which time ran out.
    slow_rounds: u32,
}

/// The addresses that one request has tried.
#[derive(Debug)]
pub(super) struct Round {
    tried: Vec<bool>,
    is_slow: bool,
}

impl Addresses {
    /// The order begins at the hash of `key` modulo the number of `urls`; the rest follows by the same hash. `key` is
    /// the id of the node, or of its machine before it is enrolled.
    pub(crate) fn new(urls: Vec<Url>, key: &str) -> Self {
        let urls = in_order_of(StableHasher::default().text(key).finish(), urls);
        Addresses {
            urls,
            first_answer_timeout: FIRST_ANSWER_TIMEOUT,
            state: Mutex::default(),
            answered: watch::Sender::new(0),
        }
    }

    /// In this order, with another longest wait, for tests with real sockets.
    #[cfg(test)]
    pub(super) fn in_order(urls: Vec<Url>, first_answer_timeout: Duration) -> Self {
        let mut addresses = Addresses::new(urls.clone(), "");
        (addresses.urls, addresses.first_answer_timeout) = (urls, first_answer_timeout);
        addresses
    }

    /// Whether there is another one.
    pub(crate) fn are_several(&self) -> bool {
        self.urls.len() > 1
    }

    /// All of them, in the order of this node: the first choice comes first.
    pub(crate) fn urls(&self) -> &[Url] {
        &self.urls
    }

    /// The address in use.
    pub(crate) fn in_use(&self) -> &Url {
        &self.urls[*self.answered.borrow()]
    }

    /// How often another address answered than the one before.
    pub(crate) fn switches(&self) -> u64 {
        self.lock().switches
    }

    /// The number of the address that answered last, and each later one. 0 is the first choice.
    pub(super) fn watch(&self) -> watch::Receiver<usize> {
        self.answered.subscribe()
    }

    /// A request that has tried none.
    pub(super) fn begin(&self) -> Round {
        Round { tried: vec![false; self.urls.len()], is_slow: false }
    }

    /// The address to try next, which counts as tried. `None` after a whole round.
    pub(super) fn next(&self, round: &mut Round) -> Option<usize> {
        let current = self.lock().current;
        let mut ring = (0..self.urls.len()).map(|step| (current + step) % self.urls.len());
        let next = ring.find(|address| !round.tried[*address])?;
        round.tried[next] = true;
        Some(next)
    }

    /// Longest wait for the beginning of an answer; `None` if there is no other address.
    pub(super) fn answer_timeout(&self) -> Option<Duration> {
        let doublings = 1 << self.lock().slow_rounds.min(8);
        self.are_several().then(|| self.first_answer_timeout.saturating_mul(doublings).min(LONGEST_ANSWER_TIMEOUT))
    }

    /// The address did not answer, or is not ready. Other requests begin at the next one from now on.
    pub(super) fn failed(&self, address: usize, is_slow: bool, round: &mut Round) {
        round.is_slow |= is_slow;
        let mut state = self.lock();
        // Another request may have noticed it before.
        if state.current == address {
            state.current = (address + 1) % self.urls.len();
        }
        if !round.tried.contains(&false) && round.is_slow {
            state.slow_rounds = state.slow_rounds.saturating_add(1);
        }
    }

    /// The address answered. Returns whether another one was in use before.
    pub(super) fn answered(&self, address: usize) -> bool {
        let mut state = self.lock();
        state.slow_rounds = 0;
        // A late answer of an address that failed others changes nothing.
        let is_switch = state.current == address && *self.answered.borrow() != address;
        if is_switch {
            state.switches += 1;
            self.answered.send_replace(address);
        }
        is_switch
    }

    /// The first choice is ready again: requests begin there from now on.
    pub(super) fn prefer_first(&self) {
        self.lock().current = 0;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // It is whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draws from the list with the digits of the hash, so that each order is as frequent as any other.
fn in_order_of(mut hash: u64, mut urls: Vec<Url>) -> Vec<Url> {
    let mut ordered = Vec::with_capacity(urls.len());
    while !urls.is_empty() {
        let count = urls.len() as u64;
        ordered.push(urls.remove(usize::try_from(hash % count).unwrap_or(0)));
        hash /= count;
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn urls(count: usize) -> Vec<Url> {
        (0..count).map(|number| format!("http://c{number}:1/").parse().unwrap()).collect()
    }

    fn addresses(count: usize) -> Addresses {
        Addresses::new(urls(count), "node")
    }

    /// Tries every address of a round; each fails.
    fn fail_round(addresses: &Addresses, is_slow: bool) -> Vec<usize> {
        let mut round = addresses.begin();
        let mut tried = Vec::new();
        while let Some(address) = addresses.next(&mut round) {
            addresses.failed(address, is_slow, &mut round);
            tried.push(address);
        }
        tried
    }

    #[test]
    fn order_is_of_the_node_and_has_a_specified_value() {
        let hosts = |key: &str| {
            let addresses = Addresses::new(urls(3), key);
            addresses.urls().iter().map(|url| url.host_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let hash = StableHasher::default().text("node").finish();
        assert_eq!(hosts("node")[0], format!("c{}", hash % 3));
        let mut orders = BTreeMap::new();
        for node in 0..600 {
            *orders.entry(hosts(&node.to_string())).or_insert(0) += 1;
        }
        assert_eq!(orders.len(), 6);
        assert!(orders.values().all(|nodes| (60..140).contains(nodes)), "{orders:?}");
    }

    #[test]
    fn request_tries_each_address_once_beginning_at_the_current_one() {
        let addresses = addresses(3);
        assert_eq!(fail_round(&addresses, false), [0, 1, 2]);
        assert_eq!(fail_round(&addresses, false), [0, 1, 2]);
        let mut round = addresses.begin();
        let first = addresses.next(&mut round).unwrap();
        addresses.failed(first, false, &mut round);
        assert_eq!(
            fail_round(&addresses, false),
            [1, 2, 0],
            "another request begins at the address that this one tries next"
        );
    }

    #[test]
    fn failure_that_was_known_does_not_skip_an_address() {
        let addresses = addresses(3);
        let (mut one, mut other) = (addresses.begin(), addresses.begin());
        assert_eq!((addresses.next(&mut one), addresses.next(&mut other)), (Some(0), Some(0)));
        addresses.failed(0, false, &mut one);
        addresses.failed(0, false, &mut other);
        assert_eq!((addresses.next(&mut one), addresses.next(&mut other)), (Some(1), Some(1)));
    }

    #[test]
    fn switches_count_answers_of_another_address() {
        let addresses = addresses(2);
        let watch = addresses.watch();
        assert!(!addresses.answered(0) && addresses.switches() == 0);
        addresses.failed(0, false, &mut addresses.begin());
        assert!(!addresses.answered(0), "a late answer of an address that others have left");
        assert_eq!((addresses.switches(), addresses.in_use()), (0, &addresses.urls()[0]), "none has answered");
        assert!(addresses.answered(1) && !addresses.answered(1));
        assert_eq!((addresses.switches(), addresses.in_use(), *watch.borrow()), (1, &addresses.urls()[1], 1));
        addresses.prefer_first();
        assert_eq!(addresses.next(&mut addresses.begin()), Some(0));
        assert!(addresses.answered(0));
        assert_eq!(addresses.switches(), 2);
    }

    #[test]
    fn addresses_that_are_all_slow_receive_more_time_until_one_answers() {
        let addresses = addresses(2);
        let seconds = |addresses: &Addresses| addresses.answer_timeout().unwrap().as_secs();
        assert_eq!(seconds(&addresses), 5);
        fail_round(&addresses, false);
        assert_eq!(seconds(&addresses), 5, "refused connections need no time");
        let mut waits = Vec::new();
        for _ in 0..70 {
            fail_round(&addresses, true);
            waits.push(seconds(&addresses));
        }
        assert_eq!((&waits[..3], waits[69]), (&[10, 20, 30][..], 30));
        addresses.answered(0);
        assert_eq!(seconds(&addresses), 5);
        assert_eq!(Addresses::new(urls(1), "").answer_timeout(), None);
    }
}
