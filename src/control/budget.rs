//! Memory that requests have together: so many bytes, whoever takes them, and none that is kept.

use crate::MemoryClass;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// So many bytes, some of them taken.
pub(super) struct Budget {
    bytes_max: usize,
    used_bytes: AtomicUsize,
    returned_bytes: AtomicU64,
}

/// What somebody has taken of it. Dropping it gives it back.
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        let (used_bytes, returned_bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { bytes_max, used_bytes, returned_bytes })
    }

    /// `None` if there are not so many bytes left.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let fitting = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.bytes_max);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fitting).ok()?;
        Some(Share { budget: Arc::clone(self), bytes })
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// What is taken, and what was given back.
    pub(super) fn memory(&self) -> MemoryClass {
        let returned_bytes = self.returned_bytes.load(Ordering::Relaxed);
        MemoryClass::new(self.used_bytes() as u64, 0, returned_bytes)
    }
}

impl Share {
    /// Adds another one of the same budget.
    pub(super) fn merge(&mut self, mut more: Self) {
        self.bytes += std::mem::take(&mut more.bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.returned_bytes.fetch_add(self.bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_comes_back_once() {
        let budget = Budget::new(10);
        let mut first = budget.take(4).expect("there is room");
        first.merge(budget.take(5).expect("there is room"));
        assert!(budget.take(2).is_none() && budget.take(usize::MAX).is_none());
        assert_eq!(budget.memory(), MemoryClass::new(9, 0, 0));
        drop(first);
        assert_eq!(budget.memory(), MemoryClass::new(0, 0, 9));
        assert!(budget.take(10).is_some());
    }
}
