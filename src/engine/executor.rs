//! The executor of a shard: handlers' futures, polled after the completions of a batch.
//!
//! A handler that only awaits its own socket is woken by a push onto a local list: no atomic, no
//! allocation. Whoever clones the waker (a timer of tokio, a channel) gets one that works from any
//! thread, through the shard's [`Remote`].

use super::registry::SlotId;
use super::remote::Remote;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Names a task. A stale one wakes nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A handler, erased.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Returned,
    Panicked,
}

/// The tasks of a shard and the list of those to poll.
pub(crate) struct Executor {
    tasks: RefCell<slab::Slab<Entry>>,
    ready: RefCell<Vec<TaskId>>,
    generation: Cell<u32>,
    current: RefCell<Current>,
    remote: Arc<Remote>,
}

struct Entry {
    generation: u32,
    queued: bool,
    /// The connection it handles.
    owner: SlotId,
    /// Absent while it is polled.
    task: Option<Task>,
}

/// The waker that the polled task sees. It is made anew only when a task has cloned it.
struct Current {
    waker: Waker,
    target: Arc<TaskWaker>,
}

impl Executor {
    /// An executor for so many tasks without moving any.
    pub(super) fn new(remote: Arc<Remote>, tasks: usize) -> Self {
        let current = Current::new(&remote);
        Self {
            tasks: RefCell::new(slab::Slab::with_capacity(tasks)),
            ready: RefCell::new(Vec::new()),
            generation: Cell::new(0),
            current: RefCell::new(current),
            remote,
        }
    }

    /// Tasks that have not ended.
    pub(super) fn len(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Adds the task of a connection and puts it on the list.
    pub(super) fn spawn(&self, owner: SlotId, task: Task) -> TaskId {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let entry = Entry { generation, queued: false, owner, task: Some(task) };
        let index = self.tasks.borrow_mut().insert(entry) as u32;
        let id = TaskId { index, generation };
        self.wake(id);
        id
    }

    /// Puts a task on the list of those to poll, once.
    pub(crate) fn wake(&self, id: TaskId) {
        if let Some(entry) = self.tasks.borrow_mut().get_mut(id.index as usize)
            && entry.generation == id.generation
            && !entry.queued
        {
            entry.queued = true;
            self.ready.borrow_mut().push(id);
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

    /// Polls what is on the list now. What is woken meanwhile waits for the next time, so that a
    /// task that wakes itself cannot starve the ring. `ended` hears of every task that ends.
    pub(super) fn run(&self, batch: &mut Vec<TaskId>, mut ended: impl FnMut(SlotId, Ended)) {
        std::mem::swap(&mut *self.ready.borrow_mut(), batch);
        for id in batch.drain(..) {
            let Some(mut task) = self.take(id) else { continue };
            self.current.borrow_mut().aim(id, &self.remote);
            // Borrowed during the poll, which may only look at it: a clone would be two atomics.
            let current = self.current.borrow();
            let polled = catch_unwind(AssertUnwindSafe(|| {
                task.as_mut().poll(&mut Context::from_waker(&current.waker))
            }));
            drop(current);
            let outcome = match polled {
                Ok(Poll::Pending) => {
                    self.put_back(id, task);
                    continue;
                }
                Ok(Poll::Ready(())) => Ended::Returned,
                Err(_) => Ended::Panicked,
            };
            let owner = self.tasks.borrow_mut().remove(id.index as usize).owner;
            // What a handler owns may panic when dropped; that must not end the shard either.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(task)));
            ended(owner, if dropped.is_err() { Ended::Panicked } else { outcome });
        }
    }

    fn take(&self, id: TaskId) -> Option<Task> {
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.get_mut(id.index as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        entry.queued = false;
        entry.task.take()
    }

    fn put_back(&self, id: TaskId, task: Task) {
        self.tasks.borrow_mut()[id.index as usize].task = Some(task);
    }

    /// Drops every task.
    pub(super) fn clear(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        for (_, entry) in tasks {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(entry)));
        }
    }
}

impl Current {
    fn new(remote: &Arc<Remote>) -> Self {
        let target = Arc::new(TaskWaker {
            index: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            queued: AtomicBool::new(false),
            remote: Arc::clone(remote),
        });
        Self { waker: Waker::from(Arc::clone(&target)), target }
    }

    /// Aims the waker at `id`. If a task has kept a clone, that one stays aimed at its task, and
    /// there is a new one for `id`.
    fn aim(&mut self, id: TaskId, remote: &Arc<Remote>) {
        // Ours: `target`, and the one inside `waker`.
        if Arc::strong_count(&self.target) > 2 {
            *self = Self::new(remote);
        }
        self.target.index.store(id.index, Ordering::Relaxed);
        self.target.generation.store(id.generation, Ordering::Relaxed);
        self.target.queued.store(false, Ordering::Relaxed);
    }
}

/// What a cloned waker points to.
pub(super) struct TaskWaker {
    index: AtomicU32,
    generation: AtomicU32,
    /// On the remote list already: wakes until it is taken from there are one.
    queued: AtomicBool,
    remote: Arc<Remote>,
}

impl TaskWaker {
    /// Taken from the remote list: which task to wake.
    pub(super) fn take(&self) -> TaskId {
        self.queued.store(false, Ordering::SeqCst);
        TaskId {
            index: self.index.load(Ordering::Relaxed),
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
    use super::super::remote::Taken;
    use super::*;
    use std::rc::Rc;

    const OWNER: SlotId = SlotId { slot: 3, generation: 1 };

    fn executor() -> (Executor, Arc<Remote>) {
        let remote = Arc::new(Remote::new());
        (Executor::new(Arc::clone(&remote), 4), remote)
    }

    fn run(executor: &Executor) -> Vec<Ended> {
        let mut all = Vec::new();
        executor.run(&mut Vec::new(), |_, ended| all.push(ended));
        all
    }

    fn take_remote(executor: &Executor, remote: &Remote) {
        remote.take(&mut Taken::default(), |id| executor.wake(id));
    }

    #[test]
    fn a_wake_during_the_own_poll_is_not_lost() {
        let (executor, remote) = executor();
        let mut first = true;
        executor.spawn(
            OWNER,
            Box::pin(std::future::poll_fn(move |cx| {
                if std::mem::take(&mut first) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(())
            })),
        );
        assert_eq!(run(&executor), []);
        take_remote(&executor, &remote);
        assert_eq!(run(&executor), [Ended::Returned]);
        assert_eq!(executor.len(), 0);
    }

    #[test]
    fn a_waker_kept_by_another_thread_wakes_its_own_task_again_and_again() {
        let (executor, remote) = executor();
        let polls = Rc::new(Cell::new(0));
        let (sender, receiver) = std::sync::mpsc::channel();
        let counted = Rc::clone(&polls);
        executor.spawn(
            OWNER,
            Box::pin(std::future::poll_fn(move |cx| {
                counted.set(counted.get() + 1);
                if counted.get() == 1 {
                    sender.send(cx.waker().clone()).unwrap();
                }
                Poll::Pending
            })),
        );
        executor.spawn(OWNER, Box::pin(std::future::pending()));
        run(&executor);
        let kept = receiver.recv().unwrap();
        for round in 2..5 {
            let another = kept.clone();
            std::thread::spawn(move || {
                another.wake_by_ref();
                another.wake();
            })
            .join()
            .unwrap();
            take_remote(&executor, &remote);
            run(&executor);
            assert_eq!(polls.get(), round);
        }
    }

    #[test]
    fn a_panic_ends_one_task() {
        let (executor, _remote) = executor();
        executor.spawn(OWNER, Box::pin(async { panic!("on purpose") }));
        let survivor = executor.spawn(OWNER, Box::pin(std::future::pending()));
        assert_eq!(run(&executor), [Ended::Panicked]);
        assert_eq!(executor.len(), 1);
        executor.wake(survivor);
        assert!(executor.has_ready());
    }

    #[test]
    fn a_stale_id_wakes_nobody() {
        let (executor, _remote) = executor();
        let old = executor.spawn(OWNER, Box::pin(async {}));
        run(&executor);
        let new = executor.spawn(OWNER, Box::pin(std::future::pending()));
        run(&executor);
        assert_eq!(old.index, new.index);
        executor.wake(old);
        assert!(!executor.has_ready());
    }
}
