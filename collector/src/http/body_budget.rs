//! Memory of bodies: a budget for all senders, and a share for each. One is for bodies that are not whole yet,
//! one for opened reports on their way to the database.
//!
//! A sender has at most its share, and at most as much as is free for others. So a few senders together do not
//! use the budget up: each one leaves half of what is free to the next, and no sender has to be known in
//! advance. A body that arrives whole with its head needs none of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::NodeKey;

/// A sender of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sender {
    /// A node, whatever token it uses.
    Node(NodeKey),
    /// A request that has no token in its head.
    Address(Option<IpAddr>),
}

/// A reason not to read more of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BudgetError {
    /// The sender has its share.
    #[error("unfinished bodies of this sender have reached its share of {0} bytes; finish them first")]
    Share(usize),
    /// Others have so much that there is no room for this one.
    #[error("too many bytes of unfinished bodies; retry later")]
    Total,
}

/// The budget.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    total: usize,
    share: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    total: usize,
    by_sender: HashMap<Sender, usize>,
}

/// The bytes of the budget that a body holds until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<BodyBudget>,
    sender: Sender,
    bytes: usize,
}

impl BodyBudget {
    /// With this many bytes for all, and for each.
    pub(crate) fn new(total: usize, share: usize) -> Self {
        BodyBudget { total, share, used: Mutex::default() }
    }

    /// A charge of nothing yet.
    pub(crate) fn charge(self: &Arc<Self>, sender: Sender) -> Charge {
        Charge { budget: Arc::clone(self), sender, bytes: 0 }
    }

    /// The share of one sender.
    pub(crate) fn share(&self) -> usize {
        self.share
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Charge {
    /// Grows to this many bytes; a smaller number changes nothing.
    ///
    /// # Errors
    ///
    /// When the sender has its share, or there is no room.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), BudgetError> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else { return Ok(()) };
        let mut used = self.budget.lock();
        let own = used.by_sender.get(&self.sender).copied().unwrap_or(0) + more;
        if own > self.budget.share {
            return Err(BudgetError::Share(self.budget.share));
        }
        if own > self.budget.total.saturating_sub(used.total) {
            return Err(BudgetError::Total);
        }
        used.total += more;
        used.by_sender.insert(self.sender, own);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut used = self.budget.lock();
        used.total -= self.bytes;
        if let Some(own) = used.by_sender.get_mut(&self.sender) {
            *own -= self.bytes;
            if *own == 0 {
                used.by_sender.remove(&self.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(number: i64) -> Sender {
        Sender::Node(NodeKey(number))
    }

    #[test]
    fn a_sender_has_its_share_and_gives_it_back() {
        let budget = Arc::new(BodyBudget::new(100, 20));
        let mut first = budget.charge(sender(1));
        first.grow_to(15).unwrap();
        first.grow_to(10).unwrap();
        let mut second = budget.charge(sender(1));
        assert_eq!(second.grow_to(6), Err(BudgetError::Share(20)));
        second.grow_to(5).unwrap();
        budget.charge(sender(2)).grow_to(20).unwrap();
        assert_eq!(budget.used(), 20);
        drop((first, second));
        assert_eq!(budget.used(), 0);
        assert!(budget.lock().by_sender.is_empty());
    }

    #[test]
    fn a_few_senders_together_leave_something_for_the_next() {
        let budget = Arc::new(BodyBudget::new(1_000, 400));
        let mut held: Vec<Charge> = Vec::new();
        for number in 0..8 {
            let mut charge = budget.charge(sender(number));
            while charge.grow_to(charge.bytes + 1).is_ok() {}
            held.push(charge);
        }
        assert!(budget.used() < 1_000);
        let mut next = budget.charge(sender(99));
        assert_eq!(next.grow_to(1_000), Err(BudgetError::Share(400)));
        assert_eq!(next.grow_to(300), Err(BudgetError::Total));
        drop(held);
        next.grow_to(300).unwrap();
    }
}
