//! The sessions of a shard's connections: those that have one sit here, and the others cost nothing.
//!
//! A seat is given up when the connection is gone and its handler, which may want to say something
//! in the session about that, has ended as well.

use crate::engine::model::slot_id::SlotId;
use crate::sessions::Visit;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Sessions by connection.
#[derive(Default)]
pub(in crate::engine) struct Seats(RefCell<HashMap<SlotId, Seat>>);

struct Seat {
    visit: Arc<Visit>,
    /// The handler has not ended.
    handled: bool,
}

impl Seats {
    /// The handler of a connection has got a session for it.
    pub(in crate::engine) fn add(&self, id: SlotId, visit: Arc<Visit>) {
        self.0.borrow_mut().insert(id, Seat { visit, handled: true });
    }

    pub(in crate::engine) fn visit(&self, id: SlotId) -> Option<Arc<Visit>> {
        self.0.borrow().get(&id).map(|seat| Arc::clone(&seat.visit))
    }

    /// The id of a connection's session.
    pub(in crate::engine) fn session_id(&self, id: SlotId) -> Option<String> {
        self.0.borrow().get(&id).map(|seat| seat.visit.id().to_string())
    }

    /// The connection is gone.
    pub(in crate::engine) fn handle_gone(&self, id: SlotId) {
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
    pub(in crate::engine) fn handle_unhandled(&self, id: SlotId, gone: bool) {
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
