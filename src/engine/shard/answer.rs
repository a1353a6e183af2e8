//! A shard doing what other threads ask: so much per batch, and the rest after the next one, so
//! that its connections are served meanwhile.
//!
//! Called by the shard when something has come ([`mailbox`](crate::engine::commands::mailbox)). Waits for nothing: a write that
//! has no room is kept by [`table`](crate::engine::shared::table).

use crate::engine::commands::{Command, Notice, ShardReport};
use crate::engine::connection::Connection;
use crate::engine::connection::state::Flag;
use crate::engine::core::Core;
use crate::engine::model::ids::Claim;
use crate::engine::model::slot_id::SlotId;
use crate::engine::model::sockets::SocketInfo;
use crate::engine::model::status::ShardStatus;
use crate::engine::shard::Shard;
use crate::engine::shared::open::{HeldWriteFailure, OpenFailure, PendingWrite, ReachFailure};
use crate::ring::Ring;

/// Commands of one batch: they take about 0.1 ms together.
const COMMANDS_PER_BATCH: usize = 256;

impl<R: Ring> Shard<R> {
    /// Takes what other threads have handed over, and answers some of it.
    pub(in crate::engine) fn take_remote(&mut self) {
        if !self.mailbox.take(&mut self.asked, &mut self.rung) {
            return;
        }
        self.rung.wake(|id| self.core.wake(id));
        for index in 0..self.rung.nudges.len() {
            self.look_at(self.rung.nudges[index]);
        }
        self.rung.nudges.clear();
        for id in std::mem::take(&mut self.rung.panicked) {
            self.core.handle_panic(id);
        }
        self.answer();
        if !self.asked.is_empty() {
            self.bell.remind();
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
            Notice::EndSession(id, reason) => self.end_session(id, reason),
        }
    }

    fn answer(&mut self) {
        for _ in 0..COMMANDS_PER_BATCH {
            if let Some(notice) = self.asked.notices.pop_first() {
                self.handle_notice(notice);
                continue;
            }
            let Some(command) = self.asked.commands.pop_front() else { return };
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
                    reply.send(self.change(claim, |connection, core| connection.cut(core)))
                }
                Command::Look { claim, reply } => reply.send(self.describe(claim)),
                Command::Scan { scan, reply } if !reply.is_abandoned() => {
                    reply.send(self.scan(&scan));
                    // As much work as all the others.
                    return;
                }
                Command::Status { reply } => reply.send(self.report()),
                Command::Measure { from, reply } if !reply.is_abandoned() => {
                    reply.send(self.measure(from));
                    return;
                }
                Command::Open { .. }
                | Command::Write(_)
                | Command::Scan { .. }
                | Command::Measure { .. } => {}
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

    /// The session of a connection is no more.
    pub(in crate::engine) fn end_session(&mut self, id: SlotId, reason: &'static str) {
        if let Some(slot) = self.core.slots.borrow_mut().find(id) {
            slot.connection.end_session(reason, &self.core);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bench;
    use crate::engine::commands::mailbox::COMMANDS_MAX;
    use crate::engine::handlers::routes::Routes;
    use crate::engine::model::reply::Reply;
    use crate::engine::model::settings::Settings;
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
            let mailbox = &shard.mailbox;
            let command = || Command::Status { reply: Reply::new().0 };
            while pin!(mailbox.submit(command())).poll(&mut context).is_ready() {}
            assert_eq!(shard.turn(), Ok(true));
            assert!(shard.asked.commands.len() <= COMMANDS_MAX);
        }
        // And it does all of them.
        while !shard.asked.is_empty() {
            assert_eq!(shard.turn(), Ok(true));
        }
    }
}
