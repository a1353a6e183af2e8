//! The idle run: opens many connections, holds them, answers pings, leaves.
//!
//! `cli` calls [`run`]. Every thread has a ring of its own (`holder`); this part says when each
//! opens its connections and takes the snapshots of server and system in between.

mod holder;

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use self::holder::{Holder, Shared};
use crate::bystander::Bystanders;
use crate::handshake::Target;
use crate::report::{Cost, Latency};
use crate::server_cpu::Memory;
use crate::subject::{self, Spent, Subject};
use crate::system_memory::{Growth, Snapshot};

/// Connections of one ring, if the limit of descriptors allows.
const PER_RING_MAX: u64 = 16_000;
/// Time for the server to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    #[command(flatten)]
    pub subject: Subject,
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    pub connections: u32,
    /// Time to hold the connections, in seconds; pings are answered.
    #[arg(long, default_value = "1", value_parser = subject::seconds)]
    pub hold: Duration,
    /// Threads that open connections at a time, in waves of 128.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub openers: u32,
    /// Loopback addresses to connect to, from that of the URL on; the server must listen on all.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub destinations: u32,
    /// Clients that echo among the idle ones while these are held; they come in addition.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=16_000))]
    pub active: u32,
    /// Messages of all active clients per second.
    #[arg(long, default_value = "1000", value_parser = subject::rate)]
    pub active_rate: f64,
    /// No WebSocket: TCP connections only.
    #[arg(long)]
    pub raw: bool,
}

/// What it came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdleReport {
    pub label: String,
    pub url: String,
    pub connections: u32,
    pub opening_seconds: f64,
    pub handshakes_per_second: f64,
    /// Per connection opened.
    pub opening_client: Cost,
    pub opening_server: Option<Cost>,
    pub server: Option<ServerMemory>,
    /// What the whole machine took, both ends of the connections included.
    pub system: Growth,
    pub hold_seconds: f64,
    /// Pings answered since the first connection.
    pub pings_answered: u32,
    /// Per connection held.
    pub hold_client: Cost,
    pub hold_server: Option<Cost>,
    pub active: Option<Active>,
    pub lost: u32,
}

/// Resident memory of the server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ServerMemory {
    pub rss_before_bytes: u64,
    pub rss_after_bytes: u64,
    pub rss_bytes_per_connection: f64,
    pub pss_bytes_per_connection: f64,
}

/// Clients that echoed among the idle ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Active {
    pub connections: u32,
    pub messages_per_second: f64,
    pub latency_us: Latency,
}

/// Runs the plan and shows the report before the connections leave, which takes long if they are
/// many. Fails if a connection cannot be opened or is lost.
pub fn run(plan: &Plan, show: impl FnOnce(IdleReport) -> Result<()>) -> Result<()> {
    let mut target = plan.subject.target()?;
    target.destinations = plan.destinations;
    let mut holders = Holders::start(plan, &target)?;
    let outcome = measure(plan, &mut holders).and_then(|report| {
        let lost = report.lost;
        ensure!(lost == 0, "{lost} of {} connections were lost while idle", plan.connections);
        show(report)
    });
    let left = holders.leave();
    outcome.and(left).map_err(|error| plan.subject.explain(error))
}

fn measure(plan: &Plan, holders: &mut Holders) -> Result<IdleReport> {
    let count = f64::from(plan.connections);
    let before = Before::take(plan)?;
    let started = Instant::now();
    holders.open(plan)?;
    let opening_seconds = started.elapsed().as_secs_f64();
    let (opening_client, opening_server) =
        before.spent.costs(&plan.subject, u64::from(plan.connections), opening_seconds)?;
    thread::sleep(SETTLE);
    let server = match (before.server, plan.subject.server_pid) {
        (Some(before), Some(pid)) => {
            Some(ServerMemory::grown(before, Memory::of_tree(pid)?, count))
        }
        _ => None,
    };
    let system = Snapshot::take()?.since(&before.system, count);
    let (spent, held) = (plan.subject.spent()?, Instant::now());
    let active = hold(plan)?;
    let hold_seconds = held.elapsed().as_secs_f64();
    let (hold_client, hold_server) =
        spent.costs(&plan.subject, u64::from(plan.connections), hold_seconds.max(1e-9))?;
    Ok(IdleReport {
        label: plan.subject.label.clone(),
        url: plan.subject.url.clone(),
        connections: plan.connections,
        opening_seconds,
        handshakes_per_second: count / opening_seconds,
        opening_client,
        opening_server,
        server,
        system,
        hold_seconds,
        pings_answered: holders.shared.pings.load(Ordering::Relaxed),
        hold_client,
        hold_server,
        active,
        lost: holders.shared.lost.load(Ordering::Relaxed),
    })
}

/// Holds the connections; the active clients work meanwhile.
fn hold(plan: &Plan) -> Result<Option<Active>> {
    if plan.active == 0 {
        thread::sleep(plan.hold);
        return Ok(None);
    }
    let clients = Bystanders { echo_connections: plan.active, echo_rate: plan.active_rate };
    let latency_us = clients.watch(&plan.subject.url, plan.hold)?;
    let (connections, messages_per_second) = (plan.active, plan.active_rate);
    Ok(Some(Active { connections, messages_per_second, latency_us }))
}

/// The state of things before the first connection.
struct Before {
    server: Option<Memory>,
    system: Snapshot,
    spent: Spent,
}

impl Before {
    fn take(plan: &Plan) -> Result<Before> {
        Ok(Before {
            server: plan.subject.server_pid.map(Memory::of_tree).transpose()?,
            system: Snapshot::take()?,
            spent: plan.subject.spent()?,
        })
    }
}

impl ServerMemory {
    fn grown(before: Memory, after: Memory, connections: f64) -> ServerMemory {
        let each = |after: u64, before: u64| (after as f64 - before as f64) / connections;
        ServerMemory {
            rss_before_bytes: before.rss_bytes,
            rss_after_bytes: after.rss_bytes,
            rss_bytes_per_connection: each(after.rss_bytes, before.rss_bytes),
            pss_bytes_per_connection: each(after.pss_bytes, before.pss_bytes),
        }
    }
}

enum Event {
    /// A ring stands.
    Ready,
    /// A thread has opened all its connections.
    Open,
    /// A thread has ended.
    Ended(Result<()>),
}

/// The threads that hold connections.
struct Holders {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
    events: mpsc::Receiver<Event>,
    /// Lets a thread open its connections; the last one first.
    starters: Vec<mpsc::Sender<()>>,
}

impl Holders {
    /// Starts the threads and sets up their rings, so that these count in no measurement.
    fn start(plan: &Plan, target: &Target) -> Result<Holders> {
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

    /// Lets the threads open their connections, some at a time.
    fn open(&mut self, plan: &Plan) -> Result<()> {
        let progress = crate::progress::bar(u64::from(plan.connections), "connecting", false);
        let mut closed = self.threads.len();
        for _ in 0..plan.openers {
            self.start_one();
        }
        while closed > 0 {
            progress.set_position(u64::from(self.shared.opened.load(Ordering::Acquire)));
            if self.next()?.is_some() {
                closed -= 1;
                self.start_one();
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    fn start_one(&mut self) {
        if let Some(starter) = self.starters.pop() {
            // A thread that has failed says so by its event.
            let _ = starter.send(());
        }
    }

    /// The next event, or `None` for a while without. A thread that ends now has failed.
    fn next(&self) -> Result<Option<()>> {
        match self.events.recv_timeout(Duration::from_millis(100)) {
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
    fn leave(mut self) -> Result<()> {
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

impl IdleReport {
    /// Prints for people.
    pub fn print(&self) {
        println!(
            "{} connections in {:.2} s, {:.0} handshakes/s; held {:.1} s, {} pings answered",
            self.connections,
            self.opening_seconds,
            self.handshakes_per_second,
            self.hold_seconds,
            self.pings_answered
        );
        if let Some(server) = &self.server {
            println!(
                "server    {:.0} bytes RSS per connection (Pss {:.0}), RSS {} -> {} KiB",
                server.rss_bytes_per_connection,
                server.pss_bytes_per_connection,
                server.rss_before_bytes >> 10,
                server.rss_after_bytes >> 10,
            );
        }
        if let (Some(opening), Some(hold)) = (&self.opening_server, &self.hold_server) {
            println!(
                "server    {:.0} ns CPU per handshake; {:.2} % of a core while holding",
                opening.cpu_ns_per_message,
                hold.cores_busy * 100.0
            );
        }
        self.system.print();
        if let Some(active) = &self.active {
            println!(
                "active    {} clients echo {:.0} messages/s",
                active.connections, active.messages_per_second
            );
            active.latency_us.print("latency");
        }
    }
}
