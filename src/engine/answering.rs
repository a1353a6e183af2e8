//! A shard doing what other threads ask: so much per batch, and the rest after the next one, so
//! that its connections are served meanwhile.
//!
//! Called by the shard when something has come ([`super::remote`]). Waits for nothing: a write that
//! has no room is kept by [`super::shared_table`].

use super::command::{Command, Notice, OpenFailure, PendingWrite, ReachFailure, ShardReport};
use super::connection::{Connection, Ended, Phase};
use super::core::Core;
use super::flags::Flag;
use super::holder::HeldWriteFailure;
use super::ids::Claim;
use super::link::Outgoing;
use super::outbox::Payload;
use super::registry::SlotId;
use super::shard::Shard;
use super::sockets::SocketInfo;
use super::status::ShardStatus;
use crate::proto::CloseCode;
use crate::ring::Ring;

/// Commands of one batch: they take about 0.1 ms together.
const COMMANDS_PER_BATCH: usize = 256;

impl<R: Ring> Shard<R> {
    /// Takes what other threads have handed over, and answers some of it.
    pub(super) fn take_remote(&mut self) {
        self.remote.take(&mut self.taken, |id| self.core.wake(id));
        if !self.taken.nudges.is_empty() {
            let mut nudges = std::mem::take(&mut self.taken.nudges);
            for slot in nudges.drain(..) {
                self.look_at(slot);
            }
            self.taken.nudges = nudges;
        }
        self.answer();
        if !self.taken.is_empty() {
            self.remote.remind();
        }
    }

    /// The holder of a socket wants it to be settled.
    fn look_at(&mut self, slot: SlotId) {
        match self.core.slots.borrow_mut().find(slot) {
            Some(slot) => slot.connection.mark_dirty(&self.core),
            None => self.core.shared.borrow_mut().nudge_remains(slot, self.core.now.get()),
        }
    }

    fn handle_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Drain => self.start_drain(),
            Notice::Memory => self.handle_memory(),
            Notice::Panicked(id) => self.core.handle_panic(id),
            Notice::EndSession(id, reason) => self.end_session(id, reason),
        }
    }

    fn answer(&mut self) {
        for _ in 0..COMMANDS_PER_BATCH {
            if let Some(notice) = self.taken.notices.pop_first() {
                self.handle_notice(notice);
                continue;
            }
            let Some(command) = self.taken.commands.pop_front() else { return };
            match command {
                Command::Open { claim, request, reply } if !reply.is_abandoned() => {
                    let core = &self.core;
                    let opened = match core.slots.borrow_mut().claimed(claim, core) {
                        Some(connection) => connection.open(claim, &request, core),
                        None => {
                            let now = core.now.get();
                            // Who has held it until now may wait.
                            core.chores.set(true);
                            core.shared.borrow_mut().open_remains(claim, &request, now)
                        }
                    };
                    reply.send(opened);
                }
                Command::Write(write) if !write.reply.is_abandoned() => self.write(write),
                Command::Close { claim, code, reason, reply } => {
                    let end = |connection: &mut Connection, core: &Core| {
                        connection.close_from_outside(code, &reason, core);
                    };
                    reply.send(self.change(claim, end));
                }
                Command::Interrupt { claim, reply } => {
                    reply.send(self.change(claim, Connection::cut))
                }
                Command::Look { claim, reply } => reply.send(self.describe(claim)),
                Command::Scan { scan, reply } if !reply.is_abandoned() => {
                    reply.send(self.scan(&scan));
                    // As much work as all the others.
                    return;
                }
                Command::Status { reply } => reply.send(self.report()),
                Command::Open { .. } | Command::Write(_) | Command::Scan { .. } => {}
            }
        }
    }

    fn change(
        &mut self,
        claim: Claim,
        change: impl FnOnce(&mut Connection, &Core),
    ) -> Result<(), OpenFailure> {
        let core = &self.core;
        let mut slots = core.slots.borrow_mut();
        let Some(connection) = slots.claimed(claim, core) else {
            return Err(core.shared.borrow().absence(claim));
        };
        change(connection, core);
        Ok(())
    }

    fn write(&mut self, write: PendingWrite) {
        let core = &self.core;
        let mut slots = core.slots.borrow_mut();
        let Some(connection) = slots.claimed(write.claim, core) else {
            let absence = core.shared.borrow().absence(write.claim);
            return core.answer_later(write.reply, Err(ReachFailure::Open(absence)));
        };
        let full = |write: PendingWrite| {
            core.answer_later(write.reply, Err(ReachFailure::Write(HeldWriteFailure::Full)));
        };
        match connection.write_by_id(write, core) {
            Ok(()) => {}
            Err(write) if write.waits => {
                connection.flags.set(Flag::Writing);
                if let Err(write) = core.shared.borrow_mut().wait_for_room(write) {
                    full(write);
                }
            }
            Err(write) => full(write),
        }
    }

    fn describe(&self, claim: Claim) -> Result<SocketInfo, OpenFailure> {
        let core = &self.core;
        match core.slots.borrow_mut().claimed(claim, core) {
            Some(connection) => Ok(self.info(connection)),
            None => {
                let mut table = core.shared.borrow_mut();
                let absence = table.absence(claim);
                table.remains.find(claim).map(|left| self.info_of_remains(left)).ok_or(absence)
            }
        }
    }

    fn report(&self) -> ShardReport {
        let counters = &self.core.counters;
        ShardReport {
            status: ShardStatus {
                shard: 0,
                connections: u64::from(self.core.slots.borrow().used()),
                handlers: self.core.executor.len() as u64,
                connections_max: u64::from(self.connections_max),
                totals: self.totals(),
                free_buffer_eighths: self.ring.free_buffer_eighths(),
                remains: self.core.shared.borrow().remains.count() as u64,
                remains_bytes: self.core.shared.borrow().remains.cost_bytes() as u64,
                memory: self.memory_status(),
                tick_age: std::time::Duration::ZERO,
            },
            routes: self.core.route_counts.borrow().clone(),
            refusals: counters.refusals.borrow().list(),
            closes: counters.closes.borrow().list(),
            read_to_write: self.read_to_write,
        }
    }
}

impl super::registry::Registry {
    /// The connection that an id claims. A forged id and one of a connection that is gone fail at
    /// the same comparison.
    pub(super) fn claimed(&mut self, claim: Claim, core: &Core) -> Option<&mut Connection> {
        let connection = &mut self.find(claim.slot)?.connection;
        if connection.nonce(core) ^ claim.nonce != 0 {
            return None;
        }
        // Its holder has done something before this was asked, for example left.
        if connection.flags.has(Flag::Shared) && connection.flags.has(Flag::Dirty) {
            connection.exchange(core);
        }
        Some(connection)
    }
}

impl Connection {
    /// Sends a message to a shared socket; comes back if there is no room.
    pub(super) fn write_by_id(
        &mut self,
        write: PendingWrite,
        core: &Core,
    ) -> Result<(), PendingWrite> {
        let limits = &core.settings.limits;
        let failure = if !self.flags.has(Flag::Shared) {
            // Whether a handler will make it shared is not known yet.
            let deciding = matches!(self.phase, Phase::Head(_) | Phase::Deciding);
            let failure = if deciding { OpenFailure::Unknown } else { OpenFailure::NotShared };
            Some(ReachFailure::Open(failure))
        } else if !self.is_open() {
            Some(ReachFailure::ended(self.ended()))
        } else if write.message.payload.len() as u64 > limits.message_bytes_max {
            Some(ReachFailure::Write(HeldWriteFailure::TooLong))
        } else if !self.takes(write.message.payload.len(), core) {
            return Err(write);
        } else {
            None
        };
        let PendingWrite { message: Outgoing { kind, payload }, reply, .. } = write;
        if failure.is_none() {
            self.say(kind, Payload::Owned(payload), core);
        }
        core.answer_later(reply, failure.map_or(Ok(()), Err));
        Ok(())
    }

    /// Cuts it: the peer sees a reset, which it cannot take for an end in order.
    pub(super) fn cut(&mut self, core: &Core) {
        self.aside_mut().reset = true;
        self.lose(core);
    }

    /// An operator ends it, in the language of the phase.
    fn close_from_outside(&mut self, code: CloseCode, reason: &str, core: &Core) {
        match self.phase {
            Phase::Open(_) => self.start_close(code, reason, core),
            Phase::Head(_) | Phase::Deciding => self.lose(core),
            Phase::Closing(_) | Phase::Lingering(_) | Phase::Gone => {}
        }
    }
}

impl Core {
    /// The socket is gone, and with it those who wait for room in it.
    pub(super) fn fail_waiting_writes(&self, slot: SlotId, how: Option<&Ended>) {
        for write in self.shared.borrow_mut().take_waiting_writes(slot) {
            self.answer_later(write.reply, Err(ReachFailure::ended(how)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench;
    use super::super::command::Reply;
    use super::super::remote::COMMANDS_MAX;
    use super::super::routes::Routes;
    use super::super::settings::Settings;
    use super::*;
    use crate::ring::sim::{SimOptions, SimRing};
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn a_shard_has_a_bounded_number_of_commands_however_many_are_sent() {
        let ring = SimRing::new(1, SimOptions::default());
        let mut shard = bench::shard(ring, Settings::default(), Routes::default());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10 {
            let remote = &shard.remote;
            let command = || Command::Status { reply: Reply::new().0 };
            while pin!(remote.submit(command())).poll(&mut context).is_ready() {}
            assert_eq!(shard.turn(), Ok(true));
            assert!(shard.taken.commands.len() <= COMMANDS_MAX);
        }
        // And it does all of them.
        while !shard.taken.is_empty() {
            assert_eq!(shard.turn(), Ok(true));
        }
    }
}
