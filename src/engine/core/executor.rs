//! The executor of a shard: handlers' futures, polled after the completions of a batch.
//!
//! A handler that only awaits its own socket is woken by a push onto a local list: no atomic, no
//! allocation. Whoever clones the waker (a timer of tokio, a channel) gets one that works from any
//! thread, through the shard's [`Bell`]. Owns the list of those to poll; the shard calls it once
//! a batch. Slots are not borrowed while a task is polled or dropped.

use crate::engine::connection::Connection;
use crate::engine::connection::state::Flag;
use crate::engine::core::Core;
use crate::engine::core::slots::Slots;
use crate::engine::model::bell::{Bell, TaskWaker};
use crate::engine::model::foreign;
use crate::engine::model::slot_id::SlotId;
use crate::engine::model::task::Task;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum TaskEnd {
    Returned,
    Panicked,
}

/// The list of tasks to poll. The tasks themselves are with their connections, whose [`SlotId`] names
/// them; a stale one wakes nobody.
pub(crate) struct Executor {
    /// Tasks that have not ended.
    tasks: Cell<usize>,
    current: RefCell<Current>,
    bell: Arc<Bell>,
}

/// The waker that the polled task sees. It is made anew only when a task has cloned it.
struct Current {
    waker: Waker,
    target: Arc<TaskWaker>,
}

impl Executor {
    pub(in crate::engine) fn new(bell: Arc<Bell>) -> Self {
        let current = Current::new(&bell);
        Self { tasks: Cell::new(0), current: RefCell::new(current), bell }
    }

    /// Tasks that have not ended.
    pub(in crate::engine) fn len(&self) -> usize {
        self.tasks.get()
    }

    /// Gives a connection its task and puts that on the list.
    pub(in crate::engine) fn spawn(&self, connection: &mut Connection, task: Task, core: &Core) {
        self.tasks.set(self.tasks.get() + 1);
        connection.task = Some(task);
        connection.flags.set(Flag::Handled);
        connection.wake_task(core);
    }

    /// Whether `waker` wakes the task that is being polled, so that a wake by the engine is
    /// enough for it. A combinator that polls its parts under wakers of its own is not.
    pub(crate) fn is_current(&self, waker: &Waker) -> bool {
        waker.will_wake(&self.current.borrow().waker)
    }

    /// Polls what is on the list now. What is woken meanwhile waits for the next time, so that a
    /// task that wakes itself cannot starve the ring. `ended` hears of every task that ends. The
    /// slots are not borrowed while a task is polled or dropped.
    pub(in crate::engine) fn run(
        &self,
        core: &Core,
        batch: &mut Vec<SlotId>,
        mut ended: impl FnMut(SlotId, TaskEnd),
    ) {
        let slots = &core.slots;
        std::mem::swap(&mut *core.ready.borrow_mut(), batch);
        for id in batch.drain(..) {
            let Some(mut task) = take(slots, id) else { continue };
            self.current.borrow_mut().aim(id, &self.bell);
            // Borrowed during the poll, which may only look at it: a clone would be two atomics.
            let current = self.current.borrow();
            let polled = foreign::call(|| task.poll(&mut Context::from_waker(&current.waker)));
            drop(current);
            let outcome = match polled {
                Ok(Poll::Pending) => {
                    put_back(slots, id, task);
                    continue;
                }
                Ok(Poll::Ready(())) => TaskEnd::Returned,
                Err(_) => TaskEnd::Panicked,
            };
            let dropped = self.end(slots, id, task);
            ended(id, if dropped { outcome } else { TaskEnd::Panicked });
        }
    }

    /// Drops a task. What a handler owns may panic then; that must not end the shard, and is said
    /// by `false`.
    fn end(&self, slots: &RefCell<Slots>, id: SlotId, task: Task) -> bool {
        let dropped = foreign::call(|| drop(task));
        self.tasks.set(self.tasks.get() - 1);
        let forgotten = slots.borrow_mut().forget_handler(id);
        let dropped_too = foreign::call(|| drop(forgotten));
        dropped.and(dropped_too).is_ok()
    }

    /// Drops the task of a connection although it has not ended.
    pub(in crate::engine) fn abandon(&self, slots: &RefCell<Slots>, id: SlotId) {
        if let Some(task) = take(slots, id) {
            self.end(slots, id, task);
        }
    }

    /// Drops every task.
    pub(in crate::engine) fn clear(&self, slots: &RefCell<Slots>) {
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

fn take(slots: &RefCell<Slots>, id: SlotId) -> Option<Task> {
    let mut slots = slots.borrow_mut();
    let connection = slots.of_handler(id)?;
    connection.flags.clear(Flag::Queued);
    connection.task.take()
}

fn put_back(slots: &RefCell<Slots>, id: SlotId, task: Task) {
    let mut slots = slots.borrow_mut();
    let connection = slots.of_handler(id).expect("a connection stays as long as its handler");
    connection.task = Some(task);
}

impl Current {
    fn new(bell: &Arc<Bell>) -> Self {
        let target = Arc::new(TaskWaker::new(Arc::clone(bell)));
        Self { waker: Waker::from(Arc::clone(&target)), target }
    }

    /// Aims the waker at `id`. If a task has kept a clone, that one stays aimed at its task, and
    /// there is a new one for `id`.
    fn aim(&mut self, id: SlotId, bell: &Arc<Bell>) {
        // Ours: `target`, and the one inside `waker`.
        if Arc::strong_count(&self.target) > 2 {
            *self = Self::new(bell);
        }
        self.target.aim(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bench::Seated;
    use std::rc::Rc;

    fn run(seated: &mut Seated) -> Vec<TaskEnd> {
        let mut all = Vec::new();
        seated.run(|_, ended| all.push(ended));
        all
    }

    #[test]
    fn a_wake_during_the_own_poll_is_not_lost() {
        let mut seated = Seated::new(1);
        let mut first = true;
        seated.spawn(Task::new(std::future::poll_fn(move |cx| {
            if std::mem::take(&mut first) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })));
        assert_eq!(run(&mut seated), []);
        seated.take_remote();
        assert_eq!(run(&mut seated), [TaskEnd::Returned]);
        assert_eq!(seated.core.executor.len(), 0);
    }

    #[test]
    fn a_waker_kept_by_another_thread_wakes_its_own_task_again_and_again() {
        let mut seated = Seated::new(2);
        let polls = Rc::new(Cell::new(0));
        let (sender, receiver) = std::sync::mpsc::channel();
        let counted = Rc::clone(&polls);
        seated.spawn(Task::new(std::future::poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            if counted.get() == 1 {
                sender.send(cx.waker().clone()).unwrap();
            }
            Poll::Pending
        })));
        seated.spawn(Task::new(std::future::pending()));
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
        seated.spawn(Task::new(async { panic!("on purpose") }));
        let survivor = seated.spawn(Task::new(std::future::pending()));
        assert_eq!(run(&mut seated), [TaskEnd::Panicked]);
        assert_eq!(seated.core.executor.len(), 1);
        seated.core.wake(survivor);
        assert!(!seated.core.ready.borrow().is_empty());
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
        seated.spawn(Task::new(async { std::panic::panic_any(Grenade(3)) }));
        let owned = Grenade(1);
        seated.spawn(Task::new(async move {
            let _owned = &owned;
        }));
        let survivor = seated.spawn(Task::new(std::future::pending()));
        assert_eq!(run(&mut seated), [TaskEnd::Panicked, TaskEnd::Panicked]);
        assert_eq!(seated.core.executor.len(), 1);
        seated.core.executor.abandon(&seated.core.slots, survivor);
        assert_eq!(seated.core.executor.len(), 0);
        seated.core.wake(survivor);
        assert!(seated.core.ready.borrow().is_empty());
    }

    #[test]
    fn a_stale_id_wakes_nobody_and_a_task_outlives_its_slot() {
        let mut seated = Seated::new(1);
        let polls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&polls);
        let old = seated.spawn(Task::new(std::future::poll_fn(move |_| {
            counted.set(counted.get() + 1);
            if counted.get() == 2 { Poll::Ready(()) } else { Poll::Pending }
        })));
        run(&mut seated);
        seated.give_up(old);
        let new = seated.spawn(Task::new(std::future::pending()));
        run(&mut seated);
        assert!(old.slot == new.slot && old != new);
        seated.core.wake(old);
        assert_eq!(run(&mut seated), [TaskEnd::Returned]);
        assert_eq!((polls.get(), seated.core.executor.len()), (2, 1));
        seated.core.wake(old);
        assert!(seated.core.ready.borrow().is_empty());
        seated.core.wake(new);
        assert!(!seated.core.ready.borrow().is_empty());
    }
}
