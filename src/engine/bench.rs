//! What `benches/` see of the engine's insides. Not API: it changes with any commit, and nothing
//! else may call it.

use super::events::Events;
use super::executor::{Executor, TaskId};
use super::ids::Ids;
use super::registry::SlotId;
use super::remote::{Remote, Taken};
use super::routes::Routes;
use super::settings::Settings;
use super::shard::{Shard, ShardParts};
use super::timers::Timers;
use crate::clock::Moment;
use crate::ring::{AddressFamily, Ring};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

pub use crate::proto::mask::unmask_by_words;
pub use crate::ring::LeasePool;

/// A shard that is turned by hand; it accepts on the first listener of `ring`.
pub(crate) fn shard<R: Ring>(ring: R, settings: Settings, routes: Routes) -> Shard<R> {
    let parts = ShardParts {
        connections_max: ring.slots(),
        settings: Arc::new(settings),
        routes: Arc::new(routes),
        remote: Arc::new(Remote::new()),
        families: vec![Some(AddressFamily::V4)],
        ids: Ids::new(),
        events: Arc::new(Events::new(0, 1)),
        shards: 1,
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
        self.timers.schedule(slot, at)
    }

    /// When the first entry comes up.
    pub fn next(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// Takes out what has come up by `now`, and says how many that were.
    pub fn expire(&mut self, now: Moment) -> usize {
        self.due.clear();
        self.timers.expire(now, &mut self.due);
        self.due.len()
    }
}

/// Tasks that wait for ever, each of which has kept a clone of its waker.
pub struct Tasks {
    executor: Executor,
    remote: Arc<Remote>,
    tasks: Vec<TaskId>,
    wakers: Rc<RefCell<Vec<Waker>>>,
    batch: Vec<TaskId>,
    taken: Taken,
}

impl Tasks {
    /// So many tasks.
    pub fn new(count: usize) -> Self {
        let remote = Arc::new(Remote::new());
        let executor = Executor::new(Arc::clone(&remote), count);
        let wakers = Rc::new(RefCell::new(Vec::new()));
        let spawn = |_| {
            let (wakers, mut polled) = (Rc::clone(&wakers), false);
            let task = poll_fn(move |context| {
                if !std::mem::replace(&mut polled, true) {
                    wakers.borrow_mut().push(context.waker().clone());
                }
                Poll::Pending
            });
            executor.spawn(SlotId { slot: 0, generation: 0 }, Box::pin(task))
        };
        let tasks = (0..count).map(spawn).collect();
        let mut all =
            Self { executor, remote, tasks, wakers, batch: Vec::new(), taken: Taken::default() };
        all.run();
        all
    }

    /// Wakes every task as the engine does.
    pub fn wake(&self) {
        self.tasks.iter().for_each(|task| self.executor.wake(*task));
    }

    /// Wakes every task as another thread does, through the list of the shard.
    pub fn wake_remotely(&self) {
        self.wakers.borrow().iter().for_each(Waker::wake_by_ref);
    }

    /// Takes what is on that list, and polls every task that was woken.
    pub fn run(&mut self) {
        let executor = &self.executor;
        self.remote.take(&mut self.taken, |task| executor.wake(task));
        self.executor.run(&mut self.batch, |_, _| {});
    }
}
