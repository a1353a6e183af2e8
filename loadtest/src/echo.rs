//! The closed-loop echo run: one thread, one ring, every connection with its messages in flight.
//!
//! `main` calls [`run`]. It opens the connections, warms up, measures, lets what is in flight come
//! back and reports. The loop reads one clock per batch.

use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

use crate::client::Connection;
use crate::connect::{self, WAVE};
use crate::handshake::Target;
use crate::operation::{Completion, Op, Sizes};
use crate::report::{Cost, Latency, Report, is_generator_bound, verdict};
use crate::ring::Ring;
use crate::server_cpu::{self, Usage};
use crate::workload::{Script, Shape};

/// Prepared messages of all connections together may take this much memory.
const SCRIPT_BYTES_MAX: usize = 4 << 30;
/// How long the server may be silent while messages are in flight.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub label: String,
    pub url: String,
    pub connections: u32,
    pub shape: Shape,
    pub verify_all: bool,
    pub warmup: Duration,
    pub measure: Duration,
    pub server_pid: Option<u32>,
}

/// Runs the plan.
pub fn run(plan: &Plan) -> Result<Report> {
    let target = Target::parse(&plan.url)?;
    if let Some(pid) = plan.server_pid {
        Usage::of_tree(pid).context("--server-pid")?;
    }
    let mut session = Session::open(plan, &target)?;
    session.drive().map_err(|error| match plan.server_pid {
        Some(pid) if server_cpu::has_ended(pid) => {
            error.context(format!("the server (process {pid}) has ended"))
        }
        _ => error,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Warmup,
    Measure,
    Drain,
}

/// The figures of the measured time.
struct Window {
    started: Instant,
    messages: u64,
    latency_ns: Histogram<u64>,
    client: Usage,
    server: Usage,
}

struct Session<'p> {
    plan: &'p Plan,
    ring: &'static mut Ring,
    connections: Vec<Connection>,
    dirty: Vec<u32>,
    is_dirty: Vec<bool>,
    phase: Phase,
    start: Instant,
    now_ns: u64,
    window: Window,
}

impl<'p> Session<'p> {
    fn open(plan: &'p Plan, target: &Target) -> Result<Session<'p>> {
        let count = plan.connections;
        let script_bytes = plan.shape.script_bytes().saturating_mul(count as usize);
        ensure!(
            script_bytes <= SCRIPT_BYTES_MAX,
            "the prepared messages would take {} MiB; use fewer connections, a smaller depth or \
             shorter messages",
            script_bytes >> 20
        );
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
        let progress = crate::progress::bar(u64::from(count), "connecting");
        for first in (0..count).step_by(WAVE as usize) {
            let wave = connect::open_wave(target, first, WAVE.min(count - first), plan.shape.raw)?;
            let early = wave.iter().any(|opened| !opened.early.is_empty());
            ensure!(!early, "the server speaks first, so it is no echo server");
            let fds: Vec<RawFd> = wave.iter().map(|opened| opened.stream.as_raw_fd()).collect();
            ring.install(first, &fds)?;
            progress.inc(fds.len() as u64);
            connections.extend((first..).zip(&fds).map(|(slot, _)| {
                Connection::new(slot, Script::leak(plan.shape, slot), plan.verify_all)
            }));
        }
        progress.finish_and_clear();
        Ok(Session {
            plan,
            ring,
            dirty: Vec::with_capacity(count as usize),
            is_dirty: vec![false; count as usize],
            connections,
            phase: Phase::Warmup,
            start: Instant::now(),
            now_ns: 0,
            window: Window::begin(plan)?,
        })
    }

    fn drive(&mut self) -> Result<Report> {
        self.start = Instant::now();
        for slot in 0..self.connections.len() {
            self.connections[slot].start(self.ring)?;
            self.mark(slot as u32);
        }
        let progress = crate::progress::timer(self.plan.warmup + self.plan.measure);
        let mut heard = Duration::ZERO;
        let mut report = None;
        loop {
            self.flush()?;
            self.ring.wait(Some(TICK))?;
            let now = self.start.elapsed();
            self.now_ns = now.as_nanos() as u64;
            if self.drain_completions()? {
                heard = now;
            }
            ensure!(now < heard + SILENCE_MAX, "no message came back for {SILENCE_MAX:?}");
            match self.phase {
                Phase::Warmup if now >= self.plan.warmup => {
                    self.phase = Phase::Measure;
                    self.window = Window::begin(self.plan)?;
                }
                Phase::Measure if self.window.started.elapsed() >= self.plan.measure => {
                    report = Some(self.report()?);
                    self.phase = Phase::Drain;
                }
                Phase::Drain if self.connections.iter().all(|c| c.in_flight() == 0) => break,
                _ => {}
            }
            progress.set_position(now.as_millis() as u64);
        }
        progress.finish_and_clear();
        for connection in &mut self.connections {
            connection.close(self.ring)?;
        }
        self.ring.wait(Some(TICK))?;
        report.context("the run ended without a report")
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
        let stop = self.phase == Phase::Drain;
        let window = &mut self.window;
        let now_ns = self.now_ns;
        if self.phase == Phase::Measure {
            window.messages += messages;
        }
        self.connections[slot as usize].settle(messages, stop, |sent_ns, count| {
            let latency_ns = now_ns.saturating_sub(sent_ns).max(1);
            window.latency_ns.saturating_record_n(latency_ns, count);
        });
    }

    fn mark(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.is_dirty[slot as usize], true) {
            self.dirty.push(slot);
        }
    }

    fn flush(&mut self) -> Result<()> {
        let now_ns = self.start.elapsed().as_nanos() as u64;
        for slot in self.dirty.drain(..) {
            self.is_dirty[slot as usize] = false;
            self.connections[slot as usize].flush(self.ring, now_ns)?;
        }
        Ok(())
    }

    fn report(&self) -> Result<Report> {
        let window = &self.window;
        let seconds = window.started.elapsed().as_secs_f64();
        let client = Usage::of_tree(std::process::id())?.since(&window.client);
        let server = match self.plan.server_pid {
            Some(pid) => Some(Usage::of_tree(pid)?.since(&window.server)),
            None => None,
        };
        ensure!(window.messages > 0, "no message came back within the measured time");
        let client = Cost::of(&client, window.messages, seconds);
        let server = server.map(|usage| Cost::of(&usage, window.messages, seconds));
        let rate = window.messages as f64 / seconds;
        let shape = self.plan.shape;
        Ok(Report {
            label: self.plan.label.clone(),
            url: self.plan.url.clone(),
            raw: shape.raw,
            connections: self.plan.connections,
            depth: shape.depth,
            payload_bytes: shape.payload_bytes,
            sent_message_bytes: shape.send_bytes(),
            seconds,
            messages: window.messages,
            messages_per_second: rate,
            megabytes_per_second: rate * shape.payload_bytes as f64 / 1e6,
            latency_us: Latency::of(&window.latency_ns),
            generator_bound: is_generator_bound(&client, server.as_ref()),
            verdict: verdict(&client, server.as_ref()),
            client,
            server,
        })
    }
}

impl Window {
    fn begin(plan: &Plan) -> Result<Window> {
        let server = match plan.server_pid {
            Some(pid) => Usage::of_tree(pid)?,
            None => Usage::default(),
        };
        Ok(Window {
            messages: 0,
            latency_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            client: Usage::of_tree(std::process::id())?,
            server,
            started: Instant::now(),
        })
    }
}
