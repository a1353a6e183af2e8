//! What other threads hand a shard beside its bell: commands, and notices.
//!
//! Bounded: who has a command waits while there are too many, and the shard takes no more before it has
//! done those that it took; a notice is on the list once.

use crate::engine::commands::{Command, Notice};
use crate::engine::model::bell::{Bell, Rung};
use crate::engine::model::foreign;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Commands that may wait for a shard. As many again it may have taken and not done.
pub(in crate::engine) const COMMANDS_MAX: usize = 4_096;

/// One per shard, for those who ask it something.
#[derive(Default)]
pub(in crate::engine) struct Mailbox {
    bell: Arc<Bell>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    notices: BTreeSet<Notice>,
    commands: VecDeque<Command>,
    /// Who waits because there are too many commands, by ticket.
    crowd: BTreeMap<u64, Waker>,
    last_ticket: u64,
    /// The shard has ended.
    closed: bool,
}

/// What the shard has taken and not done. Kept, for the memory of its lists.
#[derive(Default)]
pub(in crate::engine) struct Batch {
    pub(in crate::engine) notices: BTreeSet<Notice>,
    pub(in crate::engine) commands: VecDeque<Command>,
}

impl Batch {
    /// Whether everything was done that may take more than one batch of completions.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.notices.is_empty() && self.commands.is_empty()
    }
}

impl Mailbox {
    /// What wakes the shard.
    pub(in crate::engine) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Tells the shard, which is told already if it has not come round since.
    pub(in crate::engine) fn notify(&self, notice: Notice) {
        let mut queue = self.queue();
        if !queue.closed && queue.notices.insert(notice) {
            drop(queue);
            self.bell.announce();
        }
    }

    /// Hands over a command as soon as there are not too many; drops it if the shard has ended.
    pub(in crate::engine) async fn submit(&self, command: Command) {
        let mut command = Some(command);
        let mut place = Place { mailbox: self, ticket: None };
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
                    let ticket = *place.ticket.get_or_insert(queue.last_ticket + 1);
                    queue.last_ticket = queue.last_ticket.max(ticket);
                    let before = queue.crowd.insert(ticket, waker);
                    drop(queue);
                    drop(before);
                    return Poll::Pending;
                }
                drop(queue);
                waker = Some(context.waker().clone());
            }
        })
        .await;
    }

    /// Takes what came, of the bell as well; both at once, so that who nudges and asks then, or asks and
    /// nudges then, finds both done in this order. Commands stay while there are some in `batch`.
    /// `false`: nothing came.
    pub(in crate::engine) fn take(&self, batch: &mut Batch, rung: &mut Rung) -> bool {
        let crowd = {
            let mut queue = self.queue();
            if !self.bell.take(rung) {
                return false;
            }
            batch.notices.append(&mut queue.notices);
            if batch.commands.is_empty() {
                std::mem::swap(&mut queue.commands, &mut batch.commands);
                std::mem::take(&mut queue.crowd)
            } else {
                self.bell.remind();
                BTreeMap::new()
            }
        };
        wake_all(crowd);
        true
    }

    /// The shard has ended: nobody is to wait for it any more.
    pub(in crate::engine) fn close(&self) {
        // Dropped without the lock: what goes with a command may look at this list.
        let dropped =
            std::mem::replace(&mut *self.queue(), Queue { closed: true, ..Queue::default() });
        let Queue { crowd, commands, .. } = dropped;
        self.bell.clear();
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

/// The place of one who waits among the others, given up when that is over, however it ends.
struct Place<'a> {
    mailbox: &'a Mailbox,
    ticket: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waker = self.mailbox.queue().crowd.remove(&ticket);
            // Without the lock.
            drop(waker);
        }
    }
}

/// Whose waker panics waits for ever, and the others do not.
fn wake_all(crowd: BTreeMap<u64, Waker>) {
    for waker in crowd.into_values() {
        let _ = foreign::wake(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::reply::Reply;
    use crate::engine::model::slot_id::SlotId;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    fn command() -> Command {
        Command::Status { reply: Reply::new().0 }
    }

    /// Hands over commands until one has to wait, and says how many were taken.
    fn fill(mailbox: &Mailbox) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        (0..).take_while(|_| pin!(mailbox.submit(command())).poll(&mut context).is_ready()).count()
    }

    /// Counts its wakes.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_command_is_taken_in_its_turn() {
        let (mailbox, mut batch) = (Mailbox::default(), Batch::default());
        let (mut given, mut done) = (0, 0);
        for _ in 0..100 {
            given += fill(&mailbox);
            mailbox.take(&mut batch, &mut Rung::default());
            done += batch.commands.drain(..batch.commands.len().min(1_000)).count();
        }
        while !batch.is_empty() || !mailbox.queue().commands.is_empty() {
            assert!(mailbox.bell.has_something(), "the shard would sleep");
            mailbox.take(&mut batch, &mut Rung::default());
            done += batch.commands.drain(..).count();
        }
        assert_eq!(given, done);
    }

    #[test]
    fn a_shard_is_told_once_what_it_is_told_often() {
        let (mailbox, mut batch) = (Mailbox::default(), Batch::default());
        let socket = |slot| Notice::EndSession(SlotId { slot, generation: 7 }, "over");
        let told = [Notice::Drain, Notice::Memory, socket(1), socket(2)];
        for notice in told.into_iter().cycle().take(4_000) {
            mailbox.notify(notice);
        }
        mailbox.take(&mut batch, &mut Rung::default());
        mailbox.notify(Notice::Memory);
        mailbox.take(&mut batch, &mut Rung::default());
        assert_eq!(batch.notices, told.into());
    }

    #[test]
    fn who_waits_has_one_place_and_gives_it_up() {
        let mailbox = Mailbox::default();
        fill(&mailbox);
        let wakes = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let mut waiting: Vec<Pin<Box<_>>> =
            (0..3).map(|_| Box::pin(mailbox.submit(command()))).collect();
        for _ in 0..5 {
            assert!(waiting.iter_mut().all(|one| one.as_mut().poll(&mut context).is_pending()));
        }
        assert_eq!(mailbox.queue().crowd.len(), 3);
        waiting.pop();
        assert_eq!(mailbox.queue().crowd.len(), 2);
        mailbox.take(&mut Batch::default(), &mut Rung::default());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
        assert!(waiting.iter_mut().all(|one| one.as_mut().poll(&mut context).is_ready()));
    }

    /// A holder nudges and then asks by id, again and again: no command comes before its nudge.
    #[test]
    fn a_command_does_not_overtake_the_nudge_before_it() {
        const ROUNDS: u32 = 20_000;
        let mailbox = Arc::new(Mailbox::default());
        let of_holder = Arc::clone(&mailbox);
        let holder = std::thread::spawn(move || {
            let mut context = Context::from_waker(Waker::noop());
            for slot in 0..ROUNDS {
                of_holder.bell().nudge(SlotId { slot, generation: 0 });
                let mut asking = pin!(of_holder.submit(command()));
                while asking.as_mut().poll(&mut context).is_pending() {
                    std::thread::yield_now();
                }
            }
        });
        let (mut batch, mut rung) = (Batch::default(), Rung::default());
        let (mut nudges, mut commands) = (0, 0);
        while commands < ROUNDS as usize {
            mailbox.take(&mut batch, &mut rung);
            nudges += rung.nudges.drain(..).count();
            commands += batch.commands.drain(..).count();
            assert!(commands <= nudges, "{commands} commands, and {nudges} nudges");
        }
        holder.join().expect("it only asks");
    }
}
