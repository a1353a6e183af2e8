//! What a handler does with its connection, and how it waits. Called by `api`, on its thread.
//!
//! Every verb is a poll over the state that the shard fills and empties; none of them holds
//! anything the kernel knows, so that a future can be dropped at any point and nothing is lost.

use crate::clock::Moment;
use crate::engine::connection::inbox::Inbox;
use crate::engine::connection::log;
use crate::engine::connection::outbox::{Payload, WriteFailure, opcode};
use crate::engine::connection::state::{Flag, Flags};
use crate::engine::connection::{Connection, Phase};
use crate::engine::core::Core;
use crate::engine::handlers::read::Read;
use crate::engine::model::counters::count;
use crate::engine::model::ended::{Counts, Ended};
use crate::engine::model::slot_id::SlotId;
use crate::proto::{CloseCode, MessageKind, Refusal};
use crate::sessions::{SocketKey, Visit};
use std::any::Any;
use std::cell::RefMut;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The handler's end of a connection.
pub(crate) struct Port {
    id: SlotId,
    pub(in crate::engine) core: Rc<Core>,
}

/// Which connection it is, for those who may have to name it: the name takes some hashing.
pub(crate) struct Identity {
    core: Rc<Core>,
    slot: SlotId,
    opened: Moment,
}

impl Identity {
    pub(crate) fn websocket_id(&self) -> String {
        self.core.ids.encode(self.slot, self.opened)
    }
}

/// What makes a socket shared.
pub(crate) struct SharedBy {
    /// The session it belongs to.
    pub(crate) session_id: Option<Arc<str>>,
}

impl Port {
    pub(in crate::engine) fn new(id: SlotId, core: Rc<Core>) -> Self {
        Self { id, core }
    }

    #[inline(always)]
    pub(in crate::engine) fn state(&self) -> RefMut<'_, Connection> {
        RefMut::map(self.core.slots.borrow_mut(), |slots| {
            slots.of_handler(self.id).expect("a connection stays as long as its handler")
        })
    }

    /// Answers the opening handshake with 101 and lets messages through. `false`: the peer is
    /// gone already.
    /// `shared`: it becomes a shared socket, of this session.
    pub(crate) fn accept(&self, response: Vec<u8>, shared: Option<SharedBy>) -> bool {
        let mut state = self.state();
        let state = &mut *state;
        if !matches!(state.phase, Phase::Deciding) {
            return false;
        }
        let mut early = state.take_early();
        count(&self.core.counters.opened);
        self.core.count_route(state.route, |route| {
            route.opened += 1;
            route.open += 1;
        });
        state.status = 101;
        state.phase = Phase::Open(self.core.now.get().into());
        state.talk.outbox.push_bytes(&response);
        if let Some(SharedBy { session_id }) = shared {
            state.share(session_id, &self.core);
        }
        state.reschedule(&self.core);
        state.mark_dirty(&self.core);
        if !early.is_empty() {
            state.handle_frames(&mut early, &self.core);
        }
        if state.flags.has(Flag::EndOfStream) {
            state.handle_end_of_stream(&self.core);
        }
        true
    }

    /// Answers the opening handshake with a refusal.
    pub(crate) fn refuse(&self, refusal: &Refusal) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Deciding) {
            state.refuse(refusal, &self.core);
        }
    }

    /// The next message or part of one. The deadline counts from now.
    pub(crate) fn read(&self, len: usize, timeout: Duration) -> Read<'_> {
        Read::new(self, len, self.core.now.get() + timeout)
    }

    /// Asks to be woken when there is room in the outbox, or nothing more can be written.
    pub(crate) fn await_room(&self, context: &Context<'_>) {
        let mut state = self.state();
        state.flags.set(Flag::Writing);
        self.wait(state, context);
    }

    /// Adds a small message to what is to be sent: the usual case of [`Port::write`] in a batch in
    /// which something has come. `false` if it is no such case, with nothing done.
    #[inline(always)]
    pub(crate) fn write_small(&self, kind: MessageKind, payload: &mut Payload<'_>) -> bool {
        let mut state = self.state();
        let state = &mut *state;
        let limits = &self.core.settings.limits;
        let Some(talk) = state.talk.busy() else { return false };
        const DIRTY: Flags = Flags::of(&[Flag::Dirty]);
        const ASKED: Flags =
            Flags::of(&[Flag::Dirty, Flag::Writing, Flag::Fenced, Flag::BinaryData, Flag::Ending]);
        if state.flags.among(ASKED) != DIRTY
            || !matches!(state.phase, Phase::Open(_))
            || payload.len() as u64 > limits.message_bytes_max
        {
            return false;
        }
        let opcode = opcode(kind, false);
        let pushed = talk.outbox.push_small(opcode, payload, limits.outbox_high_water_bytes);
        if pushed {
            state.count_message_out();
        }
        pushed
    }

    /// Adds a message to what is to be sent, if there is room.
    pub(crate) fn write<'a>(
        &self,
        kind: MessageKind,
        payload: Payload<'a>,
    ) -> Result<(), WriteFailure<'a>> {
        let mut state = self.state();
        let limits = &self.core.settings.limits;
        if !matches!(state.phase, Phase::Open(_)) {
            return state.write_in_vain(payload.len());
        }
        if state.flags.has(Flag::Fenced) {
            return Err(WriteFailure::Fenced);
        }
        if payload.len() as u64 > limits.message_bytes_max {
            return Err(WriteFailure::TooLong);
        }
        if !state.takes(payload.len(), &self.core) {
            return Err(WriteFailure::Full(payload));
        }
        let opcode = opcode(kind, state.flags.has(Flag::BinaryData));
        state.flags.clear(Flag::Writing);
        state.note_in_hand(false);
        state.talk.outbox.push_frame(opcode, payload);
        state.has_written(&self.core);
        state.count_message_out();
        state.mark_dirty(&self.core);
        Ok(())
    }

    /// Starts the closing handshake; not if somebody has taken the socket over.
    pub(crate) fn start_close(&self, code: CloseCode, reason: &str) {
        let mut state = self.state();
        if !state.flags.has(Flag::Fenced) {
            state.start_close(code, reason, &self.core);
        }
    }

    /// The handler of a shared socket has returned: leaves the socket open and unattended, if it is
    /// open and the handler has not failed, or it is in the hands of who has taken it over.
    pub(crate) fn leave_open(&self, failed: bool) -> bool {
        let mut state = self.state();
        let open = state.is_open() && !failed;
        // Of one that is gone the slot, and what is shared in it, may be a stranger's.
        let there = state.flags.has(Flag::Shared) && !matches!(state.phase, Phase::Gone);
        let leaves = there && (state.flags.has(Flag::Fenced) || open);
        if leaves {
            state.stop_serving(&self.core);
        }
        leaves
    }

    /// Whether `server` is to leave the socket open, as `WebSocket::shared_connection` says.
    pub(crate) fn is_shared(&self) -> bool {
        self.state().flags.has(Flag::Shared)
    }

    /// Waits until the closing handshake is over: the peer has answered, or time was up.
    pub(crate) async fn closed(&self) {
        self.leave(|state| {
            state.flags.has(Flag::CloseReceived)
                || state.flags.has(Flag::Dead)
                || matches!(state.phase, Phase::Lingering(_) | Phase::Gone)
        })
        .await;
    }

    /// Waits until the socket is gone, and tells how it ended.
    pub(crate) async fn gone(&self) -> (Ended, Counts) {
        self.leave(|state| matches!(state.phase, Phase::Gone)).await;
        let state = self.state();
        (state.ended().cloned().unwrap_or_else(Ended::lost), state.counts())
    }

    async fn leave(&self, done: impl Fn(&Connection) -> bool) {
        poll_fn(|context| {
            let state = self.state();
            if done(&state) {
                return Poll::Ready(());
            }
            self.wait(state, context);
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn at_end(&self) -> bool {
        self.state().flags.has(Flag::AtEnd)
    }

    pub(crate) fn binary_data(&self) -> bool {
        self.state().flags.has(Flag::BinaryData)
    }

    pub(crate) fn set_binary_data(&self, binary_data: bool) {
        self.state().flags.put(Flag::BinaryData, binary_data);
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.state().peer(&self.core)
    }

    /// Bytes that were written and not yet sent.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.state().talk.outbox.bytes()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state().is_open()
    }

    /// What names the socket in its session.
    pub(crate) fn socket_key(&self) -> SocketKey {
        let SlotId { slot, generation } = self.id;
        SocketKey { shard: self.core.ids.shard() as u32, slot, generation }
    }

    /// The connection has a session from now on.
    pub(crate) fn set_visit(&self, visit: Arc<Visit>) {
        let state = self.state();
        if matches!(state.phase, Phase::Gone) {
            visit.leave();
        }
        self.core.seats.add(state.id, visit);
    }

    /// The session of this connection.
    pub(crate) fn visit(&self) -> Option<Arc<Visit>> {
        self.core.seats.visit(self.state().id)
    }

    /// The id of the socket, as `WebSocket::websocket_id` gives it.
    pub(crate) fn websocket_id(&self) -> String {
        self.identity().websocket_id()
    }

    /// What the id of the socket is made of.
    pub(crate) fn identity(&self) -> Identity {
        let state = self.state();
        Identity { core: Rc::clone(&self.core), slot: state.id, opened: state.opened() }
    }

    /// Keeps what is needed to decide about the request, so that the handler's future, which lasts
    /// as long as the connection, has no room for it.
    pub(crate) fn keep_opening(&self, opening: Box<dyn Any>) {
        self.state().aside_mut().opening = Some(opening);
    }

    /// The engine wakes the task; whoever polls under another waker is woken through that, which is
    /// cloned and dropped while nothing is borrowed.
    pub(in crate::engine) fn wait(&self, mut state: RefMut<'_, Connection>, context: &Context<'_>) {
        let before = if self.core.executor.is_current(context.waker()) {
            if state.aside.is_none() {
                return;
            }
            let before = state.take_waker();
            drop(state);
            before
        } else {
            drop(state);
            let waker = context.waker().clone();
            self.state().keep_waker(waker)
        };
        drop(before);
    }

    /// What was kept.
    pub(crate) fn take_opening(&self) -> Option<Box<dyn Any>> {
        self.state().aside.as_mut()?.opening.take()
    }

    /// The handler has something left to do for what it has read, although it has written since.
    pub(crate) fn is_at_work(&self) {
        self.state().note_in_hand(true);
    }

    /// A handler has given up on a socket that is open.
    #[cold]
    pub(crate) fn log_failure(&self, error: &dyn std::fmt::Display) {
        let Some(more) = self.core.may_log(log::HANDLER_FAILED) else { return };
        if more > 0 {
            tracing::warn!(more, "and {more} more handlers failed");
        }
        tracing::warn!(%error, "a handler failed");
    }
}

/// The handler is gone. Nobody will read what has arrived, and it must not count any more; unless
/// the socket is shared, and somebody else will.
impl Drop for Port {
    fn drop(&mut self) {
        let mut state = self.state();
        let gone = matches!(state.phase, Phase::Gone);
        self.core.seats.handle_unhandled(state.id, gone);
        if state.flags.has(Flag::Shared) && !gone {
            if let Some(shared) = self.core.shared.borrow_mut().find_mut(state.id.slot) {
                shared.flags.serving = false;
            }
            // What it had in hands is gone with it.
            return state.take_back(&self.core);
        }
        if state.talk.inbox.messages() > 0 || state.talk.strain.is_some() {
            state.talk.inbox = Inbox::new();
            // Nor has it anything in hands.
            state.has_written(&self.core);
        }
    }
}
