//! The executor of a shard: handlers' futures, polled after the completions of a batch.
//!
//! A handler that only awaits its own socket is woken by a push onto a local list: no atomic, no
//! allocation. Whoever clones the waker (a timer of tokio, a channel) gets one that works from any
//! thread, through the shard's [`Remote`].

use super::connection::Connection;
use super::flags::Flag;
use super::foreign;
use super::registry::{Registry, SlotId};
use super::remote::Remote;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A handler, erased.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Returned,
    Panicked,
}

/// The list of tasks to poll. The tasks themselves are with their connections, whose [`SlotId`] names
/// them; a stale one wakes nobody.
pub(crate) struct Executor {
    ready: RefCell<Vec<SlotId>>,
    /// Tasks that have not ended.
    tasks: Cell<usize>,
    current: RefCell<Current>,
    remote: Arc<Remote>,
}

/// The waker that the polled task sees. It is made anew only when a task has cloned it.
struct Current {
    waker: Waker,
    target: Arc<TaskWaker>,
}

impl Executor {
    pub(super) fn new(remote: Arc<Remote>) -> Self {
        let current = Current::new(&remote);
        Self {
            ready: RefCell::new(Vec::new()),
            tasks: Cell::new(0),
            current: RefCell::new(current),
            remote,
        }
    }

    /// Tasks that have not ended.
    pub(super) fn len(&self) -> usize {
        self.tasks.get()
    }

    /// Gives a connection its task and puts that on the list.
    pub(super) fn spawn(&self, connection: &mut Connection, task: Task) {
        self.tasks.set(self.tasks.get() + 1);
        connection.task = Some(task);
        connection.flags.set(Flag::Handled);
        self.wake(connection);
    }

    /// Puts the task of a connection, if it has one, on the list of those to poll, once.
    #[inline]
    pub(super) fn wake(&self, connection: &mut Connection) {
        if connection.flags.has(Flag::Handled) && !connection.flags.has(Flag::Queued) {
            connection.flags.set(Flag::Queued);
            self.ready.borrow_mut().push(connection.id);
        }
    }

    /// Whether there is something to poll.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// Whether `waker` wakes the task that is being polled, so that a wake by the engine is
    /// enough for it. A combinator that polls its parts under wakers of its own is not.
    pub(crate) fn is_current(&self, waker: &Waker) -> bool {
        waker.will_wake(&self.current.borrow().waker)
    }

    /// Whether a task is on the list.
    pub(super) fn has(&self, id: SlotId) -> bool {
        self.ready.borrow().contains(&id)
    }

    /// Polls what is on the list now. What is woken meanwhile waits for the next time, so that a
    /// task that wakes itself cannot starve the ring. `ended` hears of every task that ends. The
    /// slots are not borrowed while a task is polled or dropped.
    pub(super) fn run(
        &self,
        slots: &RefCell<Registry>,
        batch: &mut Vec<SlotId>,
        mut ended: impl FnMut(SlotId, Ended),
    ) {
        std::mem::swap(&mut *self.ready.borrow_mut(), batch);
        for id in batch.drain(..) {
            let Some(mut task) = take(slots, id) else { continue };
            self.current.borrow_mut().aim(id, &self.remote);
            // Borrowed during the poll, which may only look at it: a clone would be two atomics.
            let current = self.current.borrow();
            let polled =
                foreign::call(|| task.as_mut().poll(&mut Context::from_waker(&current.waker)));
            drop(current);
            let outcome = match polled {
                Ok(Poll::Pending) => {
                    put_back(slots, id, task);
                    continue;
                }
                Ok(Poll::Ready(())) => Ended::Returned,
                Err(_) => Ended::Panicked,
            };
            let dropped = self.end(slots, id, task);
            ended(id, if dropped { outcome } else { Ended::Panicked });
        }
    }

    /// Drops a task. What a handler owns may panic then; that must not end the shard, and is said
    /// by `false`.
    fn end(&self, slots: &RefCell<Registry>, id: SlotId, task: Task) -> bool {
        let dropped = foreign::call(|| drop(task));
        self.tasks.set(self.tasks.get() - 1);
        let forgotten = slots.borrow_mut().forget_handler(id);
        let dropped_too = foreign::call(|| drop(forgotten));
        dropped.and(dropped_too).is_ok()
    }

    /// Drops the task of a connection although it has not ended.
    pub(super) fn abandon(&self, slots: &RefCell<Registry>, id: SlotId) {
        if let Some(task) = take(slots, id) {
            self.end(slots, id, task);
        }
    }

    /// Drops every task.
    pub(super) fn clear(&self, slots: &RefCell<Registry>) {
        let mut tasks = Vec::with_capacity(self.len());
        let mut take = |connection: &mut Connection| {
            tasks.extend(connection.task.take().map(|task| (connection.id, task)));
        };
        slots.borrow_mut().iter_mut().for_each(&mut take);
        slots.borrow_mut().kept().for_each(&mut take);
        for (id, task) in tasks {
            self.end(slots, id, task);
        }
    }
}

fn take(slots: &RefCell<Registry>, id: SlotId) -> Option<Task> {
    let mut slots = slots.borrow_mut();
    let connection = slots.of_handler(id)?;
    connection.flags.clear(Flag::Queued);
    connection.task.take()
}

fn put_back(slots: &RefCell<Registry>, id: SlotId, task: Task) {
    let mut slots = slots.borrow_mut();
    let connection = slots.of_handler(id).expect("a connection stays as long as its handler");
    connection.task = Some(task);
}

impl Current {
    fn new(remote: &Arc<Remote>) -> Self {
        let target = Arc::new(TaskWaker {
            slot: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            queued: AtomicBool::new(false),
            remote: Arc::clone(remote),
        });
        Self { waker: Waker::from(Arc::clone(&target)), target }
    }

    /// Aims the waker at `id`. If a task has kept a clone, that one stays aimed at its task, and
    /// there is a new one for `id`.
    fn aim(&mut self, id: SlotId, remote: &Arc<Remote>) {
        // Ours: `target`, and the one inside `waker`.
        if Arc::strong_count(&self.target) > 2 {
            *self = Self::new(remote);
        }
        self.target.slot.store(id.slot, Ordering::Relaxed);
        self.target.generation.store(id.generation, Ordering::Relaxed);
        self.target.queued.store(false, Ordering::Relaxed);
    }
}

/// What a cloned waker points to.
pub(super) struct TaskWaker {
    slot: AtomicU32,
    generation: AtomicU32,
    /// On the remote list already: wakes until it is taken from there are one.
    queued: AtomicBool,
    remote: Arc<Remote>,
}

impl TaskWaker {
    /// Taken from the remote list: which task to wake.
    pub(super) fn take(&self) -> SlotId {
        self.queued.store(false, Ordering::SeqCst);
        SlotId {
            slot: self.slot.load(Ordering::Relaxed),
            generation: self.generation.load(Ordering::Relaxed),
        }
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            self.remote.wake(Arc::clone(self));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Seated;
    use super::*;
    use std::rc::Rc;

    fn run(seated: &mut Seated) -> Vec<Ended> {
        let mut all = Vec::new();
        seated.run(|_, ended| all.push(ended));
        all
    }

    #[test]
    fn a_wake_during_the_own_poll_is_not_lost() {
        let mut seated = Seated::new(1);
        let mut first = true;
        seated.spawn(Box::pin(std::future::poll_fn(move |cx| {
            if std::mem::take(&mut first) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })));
        assert_eq!(run(&mut seated), []);
        seated.take_remote();
        assert_eq!(run(&mut seated), [Ended::Returned]);
        assert_eq!(seated.core.executor.len(), 0);
    }

    #[test]
    fn a_waker_kept_by_another_thread_wakes_its_own_task_again_and_again() {
        let mut seated = Seated::new(2);
        let polls = Rc::new(Cell::new(0));
        let (sender, receiver) = std::sync::mpsc::channel();
        let counted = Rc::clone(&polls);
        seated.spawn(Box::pin(std::future::poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            if counted.get() == 1 {
                sender.send(cx.waker().clone()).unwrap();
            }
            Poll::Pending
        })));
        seated.spawn(Box::pin(std::future::pending()));
        run(&mut seated);
        let kept = receiver.recv().unwrap();
        for round in 2..5 {
            let another = kept.clone();
            std::thread::spawn(move || {
                another.wake_by_ref();
                another.wake();
            })
            .join()
            .unwrap();
            seated.take_remote();
            run(&mut seated);
            assert_eq!(polls.get(), round);
        }
    }

    #[test]
    fn a_panic_ends_one_task() {
        let mut seated = Seated::new(2);
        seated.spawn(Box::pin(async { panic!("on purpose") }));
        let survivor = seated.spawn(Box::pin(std::future::pending()));
        assert_eq!(run(&mut seated), [Ended::Panicked]);
        assert_eq!(seated.core.executor.len(), 1);
        seated.core.wake(survivor);
        assert!(seated.core.executor.has_ready());
    }

    /// Panics when it is dropped, with another one.
    struct Grenade(u32);

    impl Drop for Grenade {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::panic_any(Grenade(self.0 - 1));
            }
        }
    }

    #[test]
    fn what_a_panic_carries_may_panic_and_so_may_what_a_task_owns() {
        let mut seated = Seated::new(3);
        seated.spawn(Box::pin(async { std::panic::panic_any(Grenade(3)) }));
        let owned = Grenade(1);
        seated.spawn(Box::pin(async move {
            let _owned = &owned;
        }));
        let survivor = seated.spawn(Box::pin(std::future::pending()));
        assert_eq!(run(&mut seated), [Ended::Panicked, Ended::Panicked]);
        assert_eq!(seated.core.executor.len(), 1);
        seated.core.executor.abandon(&seated.core.slots, survivor);
        assert_eq!(seated.core.executor.len(), 0);
        seated.core.wake(survivor);
        assert!(!seated.core.executor.has_ready());
    }

    #[test]
    fn a_stale_id_wakes_nobody_and_a_task_outlives_its_slot() {
        let mut seated = Seated::new(1);
        let polls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&polls);
        let old = seated.spawn(Box::pin(std::future::poll_fn(move |_| {
            counted.set(counted.get() + 1);
            if counted.get() == 2 { Poll::Ready(()) } else { Poll::Pending }
        })));
        run(&mut seated);
        seated.give_up(old);
        let new = seated.spawn(Box::pin(std::future::pending()));
        run(&mut seated);
        assert!(old.slot == new.slot && old != new);
        seated.core.wake(old);
        assert_eq!(run(&mut seated), [Ended::Returned]);
        assert_eq!((polls.get(), seated.core.executor.len()), (2, 1));
        seated.core.wake(old);
        assert!(!seated.core.executor.has_ready());
        seated.core.wake(new);
        assert!(seated.core.executor.has_ready());
    }
}
