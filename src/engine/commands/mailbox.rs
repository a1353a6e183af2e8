//! The commands that other threads hand a shard, beside its bell.
//!
//! Bounded: who has a command waits while there are too many. A few are not waited with, because who
//! sends them cannot wait, and count on their senders: a drain and looks at the memory of the process,
//! a handful at a time, and one end of its session for each socket.

use crate::engine::commands::Command;
use crate::engine::model::bell::Bell;
use crate::engine::model::foreign;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Commands that may wait for a shard.
const COMMANDS_MAX: usize = 4_096;

/// One per shard, for those who ask it something.
#[derive(Default)]
pub(in crate::engine) struct Mailbox {
    bell: Arc<Bell>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    commands: Vec<Command>,
    /// Who waits because there are too many commands.
    crowd: Vec<Waker>,
    /// The shard has ended.
    closed: bool,
}

impl Mailbox {
    /// What wakes the shard.
    pub(in crate::engine) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Hands over a command, whether there are too many or not.
    pub(in crate::engine) fn send(&self, command: Command) {
        let mut queue = self.queue();
        if !queue.closed {
            queue.commands.push(command);
            drop(queue);
            self.bell.announce();
        }
    }

    /// Hands over a command as soon as there are not too many; drops it if the shard has ended.
    pub(in crate::engine) async fn submit(&self, command: Command) {
        let mut command = Some(command);
        poll_fn(|context| {
            // Cloned without the lock: a waker is not ours.
            let mut waker = None;
            loop {
                let mut queue = self.queue();
                if queue.closed {
                    return Poll::Ready(());
                }
                if queue.commands.len() < COMMANDS_MAX {
                    queue.commands.extend(command.take());
                    drop(queue);
                    self.bell.announce();
                    return Poll::Ready(());
                }
                if let Some(waker) = waker.take() {
                    queue.crowd.push(waker);
                    return Poll::Pending;
                }
                drop(queue);
                waker = Some(context.waker().clone());
            }
        })
        .await;
    }

    /// Takes what came, in order, into an empty list, which is kept for its memory.
    pub(in crate::engine) fn take(&self, commands: &mut Vec<Command>) {
        let crowd = {
            let mut queue = self.queue();
            std::mem::swap(&mut queue.commands, commands);
            std::mem::take(&mut queue.crowd)
        };
        wake_all(crowd);
    }

    /// The shard has ended: nobody is to wait for it any more.
    pub(in crate::engine) fn close(&self) {
        // Dropped without the lock: what goes with a command may look at this list.
        let dropped =
            std::mem::replace(&mut *self.queue(), Queue { closed: true, ..Queue::default() });
        let Queue { crowd, commands, .. } = dropped;
        wake_all(crowd);
        for command in commands {
            let _ = foreign::call(|| drop(command));
        }
    }

    /// Whether the shard has ended.
    pub(in crate::engine) fn is_closed(&self) -> bool {
        self.queue().closed
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock, and the list is whole at every step.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose waker panics waits for ever, and the others do not.
fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        let _ = foreign::wake(waker);
    }
}
