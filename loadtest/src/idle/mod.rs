//! The idle run: opens many connections, holds them, answers pings, leaves.
//!
//! `cli` calls [`run`]. Every thread has a ring of its own (`holder`, `threads`); this part takes
//! the snapshots of server and system in between. Ctrl-C ends the phase under way, and what is
//! known by then is told.

mod holder;
mod threads;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use self::threads::Holders;
use crate::bystander::Bystanders;
use crate::interrupt;
use crate::report::{Cost, Latency};
use crate::server_cpu::Memory;
use crate::subject::{self, Spent, Subject};
use crate::system_memory::{Growth, Snapshot};

/// Time for the server to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);
/// Shares of less time than this say nothing.
const HELD_SECONDS_MIN: f64 = 0.01;

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
    /// Threads that open connections at a time, each in waves of 128.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub openers: u32,
    /// Loopback addresses to connect to, from that of the URL on; the server must listen on all.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub destinations: u32,
    /// Clients that echo among the idle ones after these were held; they come in addition.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=16_000))]
    pub active: u32,
    /// Time the active clients are measured, in seconds.
    #[arg(long, default_value = "3", value_parser = subject::seconds)]
    pub active_seconds: Duration,
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
    pub server: Option<ProcessMemory>,
    /// Resident memory of the generator, which `system` holds as well.
    #[serde(default)]
    pub client_rss_bytes_per_connection: f64,
    /// What the whole machine took, both ends of the connections included.
    pub system: Growth,
    pub hold_seconds: f64,
    /// Pings answered since the first connection.
    pub pings_answered: u32,
    /// Those of `hold_seconds`.
    #[serde(default)]
    pub pings_while_held: u32,
    /// Per connection held.
    pub hold_client: Cost,
    pub hold_server: Option<Cost>,
    pub active: Option<Active>,
    pub lost: u32,
    /// Ctrl-C ended it early.
    #[serde(default)]
    pub interrupted: bool,
}

/// Resident memory of a process tree.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ProcessMemory {
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
/// many. Fails if a connection cannot be opened, or, with a report all the same, if one is lost.
pub fn run(plan: &Plan, show: impl FnOnce(IdleReport) -> Result<()>) -> Result<()> {
    interrupt::catch()?;
    let mut target = plan.subject.target()?;
    target.destinations = plan.destinations;
    let mut holders = Holders::start(plan, &target)?;
    let outcome = measure(plan, &mut holders).and_then(|report| {
        let (lost, connections) = (report.lost, report.connections);
        show(report)?;
        ensure!(lost == 0, "{lost} of {connections} connections were lost while idle");
        Ok(())
    });
    let left = holders.leave();
    outcome.and(left).map_err(|error| plan.subject.explain(error))
}

fn measure(plan: &Plan, holders: &mut Holders) -> Result<IdleReport> {
    let before = Before::take(plan)?;
    let started = Instant::now();
    let connections = holders.open(plan)?;
    let opening_seconds = started.elapsed().as_secs_f64();
    let (count, each) = (f64::from(connections), u64::from(connections));
    let (opening_client, opening_server) =
        before.spent.costs(&plan.subject, each, opening_seconds)?;
    thread::sleep(SETTLE);
    let (client, server) = before.memory(plan, count)?;
    let system = Snapshot::take()?.since(&before.system, count);
    let pings = || holders.shared.pings.load(Ordering::Relaxed);
    let (spent, held, pings_before) = (plan.subject.spent()?, Instant::now(), pings());
    holders.wait(plan.hold)?;
    let hold_seconds = held.elapsed().as_secs_f64();
    let (hold_client, hold_server) =
        spent.costs(&plan.subject, each, hold_seconds.max(HELD_SECONDS_MIN))?;
    let pings_while_held = pings() - pings_before;
    Ok(IdleReport {
        label: plan.subject.label.clone(),
        url: plan.subject.url.clone(),
        connections,
        opening_seconds,
        handshakes_per_second: count / opening_seconds,
        opening_client,
        opening_server,
        server,
        client_rss_bytes_per_connection: client.rss_bytes_per_connection,
        system,
        hold_seconds,
        pings_while_held,
        hold_client,
        hold_server,
        active: active(plan)?,
        pings_answered: pings(),
        lost: holders.shared.lost.load(Ordering::Relaxed),
        interrupted: interrupt::is_asked(),
    })
}

/// Clients that work among those that are held.
fn active(plan: &Plan) -> Result<Option<Active>> {
    if plan.active == 0 || interrupt::is_asked() {
        return Ok(None);
    }
    let clients = Bystanders { echo_connections: plan.active, echo_rate: plan.active_rate };
    let latency_us = clients.watch(&plan.subject.url, plan.active_seconds)?;
    let (connections, messages_per_second) = (plan.active, plan.active_rate);
    Ok(Some(Active { connections, messages_per_second, latency_us }))
}

/// The state of things before the first connection.
struct Before {
    client: Memory,
    server: Option<Memory>,
    system: Snapshot,
    spent: Spent,
}

impl Before {
    fn take(plan: &Plan) -> Result<Before> {
        Ok(Before {
            client: Memory::of_tree(std::process::id())?,
            server: plan.subject.server_pid.map(Memory::of_tree).transpose()?,
            system: Snapshot::take()?,
            spent: plan.subject.spent()?,
        })
    }

    /// What generator and server have taken since.
    fn memory(
        &self,
        plan: &Plan,
        connections: f64,
    ) -> Result<(ProcessMemory, Option<ProcessMemory>)> {
        let grown = |before, pid| {
            Memory::of_tree(pid).map(|after| ProcessMemory::grown(before, after, connections))
        };
        let server = self.server.zip(plan.subject.server_pid);
        Ok((
            grown(self.client, std::process::id())?,
            server.map(|(before, pid)| grown(before, pid)).transpose()?,
        ))
    }
}

impl ProcessMemory {
    fn grown(before: Memory, after: Memory, connections: f64) -> ProcessMemory {
        let each = |after: u64, before: u64| (after as f64 - before as f64) / connections;
        ProcessMemory {
            rss_before_bytes: before.rss_bytes,
            rss_after_bytes: after.rss_bytes,
            rss_bytes_per_connection: each(after.rss_bytes, before.rss_bytes),
            pss_bytes_per_connection: each(after.pss_bytes, before.pss_bytes),
        }
    }
}

impl IdleReport {
    /// Prints for people.
    pub fn print(&self) {
        println!(
            "{} connections in {:.2} s, {:.0} handshakes/s{}",
            self.connections,
            self.opening_seconds,
            self.handshakes_per_second,
            if self.interrupted { "; ended early by Ctrl-C" } else { "" }
        );
        if let (Some(memory), Some(opening)) = (&self.server, &self.opening_server) {
            println!(
                "server    {:.0} bytes RSS per connection (PSS {:.0}), RSS {} -> {} KiB; \
                 {:.0} ns CPU per handshake",
                memory.rss_bytes_per_connection,
                memory.pss_bytes_per_connection,
                memory.rss_before_bytes >> 10,
                memory.rss_after_bytes >> 10,
                opening.cpu_ns_per_message
            );
        }
        println!(
            "client    {:.0} bytes RSS per connection, {:.0} ns CPU per handshake",
            self.client_rss_bytes_per_connection, self.opening_client.cpu_ns_per_message
        );
        self.system.print();
        if self.hold_seconds >= HELD_SECONDS_MIN {
            self.print_hold();
        }
        if let Some(active) = &self.active {
            println!(
                "active    {} clients among them echo {:.0} messages/s",
                active.connections, active.messages_per_second
            );
            active.latency_us.print("latency");
        }
    }

    fn print_hold(&self) {
        let share = |cost: &Cost| format!("{:.2} % of a core", cost.cores_busy * 100.0);
        println!(
            "idle      {:.1} s: server {}, client {}; {} pings answered ({:.0}/s), {} lost",
            self.hold_seconds,
            self.hold_server.as_ref().map_or("unknown".to_owned(), share),
            share(&self.hold_client),
            self.pings_while_held,
            f64::from(self.pings_while_held) / self.hold_seconds,
            self.lost
        );
    }
}
