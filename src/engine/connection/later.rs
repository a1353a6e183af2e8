//! Code of others that is to be called when nothing is borrowed: what comes up in the middle of a
//! step waits here, and the core calls it when the shard has nothing in hands.

use crate::engine::connection::context::Context;
use crate::engine::model::reply::Reply;
use crate::engine::model::slot_id::SlotId;
use crate::engine::shared::open::ReachFailure;
use std::cell::RefCell;
use std::task::Waker;

/// What is to be called, in order.
#[derive(Default)]
pub(in crate::engine) struct Later(RefCell<Vec<Call>>);

pub(in crate::engine) enum Call {
    /// A part of the handler of this connection waits under a waker of its own.
    Wake(SlotId, Waker),
    /// The holder of this socket waits.
    WakeHolder(SlotId, Waker),
    /// Somebody waits for the answer to a write.
    Answer(Reply<Result<(), ReachFailure>>, Result<(), ReachFailure>),
}

impl Later {
    /// Everything; what is added meanwhile waits for the next time, so that wakers that wake each other
    /// cannot hold up the ring.
    pub(in crate::engine) fn take(&self) -> Vec<Call> {
        self.0.take()
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl Context {
    /// Wakes a part of a handler that waits under a waker of its own.
    pub(in crate::engine) fn wake_later(&self, id: SlotId, waker: Waker) {
        self.call_later(Call::Wake(id, waker));
    }

    /// Wakes the holder of a socket.
    pub(in crate::engine) fn wake_holder_later(&self, id: SlotId, waker: Waker) {
        self.call_later(Call::WakeHolder(id, waker));
    }

    /// Answers a write by id.
    pub(in crate::engine) fn answer_later(
        &self,
        reply: Reply<Result<(), ReachFailure>>,
        answer: Result<(), ReachFailure>,
    ) {
        self.call_later(Call::Answer(reply, answer));
    }

    fn call_later(&self, call: Call) {
        self.later.0.borrow_mut().push(call);
        self.chores.set(true);
    }
}
