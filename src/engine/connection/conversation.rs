//! What a connection needs while something is being said: session, inbox, outbox.
//!
//! An idle connection has none of it. It is taken from a store of the thread when bytes arrive or
//! are written, and goes back when everything was read and sent, so that a million idle connections
//! cost little more than their entry in the table. Called by the connection that owns it; whoever
//! looks may do so at any time, and only who changes something makes it busy.

use crate::clock::{Moment, ShortMoment};
use crate::engine::connection::account::Holding;
use crate::engine::connection::inbox::Inbox;
use crate::engine::connection::outbox::Outbox;
use crate::engine::connection::verdict::Pending;
use crate::proto::Session;
use crate::ring::Buffer;
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Conversations that the store of one thread keeps: more than are busy in one batch.
const STORE_ITEMS_MAX: usize = 1_024;

thread_local! {
    #[expect(clippy::vec_box, reason = "the boxes are what is kept, so that none is allocated")]
    static STORE: RefCell<Vec<Box<Busy>>> = const { RefCell::new(Vec::new()) };
}

/// What every idle connection has.
static IDLE: Busy = Busy::new();

/// The parts of a conversation.
pub(in crate::engine) struct Busy {
    pub(in crate::engine) session: Session,
    pub(in crate::engine) inbox: Inbox,
    pub(in crate::engine) outbox: Outbox,
    /// What the session has found and is acted on when the batch is settled.
    pub(in crate::engine) verdict: Option<Pending>,
    /// What it holds beyond what each may hold, if it does.
    pub(in crate::engine) strain: Option<Box<Strain>>,
    /// Since when, and with how many bytes received, a message is on its way of which the end has
    /// not come.
    pub(in crate::engine) partial: Option<(ShortMoment, u32)>,
}

/// What a connection holds beyond what each may hold. Few do, so that the others have one thing to
/// look at.
#[derive(Default)]
pub(in crate::engine) struct Strain {
    /// What was received and found no room in the inbox: it comes before anything else.
    pub(in crate::engine) unseen: Buffer,
    /// What it has of the shard's growth account.
    pub(in crate::engine) holding: Holding,
    /// Bytes of a long message that the handler has read last and not done with.
    pub(in crate::engine) lent_bytes: u32,
    /// Since when a message cannot go on for want of room.
    pub(in crate::engine) stuck_since: Option<Moment>,
}

impl Busy {
    const fn new() -> Self {
        Self {
            session: Session::new(),
            inbox: Inbox::new(),
            outbox: Outbox::new(),
            verdict: None,
            strain: None,
            partial: None,
        }
    }

    #[inline(always)]
    fn is_idle(&self) -> bool {
        self.outbox.is_idle()
            && self.inbox.messages() == 0
            && self.session.is_idle()
            && self.verdict.is_none()
            && self.strain.is_none()
    }

    /// What was received and found no room in the inbox.
    pub(in crate::engine) fn unseen(&self) -> &[u8] {
        self.strain.as_ref().map_or(&[], |strain| &strain.unseen)
    }

    /// What it has of the shard's growth account.
    #[inline]
    pub(in crate::engine) fn holding(&self) -> Holding {
        self.strain.as_ref().map_or_else(Holding::default, |strain| strain.holding)
    }

    /// Bytes of a long message that the handler has read last and not done with.
    #[inline]
    pub(in crate::engine) fn lent_bytes(&self) -> u32 {
        self.strain.as_ref().map_or(0, |strain| strain.lent_bytes)
    }

    /// The strain, to put something into it.
    pub(in crate::engine) fn strain_mut(&mut self) -> &mut Strain {
        self.strain.get_or_insert_default()
    }

    /// Gives back a strain with nothing in it.
    pub(in crate::engine) fn ease(&mut self) {
        self.strain.take_if(|strain| {
            strain.unseen.is_empty()
                && strain.holding.bytes == 0
                && strain.lent_bytes == 0
                && strain.stuck_since.is_none()
        });
    }
}

/// A conversation, busy or idle. Looking at it costs nothing; changing it makes it busy.
#[derive(Default)]
pub(in crate::engine) struct Conversation(Option<Box<Busy>>);

impl Conversation {
    /// The parts, if it is busy.
    #[inline(always)]
    pub(in crate::engine) fn busy(&mut self) -> Option<&mut Busy> {
        self.0.as_deref_mut()
    }

    /// Whether it has none of them.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The strain, if there is any.
    #[inline(always)]
    pub(in crate::engine) fn strain_if_any(&mut self) -> Option<&mut Strain> {
        self.busy()?.strain.as_deref_mut()
    }

    /// Gives back what an idle conversation does not need.
    #[inline]
    pub(in crate::engine) fn rest(&mut self) {
        if self.0.as_ref().is_some_and(|busy| busy.is_idle())
            && let Some(busy) = self.0.take()
        {
            keep_spare(busy);
        }
    }
}

impl Deref for Conversation {
    type Target = Busy;

    fn deref(&self) -> &Busy {
        self.0.as_deref().unwrap_or(&IDLE)
    }
}

impl DerefMut for Conversation {
    #[inline]
    fn deref_mut(&mut self) -> &mut Busy {
        match &mut self.0 {
            Some(busy) => busy,
            idle => idle.insert(take_spare()),
        }
    }
}

/// Out of the store, or new. Apart, so that looking whether there is one is short code.
#[inline(never)]
fn take_spare() -> Box<Busy> {
    STORE.with_borrow_mut(Vec::pop).unwrap_or_else(new_spare)
}

#[cold]
fn new_spare() -> Box<Busy> {
    Box::new(Busy::new())
}

#[inline(never)]
fn keep_spare(mut busy: Box<Busy>) {
    busy.inbox.rest();
    STORE.with_borrow_mut(|store| {
        if store.len() < STORE_ITEMS_MAX {
            store.push(busy);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Payload;
    use crate::proto::frame::Opcode;

    #[test]
    fn rest_keeps_what_is_said_and_gives_back_the_rest() {
        let mut conversation = Conversation::default();
        assert!(conversation.outbox.is_idle() && conversation.0.is_none());
        conversation.outbox.push_frame(Opcode::Text, Payload::Borrowed(b"x"));
        conversation.rest();
        assert_eq!(conversation.outbox.bytes(), 3);
        let data = conversation.outbox.take_for_send();
        conversation.rest();
        assert!(conversation.0.is_some());
        conversation.outbox.sent(3, data);
        conversation.rest();
        assert!(conversation.0.is_none());
    }
}
