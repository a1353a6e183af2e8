//! The threads of the idle run: when each opens its connections, and when all leave.
//!
//! `idle` starts them and waits with them; what one does is in `holder`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use rustix::process::{Resource, getrlimit};

use super::Plan;
use super::holder::{Holder, Shared};
use crate::handshake::Target;
use crate::interrupt;

/// Connections of one ring, if the limit of descriptors allows.
const PER_RING_MAX: u64 = 16_000;
const TICK: Duration = Duration::from_millis(100);

enum Event {
    /// A ring stands.
    Ready,
    /// A thread has opened all its connections.
    Open,
    /// A thread has ended.
    Ended(Result<()>),
}

/// The threads that hold connections.
pub(super) struct Holders {
    pub(super) shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
    events: mpsc::Receiver<Event>,
    /// Lets a thread open its connections; the last one first.
    starters: Vec<mpsc::Sender<()>>,
}

impl Holders {
    /// Starts the threads and sets up their rings, so that these count in no measurement.
    pub(super) fn start(plan: &Plan, target: &Target) -> Result<Holders> {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(PER_RING_MAX);
        let per_ring = limit.min(PER_RING_MAX) as u32;
        let (sender, events) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let mut holders = Holders { shared, threads: Vec::new(), events, starters: Vec::new() };
        for first in (0..plan.connections).step_by(per_ring as usize) {
            let count = per_ring.min(plan.connections - first);
            let (shared, target, raw) = (Arc::clone(&holders.shared), target.clone(), plan.raw);
            let (events, (starter, started)) = (sender.clone(), mpsc::channel::<()>());
            let hold = move || {
                let hold = || {
                    let mut holder = Holder::new(count, raw, &shared)?;
                    // The receiver outlives the threads; a starter that is gone means: leave.
                    let _ = events.send(Event::Ready);
                    if started.recv().is_err() {
                        return Ok(());
                    }
                    holder.open(&target, first)?;
                    let _ = events.send(Event::Open);
                    holder.hold()
                };
                let _ = events.send(Event::Ended(hold()));
            };
            let builder = thread::Builder::new().name(format!("idle-{first}"));
            holders.threads.push(builder.stack_size(256 * 1024).spawn(hold)?);
            holders.starters.push(starter);
        }
        let mut waited_for = holders.threads.len();
        while waited_for > 0 {
            waited_for -= usize::from(holders.next()?.is_some());
        }
        Ok(holders)
    }

    /// Lets the threads open their connections, some at a time. Returns how many there are: fewer
    /// after Ctrl-C.
    pub(super) fn open(&mut self, plan: &Plan) -> Result<u32> {
        let progress = crate::progress::bar(u64::from(plan.connections), "connecting", false);
        let mut closed = self.threads.len();
        for _ in 0..plan.openers {
            self.start_one();
        }
        while closed > 0 {
            progress.set_position(u64::from(self.shared.opened.load(Ordering::Acquire)));
            if interrupt::is_asked() {
                self.shared.enough.store(true, Ordering::Relaxed);
            }
            if self.next()?.is_some() {
                closed -= 1;
                self.start_one();
            }
        }
        progress.finish_and_clear();
        let opened = self.shared.opened.load(Ordering::Acquire);
        ensure!(opened > 0, "interrupted before a connection was open");
        Ok(opened)
    }

    /// Waits, until Ctrl-C at most, while the threads answer pings.
    pub(super) fn wait(&self, time: Duration) -> Result<()> {
        let started = Instant::now();
        let progress = crate::progress::timer(time, false);
        while !interrupt::is_asked() {
            let Some(rest) = time.checked_sub(started.elapsed()) else { break };
            thread::sleep(rest.min(TICK));
            self.check()?;
            let counted = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
            progress.set_position(started.elapsed().as_millis() as u64);
            progress.set_message(format!(
                "holding, {} pings answered, {} lost",
                counted(&self.shared.pings),
                counted(&self.shared.lost)
            ));
        }
        progress.finish_and_clear();
        Ok(())
    }

    /// Fails if a thread has ended.
    fn check(&self) -> Result<()> {
        match self.events.try_recv() {
            Ok(Event::Ended(outcome)) => {
                outcome.and_then(|()| Err(anyhow!("a thread of the generator ended early")))
            }
            _ => Ok(()),
        }
    }

    fn start_one(&mut self) {
        if let Some(starter) = self.starters.pop() {
            // A thread that has failed says so by its event.
            let _ = starter.send(());
        }
    }

    /// The next event, or `None` for a while without. A thread that ends now has failed.
    fn next(&self) -> Result<Option<()>> {
        match self.events.recv_timeout(TICK) {
            Ok(Event::Ready | Event::Open) => Ok(Some(())),
            Ok(Event::Ended(outcome)) => {
                outcome.and_then(|()| Err(anyhow!("a thread of the generator ended early")))
            }
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(anyhow!("all threads of the generator ended early"))
            }
        }
    }

    /// Ends all threads. Fails if one of them has.
    pub(super) fn leave(mut self) -> Result<()> {
        self.starters.clear();
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("a thread of the generator failed"))?;
        }
        self.events.try_iter().try_for_each(|event| match event {
            Event::Ended(outcome) => outcome,
            Event::Ready | Event::Open => Ok(()),
        })
    }
}
