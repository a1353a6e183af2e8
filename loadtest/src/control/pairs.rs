//! Workers that answer WebSocket clients over the control plane: `read`, then `write`, on
//! kept-alive HTTP/1.1 connections.
//!
//! All on one ring: the clients, each with a shared socket, and the workers, each of whom has some of
//! the sockets to itself and goes round them. A client sends the next message when it has its
//! answer, and compares what came with what it sent.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::channel::{Channel, take_frames};
use super::rest::{self, Answer};
use super::{Measured, PairsPlan, text};
use crate::connect::{self, WAVE};
use crate::frames;
use crate::handshake::Target;
use crate::operation::{Completion, Op, Sizes};
use crate::report::histogram;
use crate::ring::Ring;

const TICK: Duration = Duration::from_millis(50);
/// How long nothing may be answered.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Runs the plan.
pub fn run(plan: &PairsPlan, target: &Target) -> Result<Measured> {
    let mut floor = Floor::open(plan, target)?;
    let progress = crate::progress::timer(plan.run.warmup + plan.run.seconds, false);
    floor.start();
    floor.work_until(Instant::now() + plan.run.warmup, |_| ())?;
    let (spent, started) = (plan.run.subject.spent()?, Instant::now());
    floor.begin();
    floor.work_until(started + plan.run.seconds, |pairs| {
        let elapsed = started.elapsed();
        progress.set_message(format!("{:.0} pairs/s", pairs as f64 / elapsed.as_secs_f64()));
        progress.set_position((plan.run.warmup + elapsed).as_millis() as u64);
    })?;
    let (seconds, operations) = (started.elapsed().as_secs_f64(), floor.pairs);
    let (client, server) = spent.costs(&plan.run.subject, operations, seconds)?;
    progress.finish_and_clear();
    floor.finish()?;
    Ok(Measured { operations, seconds, latency_ns: floor.latency_ns, client, server })
}

/// One WebSocket client.
struct Client {
    channel: Channel,
    number: u32,
    next: u32,
    /// When the messages were sent whose answers have not come.
    sent: VecDeque<Instant>,
}

/// One connection to the control plane.
struct Worker {
    channel: Channel,
    /// Indices of the sockets it works for, and which one it is at.
    sockets: Vec<usize>,
    at: usize,
    writes: bool,
}

/// A shared socket as a worker knows it.
struct Socket {
    id: String,
    fence: Option<u64>,
}

struct Floor {
    ring: &'static mut Ring,
    clients: Vec<Client>,
    workers: Vec<Worker>,
    sockets: Vec<Socket>,
    /// Slots that may have something to send.
    touched: Vec<u32>,
    bytes: usize,
    stopping: bool,
    /// Messages that were written, and that clients have got, since the start.
    written: u64,
    heard: u64,
    /// Pairs since the measured time began.
    pairs: u64,
    latency_ns: Histogram<u64>,
}

impl Floor {
    fn open(plan: &PairsPlan, target: &Target) -> Result<Floor> {
        let (count, workers) = (plan.sockets, plan.workers);
        ensure!(count >= workers, "--sockets {count} is less than --workers {workers}");
        let sizes = Sizes {
            submissions: 4_096,
            completions: 65_536,
            slots: count + workers,
            buffers: 16,
            buffer_bytes: 256 * 1024,
        };
        let ring = Ring::leak(sizes).context("cannot set up an io_uring (see ulimit -n)")?;
        let mut clients = Vec::new();
        for first in (0..count).step_by(WAVE as usize) {
            let wave = connect::open_wave(target, first, WAVE.min(count - first), false)?;
            let fds: Vec<RawFd> = wave.iter().map(|opened| opened.stream.as_raw_fd()).collect();
            ring.install(first, &fds)?;
            for (number, opened) in (first..).zip(&wave) {
                ensure!(opened.early.is_empty(), "the server speaks first; nothing is expected");
                let channel = Channel::start(number, ring)?;
                clients.push(Client { channel, number, next: 0, sent: VecDeque::new() });
            }
        }
        let socket = |id| Socket { id, fence: None };
        let ids = rest::list_ids(&plan.run.control, &target.path, count)?;
        let mut floor = Floor {
            ring,
            clients,
            workers: Vec::new(),
            sockets: ids.into_iter().map(socket).collect(),
            touched: Vec::new(),
            bytes: plan.run.bytes as usize,
            stopping: false,
            written: 0,
            heard: 0,
            pairs: 0,
            latency_ns: histogram()?,
        };
        for number in 0..workers {
            let stream = UnixStream::connect(&plan.run.control)?;
            floor.ring.install(count + number, &[stream.as_raw_fd()])?;
            let channel = Channel::start(count + number, floor.ring)?;
            let sockets = (number as usize..count as usize).step_by(workers as usize).collect();
            floor.workers.push(Worker { channel, sockets, at: 0, writes: false });
        }
        for client in &mut floor.clients {
            (0..plan.depth).for_each(|_| client.speak(floor.bytes));
        }
        Ok(floor)
    }

    fn start(&mut self) {
        for worker in &mut self.workers {
            worker.ask(&self.sockets);
        }
        self.touched = (0..(self.clients.len() + self.workers.len()) as u32).collect();
    }

    fn begin(&mut self) {
        self.pairs = 0;
        self.latency_ns.reset();
    }

    fn work_until(&mut self, until: Instant, mut show: impl FnMut(u64)) -> Result<()> {
        let (mut shown, mut active) = (Instant::now(), (self.written, Instant::now()));
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            if now.duration_since(shown) >= TICK {
                shown = now;
                show(self.pairs);
                if active.0 != self.written {
                    active = (self.written, now);
                }
                ensure!(now - active.1 < SILENCE_MAX, "nothing was answered for {SILENCE_MAX:?}");
            }
            self.turn()?;
        }
    }

    /// Begins no more pairs, and waits until what was written has arrived.
    fn finish(&mut self) -> Result<()> {
        self.stopping = true;
        let until = Instant::now() + DRAIN_MAX;
        while self.workers.iter().any(|worker| worker.writes) || self.heard < self.written {
            let (heard, written) = (self.heard, self.written);
            ensure!(Instant::now() < until, "of {written} messages written {heard} arrived");
            self.turn()?;
        }
        ensure!(self.heard == self.written, "more messages arrived than were written");
        for client in &mut self.clients {
            client.channel.say(frames::CLOSE, &1000_u16.to_be_bytes());
            client.channel.flush(self.ring)?;
        }
        Ok(self.ring.wait(Some(TICK))?)
    }

    /// Sends what is to be sent, and sees what has come.
    fn turn(&mut self) -> Result<()> {
        for slot in std::mem::take(&mut self.touched) {
            let (channel, ring) = self.channel(slot);
            channel.flush(ring)?;
        }
        self.ring.wait(Some(TICK))?;
        let now = Instant::now();
        while let Some(completion) = self.ring.next() {
            let slot = completion.token.slot;
            match completion.token.op {
                Op::SendOwned => {
                    let (channel, ring) = self.channel(slot);
                    channel.on_sent(ring, completion.result)?;
                }
                _ => self.on_received(slot, completion, now)?,
            }
        }
        Ok(())
    }

    fn channel(&mut self, slot: u32) -> (&mut Channel, &mut Ring) {
        let clients = self.clients.len();
        let channel = match self.clients.get_mut(slot as usize) {
            Some(client) => &mut client.channel,
            None => &mut self.workers[slot as usize - clients].channel,
        };
        (channel, self.ring)
    }

    fn on_received(&mut self, slot: u32, completion: Completion, now: Instant) -> Result<()> {
        self.touched.push(slot);
        let clients = self.clients.len();
        match self.clients.get_mut(slot as usize) {
            Some(client) => {
                let heard = client
                    .on_received(self.ring, completion, now, self.bytes, &mut self.latency_ns)
                    .with_context(|| format!("client {slot}"))?;
                self.heard += heard;
            }
            None => {
                let worker = &mut self.workers[slot as usize - clients];
                let pairs = worker
                    .on_received(self.ring, completion, &mut self.sockets, self.stopping)
                    .with_context(|| format!("worker {}", slot as usize - clients))?;
                self.pairs += pairs;
                self.written += pairs;
            }
        }
        Ok(())
    }
}

impl Client {
    fn speak(&mut self, bytes: usize) {
        let text = text(self.number, self.next, bytes);
        self.channel.say(frames::TEXT, &text);
        self.next += 1;
        self.sent.push_back(Instant::now());
    }

    /// Says how many answers came. Each is to be the oldest message without one.
    fn on_received(
        &mut self,
        ring: &mut Ring,
        completion: Completion,
        now: Instant,
        bytes: usize,
        latency_ns: &mut Histogram<u64>,
    ) -> Result<u64> {
        let Client { channel, number, next, sent } = self;
        let mut heard = 0;
        channel.on_received(ring, completion, |outgoing, received| {
            take_frames(outgoing, received, |_, payload| {
                let at = sent.pop_front().context("an answer to nothing")?;
                let first = *next - sent.len() as u32 - 1 + heard as u32;
                ensure!(
                    payload == text(*number, first, bytes),
                    "an answer that is not the message"
                );
                latency_ns.record(now.duration_since(at).as_nanos() as u64)?;
                heard += 1;
                Ok(())
            })
        })?;
        (0..heard).for_each(|_| self.speak(bytes));
        Ok(heard)
    }
}

impl Worker {
    /// Asks for the next message of the socket it is at.
    fn ask(&mut self, sockets: &[Socket]) {
        self.writes = false;
        let socket = &sockets[self.sockets[self.at]];
        let verb = match socket.fence {
            Some(fence) => format!("read?fence={fence}"),
            None => "read".to_owned(),
        };
        rest::write_post(&mut self.channel.outgoing, &socket.id, &verb, None);
    }

    /// Goes on with what was answered. Says how many pairs are complete: one or none.
    fn on_received(
        &mut self,
        ring: &mut Ring,
        completion: Completion,
        sockets: &mut [Socket],
        stopping: bool,
    ) -> Result<u64> {
        let mut pairs = 0;
        let (mut asks, writes) = (false, self.writes);
        let socket = &mut sockets[self.sockets[self.at]];
        self.channel.on_received(ring, completion, |outgoing, received| {
            let Some(answer) = Answer::parse(received)? else { return Ok(0) };
            match (writes, answer.status) {
                (false, 200) => {
                    socket.fence = answer.fence;
                    rest::write_post(outgoing, &socket.id, "write", Some(answer.body));
                }
                (false, 408) => asks = true,
                (true, 204) => pairs = 1,
                (false, _) => bail!(answer.unexpected("a read")),
                (true, _) => bail!(answer.unexpected("a write")),
            }
            ensure!(answer.bytes == received.len(), "an answer to nothing");
            Ok(answer.bytes)
        })?;
        if pairs == 1 {
            self.at = (self.at + 1) % self.sockets.len();
            asks = true;
        } else if !self.channel.outgoing.is_empty() {
            self.writes = true;
        }
        if asks && !stopping {
            self.ask(sockets);
        } else if asks {
            self.writes = false;
        }
        Ok(pairs)
    }
}
