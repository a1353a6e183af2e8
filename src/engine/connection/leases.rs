//! Who holds a shared socket: its handler while `server` runs, then whoever opens it. One at a
//! time; each has a number higher than the one before.
//!
//! Called on the shard, by [`answer`](crate::engine::shard::answer) for who opens a socket and by a handler's verbs.
//! What the holder does with its lease is in [`holder`](crate::engine::shared::holder), how it ends in
//! [`exchange`](crate::engine::connection::exchange).

use crate::clock::Moment;
use crate::engine::connection::context::Context;
use crate::engine::connection::outbox::Payload;
use crate::engine::connection::state::Flag;
use crate::engine::connection::{Connection, Phase};
use crate::engine::model::events::EventKind;
use crate::engine::model::ids::Claim;
use crate::engine::model::sockets::SocketStatus;
use crate::engine::shared::holder::Holder;
use crate::engine::shared::link::Link;
use crate::engine::shared::open::HeldWriteFailure;
use crate::engine::shared::open::Outgoing;
use crate::engine::shared::open::PendingWrite;
use crate::engine::shared::open::ReachFailure;
use crate::engine::shared::open::{OpenFailure, OpenRequest};
use crate::engine::shared::state::SharedState;
use std::sync::Arc;
use std::time::Duration;

impl Connection {
    pub(in crate::engine) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// It becomes a shared socket, and its handler holds it.
    pub(in crate::engine) fn share(&mut self, session_id: Option<Arc<str>>, context: &Context) {
        self.flags.set(Flag::Shared);
        let state = Box::new(SharedState::new(session_id, context.now.get()));
        context.count_route(self.route, |route| {
            route.shared += 1;
            route.was_shared = true;
        });
        self.publish(EventKind::Open, &state, None, context);
        context.shared.borrow_mut().put_back(self.id.slot, state);
        self.look_by(self.shared_deadline(context), context);
    }

    /// Its handler has returned.
    pub(in crate::engine) fn stop_serving(&mut self, context: &Context) {
        self.flags.set(Flag::LeftOpen);
        self.flags.clear(Flag::Fenced);
        if let Some(state) = context.shared.borrow_mut().find_mut(self.id.slot) {
            state.flags.serving = false;
        }
        self.mark_dirty(context);
    }

    /// When the lease or the session ends.
    pub(in crate::engine) fn shared_deadline(&self, context: &Context) -> Moment {
        let timeout = context.paths.session_timeout(self.route).filter(|_| self.is_open());
        let table = context.shared.borrow();
        table.find(self.id.slot).map_or(Moment::NEVER, |state| state.deadline(timeout))
    }

    /// Whether an open shared socket is held.
    pub(in crate::engine) fn is_attended(&self, context: &Context) -> bool {
        context.shared.borrow().find(self.id.slot).is_some_and(SharedState::is_attended)
    }

    /// Makes somebody the holder.
    pub(in crate::engine) fn open(
        &mut self,
        claim: Claim,
        request: &OpenRequest,
        context: &Context,
    ) -> Result<Holder, OpenFailure> {
        match self.phase {
            // Its id is known to its handler, who is still deciding.
            Phase::Deciding => return Err(OpenFailure::Busy { expires_in: None }),
            Phase::Head(_) => return Err(OpenFailure::Unknown),
            _ if !self.flags.has(Flag::Shared) => return Err(OpenFailure::NotShared),
            _ => {}
        }
        let Some(mut state) = context.shared.borrow_mut().take(self.id.slot) else {
            return Err(OpenFailure::Unknown);
        };
        let opened = self.open_with(&mut state, claim, request, context);
        context.shared.borrow_mut().put_back(self.id.slot, state);
        if opened.is_ok() {
            // What waits goes along with the answer.
            self.exchange(context);
            self.mark_dirty(context);
        }
        opened
    }

    fn open_with(
        &mut self,
        state: &mut SharedState,
        claim: Claim,
        request: &OpenRequest,
        context: &Context,
    ) -> Result<Holder, OpenFailure> {
        let now = context.now.get();
        let absence = || context.shared.borrow().absence(claim);
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
                let expires_in = (until != Moment::NEVER).then(|| until.since(now));
                return Err(OpenFailure::Busy { expires_in });
            }
            None => {
                let link = state.link.take();
                let link = link
                    .unwrap_or_else(|| Arc::new(self.new_link(state.session_id.as_ref(), context)));
                let fence = context.shared.borrow_mut().next_fence();
                let mut shared = link.lock();
                let waiting = shared.pass_on(fence);
                shared.key = request.key;
                drop(shared);
                self.take_over(state, context);
                state.activity = now;
                state.lease_ms = 0;
                (link, fence, waiting)
            }
        };
        if let Some(waiting) = waiting {
            context.wake_holder_later(self.id, waiting.waker);
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
    fn take_over(&mut self, state: &mut SharedState, context: &Context) {
        if std::mem::take(&mut state.flags.serving) {
            self.flags.set(Flag::Fenced);
            self.reading = None;
            self.wake(context);
        }
    }

    fn has_mail(&self, state: &SharedState) -> bool {
        let unread = |link: &Arc<Link>| !link.lock().ready.is_empty();
        self.talk.inbox.messages() > 0 || state.link.as_ref().is_some_and(unread)
    }

    /// Sends what was written by id and had to wait, as far as there is room.
    pub(in crate::engine) fn take_waiting_writes(&mut self, context: &Context) {
        let mut writes = context.shared.borrow_mut().take_waiting_writes(self.id);
        while let Some(write) = writes.pop_front() {
            if write.reply.is_abandoned() {
                continue;
            }
            if let Err(write) = self.write_by_id(write, context) {
                writes.push_front(write);
                self.flags.set(Flag::Writing);
                break;
            }
        }
        context.shared.borrow_mut().put_back_waiting_writes(self.id, writes);
    }

    /// How long until somebody else may have it.
    pub(in crate::engine) fn lease_expires_in(
        state: &SharedState,
        now: Moment,
    ) -> Option<Duration> {
        (state.lease_until != Moment::NEVER).then(|| state.lease_until.since(now))
    }

    /// Sends a message to a shared socket; comes back if there is no room.
    pub(in crate::engine) fn write_by_id(
        &mut self,
        write: PendingWrite,
        context: &Context,
    ) -> Result<(), PendingWrite> {
        let limits = &context.settings.limits;
        let failure = if !self.flags.has(Flag::Shared) {
            // Whether a handler will make it shared is not known yet.
            let deciding = matches!(self.phase, Phase::Head(_) | Phase::Deciding);
            let failure = if deciding { OpenFailure::Unknown } else { OpenFailure::NotShared };
            Some(ReachFailure::Open(failure))
        } else if !self.is_open() {
            Some(ReachFailure::ended(self.ended()))
        } else if write.message.payload.len() as u64 > limits.message_bytes_max {
            Some(ReachFailure::Write(HeldWriteFailure::TooLong))
        } else if !self.takes(write.message.payload.len(), context) {
            return Err(write);
        } else {
            None
        };
        let PendingWrite { message: Outgoing { kind, payload }, reply, .. } = write;
        if failure.is_none() {
            self.say(kind, Payload::Owned(payload), context);
        }
        context.answer_later(reply, failure.map_or(Ok(()), Err));
        Ok(())
    }

    pub(in crate::engine) fn status(&self, context: &Context) -> SocketStatus {
        match self.phase {
            Phase::Head(_) | Phase::Deciding => SocketStatus::Handshake,
            Phase::Open(_) if !self.flags.has(Flag::Shared) => SocketStatus::WebSocket,
            Phase::Open(_) if self.is_attended(context) => SocketStatus::Shared,
            Phase::Open(_) => SocketStatus::Unattended,
            Phase::Closing(_) | Phase::Lingering(_) | Phase::Gone => SocketStatus::Closing,
        }
    }
}
