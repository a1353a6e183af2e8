//! What wakes a shard from any thread: its tasks that were woken elsewhere, sockets that it is to look
//! at, and the doorbell that ends its wait in the kernel.
//!
//! Called by wakers, by the holders of shared sockets, and by the mailbox of the shard; the shard
//! takes what came. Bounded without a limit of its own: a waker is on the list at most once, and
//! there are as many as tasks have cloned; so is a nudge, of which there are as many as sockets, and
//! a panic, after which its socket is closed. The doorbell is rung once per sleep, not once per
//! message.

use crate::clock::Moment;
use crate::engine::model::slot_id::SlotId;
use crate::ring::Doorbell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Wake;
use std::time::{Duration, Instant};

/// One per shard, shared with every waker that left its thread.
#[derive(Default)]
pub(in crate::engine) struct Bell {
    lists: Mutex<Rung>,
    /// Something is on a list, of this or of the mailbox.
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

/// What has come. Kept by the shard, for the memory of its lists.
#[derive(Default)]
pub(in crate::engine) struct Rung {
    wakes: Vec<Arc<TaskWaker>>,
    pub(in crate::engine) nudges: Vec<SlotId>,
    /// Sockets the waker of whose holder has panicked.
    pub(in crate::engine) panicked: BTreeSet<SlotId>,
}

impl Rung {
    /// The tasks that were woken.
    pub(in crate::engine) fn wake(&mut self, mut wake: impl FnMut(SlotId)) {
        self.wakes.drain(..).for_each(|waker| wake(waker.take()));
    }
}

impl Bell {
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

    fn wake(&self, waker: Arc<TaskWaker>) {
        self.lists().wakes.push(waker);
        self.announce();
    }

    /// Lets the shard look at a socket.
    pub(in crate::engine) fn nudge(&self, slot: SlotId) {
        self.lists().nudges.push(slot);
        self.announce();
    }

    /// The waker of whoever holds this socket has panicked: it is to be closed with 1011.
    pub(in crate::engine) fn report_panic(&self, slot: SlotId) {
        self.lists().panicked.insert(slot);
        self.announce();
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

    /// Takes what came, into empty lists. `false`: nothing did, to the mailbox neither.
    pub(in crate::engine) fn take(&self, rung: &mut Rung) -> bool {
        let came = self.pending.swap(false, Ordering::SeqCst);
        if came {
            std::mem::swap(&mut *self.lists(), rung);
        }
        came
    }

    /// The shard has ended. A waker on the list holds the bell, which would hold the list.
    pub(in crate::engine) fn clear(&self) {
        // Dropped without the lock.
        let dropped = std::mem::take(&mut *self.lists());
        drop(dropped);
    }

    /// Something is on a list: wakes the shard if it sleeps.
    pub(in crate::engine) fn announce(&self) {
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

    fn lists(&self) -> MutexGuard<'_, Rung> {
        // Nothing panics while it holds the lock, and a list is whole at every step.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a waker points to that has left the shard's thread.
pub(in crate::engine) struct TaskWaker {
    slot: AtomicU32,
    generation: AtomicU32,
    /// On the list already: wakes until it is taken from there are one.
    queued: AtomicBool,
    bell: Arc<Bell>,
}

impl TaskWaker {
    /// One that wakes nobody yet.
    pub(in crate::engine) fn new(bell: Arc<Bell>) -> Self {
        let (slot, generation) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { slot, generation, queued: AtomicBool::new(false), bell }
    }

    /// Aims it at a task; only while nobody else has it.
    pub(in crate::engine) fn aim(&self, id: SlotId) {
        self.slot.store(id.slot, Ordering::Relaxed);
        self.generation.store(id.generation, Ordering::Relaxed);
        self.queued.store(false, Ordering::Relaxed);
    }

    /// Taken from the list: which task to wake.
    fn take(&self) -> SlotId {
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
            self.bell.wake(Arc::clone(self));
        }
    }
}
