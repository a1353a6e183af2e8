//! The growth account of a shard: what its connections hold beyond what each may hold anyway.
//!
//! A connection may have a share of what is free, so that the account is never full: who comes when
//! others have taken much gets less, and something. What it counts is in [`super::room`].

use super::memory::{Memory, MemoryLevel};
use super::registry::SlotId;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;

/// A connection may have one of so many equal parts of what the others have left.
const SHARES: usize = 4;

/// See the module.
pub(super) struct Account {
    bytes_max: usize,
    memory: Arc<Memory>,
    used_bytes: Cell<usize>,
    /// Connections that wait for room in it.
    waiting: RefCell<HashSet<SlotId>>,
    /// Something was given back since they were told.
    freed: Cell<bool>,
}

impl Account {
    pub(super) fn new(bytes_max: usize, memory: Arc<Memory>) -> Self {
        let waiting = RefCell::default();
        Self { bytes_max, memory, used_bytes: Cell::new(0), waiting, freed: Cell::new(false) }
    }

    /// What all connections hold of it.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes.get()
    }

    /// What a connection that holds `own_bytes` may hold.
    pub(super) fn share_bytes(&self, own_bytes: u32) -> usize {
        self.free_bytes(own_bytes) / SHARES
    }

    /// What the others have left; nothing while the process is near the end of its memory.
    pub(super) fn free_bytes(&self, own_bytes: u32) -> usize {
        if self.memory.level() >= MemoryLevel::Tight {
            return 0;
        }
        self.bytes_max.saturating_sub(self.used_bytes.get() - own_bytes as usize)
    }

    /// A connection that held `before` bytes holds `after`.
    pub(super) fn change(&self, before: u32, after: u32) {
        self.used_bytes.set(self.used_bytes.get() - before as usize + after as usize);
        if after < before {
            self.freed.set(true);
        }
    }

    /// Tells this connection when there is more room.
    pub(super) fn wait(&self, id: SlotId) {
        self.waiting.borrow_mut().insert(id);
    }

    /// Whether somebody waits to be told.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Whether this connection does.
    pub(super) fn is_waiting(&self, id: SlotId) -> bool {
        self.waiting.borrow().contains(&id)
    }

    /// There may be more room for another reason.
    pub(super) fn tell(&self) {
        self.freed.set(true);
    }

    /// Whether something was given back since who waits was told.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.freed.get()
    }

    /// Those who wait, to be told.
    pub(super) fn take_waiting(&self) -> HashSet<SlotId> {
        self.freed.set(false);
        self.waiting.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_shrink_as_it_fills_and_never_fill_it() {
        let account = Account::new(256 << 20, Arc::default());
        let mut free = account.free_bytes(0);
        for _ in 0..40 {
            let share = account.share_bytes(0).min(16 << 20);
            assert!(share > 0 && share <= free / 4);
            account.change(0, share as u32);
            free = account.free_bytes(0);
        }
        assert!(free > 0 && account.used_bytes() < 256 << 20);
        assert!(!account.has_news());
    }

    #[test]
    fn who_waits_is_told_once_something_is_given_back() {
        let account = Account::new(1_000, Arc::default());
        let id = SlotId { slot: 1, generation: 2 };
        account.change(0, 400);
        account.wait(id);
        account.wait(id);
        assert_eq!(account.share_bytes(400), 250);
        account.change(400, 100);
        assert!(account.has_news());
        assert_eq!((account.take_waiting(), account.has_news()), ([id].into(), false));
    }
}
