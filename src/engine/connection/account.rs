//! The growth account of a shard: what its connections hold beyond what each may hold anyway.
//!
//! A connection may have a share of what is free, so that the account is never full: who comes when
//! others have taken much gets less, and something. What it counts is in [`room`](crate::engine::connection::room), which
//! alone changes it; whoever gives something back does not wake those who wait, the shard's chores
//! do.

use crate::engine::connection::places::Network;
use crate::engine::model::memory::{Memory, MemoryLevel};
use crate::engine::model::slot_id::SlotId;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A connection may have one of so many equal parts of what the others have left.
const SHARES: usize = 4;

/// Room that the table of addresses keeps while it is empty.
const NETWORKS_ROOM_MAX: usize = 1_024;

/// What a connection has of the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Holding {
    pub(in crate::engine) bytes: u32,
    /// The address for which it counts, if any. As it was found when the connection had nothing, for
    /// the kernel may tell of it later.
    pub(in crate::engine) network: Option<Network>,
}

/// See the module.
pub(in crate::engine) struct Account {
    bytes_max: usize,
    memory: Arc<Memory>,
    used_bytes: Cell<usize>,
    /// What the addresses have that have something: not more than there are connections.
    by_network: RefCell<HashMap<Network, usize>>,
    /// Connections that wait for room in it.
    waiting: RefCell<HashSet<SlotId>>,
    /// Something was given back since they were told.
    freed: Cell<bool>,
}

impl Account {
    pub(in crate::engine) fn new(bytes_max: usize, memory: Arc<Memory>) -> Self {
        Self {
            bytes_max,
            memory,
            used_bytes: Cell::new(0),
            by_network: RefCell::default(),
            waiting: RefCell::default(),
            freed: Cell::new(false),
        }
    }

    /// What all connections hold of it.
    pub(in crate::engine) fn used_bytes(&self) -> usize {
        self.used_bytes.get()
    }

    /// Addresses that have something of it.
    pub(in crate::engine) fn networks(&self) -> usize {
        self.by_network.borrow().len()
    }

    /// Of so many bytes those that a connection may hold that holds `own_bytes`. Who it counts for is
    /// asked only where that matters.
    pub(in crate::engine) fn share_bytes(
        &self,
        wanted_bytes: usize,
        own_bytes: u32,
        network: impl FnOnce() -> Option<Network>,
    ) -> usize {
        let others = self.used_bytes.get() - own_bytes as usize;
        // As if all the others were of its address.
        if wanted_bytes <= self.left_bytes(own_bytes).saturating_sub(others) / SHARES {
            return wanted_bytes;
        }
        let own = Holding { bytes: own_bytes, network: network() };
        wanted_bytes.min(self.free_bytes(own) / SHARES)
    }

    /// What the others have left for a connection.
    pub(in crate::engine) fn free_bytes(&self, own: Holding) -> usize {
        self.left_bytes(own.bytes).saturating_sub(self.neighbours_bytes(own))
    }

    /// What the others have left; nothing while the process is near the end of its memory.
    fn left_bytes(&self, own_bytes: u32) -> usize {
        if self.memory.level() >= MemoryLevel::Tight {
            return 0;
        }
        self.bytes_max.saturating_sub(self.used_bytes.get() - own_bytes as usize)
    }

    /// What others of its address hold.
    fn neighbours_bytes(&self, own: Holding) -> usize {
        let Some(network) = own.network else { return 0 };
        let all = self.by_network.borrow().get(&network).copied();
        all.map_or(0, |all| all - own.bytes as usize)
    }

    /// Whether a connection is to give up what it could not help taking: less is left than it holds,
    /// or than a share of what its address does.
    pub(in crate::engine) fn is_exceeded(&self, own: Holding) -> bool {
        let least = self.neighbours_bytes(own) / SHARES;
        self.left_bytes(own.bytes) < least.max(own.bytes as usize)
    }

    /// A connection that held so much holds `after` bytes.
    pub(in crate::engine) fn change(&self, before: Holding, after: u32) {
        let changed = |sum: usize| sum - before.bytes as usize + after as usize;
        self.used_bytes.set(changed(self.used_bytes.get()));
        if let Some(network) = before.network {
            let mut by_network = self.by_network.borrow_mut();
            let bytes = changed(by_network.get(&network).copied().unwrap_or_default());
            if bytes > 0 {
                by_network.insert(network, bytes);
            } else {
                by_network.remove(&network);
            }
            if by_network.is_empty() && by_network.capacity() > NETWORKS_ROOM_MAX {
                *by_network = HashMap::new();
            }
        }
        if after < before.bytes {
            self.freed.set(true);
        }
    }

    /// Tells this connection when there is more room.
    pub(in crate::engine) fn wait(&self, id: SlotId) {
        self.waiting.borrow_mut().insert(id);
    }

    /// Whether somebody waits to be told.
    pub(in crate::engine) fn is_waited_for(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Whether this connection does.
    pub(in crate::engine) fn is_waiting(&self, id: SlotId) -> bool {
        self.waiting.borrow().contains(&id)
    }

    /// There may be more room for another reason.
    pub(in crate::engine) fn tell(&self) {
        self.freed.set(true);
    }

    /// Whether something was given back since who waits was told.
    #[inline]
    pub(in crate::engine) fn has_news(&self) -> bool {
        self.freed.get()
    }

    /// Those who wait, to be told.
    pub(in crate::engine) fn take_waiting(&self) -> HashSet<SlotId> {
        self.freed.set(false);
        self.waiting.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn account(bytes_max: usize) -> Account {
        Account::new(bytes_max, Arc::default())
    }

    fn network(number: u8) -> Option<Network> {
        let places = crate::engine::connection::places::Places::new(9, &Default::default());
        places.network([192, 0, 2, number].into())
    }

    /// What a connection of that address that has nothing would get of 16 MiB.
    fn share(account: &Account, network: Option<Network>) -> usize {
        account.share_bytes(16 * MIB, 0, || network)
    }

    /// As many connections as said take what they get.
    fn fill(account: &Account, connections: usize, network: Option<Network>) {
        for _ in 0..connections {
            let bytes = share(account, network) as u32;
            account.change(Holding { bytes: 0, network }, bytes);
        }
    }

    #[test]
    fn shares_shrink_as_it_fills_and_never_fill_it() {
        let account = account(256 * MIB);
        let mut free = account.free_bytes(Holding::default());
        for _ in 0..40 {
            let share = share(&account, None);
            assert!(share > 0 && share <= free / 4);
            account.change(Holding::default(), share as u32);
            free = account.free_bytes(Holding::default());
        }
        assert!(free > 0 && account.used_bytes() < 256 * MIB);
        assert!(!account.has_news());
    }

    #[test]
    fn an_address_gets_half_of_what_the_others_leave_however_many_it_has() {
        let (here, there) = (network(1), network(2));
        assert!(here.is_some() && here != there);
        for connections in [1, 4, 40, 1_000] {
            let account = account(256 * MIB);
            assert_eq!(share(&account, here), 16 * MIB, "as much as without addresses");
            fill(&account, connections, here);
            assert!(account.used_bytes() <= 128 * MIB);
            fill(&account, connections, there);
            assert!(account.used_bytes() <= 192 * MIB);
            // One of whom nobody knows where it comes from.
            assert_eq!(share(&account, None), 16 * MIB);
            assert_eq!(account.networks(), 2);
        }
        // One connection of an address may have what it might have without.
        let account = account(256 * MIB);
        fill(&account, 8, here);
        let left = 256 * MIB - account.used_bytes();
        assert_eq!(account.share_bytes(usize::MAX, 0, || there), left / 4);
    }

    #[test]
    fn who_an_address_is_costs_nothing_while_there_is_room() {
        let account = account(256 * MIB);
        fill(&account, 2, network(1));
        let bytes = account.share_bytes(16 * MIB, 0, || unreachable!("there is room for all"));
        assert_eq!(bytes, 16 * MIB);
    }

    #[test]
    fn what_was_given_back_is_forgotten() {
        let account = account(MIB);
        let held = |bytes| Holding { bytes, network: network(1) };
        account.change(held(0), 70_000);
        account.change(held(0), 50_000);
        account.change(held(70_000), 10_000);
        assert_eq!((account.used_bytes(), account.networks()), (60_000, 1));
        assert_eq!(account.free_bytes(held(10_000)), MIB - 100_000);
        account.change(held(10_000), 0);
        account.change(held(50_000), 0);
        assert_eq!((account.used_bytes(), account.networks()), (0, 0));
    }

    #[test]
    fn an_address_is_closed_only_far_above_its_share() {
        let account = account(100_000);
        let held = |bytes| Holding { bytes, network: network(1) };
        let others = Holding { bytes: 0, network: network(2) };
        account.change(held(0), 60_000);
        account.change(held(0), 10_000);
        assert!(account.free_bytes(held(10_000)) == 0 && !account.is_exceeded(held(10_000)));
        account.change(held(60_000), 85_000);
        assert!(account.is_exceeded(held(10_000)) && !account.is_exceeded(others));
        account.change(others, 20_000);
        assert!(account.is_exceeded(Holding { bytes: 20_000, ..others }));
    }

    #[test]
    fn who_waits_is_told_once_something_is_given_back() {
        let account = account(1_000);
        let id = SlotId { slot: 1, generation: 2 };
        let held = |bytes| Holding { bytes, network: None };
        account.change(held(0), 400);
        account.wait(id);
        account.wait(id);
        assert_eq!(account.share_bytes(1_000, 400, || None), 250);
        account.change(held(400), 100);
        assert!(account.has_news());
        assert_eq!((account.take_waiting(), account.has_news()), ([id].into(), false));
    }
}
