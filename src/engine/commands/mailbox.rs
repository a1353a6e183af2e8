//! What other threads may hand a shard: wakes of its tasks, commands, and nudges to look at a
//! socket that is shared with one of them.
//!
//! Bounded: a waker is on the list at most once, and there are as many as tasks have cloned; so is
//! a nudge, of which there are as many as sockets; who has a command waits while there are too
//! many. The doorbell is rung once per sleep, not once per message.

use crate::clock::Moment;
use crate::engine::commands::Command;
use crate::engine::core::executor::TaskWaker;
use crate::engine::core::foreign;
use crate::engine::core::slots::SlotId;
use crate::ring::Doorbell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Commands that may wait for a shard.
const COMMANDS_MAX: usize = 4_096;

/// One per shard, shared with every waker that left its thread.
#[derive(Default)]
pub(in crate::engine) struct Remote {
    lists: Mutex<Lists>,
    /// Something is on a list.
    pending: AtomicBool,
    /// The shard is about to wait, or waits, in the kernel.
    sleeping: AtomicBool,
    /// The shard's time when it last went round, in milliseconds.
    ticked_ms: AtomicU64,
    /// The same when it was last woken by the doorbell.
    rung_ms: AtomicU64,
    /// When the shard's time began; never told in a simulation, whose time is invented.
    began: OnceLock<Instant>,
    doorbell: OnceLock<Arc<dyn Doorbell>>,
}

#[derive(Default)]
struct Lists {
    wakes: Vec<Arc<TaskWaker>>,
    nudges: Vec<SlotId>,
    commands: Vec<Command>,
    /// Who waits because there are too many commands.
    crowd: Vec<Waker>,
    /// The shard has ended.
    closed: bool,
}

/// What was taken from the lists at once. Kept, for the memory of its lists.
#[derive(Default)]
pub(in crate::engine) struct Taken {
    wakes: Vec<Arc<TaskWaker>>,
    pub(in crate::engine) nudges: Vec<SlotId>,
    pub(in crate::engine) commands: Vec<Command>,
}

impl Remote {
    pub(in crate::engine) fn new() -> Self {
        Self::default()
    }

    /// How to wake the shard; told once, by the shard, when its ring exists.
    pub(in crate::engine) fn set_doorbell(&self, doorbell: Arc<dyn Doorbell>) {
        let _ = self.doorbell.set(doorbell);
    }

    /// That the shard's time is `now`, and goes on with the clock; told once.
    pub(in crate::engine) fn set_clock(&self, now: Moment) {
        let passed = Duration::from_millis(now.as_millis());
        if let Some(began) = Instant::now().checked_sub(passed) {
            let _ = self.began.set(began);
        }
    }

    /// The shard's time, as any thread may know it: never behind a time that the shard has acted
    /// upon.
    pub(in crate::engine) fn now(&self) -> Moment {
        let ticked = self.ticked_ms.load(Ordering::Acquire);
        let clock = self.began.get().map_or(0, |began| began.elapsed().as_millis() as u64);
        Moment::from_millis(ticked.max(clock))
    }

    pub(in crate::engine) fn wake(&self, waker: Arc<TaskWaker>) {
        self.lists().wakes.push(waker);
        self.announce();
    }

    /// Lets the shard look at a socket.
    pub(in crate::engine) fn nudge(&self, slot: SlotId) {
        self.lists().nudges.push(slot);
        self.announce();
    }

    /// Hands over a command, whether there are too many or not.
    pub(in crate::engine) fn send(&self, command: Command) {
        let mut lists = self.lists();
        if !lists.closed {
            lists.commands.push(command);
            drop(lists);
            self.announce();
        }
    }

    /// Hands over a command as soon as there are not too many; drops it if the shard has ended.
    pub(in crate::engine) async fn submit(&self, command: Command) {
        let mut command = Some(command);
        poll_fn(|context| {
            // Cloned without the lock: a waker is not ours.
            let mut waker = None;
            loop {
                let mut lists = self.lists();
                if lists.closed {
                    return Poll::Ready(());
                }
                if lists.commands.len() < COMMANDS_MAX {
                    lists.commands.extend(command.take());
                    drop(lists);
                    self.announce();
                    return Poll::Ready(());
                }
                if let Some(waker) = waker.take() {
                    lists.crowd.push(waker);
                    return Poll::Pending;
                }
                drop(lists);
                waker = Some(context.waker().clone());
            }
        })
        .await;
    }

    /// Says that the shard is about to wait. `false`: something came meanwhile, do not.
    pub(in crate::engine) fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        !self.pending.load(Ordering::SeqCst)
    }

    /// Says that the shard is awake: nobody needs to ring.
    pub(in crate::engine) fn is_awake(&self, now: Moment) {
        self.sleeping.store(false, Ordering::Relaxed);
        self.ticked_ms.store(now.as_millis(), Ordering::Release);
    }

    /// Time since the shard last went round; zero while it waits for something to do.
    pub(in crate::engine) fn tick_age(&self) -> Duration {
        if self.sleeping.load(Ordering::SeqCst) {
            return Duration::ZERO;
        }
        let ticked = self.ticked_ms.load(Ordering::Relaxed);
        let last = Moment::from_millis(ticked.max(self.rung_ms.load(Ordering::Relaxed)));
        self.now().since(last)
    }

    /// Whether something may have come. The look costs nothing; what it overlooks `may_sleep`
    /// sees.
    #[inline]
    pub(in crate::engine) fn has_something(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// The shard has not done everything, and is to come back instead of waiting.
    pub(in crate::engine) fn remind(&self) {
        self.pending.store(true, Ordering::SeqCst);
    }

    /// Takes what came, in order: wakes go to `wake`, the rest is in `taken`.
    pub(in crate::engine) fn take(&self, taken: &mut Taken, mut wake: impl FnMut(SlotId)) {
        if !self.pending.swap(false, Ordering::SeqCst) {
            return;
        }
        let crowd = {
            let mut lists = self.lists();
            std::mem::swap(&mut lists.wakes, &mut taken.wakes);
            std::mem::swap(&mut lists.nudges, &mut taken.nudges);
            std::mem::swap(&mut lists.commands, &mut taken.commands);
            std::mem::take(&mut lists.crowd)
        };
        wake_all(crowd);
        taken.wakes.drain(..).for_each(|waker| wake(waker.take()));
    }

    /// The shard has ended: nobody is to wait for it any more.
    pub(in crate::engine) fn close(&self) {
        // Dropped without the lock: what goes with a command may look at this list.
        let dropped =
            std::mem::replace(&mut *self.lists(), Lists { closed: true, ..Lists::default() });
        let Lists { crowd, commands, .. } = dropped;
        wake_all(crowd);
        for command in commands {
            let _ = foreign::call(|| drop(command));
        }
    }

    /// Whether the shard has ended.
    pub(in crate::engine) fn is_closed(&self) -> bool {
        self.lists().closed
    }

    fn announce(&self) {
        self.pending.store(true, Ordering::SeqCst);
        if !self.sleeping.load(Ordering::SeqCst) {
            return;
        }
        // Before it counts as awake: it must not look as if it had been for long.
        self.rung_ms.store(self.now().as_millis(), Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst)
            && let Some(doorbell) = self.doorbell.get()
        {
            doorbell.ring();
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        // Nothing panics while it holds the lock, and a list is whole at every step.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose waker panics waits for ever, and the others do not.
fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        let _ = foreign::wake(waker);
    }
}
