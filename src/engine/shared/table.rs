//! The shared sockets of one shard, by slot; and for a while what is left of those that are gone:
//! [messages](crate::engine::shared::remains) that nobody has read yet, and which ids have expired. Everything is
//! bounded. Owned by the shard's [`Core`](crate::engine::core::Core); a socket that is being settled is
//! taken out meanwhile, so that nothing called from there finds it.

use crate::clock::Moment;
use crate::engine::model::ended::Ended;
use crate::engine::model::foreign;
use crate::engine::model::ids::Claim;
use crate::engine::model::slot_id::SlotId;
use crate::engine::shared::holder::Holder;
use crate::engine::shared::open::{Leaving, OpenFailure, OpenRequest, PendingWrite};
use crate::engine::shared::remains::{Left, Remains};
use crate::engine::shared::state::SharedState;
use crate::engine::shared::wake_batch::Woken;
use crate::proto::limits::{EXPIRED_IDS_MAX, WAITING_WRITES_MAX};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// See the module.
#[derive(Default)]
pub(in crate::engine) struct SharedTable {
    states: Vec<Option<Box<SharedState>>>,
    /// The number of the last lease.
    fence: u64,
    pub(in crate::engine) remains: Remains,
    expired: VecDeque<(SlotId, u64)>,
    expired_known: HashSet<(SlotId, u64)>,
    waiting_writes: HashMap<SlotId, VecDeque<PendingWrite>>,
    /// Holders to wake when the batch ends.
    pub(in crate::engine) woken: Vec<Woken>,
}

impl SharedTable {
    pub(in crate::engine) fn find(&self, slot: u32) -> Option<&SharedState> {
        self.states.get(slot as usize)?.as_deref()
    }

    pub(in crate::engine) fn find_mut(&mut self, slot: u32) -> Option<&mut SharedState> {
        self.states.get_mut(slot as usize)?.as_deref_mut()
    }

    pub(in crate::engine) fn take(&mut self, slot: u32) -> Option<Box<SharedState>> {
        self.states.get_mut(slot as usize)?.take()
    }

    pub(in crate::engine) fn put_back(&mut self, slot: u32, state: Box<SharedState>) {
        let slot = slot as usize;
        if slot >= self.states.len() {
            self.states.resize_with(slot + 1, || None);
        }
        self.states[slot] = Some(state);
    }

    /// The number of the next lease. They grow over all sockets, hence over those of each.
    pub(in crate::engine) fn next_fence(&mut self) -> u64 {
        self.fence += 1;
        self.fence
    }

    pub(in crate::engine) fn has_expired(&mut self, slot: SlotId, nonce: u64) {
        if self.expired.len() >= EXPIRED_IDS_MAX
            && let Some(oldest) = self.expired.pop_front()
        {
            self.expired_known.remove(&oldest);
        }
        self.expired.push_back((slot, nonce));
        self.expired_known.insert((slot, nonce));
    }

    /// Whether a socket was closed because its session had timed out, or has left something that was
    /// given up.
    pub(in crate::engine) fn is_expired(&self, slot: SlotId, nonce: u64) -> bool {
        self.expired_known.contains(&(slot, nonce))
    }

    /// Why a socket is not there.
    pub(in crate::engine) fn absence(&self, claim: Claim) -> OpenFailure {
        match self.is_expired(claim.slot, claim.nonce) {
            true => OpenFailure::Expired,
            false => OpenFailure::Unknown,
        }
    }

    /// Keeps what a socket has left, if it is anything, or if its holder may come back. What has to be
    /// given up and was not read comes back.
    #[must_use = "it is to be told"]
    pub(in crate::engine) fn keep_remains(&mut self, left: Left, now: Moment) -> Vec<Left> {
        let mut lost = self.forget_remains(now);
        if left.is_unread() || left.is_leased() {
            self.remains.keep(left);
        }
        while let Some(left) = self.remains.take_surplus() {
            lost.extend(self.give_up(left));
        }
        lost
    }

    /// Gives up what has been kept for long enough. What was not read comes back.
    #[must_use = "it is to be told"]
    pub(in crate::engine) fn forget_remains(&mut self, now: Moment) -> Vec<Left> {
        let mut lost = Vec::new();
        while let Some(left) = self.remains.take_overdue(now) {
            lost.extend(self.give_up(left));
        }
        lost
    }

    fn give_up(&mut self, left: Left) -> Option<Left> {
        left.is_unread().then(|| {
            self.has_expired(left.link.slot, left.nonce);
            left
        })
    }

    /// Opens a socket that is gone, for what it has left.
    pub(in crate::engine) fn open_remains(
        &mut self,
        claim: Claim,
        request: &OpenRequest,
        now: Moment,
    ) -> Result<Holder, OpenFailure> {
        let next_fence = self.fence + 1;
        let Some(left) = self.remains.find(claim) else {
            return Err(self.absence(claim));
        };
        if left.until <= now {
            // It is given up in this very batch.
            return Err(OpenFailure::Expired);
        }
        let link = Arc::clone(&left.link);
        let held_until = left.held_until(now);
        let mut shared = link.lock();
        let held = shared.fence;
        let busy_until = held_until.filter(|_| held > 0 && !request.steal);
        let (fence, waiting) = match (shared.resumed_by(request), busy_until) {
            (Some(fence), _) if fence == held => (fence, shared.attach()),
            (Some(_), _) => return Err(OpenFailure::Fenced),
            (None, Some(until)) => {
                return Err(OpenFailure::Busy { expires_in: Some(until.since(now)) });
            }
            (None, None) => {
                let fence = next_fence;
                self.fence = next_fence;
                let waiting = shared.pass_on(fence);
                shared.key = request.key;
                (fence, waiting)
            }
        };
        let attachment = shared.attachment;
        drop(shared);
        match request.lease {
            None if fence != next_fence => left.renew(now),
            lease => left.hold(lease, now),
        }
        if let Some(waiting) = waiting {
            self.woken.push(Woken { slot: claim.slot, waiting });
        }
        let leaving = request.leaving();
        Ok(Holder { link, fence, attachment, leaving })
    }

    /// The holder of what is left of a socket has something to say: that it goes.
    pub(in crate::engine) fn nudge_remains(&mut self, slot: SlotId, now: Moment) {
        let Some(left) = self.remains.of_slot_mut(slot) else { return };
        let empty = {
            let mut shared = left.link.lock();
            shared.nudged = false;
            if shared.leaving == Leaving::Released {
                let nobody = shared.pass_on(0);
                debug_assert!(nobody.is_none());
            }
            shared.fence == 0 && shared.ready.is_empty()
        };
        if empty {
            self.remains.remove(slot);
        } else {
            // It was heard of.
            left.renew(now);
        }
    }

    /// Keeps a write that waits for room. It comes back when there are too many.
    pub(in crate::engine) fn wait_for_room(
        &mut self,
        write: PendingWrite,
    ) -> Result<(), PendingWrite> {
        let waiting = self.waiting_writes.entry(write.claim.slot).or_default();
        // Those that were given up make room.
        waiting.retain(|write| !write.reply.is_abandoned());
        if waiting.len() >= WAITING_WRITES_MAX {
            return Err(write);
        }
        waiting.push_back(write);
        Ok(())
    }

    /// The writes that wait for room in a socket.
    pub(in crate::engine) fn take_waiting_writes(
        &mut self,
        slot: SlotId,
    ) -> VecDeque<PendingWrite> {
        if self.waiting_writes.is_empty() {
            return VecDeque::new();
        }
        self.waiting_writes.remove(&slot).unwrap_or_default()
    }

    /// Those that had to wait for longer.
    pub(in crate::engine) fn put_back_waiting_writes(
        &mut self,
        slot: SlotId,
        writes: VecDeque<PendingWrite>,
    ) {
        if !writes.is_empty() {
            self.waiting_writes.insert(slot, writes);
        }
    }
}

/// The shard ends: nobody is to wait for it any more.
impl Drop for SharedTable {
    fn drop(&mut self) {
        let mut wakers: Vec<_> = self.woken.drain(..).map(|woken| woken.waiting.waker).collect();
        for link in self.states.iter().flatten().filter_map(|state| state.link.as_ref()) {
            let (waiting, companions) = {
                let mut shared = link.lock();
                (shared.shut, shared.closed) = (true, true);
                shared.ended.get_or_insert_with(|| Ended::lost().into());
                (shared.waiting.take(), std::mem::take(&mut shared.companions))
            };
            wakers.extend(waiting.map(|waiting| waiting.waker));
            wakers.extend(companions.into_iter().map(|companion| companion.waker));
        }
        for waker in wakers {
            let _ = foreign::wake(waker);
        }
    }
}
