//! What `benches/` see of the engine's insides, and unit tests that need a shard. Not API: it
//! changes with any commit, and nothing else may call it.

use super::command::{Command, Reply};
use super::connection::Connection;
use super::core::{Core, CoreParts};
use super::events::Events;
use super::executor::{Ended, Task};
use super::ids::Ids;
use super::places::Places;
use super::registry::SlotId;
use super::remote::{Remote, Taken};
use super::routes::Routes;
use super::settings::Settings;
use super::shard::{Shard, ShardParts};
use super::timers::Timers;
use crate::clock::{Moment, TimeOfDay};
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
        remote: Arc::new(Remote::new()),
        families: vec![Some(AddressFamily::V4)],
        ids: Ids::new(),
        events: Arc::new(Events::new(TimeOfDay::Invented, 1)),
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
pub struct Mailbox(Remote);

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
pub struct MailboxReader(Taken);

impl MailboxReader {
    /// Takes all commands that are there, and says how many those were.
    pub fn take(&mut self, mailbox: &Mailbox) -> usize {
        mailbox.0.take(&mut self.0, |_| {});
        self.0.commands.drain(..).count()
    }
}

/// Connections with tasks, and no ring.
pub(super) struct Seated {
    pub(super) core: Core,
    batch: Vec<SlotId>,
    taken: Taken,
}

impl Seated {
    /// Room for so many.
    pub(super) fn new(count: usize) -> Self {
        let parts = CoreParts {
            settings: Arc::new(Settings::default()),
            remote: Arc::new(Remote::new()),
            ids: Ids::new(),
            routes: Arc::default(),
            places: Arc::new(Places::new(count as u32, &Settings::default())),
            shards: 1,
            memory: Arc::default(),
        };
        let core = Core::new(parts, count as u32);
        Self { core, batch: Vec::new(), taken: Taken::default() }
    }

    /// A connection in the first free slot, with this task.
    pub(super) fn spawn(&self, task: Task) -> SlotId {
        let mut slots = self.core.slots.borrow_mut();
        let free = (0..).find(|slot| slots.at(*slot).is_none()).unwrap_or_default();
        let id = slots.id(free);
        let slot = slots.insert(Connection::new(id, false, &self.core));
        self.core.executor.spawn(&mut slot.connection, task);
        id
    }

    /// The connection loses its slot.
    #[cfg(test)]
    pub(super) fn give_up(&self, id: SlotId) {
        let connection = self.core.slots.borrow_mut().remove(id);
        self.core.keep(connection.expect("it has its slot"));
    }

    /// Takes what other threads have woken.
    pub(super) fn take_remote(&mut self) {
        let core = &self.core;
        core.remote.take(&mut self.taken, |id| core.wake(id));
    }

    pub(super) fn run(&mut self, ended: impl FnMut(SlotId, Ended)) {
        self.core.executor.run(&self.core.slots, &mut self.batch, ended);
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
            seated.spawn(Box::pin(task))
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
