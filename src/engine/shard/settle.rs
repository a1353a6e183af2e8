//! From the state of a connection to submissions: what the ring is to do next.
//!
//! Called by the shard, once per batch for every connection that changed, and for those whose turn
//! to receive has come. Idempotent: it compares what should be armed with what is. The only place
//! that pushes submissions for a connection, but for the question who the peer is
//! ([`accepting`](crate::engine::shard::accepting)).

use crate::clock::Moment;
use crate::engine::connection::progress::Question;
use crate::engine::connection::rest::Rest;
use crate::engine::connection::room::Room;
use crate::engine::connection::state::{Flag, Flags};
use crate::engine::connection::{Connection, Phase};
use crate::engine::core::Core;
use crate::engine::core::pace::Rota;
use crate::engine::core::slots::{Held, Receive, Slot, Teardown};
use crate::engine::model::slot_id::SlotId;
use crate::engine::shard::Shard;
use crate::ring::{Operation, Ring, Submission, Token};

impl<R: Ring> Shard<R> {
    /// Settles every connection on the list.
    pub(in crate::engine) fn settle_dirty(&mut self) {
        std::mem::swap(&mut *self.core.dirty.borrow_mut(), &mut self.settling);
        for index in 0..self.settling.len() {
            self.settle(self.settling[index], Turn::Open);
        }
        self.settling.clear();
    }

    /// Arms the receives again of those that found no buffer and took little, then of those that
    /// take much as far as this batch goes. With no eighth of the buffers free it would spin.
    pub(in crate::engine) fn feed_starved(&mut self) {
        self.rota.begin_batch();
        if self.rota.is_empty() || self.ring.free_buffer_eighths() == 0 {
            return;
        }
        for id in self.rota.take_starved() {
            self.feed(id);
        }
        while let Some(id) = self.rota.next_heavy() {
            self.feed(id);
        }
    }

    fn feed(&mut self, id: SlotId) {
        let mut slots = self.core.slots.borrow_mut();
        if let Some(Slot { held, .. }) = slots.find(id)
            && held.receive == Receive::Starved
        {
            held.receive = Receive::Idle;
            drop(slots);
            self.settle(id, Turn::Has);
        }
    }

    /// Brings the ring in line with the state of one connection.
    pub(in crate::engine) fn settle(&mut self, id: SlotId, turn: Turn) {
        let mut slots = self.core.slots.borrow_mut();
        let Some(Slot { connection, held }) = slots.find(id) else { return };
        let mut submit = Submit { ring: &mut self.ring, id };
        let at_ease = is_at_ease(connection, held, &self.core);
        if !at_ease {
            submit.prepare(held, connection, &self.core);
        }
        submit.send(held, connection, &self.core);
        // The answer to a Ping was added last.
        connection.account(&self.core);
        if at_ease {
            connection.flags.clear(Flag::Dirty);
            connection.talk.rest();
            held.pace.end_batch();
            return;
        }
        submit.finish(held, connection, &self.core);
        connection.talk.rest();
        if connection.flags.has(Flag::Dead) {
            submit.tear_down(held, connection);
            let closing = held.teardown == Teardown::Closing;
            drop(slots);
            if closing {
                self.release(id);
            }
            return;
        }
        held.pace.end_batch();
        match (connection.wants_receive(&self.core), held.receive) {
            (true, Receive::Idle) => {
                connection.flags.clear(Flag::Paused);
                if let Some(aside) = &mut connection.aside {
                    aside.hung_up = None;
                }
                submit.receive(held, &mut self.rota, turn);
            }
            (true, Receive::Armed) if held.pace.waits_in_turn() => submit.stop_receive(held),
            (false, Receive::Armed | Receive::Once) if !connection.flags.has(Flag::EndOfStream) => {
                connection.flags.set(Flag::Paused);
                submit.stop_receive(held);
            }
            (false, Receive::Idle) if !connection.flags.has(Flag::EndOfStream) => {
                // Stopped by us, or ended by itself in the batch that filled the inbox.
                connection.flags.set(Flag::Paused);
                let known = connection.aside.as_ref().is_some_and(|aside| aside.hung_up.is_some());
                if !held.hangup_awaited && !known {
                    // Nobody reads, so nobody would notice the peer's end; this does.
                    submit.push(held, Operation::Hangup, Submission::AwaitHangup);
                    held.hangup_awaited = true;
                }
            }
            _ => {}
        }
    }
}

/// Whether there is nothing to do for it but to send: the usual case of every batch.
#[inline(always)]
fn is_at_ease(connection: &Connection, held: &Held, core: &Core) -> bool {
    const OTHERS: Flags =
        Flags::of(&[Flag::Shared, Flag::Ending, Flag::Dead, Flag::EndOfStream, Flag::Paused]);
    matches!(connection.phase, Phase::Open(_))
        && connection.flags.among(OTHERS) == Flags::default()
        && held.receive == Receive::Armed
        && !held.pace.waits_in_turn()
        && !connection.is_asking()
        && connection.talk.inbox.has_room(Room::of(core))
        && connection.talk.strain.is_none()
}

/// Whether a connection that has to wait for its turn to receive has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Turn {
    /// If nobody else waits.
    Open,
    Has,
}

/// Pushes submissions for one slot.
struct Submit<'a, R> {
    ring: &'a mut R,
    id: SlotId,
}

impl<R: Ring> Submit<'_, R> {
    fn push(&mut self, held: &mut Held, operation: Operation, submission: Submission) {
        held.operations += 1;
        self.ring.push(Token::new(operation, self.id.slot, self.id.generation), submission);
    }

    /// Arms the receive, or puts it on the list of those that wait for their turn.
    #[inline]
    fn receive(&mut self, held: &mut Held, rota: &mut Rota, turn: Turn) {
        let Some(bytes_max) = held.pace.shot_bytes() else {
            self.push(held, Operation::Receive, Submission::Receive);
            held.receive = Receive::Armed;
            return;
        };
        let waits = held.pace.waits_in_turn();
        if waits && !rota.admit(self.id, bytes_max, turn == Turn::Has) {
            held.receive = Receive::Starved;
            return;
        }
        self.push(held, Operation::Receive, Submission::ReceiveOnce { bytes_max });
        held.receive = Receive::Once;
    }

    fn stop_receive(&mut self, held: &mut Held) {
        self.push(held, Operation::Cancel, Submission::Cancel(Operation::Receive));
        held.receive = Receive::Stopping;
    }

    /// What comes before anything is sent.
    #[inline(never)]
    fn prepare(&mut self, held: &mut Held, connection: &mut Connection, core: &Core) {
        // What follows looks at all that it changes itself.
        connection.flags.set(Flag::Dirty);
        if connection.flags.has(Flag::Shared) {
            connection.exchange(core);
        }
        connection.resume(core);
        connection.conclude(core);
        connection.flags.clear(Flag::Dirty);
        // More that is sent is not to count.
        if connection.is_asking() && !connection.flags.has(Flag::Dead) {
            self.ask(held, connection);
        }
    }

    /// Sends what waits, if nothing is in flight.
    #[inline(always)]
    fn send(&mut self, held: &mut Held, connection: &mut Connection, core: &Core) {
        if connection.talk.outbox.wants_send() && !held.sending && !connection.flags.has(Flag::Dead)
        {
            connection.count_messages_out(core);
            let said = connection.talk.outbox.take_for_send();
            let data = connection.transport.outgoing(said);
            self.push(held, Operation::Send, Submission::Send(data));
            held.sending = true;
            if connection.scheduled == Moment::NEVER.into() {
                connection.watch_send(core);
            }
        }
    }

    /// Asks whether the peer takes what is sent, if that is to be known.
    #[cold]
    fn ask(&mut self, held: &mut Held, connection: &mut Connection) {
        match connection.take_question() {
            Some(Question::CancelSend) => {
                self.push(held, Operation::Cancel, Submission::Cancel(Operation::Send));
            }
            Some(Question::Unacknowledged) => {
                self.push(held, Operation::Unacknowledged, Submission::Unacknowledged);
                if connection.waits_for_rest() && !held.hangup_awaited {
                    // Behind FIN no receive tells that the peer has gone.
                    self.push(held, Operation::Hangup, Submission::AwaitHangup);
                    held.hangup_awaited = true;
                }
            }
            None => {}
        }
    }

    /// Once everything is sent, declares the socket dead if the peer has said that it is done, and
    /// sends FIN otherwise.
    fn finish(&mut self, held: &mut Held, connection: &mut Connection, core: &Core) {
        if !matches!(connection.phase, Phase::Lingering(_))
            || !connection.talk.outbox.is_idle()
            || held.sending
            || connection.flags.has(Flag::Dead)
        {
            return;
        }
        // After its Close the peer sends nothing more either (RFC 6455 §5.5.1), so closing the slot,
        // which sends FIN as well, loses none of its bytes; a shutdown would go through a worker
        // thread of the kernel.
        if connection.flags.has(Flag::EndOfStream) || connection.flags.has(Flag::CloseReceived) {
            match connection.look_at_rest(core) {
                Rest::Nothing => return connection.flags.set(Flag::Dead),
                Rest::Asked => return self.ask(held, connection),
                Rest::Some { .. } | Rest::Lost | Rest::Last { .. } => {}
            }
        }
        if !held.finished {
            self.push(held, Operation::Shutdown, Submission::ShutdownWrite);
            held.finished = true;
        }
    }

    /// Ends every operation of the slot, waits for them, and gives the slot back. Closing it
    /// sooner would neither end an armed receive nor tell the peer.
    fn tear_down(&mut self, held: &mut Held, connection: &mut Connection) {
        if held.receive == Receive::Starved {
            held.receive = Receive::Idle;
        }
        let reset = connection.aside.as_ref().is_some_and(|aside| aside.reset);
        match held.teardown {
            Teardown::None if held.operations > 0 || reset => {
                // Each by its token. A shutdown would end them as well, but the kernel gives every
                // shutdown to a worker thread, and a cancel by descriptor looks at every operation
                // of the ring: together that made the end of many connections quadratic.
                let armed = [
                    (matches!(held.receive, Receive::Armed | Receive::Once), Operation::Receive),
                    (held.sending, Operation::Send),
                    (held.hangup_awaited, Operation::Hangup),
                ];
                for (_, operation) in armed.into_iter().filter(|(armed, _)| *armed) {
                    self.push(held, Operation::Cancel, Submission::Cancel(operation));
                }
                if reset {
                    self.push(held, Operation::ResetOnClose, Submission::ResetOnClose);
                }
                held.teardown = Teardown::Quieting;
            }
            Teardown::None | Teardown::Quieting if held.operations > 0 => {}
            Teardown::None | Teardown::Quieting if connection.take_last_question(held.finished) => {
                self.push(held, Operation::Unacknowledged, Submission::Unacknowledged);
                held.teardown = Teardown::Quieting;
            }
            Teardown::None | Teardown::Quieting => {
                self.push(held, Operation::Close, Submission::Close);
                held.teardown = Teardown::Closing;
                connection.drop_outbox();
            }
            Teardown::Closing => {}
        }
    }
}
