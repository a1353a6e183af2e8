//! The sessions of a shard's connections: those that have one sit here, and the others cost
//! nothing.
//!
//! A seat is given up when the connection is gone and its handler, which may want to say something
//! in the session about that, has ended as well. Whether a session is still valid is the business
//! of [`sessions`](crate::sessions), which closes sockets through [`SessionCloser`], from any
//! thread.

use super::command::Notice;
use super::connection::{Connection, Phase};
use super::core::Core;
use super::registry::SlotId;
use super::remote::Remote;
use super::shard::Shard;
use crate::proto::{CloseCode, Refusal};
use crate::ring::Ring;
use crate::sessions::{SocketKey, Visit};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Closes the sockets of sessions that are no more, from any thread.
pub(crate) struct SessionCloser(Vec<Arc<Remote>>);

impl SessionCloser {
    pub(super) fn new(remotes: &[Arc<Remote>]) -> Self {
        Self(remotes.to_vec())
    }

    /// With 1008 and this reason.
    pub(crate) fn close(&self, socket: SocketKey, reason: &'static str) {
        let SocketKey { shard, slot, generation } = socket;
        if let Some(remote) = self.0.get(shard as usize) {
            remote.notify(Notice::EndSession(SlotId { slot, generation }, reason));
        }
    }
}

impl<R: Ring> Shard<R> {
    /// The session of a connection is no more.
    pub(super) fn end_session(&mut self, id: SlotId, reason: &'static str) {
        if let Some(slot) = self.core.slots.borrow_mut().find(id) {
            slot.connection.end_session(reason, &self.core);
        }
    }
}

impl Connection {
    fn end_session(&mut self, reason: &'static str, core: &Core) {
        match self.phase {
            Phase::Open(_) => self.start_close(CloseCode::POLICY, reason, core),
            Phase::Deciding => self.refuse(&Refusal::new(403, reason), core),
            _ => {}
        }
    }
}

/// Sessions by connection.
#[derive(Default)]
pub(super) struct Seats(RefCell<HashMap<SlotId, Seat>>);

struct Seat {
    visit: Arc<Visit>,
    /// The handler has not ended.
    handled: bool,
}

impl Seats {
    /// The handler of a connection has got a session for it.
    pub(super) fn add(&self, id: SlotId, visit: Arc<Visit>) {
        self.0.borrow_mut().insert(id, Seat { visit, handled: true });
    }

    pub(super) fn visit(&self, id: SlotId) -> Option<Arc<Visit>> {
        self.0.borrow().get(&id).map(|seat| Arc::clone(&seat.visit))
    }

    /// The id of a connection's session.
    pub(super) fn session_id(&self, id: SlotId) -> Option<String> {
        self.0.borrow().get(&id).map(|seat| seat.visit.id().to_string())
    }

    /// The connection is gone.
    pub(super) fn handle_gone(&self, id: SlotId) {
        let mut seats = self.0.borrow_mut();
        if seats.is_empty() {
            return;
        }
        if let Some(seat) = seats.get(&id) {
            seat.visit.leave();
            if !seat.handled {
                seats.remove(&id);
            }
        }
    }

    /// The handler has ended, however it did.
    pub(super) fn handle_unhandled(&self, id: SlotId, gone: bool) {
        let mut seats = self.0.borrow_mut();
        if seats.is_empty() {
            return;
        }
        if gone {
            seats.remove(&id);
        } else if let Some(seat) = seats.get_mut(&id) {
            seat.handled = false;
        }
    }
}
