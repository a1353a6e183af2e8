//! Accepting: one multishot accept per listener, straight into free slots.
//!
//! Owns what is armed for each listener of a shard, which calls it with completions and in its
//! chores. What a connection says is none of its business.
//!
//! A listener that all shards have, a Unix socket, gets one-shot accepts instead: of those that
//! wait for it the kernel wakes the one that has waited longest, which a multishot accept would be
//! for ever, and its shard would take every connection.
//!
//! An accept that ends by itself is armed again with the chores of the batch. After one that
//! failed, because the table is full or the system short of something, it is armed again when a
//! slot is free, or after a pause that doubles.

use crate::clock::Moment;
use crate::engine::connection::Connection;
use crate::engine::core::slots::Slots;
use crate::engine::model::counters::count;
use crate::engine::shard::Shard;
use crate::ring::{AddressFamily, Errno, Operation, Outcome, Ring, Submission, Token};
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Time between two lines about failing accepts.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The accept of one listener.
#[derive(Debug)]
pub(in crate::engine) struct Acceptor {
    family: Option<AddressFamily>,
    /// Other shards accept from the same socket.
    common: bool,
    state: State,
    /// Operations of the listener whose terminal completion has not come: the accept, its cancel.
    operations: u8,
    pause: Duration,
    /// When the next failure may be logged.
    silent_until: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Armed,
    /// Until then.
    Paused(Moment),
    /// Not again: the shard drains.
    Stopped,
}

impl Acceptor {
    pub(in crate::engine) fn new(family: Option<AddressFamily>, common: bool) -> Self {
        Self {
            family,
            common,
            state: State::Idle,
            operations: 0,
            pause: PAUSE_MIN,
            silent_until: Moment::default(),
        }
    }

    /// When to try again.
    pub(in crate::engine) fn retry_at(&self) -> Moment {
        match self.state {
            State::Paused(until) => until,
            _ => Moment::NEVER,
        }
    }

    /// Whether the kernel has nothing of the listener.
    pub(in crate::engine) fn is_quiet(&self) -> bool {
        self.operations == 0
    }

    /// The cancel of the accept has completed.
    pub(in crate::engine) fn handle_cancelled(&mut self) {
        self.operations -= 1;
    }

    /// A connection has ended: what was full has room.
    pub(in crate::engine) fn slot_is_free(&mut self) {
        if matches!(self.state, State::Paused(_)) {
            self.state = State::Idle;
        }
    }
}

impl<R: Ring> Shard<R> {
    /// Arms every accept that should be armed and is not.
    pub(in crate::engine) fn arm_acceptors(&mut self) {
        let now = self.core.now.get();
        for (index, acceptor) in self.acceptors.iter_mut().enumerate() {
            let ready = match acceptor.state {
                State::Idle => true,
                State::Paused(until) => until <= now,
                State::Armed | State::Stopped => false,
            };
            if ready {
                acceptor.state = State::Armed;
                acceptor.operations += 1;
                self.ring.push(
                    Token::new(Operation::Accept, index as u32, Slots::NO_SLOT),
                    if acceptor.common { Submission::AcceptOne } else { Submission::Accept },
                );
            }
        }
    }

    pub(in crate::engine) fn handle_accept(
        &mut self,
        listener: usize,
        outcome: Outcome,
        more: bool,
    ) {
        let acceptor = &mut self.acceptors[listener];
        acceptor.operations -= u8::from(!more);
        if !more && acceptor.state == State::Armed {
            acceptor.state = State::Idle;
            self.core.chores.set(true);
        }
        match outcome {
            Outcome::Accepted(slot) => {
                acceptor.pause = PAUSE_MIN;
                let family = acceptor.family;
                self.adopt(slot, family);
            }
            // The peer was gone before we came, or a signal did.
            Outcome::Failed(Errno::CONNABORTED | Errno::INTR | Errno::CANCELED) => {}
            // The listener was shut because a drain begins.
            Outcome::Failed(Errno::INVAL) => acceptor.state = State::Stopped,
            Outcome::Failed(errno) if acceptor.state != State::Stopped => {
                let pause = acceptor.pause;
                acceptor.state = State::Paused(self.core.now.get() + pause);
                acceptor.pause = (2 * pause).min(PAUSE_MAX);
                let now = self.core.now.get();
                if acceptor.silent_until <= now {
                    acceptor.silent_until = now + WARNING_INTERVAL;
                    tracing::warn!(%errno, "accept failed; trying again when a slot is free");
                }
            }
            _ => {}
        }
    }

    /// A connection came into this slot.
    fn adopt(&mut self, slot: u32, family: Option<AddressFamily>) {
        count(&self.core.counters.accepted);
        let mut slots = self.core.slots.borrow_mut();
        let id = slots.id(slot);
        let room = slots.used() < self.connections_max
            && self.core.executor.len() < self.connections_max as usize
            && self.core.places.take();
        if !room {
            self.core.places.warn_full(self.core.now.get());
        }
        let slot = slots.insert(Connection::new(id, !room, &self.core));
        slot.connection.mark_dirty(&self.core);
        if let Some(family) = family {
            slot.held.operations += 1;
            let token = Token::new(Operation::PeerAddress, id.slot, id.generation);
            self.ring.push(token, Submission::PeerAddress(family));
        }
    }

    /// Accepts nothing more.
    pub(in crate::engine) fn stop_accepting(&mut self) {
        for (index, acceptor) in self.acceptors.iter_mut().enumerate() {
            if acceptor.state == State::Armed {
                let token = Token::new(Operation::Cancel, index as u32, Slots::NO_SLOT);
                self.ring.push(token, Submission::Cancel(Operation::Accept));
                acceptor.operations += 1;
            }
            acceptor.state = State::Stopped;
        }
    }
}
