//! What other threads may hand a shard: wakes of its tasks, commands, notices, and nudges to look at
//! a socket that is shared with one of them.
//!
//! Bounded: a waker is on the list at most once, and there are as many as tasks have cloned; so is
//! a nudge, of which there are as many as sockets, and a notice; who has a command waits while there
//! are too many, and the shard takes no more before it has done those that it took. The doorbell is
//! rung once per sleep, not once per message.

use super::command::{Command, Notice};
use super::executor::TaskWaker;
use super::foreign;
use super::registry::SlotId;
use crate::clock::Moment;
use crate::ring::Doorbell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Commands that may wait for a shard. As many again it may have taken and not done.
pub(super) const COMMANDS_MAX: usize = 4_096;

/// One per shard, shared with every waker that left its thread.
#[derive(Default)]
pub(super) struct Remote {
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
    notices: BTreeSet<Notice>,
    commands: VecDeque<Command>,
    /// Who waits because there are too many commands, by ticket.
    crowd: BTreeMap<u64, Waker>,
    last_ticket: u64,
    /// The shard has ended.
    closed: bool,
}

/// What was taken from the lists. Kept, for the memory of its lists.
#[derive(Default)]
pub(super) struct Taken {
    wakes: Vec<Arc<TaskWaker>>,
    pub(super) nudges: Vec<SlotId>,
    pub(super) notices: BTreeSet<Notice>,
    pub(super) commands: VecDeque<Command>,
}

impl Taken {
    /// Whether everything was done that may take more than one batch.
    pub(super) fn is_empty(&self) -> bool {
        self.notices.is_empty() && self.commands.is_empty()
    }
}

impl Remote {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// How to wake the shard; told once, by the shard, when its ring exists.
    pub(super) fn set_doorbell(&self, doorbell: Arc<dyn Doorbell>) {
        let _ = self.doorbell.set(doorbell);
    }

    /// That the shard's time is `now`, and goes on with the clock; told once.
    pub(super) fn set_clock(&self, now: Moment) {
        let passed = Duration::from_millis(now.as_millis());
        if let Some(began) = Instant::now().checked_sub(passed) {
            let _ = self.began.set(began);
        }
    }

    /// The shard's time, as any thread may know it: never behind a time that the shard has acted
    /// upon.
    pub(super) fn now(&self) -> Moment {
        let ticked = self.ticked_ms.load(Ordering::Acquire);
        let clock = self.began.get().map_or(0, |began| began.elapsed().as_millis() as u64);
        Moment::from_millis(ticked.max(clock))
    }

    pub(super) fn wake(&self, waker: Arc<TaskWaker>) {
        self.lists().wakes.push(waker);
        self.announce();
    }

    /// Lets the shard look at a socket.
    pub(super) fn nudge(&self, slot: SlotId) {
        self.lists().nudges.push(slot);
        self.announce();
    }

    /// Tells the shard, which is told already if it has not come round since.
    pub(super) fn notify(&self, notice: Notice) {
        let mut lists = self.lists();
        if !lists.closed && lists.notices.insert(notice) {
            drop(lists);
            self.announce();
        }
    }

    /// Hands over a command as soon as there are not too many; drops it if the shard has ended.
    pub(super) async fn submit(&self, command: Command) {
        let mut command = Some(command);
        let mut place = Place { remote: self, ticket: None };
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
                    let ticket = *place.ticket.get_or_insert(lists.last_ticket + 1);
                    lists.last_ticket = lists.last_ticket.max(ticket);
                    let before = lists.crowd.insert(ticket, waker);
                    drop(lists);
                    drop(before);
                    return Poll::Pending;
                }
                drop(lists);
                waker = Some(context.waker().clone());
            }
        })
        .await;
    }

    /// Says that the shard is about to wait. `false`: something came meanwhile, do not.
    pub(super) fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        !self.pending.load(Ordering::SeqCst)
    }

    /// Says that the shard is awake: nobody needs to ring.
    pub(super) fn is_awake(&self, now: Moment) {
        self.sleeping.store(false, Ordering::Relaxed);
        self.ticked_ms.store(now.as_millis(), Ordering::Release);
    }

    /// Time since the shard last went round; zero while it waits for something to do.
    pub(super) fn tick_age(&self) -> Duration {
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
    pub(super) fn has_something(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// The shard has not done everything, and is to come back instead of waiting.
    pub(super) fn remind(&self) {
        self.pending.store(true, Ordering::SeqCst);
    }

    /// Takes what came, in order: wakes go to `wake`, the rest is in `taken`. Commands stay while
    /// there are some in `taken`.
    pub(super) fn take(&self, taken: &mut Taken, mut wake: impl FnMut(SlotId)) {
        if !self.pending.swap(false, Ordering::SeqCst) {
            return;
        }
        let crowd = {
            let mut lists = self.lists();
            std::mem::swap(&mut lists.wakes, &mut taken.wakes);
            std::mem::swap(&mut lists.nudges, &mut taken.nudges);
            taken.notices.append(&mut lists.notices);
            if taken.commands.is_empty() {
                std::mem::swap(&mut lists.commands, &mut taken.commands);
                std::mem::take(&mut lists.crowd)
            } else {
                self.remind();
                BTreeMap::new()
            }
        };
        wake_all(crowd);
        taken.wakes.drain(..).for_each(|waker| wake(waker.take()));
    }

    /// The shard has ended: nobody is to wait for it any more.
    pub(super) fn close(&self) {
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
    pub(super) fn is_closed(&self) -> bool {
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

/// The place of one who waits among the others, given up when that is over, however it ends.
struct Place<'a> {
    remote: &'a Remote,
    ticket: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waker = self.remote.lists().crowd.remove(&ticket);
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
    use super::super::command::Reply;
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Wake};

    fn command() -> Command {
        Command::Status { reply: Reply::new().0 }
    }

    /// Hands over commands until one has to wait, and says how many were taken.
    fn fill(remote: &Remote) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        (0..).take_while(|_| pin!(remote.submit(command())).poll(&mut context).is_ready()).count()
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
        let (remote, mut taken) = (Remote::new(), Taken::default());
        let (mut given, mut done) = (0, 0);
        for _ in 0..100 {
            given += fill(&remote);
            remote.take(&mut taken, |_| {});
            done += taken.commands.drain(..taken.commands.len().min(1_000)).count();
        }
        while remote.has_something() {
            remote.take(&mut taken, |_| {});
            done += taken.commands.drain(..).count();
        }
        assert_eq!((given, remote.lists().commands.len()), (done, 0));
    }

    #[test]
    fn a_shard_is_told_once_what_it_is_told_often() {
        let (remote, mut taken) = (Remote::new(), Taken::default());
        let socket = |slot| Notice::Panicked(SlotId { slot, generation: 7 });
        let told = [Notice::Drain, Notice::Memory, socket(1), socket(2)];
        for notice in told.into_iter().cycle().take(4_000) {
            remote.notify(notice);
        }
        remote.take(&mut taken, |_| {});
        remote.notify(Notice::Memory);
        remote.take(&mut taken, |_| {});
        assert_eq!(taken.notices, told.into());
    }

    #[test]
    fn who_waits_has_one_place_and_gives_it_up() {
        let remote = Remote::new();
        fill(&remote);
        let wakes = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let mut waiting: Vec<Pin<Box<_>>> =
            (0..3).map(|_| Box::pin(remote.submit(command()))).collect();
        for _ in 0..5 {
            assert!(waiting.iter_mut().all(|one| one.as_mut().poll(&mut context).is_pending()));
        }
        assert_eq!(remote.lists().crowd.len(), 3);
        waiting.pop();
        assert_eq!(remote.lists().crowd.len(), 2);
        remote.take(&mut Taken::default(), |_| {});
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
        assert!(waiting.iter_mut().all(|one| one.as_mut().poll(&mut context).is_ready()));
    }
}
