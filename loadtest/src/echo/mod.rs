//! The echo run: a ring for each thread; a closed loop that keeps messages in flight, or an open
//! loop that sends each at its time.
//!
//! `cli` calls [`run`], and so do the scenarios that watch an echo beside them. It opens the
//! connections, warms up, measures, lets what is in flight come back and reports. The loop reads
//! one clock per batch.

mod threads;
mod window;

use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::threads::Share;
use self::window::Window;
use crate::client::Connection;
use crate::connect::{self, WAVE};
use crate::handshake::Target;
use crate::interrupt;
use crate::operation::{Completion, Op, Sizes};
use crate::report::EchoReport;
use crate::ring::Ring;
use crate::schedule::Schedule;
use crate::subject::{self, Subject};
use crate::workload::{Kind, Payload, Script, Shape};

/// Prepared messages of all connections together may take this much memory.
const SCRIPT_BYTES_MAX: usize = 4 << 30;
/// How long the server may be silent while messages are in flight.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long the last answers may take. What is missing then is unanswered.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const LIVE_EVERY: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_millis(100);

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    #[command(flatten)]
    pub subject: Subject,
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Threads of the generator, each with a share of the connections and of the rate.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Messages in flight per connection, in the closed loop.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub depth: u32,
    /// Open loop: messages per second in all, sent at their time whatever the server does.
    /// Latency counts from the intended time.
    #[arg(long, value_parser = subject::rate, conflicts_with = "depth")]
    pub rate: Option<f64>,
    /// Payload bytes of a message: 32, or evenly from 16-1024, or one of 32,512,4096.
    #[arg(long, default_value = "125", value_parser = Payload::parse)]
    pub bytes: Payload,
    #[arg(long, value_enum, default_value_t = Kind::Text)]
    pub kind: Kind,
    /// Time to measure.
    #[arg(long, default_value = "5", value_parser = subject::seconds)]
    pub seconds: Duration,
    /// Time before measuring, in seconds.
    #[arg(long, default_value = "1", value_parser = subject::seconds)]
    pub warmup: Duration,
    #[arg(long, value_enum, default_value_t = Verify::Length)]
    pub verify: Verify,
    /// No WebSocket: payloads as large as the masked frames, echoed as they are.
    #[arg(long)]
    pub raw: bool,
    /// Somebody else draws the progress.
    #[arg(skip)]
    pub quiet: bool,
}

/// How much of what comes back is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// Every byte of every message.
    Full,
    /// Every length and header; content of small messages always, of large ones sampled.
    Length,
}

impl Plan {
    fn shape(&self) -> Shape {
        let depth = self.depth as usize;
        Shape { kind: self.kind, payload: self.bytes, depth, raw: self.raw }
    }
}

/// Runs the plan.
pub fn run(plan: &Plan) -> Result<EchoReport> {
    let target = plan.subject.target()?;
    let script_bytes = plan.shape().script_bytes().saturating_mul(plan.connections as usize);
    ensure!(
        script_bytes <= SCRIPT_BYTES_MAX,
        "the prepared messages would take {} MiB; use fewer connections, a smaller depth or \
         shorter messages",
        script_bytes >> 20
    );
    ensure!(
        plan.threads <= plan.connections,
        "{} threads have nothing to do with {} connections; use fewer",
        plan.threads,
        plan.connections
    );
    let windows = threads::run(plan, &target)?;
    window::report(plan, &windows)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Warmup,
    Measure,
    Drain,
}

struct Session<'p> {
    plan: &'p Plan,
    quiet: bool,
    ring: &'static mut Ring,
    connections: Vec<Connection>,
    schedule: Option<Schedule>,
    /// Messages sent or due and not yet back.
    in_flight: u64,
    dirty: Vec<u32>,
    is_dirty: Vec<bool>,
    phase: Phase,
    start: Instant,
    now_ns: u64,
    window: Window,
}

impl<'p> Session<'p> {
    fn open(plan: &'p Plan, share: Share, target: &Target) -> Result<Session<'p>> {
        let (count, shape) = (share.connections, plan.shape());
        let allowed = if plan.rate.is_some() { 0 } else { shape.depth };
        let verify_all = plan.verify == Verify::Full;
        let sizes = Sizes {
            submissions: 4_096,
            completions: 65_536,
            slots: count,
            buffers: 16,
            buffer_bytes: 256 * 1024,
        };
        let ring = Ring::leak(sizes).with_context(|| {
            format!("cannot set up an io_uring with {count} descriptors (see ulimit -n)")
        })?;
        let mut connections = Vec::with_capacity(count as usize);
        let progress = crate::progress::bar(u64::from(count), "connecting", share.quiet);
        for first in (0..count).step_by(WAVE as usize) {
            let wave_count = WAVE.min(count - first);
            let wave = connect::open_wave(target, share.first + first, wave_count, shape.raw)?;
            let early = wave.iter().any(|opened| !opened.early.is_empty());
            ensure!(!early, "the server speaks first, so it is no echo server");
            let fds: Vec<RawFd> = wave.iter().map(|opened| opened.stream.as_raw_fd()).collect();
            ring.install(first, &fds)?;
            progress.inc(fds.len() as u64);
            connections.extend((first..).zip(&fds).map(|(slot, _)| {
                let script = Script::leak(shape, share.first + slot);
                Connection::new(slot, script, allowed, verify_all)
            }));
        }
        progress.finish_and_clear();
        Ok(Session {
            plan,
            quiet: share.quiet,
            ring,
            dirty: Vec::with_capacity(count as usize),
            is_dirty: vec![false; count as usize],
            connections,
            schedule: share.rate.map(|rate| Schedule::new(rate, count)),
            in_flight: 0,
            phase: Phase::Warmup,
            start: Instant::now(),
            now_ns: 0,
            window: Window::begin(plan, 0)?,
        })
    }

    fn drive(mut self) -> Result<Window> {
        self.start = Instant::now();
        for slot in 0..self.connections.len() {
            self.connections[slot].start(self.ring)?;
            self.mark(slot as u32);
        }
        let progress = crate::progress::timer(self.plan.warmup + self.plan.seconds, self.quiet);
        let mut heard = Duration::ZERO;
        let mut counted = (Duration::ZERO, 0);
        let mut drain_until = Duration::MAX;
        loop {
            let more = self.send()?;
            self.ring.wait(Some(if more { Duration::ZERO } else { self.rest() }))?;
            let now = self.start.elapsed();
            self.now_ns = now.as_nanos() as u64;
            if self.drain_completions()? || self.in_flight == 0 {
                heard = now;
            }
            ensure!(now < heard + SILENCE_MAX, "no message came back for {SILENCE_MAX:?}");
            match self.phase {
                Phase::Warmup if now >= self.plan.warmup => {
                    self.phase = Phase::Measure;
                    self.window = Window::begin(self.plan, self.now_ns)?;
                    counted = (now, 0);
                }
                Phase::Measure
                    if self.window.started.elapsed() >= self.plan.seconds
                        || interrupt::is_asked() =>
                {
                    self.window.end(self.plan)?;
                    drain_until = now + DRAIN_MAX;
                    self.phase = Phase::Drain;
                }
                Phase::Drain if self.in_flight == 0 || now > drain_until => break,
                _ => {}
            }
            if now >= counted.0 + LIVE_EVERY {
                let messages = self.window.messages - counted.1;
                let rate = messages as f64 / (now - counted.0).as_secs_f64();
                progress.set_message(format!("{rate:.0} messages/s"));
                progress.set_position(now.as_millis() as u64);
                counted = (now, self.window.messages);
            }
        }
        progress.finish_and_clear();
        for connection in &mut self.connections {
            connection.close(self.ring)?;
        }
        self.ring.wait(Some(TICK))?;
        if self.schedule.is_some() {
            self.count_unanswered();
        }
        Ok(self.window)
    }

    /// How long to wait for completions.
    fn rest(&self) -> Duration {
        match (&self.schedule, self.phase) {
            (Some(schedule), Phase::Warmup | Phase::Measure) => {
                schedule.rest(self.start.elapsed().as_nanos() as u64).min(TICK)
            }
            _ => TICK,
        }
    }

    fn drain_completions(&mut self) -> Result<bool> {
        let mut heard = false;
        while let Some(completion) = self.ring.next() {
            let slot = completion.token.slot;
            let messages =
                self.on_completion(completion).with_context(|| format!("connection {slot}"))?;
            if messages > 0 {
                heard = true;
                self.count(slot, messages);
                self.mark(slot);
            }
        }
        Ok(heard)
    }

    fn on_completion(&mut self, completion: Completion) -> Result<u64> {
        let token = completion.token;
        let connection = &mut self.connections[token.slot as usize];
        match token.op {
            Op::Stream => {
                let messages = match completion.lease {
                    Some(lease) => connection.on_stream(self.ring, lease)?,
                    None => 0,
                };
                match completion.result {
                    Ok(0) => bail!("the server closed the connection"),
                    Ok(_) | Err(rustix::io::Errno::NOBUFS) => {}
                    Err(error) => return Err(error).context("the connection was lost"),
                }
                if !completion.more {
                    self.ring.recv_stream(token)?;
                }
                Ok(messages)
            }
            Op::Exact | Op::Discard => {
                let count = completion.result.context("the connection was lost")? as usize;
                match token.op {
                    Op::Exact => connection.on_exact(self.ring, count),
                    _ => connection.on_discarded(self.ring, count),
                }
            }
            Op::Send => {
                connection.on_sent(self.ring, completion.result)?;
                self.mark(token.slot);
                Ok(0)
            }
            _ => Ok(0),
        }
    }

    fn count(&mut self, slot: u32, messages: u64) {
        let window = &mut self.window;
        let (now_ns, drains) = (self.now_ns, self.phase == Phase::Drain);
        let open = self.schedule.is_some();
        self.in_flight -= messages;
        if !drains {
            window.messages += messages;
        }
        self.connections[slot as usize].settle(messages, open || drains, |sent_ns, count| {
            // The closed loop forgets what comes back after the measured time; the open loop
            // counts everything that was to be sent within it.
            if if open { sent_ns >= window.from_ns } else { !drains } {
                let latency_ns = now_ns.saturating_sub(sent_ns).max(1);
                window.latency_ns.saturating_record_n(latency_ns, count);
            }
        });
    }

    fn mark(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.is_dirty[slot as usize], true) {
            self.dirty.push(slot);
        }
    }

    /// Sends what may go now; tells whether more may go in the next round.
    fn send(&mut self) -> Result<bool> {
        let now_ns = self.start.elapsed().as_nanos() as u64;
        if self.phase != Phase::Drain {
            while let Some((slot, due_ns)) =
                self.schedule.as_mut().and_then(|schedule| schedule.next_due(now_ns))
            {
                self.connections[slot as usize].owe(due_ns);
                self.in_flight += 1;
                self.window.lateness_ns.saturating_record((now_ns - due_ns).max(1));
                self.mark(slot);
            }
        }
        let mut left = Vec::new();
        for slot in self.dirty.drain(..) {
            self.is_dirty[slot as usize] = false;
            let connection = &mut self.connections[slot as usize];
            if self.schedule.is_none() {
                self.in_flight += connection.stamp(now_ns);
            }
            let flushed = connection.flush(self.ring)?;
            self.window.sent += flushed.messages;
            if flushed.more {
                left.push(slot);
            }
        }
        left.iter().for_each(|slot| self.mark(*slot));
        Ok(!left.is_empty())
    }

    /// Adds what is known only after the last answer.
    fn count_unanswered(&mut self) {
        let (window, now_ns) = (&mut self.window, self.now_ns);
        for connection in &mut self.connections {
            let unanswered = connection.in_flight();
            connection.settle(unanswered, true, |sent_ns, count| {
                window.unanswered += count;
                window.latency_ns.saturating_record_n(now_ns.saturating_sub(sent_ns), count);
            });
        }
    }
}
