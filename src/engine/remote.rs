//! What other threads may hand a shard: wakes of its tasks, and commands.
//!
//! Bounded without a number: a waker is on the list at most once, and there are as many as tasks
//! have cloned; commands are sent by the program only. The doorbell is rung once per sleep, not
//! once per message.

use super::executor::{TaskId, TaskWaker};
use super::registry::SlotId;
use crate::ring::Doorbell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What a shard can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Stop accepting, close every connection with 1001, and end.
    Drain,
    /// The session of this connection is no more: close it with 1008 and this reason.
    EndSession(SlotId, &'static str),
}

/// One per shard, shared with every waker that left its thread.
#[derive(Default)]
pub(super) struct Remote {
    lists: Mutex<Lists>,
    /// Something is on a list.
    pending: AtomicBool,
    /// The shard is about to wait, or waits, in the kernel.
    sleeping: AtomicBool,
    doorbell: OnceLock<Arc<dyn Doorbell>>,
}

#[derive(Default)]
struct Lists {
    wakes: Vec<Arc<TaskWaker>>,
    commands: Vec<Command>,
}

impl Remote {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// How to wake the shard; told once, by the shard, when its ring exists.
    pub(super) fn set_doorbell(&self, doorbell: Arc<dyn Doorbell>) {
        let _ = self.doorbell.set(doorbell);
    }

    pub(super) fn wake(&self, waker: Arc<TaskWaker>) {
        self.lists().wakes.push(waker);
        self.announce();
    }

    pub(super) fn send(&self, command: Command) {
        self.lists().commands.push(command);
        self.announce();
    }

    /// Says that the shard is about to wait. `false`: something came meanwhile, do not.
    pub(super) fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        !self.pending.load(Ordering::SeqCst)
    }

    /// Says that the shard is awake: nobody needs to ring.
    pub(super) fn is_awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Takes the wakes that came, in order. `scratch` keeps the memory of the list.
    pub(super) fn take_wakes(
        &self,
        scratch: &mut Vec<Arc<TaskWaker>>,
        mut wake: impl FnMut(TaskId),
    ) -> Vec<Command> {
        // The look costs nothing, the swap a locked instruction in every batch. What it overlooks
        // `may_sleep` sees.
        if !self.pending.load(Ordering::Relaxed) || !self.pending.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        let commands = {
            let mut lists = self.lists();
            std::mem::swap(&mut lists.wakes, scratch);
            std::mem::take(&mut lists.commands)
        };
        scratch.drain(..).for_each(|waker| wake(waker.take()));
        commands
    }

    fn announce(&self) {
        self.pending.store(true, Ordering::SeqCst);
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
