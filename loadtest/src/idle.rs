//! The idle run: opens many connections, holds them, answers pings, leaves.
//!
//! `main` calls [`run`]. Every thread has a ring of its own with at most `RLIMIT_NOFILE` direct
//! descriptors, which do not count as open files of the process, so one process holds as many
//! connections as it has threads for.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::connect::{self, WAVE};
use crate::frames;
use crate::handshake::Target;
use crate::operation::{Completion, Op, Sizes, Token};
use crate::ring::Ring;
use crate::server_cpu::Memory;
use crate::subject::{self, Subject};

/// Connections of one ring, if the limit of descriptors allows.
const PER_RING_MAX: u64 = 16_000;
/// A server that pushes messages above this size is not idle.
const FRAME_BYTES_MAX: u64 = 1 << 20;
const TICK: Duration = Duration::from_millis(50);
/// Time for the server to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    #[command(flatten)]
    pub subject: Subject,
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Time to hold the connections, in seconds; pings are answered.
    #[arg(long, default_value = "1", value_parser = subject::seconds)]
    pub hold: Duration,
    /// No WebSocket: TCP connections only.
    #[arg(long)]
    pub raw: bool,
}

/// What it came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdleReport {
    /// Whose figures these are, for `compare`.
    pub label: String,
    pub url: String,
    pub connections: u32,
    pub opening_seconds: f64,
    pub handshakes_per_second: f64,
    pub pings_answered: u32,
    pub lost: u32,
    pub server: Option<ServerMemory>,
}

/// Resident memory of the server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ServerMemory {
    pub rss_before_bytes: u64,
    pub rss_after_bytes: u64,
    pub rss_bytes_per_connection: f64,
    pub pss_bytes_per_connection: f64,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    opened: AtomicU32,
    pings: AtomicU32,
    lost: AtomicU32,
}

/// Runs the plan. Fails if a connection cannot be opened or is lost.
pub fn run(plan: &Plan) -> Result<IdleReport> {
    let target = plan.subject.target()?;
    let memory =
        || plan.subject.server_pid.map(Memory::of_tree).transpose().context("--server-pid");
    let before = memory()?;
    let shared = Arc::new(Shared::default());
    let started = Instant::now();
    let mut holders = start_holders(plan, &target, &shared)?;
    let opened = wait_until_open(plan, &shared, &holders.results);
    let opening_seconds = started.elapsed().as_secs_f64();
    let mut after = None;
    if opened.is_ok() {
        thread::sleep(SETTLE);
        after = memory()?;
        thread::sleep(plan.hold);
    }
    let lost = shared.lost.load(Ordering::Relaxed);
    shared.stop.store(true, Ordering::Relaxed);
    for holder in holders.threads.drain(..) {
        holder.join().map_err(|_| anyhow!("a thread of the generator failed"))?;
    }
    opened
        .and_then(|()| holders.results.try_iter().collect::<Result<()>>())
        .map_err(|error| plan.subject.explain(error))?;
    let count = f64::from(plan.connections);
    let server = before.zip(after).map(|(before, after)| ServerMemory {
        rss_before_bytes: before.rss_bytes,
        rss_after_bytes: after.rss_bytes,
        rss_bytes_per_connection: (after.rss_bytes as f64 - before.rss_bytes as f64) / count,
        pss_bytes_per_connection: (after.pss_bytes as f64 - before.pss_bytes as f64) / count,
    });
    ensure!(lost == 0, "{lost} of {} connections were lost while idle", plan.connections);
    Ok(IdleReport {
        label: plan.subject.label.clone(),
        url: plan.subject.url.clone(),
        connections: plan.connections,
        opening_seconds,
        handshakes_per_second: count / opening_seconds,
        pings_answered: shared.pings.load(Ordering::Relaxed),
        lost,
        server,
    })
}

struct Holders {
    threads: Vec<thread::JoinHandle<()>>,
    results: mpsc::Receiver<Result<()>>,
}

fn start_holders(plan: &Plan, target: &Target, shared: &Arc<Shared>) -> Result<Holders> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(PER_RING_MAX);
    let per_ring = limit.min(PER_RING_MAX) as u32;
    let (sender, results) = mpsc::channel();
    let mut holders = Vec::new();
    for first in (0..plan.connections).step_by(per_ring as usize) {
        let count = per_ring.min(plan.connections - first);
        let (shared, target, sender) = (Arc::clone(shared), target.clone(), sender.clone());
        let raw = plan.raw;
        let hold = move || {
            let outcome = Holder::open(&target, first, count, raw, &shared)
                .and_then(|mut holder| holder.hold());
            // The receiver outlives the threads.
            let _ = sender.send(outcome);
        };
        holders.push(thread::Builder::new().name(format!("idle-{first}")).spawn(hold)?);
    }
    Ok(Holders { threads: holders, results })
}

fn wait_until_open(
    plan: &Plan,
    shared: &Shared,
    results: &mpsc::Receiver<Result<()>>,
) -> Result<()> {
    let progress = crate::progress::bar(u64::from(plan.connections), "connecting", false);
    loop {
        let opened = shared.opened.load(Ordering::Acquire);
        progress.set_position(u64::from(opened));
        if opened == plan.connections {
            progress.finish_and_clear();
            return Ok(());
        }
        // A holder that ends now has failed.
        match results.recv_timeout(Duration::from_millis(2)) {
            Ok(Err(error)) => return Err(error),
            Ok(Ok(())) | Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(anyhow!("all threads of the generator ended early"));
            }
        }
    }
}

/// One thread's connections.
struct Holder<'s> {
    ring: &'static mut Ring,
    shared: &'s Shared,
    count: u32,
    raw: bool,
    ended: u32,
    leaving: bool,
    /// Beginnings of frames, by slot.
    partial: HashMap<u32, Vec<u8>>,
}

impl<'s> Holder<'s> {
    fn open(
        target: &Target,
        first: u32,
        count: u32,
        raw: bool,
        shared: &'s Shared,
    ) -> Result<Holder<'s>> {
        let sizes = Sizes {
            submissions: 4_096,
            completions: 65_536,
            slots: count,
            buffers: 64,
            buffer_bytes: 4_096,
        };
        let ring = Ring::leak(sizes).context("cannot set up the io_uring")?;
        let partial = HashMap::new();
        let mut holder = Holder { ring, shared, count, raw, ended: 0, leaving: false, partial };
        for from in (0..count).step_by(WAVE as usize) {
            if shared.stop.load(Ordering::Relaxed) {
                break;
            }
            let wave = connect::open_wave(target, first + from, WAVE.min(count - from), raw)?;
            let fds: Vec<RawFd> = wave.iter().map(|opened| opened.stream.as_raw_fd()).collect();
            holder.ring.install(from, &fds)?;
            for (slot, opened) in (from..).zip(&wave) {
                holder.ring.recv_stream(token(Op::Stream, slot))?;
                holder.read_frames(slot, &opened.early)?;
            }
            shared.opened.fetch_add(fds.len() as u32, Ordering::AcqRel);
            holder.serve(Duration::ZERO)?;
        }
        Ok(holder)
    }

    fn hold(&mut self) -> Result<()> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.serve(TICK)?;
        }
        self.leaving = true;
        if self.raw {
            return Ok(());
        }
        let mut goodbye = Vec::new();
        frames::write_frame(&mut goodbye, frames::CLOSE, Some([1; 4]), &1000_u16.to_be_bytes());
        for slot in 0..self.count {
            let bytes = goodbye.clone().into_boxed_slice();
            self.ring.send_owned(bytes, token(Op::SendOwned, slot))?;
            if slot % 1_024 == 0 {
                self.serve(Duration::ZERO)?;
            }
        }
        let until = Instant::now() + GOODBYE_MAX;
        while self.ended < self.count && Instant::now() < until {
            self.serve(TICK)?;
        }
        Ok(())
    }

    fn serve(&mut self, timeout: Duration) -> Result<()> {
        self.ring.wait(Some(timeout))?;
        while let Some(completion) = self.ring.next() {
            if completion.token.op == Op::Stream {
                self.on_stream(completion)?;
            }
        }
        Ok(())
    }

    fn on_stream(&mut self, completion: Completion) -> Result<()> {
        let slot = completion.token.slot;
        if let Some(lease) = completion.lease {
            let bytes = self.ring.bytes(&lease).to_vec();
            self.ring.release(lease);
            self.read_frames(slot, &bytes)?;
        }
        let over = match completion.result {
            Ok(count) => count == 0,
            Err(error) => error != rustix::io::Errno::NOBUFS,
        };
        if over {
            self.ended += 1;
            if !self.leaving {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        } else if !completion.more {
            self.ring.recv_stream(completion.token)?;
        }
        Ok(())
    }

    /// Answers pings; everything else the server says is dropped.
    fn read_frames(&mut self, slot: u32, bytes: &[u8]) -> Result<()> {
        if self.raw || bytes.is_empty() {
            return Ok(());
        }
        let mut pending = self.partial.remove(&slot).unwrap_or_default();
        pending.extend_from_slice(bytes);
        loop {
            let header = frames::read_header(&pending).map_err(|wrong| anyhow!(wrong))?;
            let Some(header) = header else { break };
            ensure!(
                header.payload_bytes <= FRAME_BYTES_MAX,
                "the server pushes a frame of {} bytes to an idle connection",
                header.payload_bytes
            );
            let whole = header.header_bytes + header.payload_bytes as usize;
            if pending.len() < whole {
                break;
            }
            if header.opcode == frames::PING {
                let mut pong = Vec::new();
                let payload = &pending[header.header_bytes..whole];
                frames::write_frame(&mut pong, frames::PONG, Some([1; 4]), payload);
                self.ring.send_owned(pong.into_boxed_slice(), token(Op::SendOwned, slot))?;
                self.shared.pings.fetch_add(1, Ordering::Relaxed);
            }
            pending.drain(..whole);
        }
        if !pending.is_empty() {
            self.partial.insert(slot, pending);
        }
        Ok(())
    }
}

fn token(op: Op, slot: u32) -> Token {
    Token { op, slot, generation: 0 }
}

impl IdleReport {
    /// Prints for people.
    pub fn print(&self) {
        println!(
            "{} connections in {:.2} s, {:.0} handshakes/s, {} pings answered",
            self.connections, self.opening_seconds, self.handshakes_per_second, self.pings_answered
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
    }
}
