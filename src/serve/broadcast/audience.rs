//! The members of a broadcast on one shard: what was said, and how far each has heard it.
//!
//! Works in rounds. A round takes what is in the letterbox, and ends when every member has had its
//! turn: has heard all of it, or waits for a peer that takes no more. Only a member that waits so
//! can fall behind, never one that had no chance to be polled. Touched by one thread alone.

use super::Leave;
use super::room::{Letterbox, Room};
use crate::{Data, WebSocket, WriteError};
use slab::Slab;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// How far a member may fall behind.
const BEHIND_MESSAGES_MAX: usize = 1_024;
const BEHIND_BYTES_MAX: usize = 8 << 20;

/// Members that are awake at a time: between them the shard serves its other connections.
const AWAKE_MAX: usize = 128;

thread_local! {
    static HERE: RefCell<Weak<Audience>> = const { RefCell::new(Weak::new()) };
}

/// The members on one shard.
struct Audience {
    room: Arc<Room>,
    letterbox: Arc<Letterbox>,
    hearing: RefCell<Hearing>,
}

#[derive(Default)]
struct Hearing {
    log: VecDeque<Arc<Data>>,
    log_bytes: usize,
    /// The number of the first message in the log.
    first: u64,
    members: Slab<Listener>,
    round: u64,
    /// Members whose turn is still to come in this round.
    awaited: usize,
    /// The next to be woken in this round, by key.
    next: usize,
    /// Members whose peers take no more.
    stuck: usize,
    /// Who is woken when something comes, by key.
    reader: usize,
}

struct Listener {
    /// Cloned once, because a task that clones its waker on every poll costs an allocation.
    waker: Waker,
    /// The number of the next message to hear.
    next: u64,
    /// The last round it had its turn in.
    round: u64,
    stuck: bool,
    /// What it has said last, until it hears that itself.
    unheard: Option<Arc<Data>>,
}

/// A member's place in the audience of its shard; given up when dropped.
pub(super) struct Seat {
    audience: Rc<Audience>,
    key: usize,
}

impl Seat {
    /// Joins: hears what is said from now on.
    pub(super) fn take(room: &Arc<Room>, context: &Context<'_>) -> Self {
        let audience = HERE.with_borrow_mut(|here| {
            let known = here.upgrade().filter(|audience| Arc::ptr_eq(&audience.room, room));
            known.unwrap_or_else(|| {
                let letterbox = room.open_letterbox(context.waker().clone());
                let (room, hearing) = (Arc::clone(room), RefCell::default());
                let audience = Rc::new(Audience { room, letterbox, hearing });
                *here = Rc::downgrade(&audience);
                audience
            })
        });
        let key = audience.hearing.borrow_mut().join(context.waker().clone());
        Self { audience, key }
    }

    /// Writes what was said; ready when all of it was taken, or with the reason to leave.
    pub(super) fn poll_deliver(
        &self,
        ws: &mut WebSocket,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Leave>, WriteError>> {
        self.audience.begin_round();
        let delivered = self.audience.hearing.borrow_mut().deliver(self.key, ws, context);
        // It may have been the last turn of the round.
        self.audience.begin_round();
        delivered
    }

    /// Ready when there is something to deliver.
    pub(super) fn poll_heard(&self) -> Poll<()> {
        self.audience.begin_round();
        if self.audience.hearing.borrow().has_news(self.key) {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Whether it has said something that it has not heard.
    pub(super) fn has_unheard(&self) -> bool {
        self.audience.hearing.borrow().members[self.key].unheard.is_some()
    }

    /// Says something to all: `true`; or, when something is to be delivered first, `false`.
    pub(super) fn poll_say(
        &self,
        message: &Arc<Data>,
        call: &mut u64,
        context: &Context<'_>,
    ) -> Poll<bool> {
        if self.audience.room.say(message, call, context) {
            let unheard = Some(Arc::clone(message));
            self.audience.hearing.borrow_mut().members[self.key].unheard = unheard;
            return Poll::Ready(true);
        }
        self.poll_heard().map(|()| false)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let reader = self.audience.hearing.borrow_mut().leave(self.key);
        if let Some(reader) = reader {
            self.audience.letterbox.set_reader(reader);
        }
        self.audience.begin_round();
    }
}

impl Audience {
    /// Takes what is in the letterbox, if the last round is over.
    fn begin_round(&self) {
        if self.letterbox.is_empty() {
            return;
        }
        let mut hearing = self.hearing.borrow_mut();
        if hearing.awaited == 0 {
            hearing.begin_round(self.letterbox.take(&self.room));
        }
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.room.close_letterbox(&self.letterbox);
    }
}

impl Hearing {
    fn join(&mut self, waker: Waker) -> usize {
        let next = self.first + self.log.len() as u64;
        let round = self.round;
        self.members.insert(Listener { waker, next, round, stuck: false, unheard: None })
    }

    /// Returns who is to read the letterbox from now on, if that was this one.
    fn leave(&mut self, key: usize) -> Option<Waker> {
        self.take_turn(key, false);
        self.members.remove(key);
        if key != self.reader {
            return None;
        }
        let (reader, listener) = self.members.iter().next()?;
        self.reader = reader;
        Some(listener.waker.clone())
    }

    fn has_news(&self, key: usize) -> bool {
        self.members[key].next < self.first + self.log.len() as u64
    }

    fn begin_round(&mut self, messages: Vec<Arc<Data>>) {
        if self.stuck == 0 {
            self.forget(self.log.len());
        }
        self.log_bytes += messages.iter().map(|message| message.len()).sum::<usize>();
        self.log.extend(messages);
        while self.log.len() > BEHIND_MESSAGES_MAX || self.log_bytes > BEHIND_BYTES_MAX {
            self.forget(1);
        }
        self.round += 1;
        self.awaited = self.members.len();
        self.next = 0;
        for _ in 0..AWAKE_MAX {
            self.wake_next();
        }
    }

    fn forget(&mut self, count: usize) {
        self.first += count as u64;
        let forgotten = self.log.drain(..count);
        self.log_bytes -= forgotten.map(|message| message.len()).sum::<usize>();
    }

    /// Wakes one whose turn has not come.
    fn wake_next(&mut self) {
        while self.next < self.members.capacity() {
            self.next += 1;
            if let Some(listener) = self.members.get(self.next - 1)
                && listener.round != self.round
            {
                listener.waker.wake_by_ref();
                return;
            }
        }
    }

    fn deliver(
        &mut self,
        key: usize,
        ws: &mut WebSocket,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Leave>, WriteError>> {
        let delivered = loop {
            let listener = &mut self.members[key];
            let Some(at) = listener.next.checked_sub(self.first) else {
                break Poll::Ready(Ok(Some(Leave::TooSlow)));
            };
            let Some(message) = self.log.get(at as usize) else { break Poll::Ready(Ok(None)) };
            match pin!(ws.write(&**message)).poll(context) {
                Poll::Ready(Ok(())) => {
                    listener.next += 1;
                    listener.unheard.take_if(|unheard| Arc::ptr_eq(unheard, message));
                }
                // Its peer is gone, and the read will say so.
                Poll::Ready(Err(WriteError::Closed)) => {
                    listener.next = self.first + self.log.len() as u64;
                    break Poll::Ready(Ok(Some(Leave::Gone)));
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.take_turn(key, delivered.is_pending());
        delivered
    }

    fn take_turn(&mut self, key: usize, stuck: bool) {
        let listener = &mut self.members[key];
        self.stuck -= usize::from(std::mem::replace(&mut listener.stuck, stuck));
        self.stuck += usize::from(stuck);
        if std::mem::replace(&mut listener.round, self.round) != self.round {
            self.awaited -= 1;
            self.wake_next();
        }
        if self.awaited == 0 && self.stuck == 0 {
            self.forget(self.log.len());
        }
    }
}
