//! What a shard owns beside its ring, and lets its handlers reach: the connections, the tasks of their
//! handlers, the sessions that sit here. Never leaves its thread.
//!
//! Code of others is called from here alone, while no table is borrowed.

pub(in crate::engine) mod executor;
pub(in crate::engine) mod pace;
pub(in crate::engine) mod seats;
pub(in crate::engine) mod slots;

use crate::clock::Moment;
use crate::engine::connection::Connection;
use crate::engine::connection::context::{Context, ContextParts};
use crate::engine::connection::later::Call;
use crate::engine::connection::state::Flag;
use crate::engine::core::executor::Executor;
use crate::engine::core::seats::Seats;
use crate::engine::core::slots::Slots;
use crate::engine::model::counters::count;
use crate::engine::model::foreign::wake;
use crate::engine::model::memory::MemoryLevel;
use crate::engine::model::slot_id::SlotId;
use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Shared by the shard and the verbs of its handlers. Connections see its [`Context`] only, which a
/// core may be used as.
pub(crate) struct Core {
    context: Context,
    /// Where every address listened on is one of loopback: the TCP ports.
    pub(in crate::engine) loopback_ports: Vec<u16>,
    pub(crate) executor: Executor,
    /// The connections. Borrowed for no longer than a step of one of them takes, and never while a
    /// handler runs or is dropped.
    pub(in crate::engine) slots: RefCell<Slots>,
    /// The sessions of those connections that have one.
    pub(in crate::engine) seats: Seats,
}

impl Deref for Core {
    type Target = Context;

    #[inline(always)]
    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Core {
    pub(in crate::engine) fn new(parts: ContextParts, connections: u32) -> Self {
        Self {
            loopback_ports: parts.settings.loopback_ports(),
            executor: Executor::new(Arc::clone(&parts.bell)),
            slots: RefCell::new(Slots::new(connections)),
            seats: Seats::default(),
            context: Context::new(parts),
        }
    }

    /// A batch begins, and was to begin no later than `until`. If the thread was held up for long,
    /// what the peers had to say in time may not have been heard.
    pub(in crate::engine) fn begin(&self, until: Option<Moment>, now: Moment) {
        const HELD_UP: Duration = Duration::from_secs(1);
        self.now.set(now);
        if until.is_some_and(|until| until + HELD_UP <= now) {
            self.held_up.set(now);
        }
    }

    /// Puts the task of a connection on the list of those to poll, if it is still there.
    pub(in crate::engine) fn wake(&self, id: SlotId) {
        if let Some(connection) = self.slots.borrow_mut().of_handler(id) {
            connection.wake_task(self);
        }
    }

    /// The connection has lost its slot, and its handler lives on.
    pub(in crate::engine) fn keep(&self, mut connection: Connection) {
        connection.keep_peer(self);
        self.slots.borrow_mut().keep(connection);
    }

    /// Whether handshakes are to be refused for want of memory.
    pub(in crate::engine) fn is_memory_scarce(&self) -> bool {
        self.memory.level() >= MemoryLevel::Scarce
    }

    /// Tells those who wait for room in the account that there is some.
    #[cold]
    pub(in crate::engine) fn tell_waiting(&self) {
        for id in self.account.take_waiting() {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.find(id) else { continue };
            if slot.connection.flags.has(Flag::Writing) {
                slot.connection.wake(self);
            }
            slot.connection.mark_dirty(self);
        }
    }

    /// What the account should say, added up anew.
    pub(in crate::engine) fn held_growth_bytes(&self) -> usize {
        let mut slots = self.slots.borrow_mut();
        let held = |connection: &mut Connection| connection.growth_bytes(self);
        let in_slots: usize = slots.iter_mut().map(held).sum();
        in_slots + slots.kept().map(held).sum::<usize>()
    }

    /// Calls what had to wait.
    pub(in crate::engine) fn call_foreign(&self) {
        for one in self.later.take() {
            match one {
                Call::Wake(id, waker) => {
                    if wake(waker).is_err() {
                        // Part of the handler will never be polled again.
                        self.executor.abandon(&self.slots, id);
                        self.handle_panic(id);
                    }
                }
                Call::WakeHolder(id, waker) => self.wake_holder_now(id, waker),
                Call::Answer(reply, answer) => reply.send(answer),
            }
        }
    }

    /// Wakes the holder of a socket; nothing may be borrowed.
    pub(in crate::engine) fn wake_holder_now(&self, id: SlotId, waker: Waker) {
        if wake(waker).is_err() {
            self.handle_panic(id);
        }
    }

    /// Code of the application has panicked: its socket is closed, and nothing else notices.
    pub(in crate::engine) fn handle_panic(&self, owner: SlotId) {
        count(&self.counters.panics);
        if let Some(slot) = self.slots.borrow_mut().find(owner) {
            slot.connection.handle_panic(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::bench::Seated;
    use crate::engine::model::foreign::tests::Fragile;
    use crate::engine::model::task::Task;
    use std::sync::Arc;
    use std::task::Waker;

    #[test]
    fn a_waker_is_called_when_nothing_is_borrowed_and_its_panic_ends_one_handler() {
        let seated = Seated::new(2);
        let id = seated.spawn(Task::new(std::future::pending()));
        seated.spawn(Task::new(std::future::pending()));
        let fragile = Arc::new(Fragile::default());
        {
            let mut slots = seated.core.slots.borrow_mut();
            let connection = slots.of_handler(id).expect("it is there");
            assert!(connection.keep_waker(Waker::from(Arc::clone(&fragile))).is_none());
            connection.wake(&seated.core);
            assert_eq!(fragile.wakes(), 0, "the slots are borrowed");
        }
        seated.core.call_foreign();
        assert_eq!((fragile.wakes(), seated.core.executor.len()), (1, 1));
        assert_eq!(seated.core.counters.panics.get(), 1);
        assert!(seated.core.later.is_empty());
    }
}
