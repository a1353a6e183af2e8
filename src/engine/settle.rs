//! From the state of a connection to submissions: what the ring is to do next.
//!
//! Called once per batch for every connection that changed, and after completions that move a
//! teardown on. Idempotent: it compares what should be armed with what is.

use super::connection::{Connection, Phase};
use super::core::Core;
use super::flags::Flag;
use super::registry::{Receive, Slot, SlotId, Teardown};
use super::shard::Shard;
use crate::ring::{Operation, Ring, Submission, Token};

impl<R: Ring> Shard<R> {
    /// Settles every connection on the list.
    pub(super) fn settle_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.settling);
        std::mem::swap(&mut *self.core.dirty.borrow_mut(), &mut dirty);
        for id in dirty.drain(..) {
            self.settle(id);
        }
        self.settling = dirty;
    }

    /// Brings the ring in line with the state of one connection.
    pub(super) fn settle(&mut self, id: SlotId) {
        let Some(slot) = self.registry.find(id) else { return };
        let Some(shared) = slot.connection.clone() else { return };
        let mut connection = shared.borrow_mut();
        if connection.flags.has(Flag::Shared) {
            connection.exchange(&self.core);
        }
        connection.conclude(&self.core);
        connection.flags.clear(Flag::Dirty);
        let mut submit = Submit { ring: &mut self.ring, id };
        submit.send(slot, &mut connection, &self.core);
        submit.finish(slot, &mut connection, &self.core);
        connection.talk.rest();
        if connection.flags.has(Flag::Dead) {
            submit.tear_down(slot, &mut connection);
            let closing = slot.teardown == Teardown::Closing;
            drop(connection);
            if closing {
                self.release(id);
            }
            return;
        }
        match (connection.wants_receive(&self.core), slot.receive) {
            (true, Receive::Idle) => {
                connection.flags.clear(Flag::Paused);
                submit.push(slot, Operation::Receive, Submission::Receive);
                slot.receive = Receive::Armed;
            }
            (false, Receive::Armed) if !connection.flags.has(Flag::EndOfStream) => {
                connection.flags.set(Flag::Paused);
                submit.push(slot, Operation::Cancel, Submission::Cancel(Operation::Receive));
                slot.receive = Receive::Stopping;
            }
            (false, Receive::Idle) if !connection.flags.has(Flag::EndOfStream) => {
                // Stopped by us, or ended by itself in the batch that filled the inbox.
                connection.flags.set(Flag::Paused);
                if !slot.hangup_awaited {
                    // Nobody reads, so nobody would notice the peer's end; this does.
                    submit.push(slot, Operation::Hangup, Submission::AwaitHangup);
                    slot.hangup_awaited = true;
                }
            }
            _ => {}
        }
    }
}

/// Pushes submissions for one slot.
struct Submit<'a, R> {
    ring: &'a mut R,
    id: SlotId,
}

impl<R: Ring> Submit<'_, R> {
    fn push(&mut self, slot: &mut Slot, operation: Operation, submission: Submission) {
        slot.operations += 1;
        self.ring.push(Token::new(operation, self.id.slot, self.id.generation), submission);
    }

    /// Sends what waits, if nothing is in flight.
    fn send(&mut self, slot: &mut Slot, connection: &mut Connection, core: &Core) {
        if connection.talk.outbox.wants_send() && !slot.sending && !connection.flags.has(Flag::Dead)
        {
            connection.count_messages_out(core);
            let said = connection.talk.outbox.take_for_send();
            let data = connection.transport.outgoing(said);
            self.push(slot, Operation::Send, Submission::Send(data));
            slot.sending = true;
        }
    }

    /// Sends FIN once everything is sent, and declares the socket dead once the peer's FIN has
    /// come as well.
    fn finish(&mut self, slot: &mut Slot, connection: &mut Connection, core: &Core) {
        let said_all = connection.talk.outbox.is_idle() && !slot.sending;
        if !matches!(connection.phase, Phase::Lingering(_))
            || !said_all
            || connection.flags.has(Flag::Dead)
        {
            return;
        }
        if connection.flags.has(Flag::EndOfStream) {
            connection.flags.set(Flag::Dead);
        } else if !slot.finished {
            self.push(slot, Operation::Shutdown, Submission::ShutdownWrite);
            slot.finished = true;
            // Both have said that they are done: a peer that keeps its end open is not waited for
            // as one that may still be reading.
            if connection.flags.has(Flag::CloseReceived) {
                connection.linger(core.settings.timeouts.linger, core);
            }
        }
    }

    /// Ends every operation of the slot, waits for them, and gives the slot back. Closing it
    /// sooner would neither end an armed receive nor tell the peer.
    fn tear_down(&mut self, slot: &mut Slot, connection: &mut Connection) {
        if slot.receive == Receive::Starved {
            slot.receive = Receive::Idle;
        }
        match slot.teardown {
            Teardown::None if slot.operations > 0 => {
                // Each by its token. A shutdown would end them as well, but the kernel gives every
                // shutdown to a worker thread, and a cancel by descriptor looks at every operation
                // of the ring: together that made the end of many connections quadratic.
                let armed = [
                    (slot.receive == Receive::Armed, Operation::Receive),
                    (slot.sending, Operation::Send),
                    (slot.hangup_awaited, Operation::Hangup),
                ];
                for (_, operation) in armed.into_iter().filter(|(armed, _)| *armed) {
                    self.push(slot, Operation::Cancel, Submission::Cancel(operation));
                }
                slot.teardown = Teardown::Quieting;
            }
            Teardown::None | Teardown::Quieting if slot.operations == 0 => {
                self.push(slot, Operation::Close, Submission::Close);
                slot.teardown = Teardown::Closing;
                connection.drop_outbox();
            }
            _ => {}
        }
    }
}
