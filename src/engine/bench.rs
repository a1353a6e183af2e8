//! What `benches/` see of the engine's insides, and unit tests that need a shard. Not API: it
//! changes with any commit, and nothing else may call it.

use crate::clock::{Moment, TimeOfDay};
use crate::engine::commands;
use crate::engine::commands::Command;
use crate::engine::connection::Connection;
use crate::engine::connection::context::ContextParts;
use crate::engine::connection::places::Places;
use crate::engine::connection::timers::Timers;
use crate::engine::core::Core;
use crate::engine::core::executor::TaskEnd;
use crate::engine::handlers::routes::Routes;
use crate::engine::model::bell::Rung;
use crate::engine::model::events::Events;
use crate::engine::model::ids::Ids;
use crate::engine::model::reply::Reply;
use crate::engine::model::settings::Settings;
use crate::engine::model::slot_id::SlotId;
use crate::engine::model::task::Task;
use crate::engine::shard::{Shard, ShardParts};
use crate::ring::{AddressFamily, Ring};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub use crate::proto::mask::unmask_by_words;
pub use crate::ring::LeasePool;

/// A shard that is turned by hand; it accepts on the first listener of `ring`.
pub(crate) fn shard<R: Ring>(ring: R, settings: Settings, routes: Routes) -> Shard<R> {
    let parts = ShardParts {
        connections_max: ring.slots(),
        places: Arc::new(Places::new(ring.slots(), &settings)),
        settings: Arc::new(settings),
        routes: Arc::new(routes),
        mailbox: Arc::default(),
        families: vec![Some(AddressFamily::V4)],
        ids: Ids::new(),
        events: Arc::new(Events::new(1, TimeOfDay::Invented, 1)),
        shards: 1,
        memory: Arc::default(),
    };
    Shard::new(ring, parts)
}

/// The wheel of deadlines.
pub struct Wheel {
    timers: Timers,
    due: Vec<u32>,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { timers: Timers::new(), due: Vec::new() }
    }
}

impl Wheel {
    /// Adds an entry.
    pub fn schedule(&mut self, slot: u32, at: Moment) -> Moment {
        self.timers.schedule(slot, at, Moment::default())
    }

    /// When the first entry comes up, if ever.
    pub fn next(&self) -> Moment {
        self.timers.next()
    }

    /// Takes out what has come up by `now`, and says how many that were.
    pub fn expire(&mut self, now: Moment) -> usize {
        self.due.clear();
        self.timers.expire(now, &mut self.due);
        self.due.len()
    }
}

/// What other threads hand a shard, without the shard.
#[derive(Default)]
pub struct Mailbox(commands::mailbox::Mailbox);

impl Mailbox {
    /// Hands over a command; waits while there are too many.
    pub fn send(&self) {
        let (reply, _) = Reply::new();
        let mut submit = pin!(self.0.submit(Command::Status { reply }));
        let mut context = Context::from_waker(Waker::noop());
        while submit.as_mut().poll(&mut context).is_pending() {
            std::hint::spin_loop();
        }
    }
}

/// The shard's end of a [`Mailbox`].
#[derive(Default)]
pub struct MailboxReader(commands::mailbox::Batch);

impl MailboxReader {
    /// Takes all commands that are there, and says how many those were.
    pub fn take(&mut self, mailbox: &Mailbox) -> usize {
        mailbox.0.take(&mut self.0, &mut Rung::default());
        self.0.commands.drain(..).count()
    }
}

/// Connections with tasks, and no ring.
pub(in crate::engine) struct Seated {
    pub(in crate::engine) core: Core,
    batch: Vec<SlotId>,
    rung: Rung,
}

impl Seated {
    /// Room for so many.
    pub(in crate::engine) fn new(count: usize) -> Self {
        let parts = ContextParts {
            settings: Arc::new(Settings::default()),
            bell: Arc::default(),
            ids: Ids::new(),
            paths: Arc::default(),
            places: Arc::new(Places::new(count as u32, &Settings::default())),
            shards: 1,
            memory: Arc::default(),
        };
        let core = Core::new(parts, count as u32);
        Self { core, batch: Vec::new(), rung: Rung::default() }
    }

    /// A connection in the first free slot, with this task.
    pub(in crate::engine) fn spawn(&self, task: Task) -> SlotId {
        let mut slots = self.core.slots.borrow_mut();
        let free = (0..).find(|slot| slots.at(*slot).is_none()).unwrap_or_default();
        let id = slots.id(free);
        let slot = slots.insert(Connection::new(id, false, &self.core));
        self.core.executor.spawn(&mut slot.connection, task, &self.core);
        id
    }

    /// The connection loses its slot.
    #[cfg(test)]
    pub(in crate::engine) fn give_up(&self, id: SlotId) {
        let connection = self.core.slots.borrow_mut().remove(id);
        self.core.keep(connection.expect("it has its slot"));
    }

    /// Takes what other threads have woken.
    pub(in crate::engine) fn take_remote(&mut self) {
        let core = &self.core;
        core.bell.take(&mut self.rung);
        self.rung.wake(|id| core.wake(id));
    }

    pub(in crate::engine) fn run(&mut self, ended: impl FnMut(SlotId, TaskEnd)) {
        self.core.executor.run(&self.core, &mut self.batch, ended);
    }
}

/// Tasks that wait for ever, each of which has kept a clone of its waker.
pub struct Tasks {
    seated: Seated,
    tasks: Vec<SlotId>,
    wakers: Rc<RefCell<Vec<Waker>>>,
}

impl Tasks {
    /// So many tasks.
    pub fn new(count: usize) -> Self {
        let seated = Seated::new(count);
        let wakers = Rc::new(RefCell::new(Vec::new()));
        let spawn = |_| {
            let (wakers, mut polled) = (Rc::clone(&wakers), false);
            let task = poll_fn(move |context| {
                if !std::mem::replace(&mut polled, true) {
                    wakers.borrow_mut().push(context.waker().clone());
                }
                Poll::Pending
            });
            seated.spawn(Task::new(task))
        };
        let tasks = (0..count).map(spawn).collect();
        let mut all = Self { seated, tasks, wakers };
        all.run();
        all
    }

    /// Wakes every task as the engine does.
    pub fn wake(&self) {
        self.tasks.iter().for_each(|task| self.seated.core.wake(*task));
    }

    /// Wakes every task as another thread does, through the list of the shard.
    pub fn wake_remotely(&self) {
        self.wakers.borrow().iter().for_each(Waker::wake_by_ref);
    }

    /// Takes what is on that list, and polls every task that was woken.
    pub fn run(&mut self) {
        self.seated.take_remote();
        self.seated.run(|_, _| {});
    }
}
