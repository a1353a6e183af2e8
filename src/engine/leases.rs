//! Who holds a shared socket: its handler while `server` runs, then whoever opens it. One at a
//! time; each has a number higher than the one before.
//!
//! Called on the shard, by [`super::answering`] for who opens a socket and by a handler's verbs.
//! What the holder does with its lease is in [`super::holder`], how it ends in [`super::shared`].

use super::command::{OpenFailure, OpenRequest};
use super::connection::{Connection, NEVER, Phase};
use super::core::Core;
use super::events::EventKind;
use super::flags::Flag;
use super::holder::Holder;
use super::ids::Claim;
use super::link::Link;
use super::shared::SharedState;
use crate::clock::Moment;
use std::sync::Arc;
use std::time::Duration;

impl Connection {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// It becomes a shared socket, and its handler holds it.
    pub(super) fn share(&mut self, session_id: Option<Arc<str>>, core: &Core) {
        self.flags.set(Flag::Shared);
        let state = Box::new(SharedState::new(session_id, core.now.get()));
        core.count_route(self.route, |route| {
            route.shared += 1;
            route.was_shared = true;
        });
        self.publish(EventKind::Open, &state, None, core);
        core.shared.borrow_mut().put_back(self.id.slot, state);
        self.look_by(self.shared_deadline(core), core);
    }

    /// Its handler has returned.
    pub(super) fn stop_serving(&mut self, core: &Core) {
        self.flags.set(Flag::LeftOpen);
        self.flags.clear(Flag::Fenced);
        if let Some(state) = core.shared.borrow_mut().find_mut(self.id.slot) {
            state.flags.serving = false;
        }
        self.mark_dirty(core);
    }

    /// When the lease or the session ends.
    pub(super) fn shared_deadline(&self, core: &Core) -> Moment {
        let timeout = core.session_timeout(self.route).filter(|_| self.is_open());
        let table = core.shared.borrow();
        table.find(self.id.slot).map_or(NEVER, |state| state.deadline(timeout))
    }

    /// Whether an open shared socket is held.
    pub(super) fn is_attended(&self, core: &Core) -> bool {
        core.shared.borrow().find(self.id.slot).is_some_and(SharedState::is_attended)
    }

    /// Makes somebody the holder.
    pub(super) fn open(
        &mut self,
        claim: Claim,
        request: &OpenRequest,
        core: &Core,
    ) -> Result<Holder, OpenFailure> {
        match self.phase {
            // Its id is known to its handler, who is still deciding.
            Phase::Deciding => return Err(OpenFailure::Busy { expires_in: None }),
            Phase::Head(_) => return Err(OpenFailure::Unknown),
            _ if !self.flags.has(Flag::Shared) => return Err(OpenFailure::NotShared),
            _ => {}
        }
        let Some(mut state) = core.shared.borrow_mut().take(self.id.slot) else {
            return Err(OpenFailure::Unknown);
        };
        let opened = self.open_with(&mut state, claim, request, core);
        core.shared.borrow_mut().put_back(self.id.slot, state);
        if opened.is_ok() {
            // What waits goes along with the answer.
            self.exchange(core);
            self.mark_dirty(core);
        }
        opened
    }

    fn open_with(
        &mut self,
        state: &mut SharedState,
        claim: Claim,
        request: &OpenRequest,
        core: &Core,
    ) -> Result<Holder, OpenFailure> {
        let now = core.now.get();
        let absence = || core.shared.borrow().absence(claim);
        let expired = !self.is_open() && absence() == OpenFailure::Expired;
        if expired || !self.is_open() && !state.flags.held && !self.has_mail(state) {
            return Err(absence());
        }
        let held = state.link.as_ref().filter(|_| state.flags.held);
        let resumed = held.map_or(request.fence, |link| link.lock().resumed_by(request));
        let (link, fence, waiting) = match resumed {
            Some(fence) => {
                let link = Arc::clone(held.ok_or(OpenFailure::Fenced)?);
                let mut shared = link.lock();
                if shared.fence != fence {
                    return Err(OpenFailure::Fenced);
                }
                let waiting = shared.attach();
                drop(shared);
                (link, fence, waiting)
            }
            None if state.is_attended() && !request.steal => {
                let until = state.lease_until;
                let expires_in = (until != NEVER).then(|| until.since(now));
                return Err(OpenFailure::Busy { expires_in });
            }
            None => {
                let link = state.link.take();
                let link = link
                    .unwrap_or_else(|| Arc::new(self.new_link(state.session_id.as_ref(), core)));
                let fence = core.shared.borrow_mut().next_fence();
                let mut shared = link.lock();
                let waiting = shared.pass_on(fence);
                shared.key = request.key;
                drop(shared);
                self.take_over(state, core);
                state.activity = now;
                state.lease_ms = 0;
                (link, fence, waiting)
            }
        };
        if let Some(waiting) = waiting {
            core.wake_holder_later(self.id, waiting.waker);
        }
        if let Some(lease) = request.lease {
            // A lease of no time would be one that does not end.
            state.lease_ms = u32::try_from(lease.as_millis()).unwrap_or(u32::MAX).max(1);
        }
        state.link = Some(Arc::clone(&link));
        state.flags.held = true;
        state.renew(now);
        let attachment = link.lock().attachment;
        Ok(Holder { link, fence, attachment, leaving: request.leaving() })
    }

    /// Takes the socket from its handler, if that still runs.
    fn take_over(&mut self, state: &mut SharedState, core: &Core) {
        if std::mem::take(&mut state.flags.serving) {
            self.flags.set(Flag::Fenced);
            self.reading = None;
            self.wake(core);
        }
    }

    fn has_mail(&self, state: &SharedState) -> bool {
        let unread = |link: &Arc<Link>| !link.lock().ready.is_empty();
        self.talk.inbox.messages() > 0 || state.link.as_ref().is_some_and(unread)
    }

    /// Sends what was written by id and had to wait, as far as there is room.
    pub(super) fn take_waiting_writes(&mut self, core: &Core) {
        let mut writes = core.shared.borrow_mut().take_waiting_writes(self.id);
        while let Some(write) = writes.pop_front() {
            if write.reply.is_abandoned() {
                continue;
            }
            if let Err(write) = self.write_by_id(write, core) {
                writes.push_front(write);
                self.flags.set(Flag::Writing);
                break;
            }
        }
        core.shared.borrow_mut().put_back_waiting_writes(self.id, writes);
    }

    /// How long until somebody else may have it.
    pub(super) fn lease_expires_in(state: &SharedState, now: Moment) -> Option<Duration> {
        (state.lease_until != NEVER).then(|| state.lease_until.since(now))
    }
}
