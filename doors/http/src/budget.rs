//! Bytes that may be in memory at once, whoever needs them.
//!
//! Each body has a limit of its own, and so has the number of connections, but their product
//! is more memory than any machine has. A [`Budget`] is the limit for all of them together.
//! Bytes count as they arrive and not as they are announced: a client that announces much
//! and sends nothing takes nothing from the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes to share out.
pub(crate) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes.
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes) })
    }

    /// Whether so many bytes are left at this moment.
    pub(crate) fn has(&self, bytes: usize) -> bool {
        bytes <= self.left.load(Ordering::Relaxed)
    }

    /// A share of it, still without a byte.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }
}

/// A part of a budget, which has it back when this is dropped.
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Takes more of the budget. Returns whether there was as much; else nothing was taken.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        let grew = self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if grew.is_ok() {
            self.bytes += bytes;
        }
        grew.is_ok()
    }

    /// Takes more of the budget if anything is left of it, all that is left if it is less: a small
    /// budget refuses nothing that a large one takes. Returns whether anything was left.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let less = |left: usize| (0 < left).then(|| left.saturating_sub(bytes));
        let took = self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if let Ok(left) = took {
            self.bytes += bytes.min(left);
        }
        took.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget_and_come_back() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.grow(6) && other.grow(3));
        assert!(!one.grow(2) && one.grow(1) && !budget.has(1));
        drop(one);
        assert!(budget.has(7) && !budget.has(8));
        drop(other);
        assert!(budget.has(10) && !budget.has(11));
        let mut large = budget.share();
        assert!(large.take(4) && large.take(99) && !large.take(1));
        drop(large);
        assert!(budget.has(10) && !budget.has(11));
    }
}
