//! The members of a fan-out on one ring: they join, publish and listen.
//!
//! `fanout` owns a [`Room`] and asks for its phases; `hearing` makes sense of the bytes.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::hearing::{Hearing, Texts};
use super::{Join, Plan};
use crate::connect::{self, WAVE};
use crate::frames;
use crate::handshake::Target;
use crate::operation::{Completion, Op, Sizes, Token};
use crate::ring::Ring;
use crate::schedule::Schedule;

const TICK: Duration = Duration::from_millis(50);
const MASK: [u8; 4] = [0x5A, 0xC3, 0x17, 0x88];
/// A room is at rest when nobody has heard anything for this long.
const QUIET: Duration = Duration::from_millis(400);
const QUIET_MAX: Duration = Duration::from_secs(120);
/// How long nothing may be delivered while messages are under way.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// All members.
pub struct Room {
    ring: &'static mut Ring,
    pub hearing: Hearing,
    /// Messages that wait because their publisher is sending: publisher and text.
    waiting: VecDeque<(u32, Vec<u8>)>,
    members: u32,
    publishers: u32,
    schedule: Option<Schedule>,
    start: Instant,
    heard_at: Duration,
}

impl Room {
    /// Connects everybody and lets them join.
    pub fn open(plan: &Plan, target: &Target) -> Result<Room> {
        let members = plan.publishers + plan.subscribers;
        let sizes = Sizes {
            submissions: 4_096,
            completions: 65_536,
            slots: members,
            buffers: 16,
            buffer_bytes: 256 * 1024,
        };
        let ring = Ring::leak(sizes).with_context(|| {
            format!("cannot set up an io_uring with {members} descriptors (see ulimit -n)")
        })?;
        let hearing =
            Hearing::new(Texts::new(plan.bytes as usize), plan.publishers, plan.subscribers)?;
        let mut room = Room {
            ring,
            hearing,
            waiting: VecDeque::new(),
            members,
            publishers: plan.publishers,
            schedule: None,
            start: Instant::now(),
            heard_at: Duration::ZERO,
        };
        let progress = crate::progress::bar(u64::from(members), "joining", false);
        for first in (0..members).step_by(WAVE as usize) {
            room.join_wave(target, first, WAVE.min(members - first), plan.join)?;
            room.serve(Duration::ZERO)?;
            progress.set_position(u64::from(first));
        }
        progress.finish_and_clear();
        room.come_to_rest()?;
        Ok(room)
    }

    fn join_wave(&mut self, target: &Target, first: u32, count: u32, join: Join) -> Result<()> {
        let wave = connect::open_wave(target, first, count, false)?;
        let fds: Vec<RawFd> = wave.iter().map(|opened| opened.stream.as_raw_fd()).collect();
        self.ring.install(first, &fds)?;
        for (slot, opened) in (first..).zip(&wave) {
            self.hear(slot, &opened.early)?;
            self.ring.recv_stream(token(Op::Stream, slot))?;
            if join == Join::Chat {
                self.send(slot, frames::TEXT, format!("m{slot}").as_bytes())?;
            }
        }
        Ok(())
    }

    /// Waits until the talk about joining is over.
    fn come_to_rest(&mut self) -> Result<()> {
        let until = self.start.elapsed() + QUIET_MAX;
        while self.start.elapsed() < self.heard_at + QUIET {
            self.serve(TICK)?;
            ensure!(
                self.start.elapsed() < until,
                "the room is not quiet {QUIET_MAX:?} after joining"
            );
        }
        Ok(())
    }

    /// Starts to publish: at `rate` in all, or one message per publisher at a time.
    pub fn start(&mut self, rate: Option<f64>) -> Result<()> {
        self.start = Instant::now();
        self.heard_at = Duration::ZERO;
        self.schedule = rate.map(|rate| Schedule::new(rate, self.publishers));
        if self.schedule.is_none() {
            for publisher in 0..self.publishers {
                self.publish(publisher, self.now_ns());
            }
        }
        Ok(())
    }

    /// Nanoseconds since [`Room::start`].
    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Publishes and listens for a moment.
    pub fn turn(&mut self) -> Result<()> {
        let now_ns = self.now_ns();
        match self.schedule.as_mut() {
            Some(schedule) => {
                let due: Vec<_> = std::iter::from_fn(|| schedule.next_due(now_ns)).collect();
                due.iter().for_each(|(publisher, due_ns)| self.publish(*publisher, *due_ns));
            }
            None => {
                let finished = std::mem::take(&mut self.hearing.finished);
                finished.iter().for_each(|publisher| self.publish(*publisher, now_ns));
            }
        }
        self.hearing.finished.clear();
        self.send_waiting()?;
        let rest = self.schedule.as_ref().map_or(TICK, |schedule| schedule.rest(self.now_ns()));
        self.serve(rest.min(TICK))?;
        self.check_silence()
    }

    /// Publishes no more and waits for what is under way. Tells what did not arrive: messages
    /// that somebody misses, and deliveries.
    pub fn drain(&mut self) -> Result<(u64, u64)> {
        let until = Instant::now() + DRAIN_MAX;
        while self.hearing.missing().0 > 0 && Instant::now() < until {
            self.send_waiting()?;
            self.serve(TICK)?;
        }
        Ok(self.hearing.missing())
    }

    /// Everybody says goodbye.
    pub fn leave(&mut self) -> Result<()> {
        for slot in 0..self.members {
            self.send(slot, frames::CLOSE, &1000_u16.to_be_bytes())?;
        }
        Ok(self.ring.wait(Some(TICK))?)
    }

    fn publish(&mut self, publisher: u32, sent_ns: u64) {
        let text = self.hearing.publish(publisher, sent_ns);
        self.waiting.push_back((publisher, text));
    }

    fn send_waiting(&mut self) -> Result<()> {
        for _ in 0..self.waiting.len() {
            let Some((publisher, text)) = self.waiting.pop_front() else { break };
            if !self.send(publisher, frames::TEXT, &text)? {
                self.waiting.push_back((publisher, text));
            }
        }
        Ok(())
    }

    fn send(&mut self, slot: u32, opcode: u8, payload: &[u8]) -> Result<bool> {
        let mut frame = Vec::with_capacity(payload.len() + 14);
        frames::write_frame(&mut frame, opcode, Some(MASK), payload);
        Ok(self.ring.send_owned(frame.into_boxed_slice(), token(Op::SendOwned, slot))?)
    }

    fn check_silence(&self) -> Result<()> {
        let silence = self.start.elapsed().saturating_sub(self.heard_at);
        let (incomplete, missing) = self.hearing.missing();
        if incomplete == 0 || silence < SILENCE_MAX {
            return Ok(());
        }
        let hint = match self.hearing.others {
            0 => String::new(),
            others => format!("; {others} other messages, the last: {}", self.hearing.last_other),
        };
        bail!(
            "nothing was delivered for {SILENCE_MAX:?}: {incomplete} messages under way, {missing} deliveries missing{hint}"
        )
    }

    fn serve(&mut self, timeout: Duration) -> Result<()> {
        self.ring.wait(Some(timeout))?;
        while let Some(completion) = self.ring.next() {
            let member = completion.token.slot;
            self.on_completion(completion).with_context(|| format!("member {member}"))?;
        }
        for (member, payload) in std::mem::take(&mut self.hearing.pings) {
            // A pong under way makes another one superfluous (RFC 6455 §5.5.3).
            self.send(member, frames::PONG, &payload)?;
        }
        Ok(())
    }

    fn on_completion(&mut self, completion: Completion) -> Result<()> {
        let token = completion.token;
        if token.op != Op::Stream {
            completion.result.context("the connection was lost while sending")?;
            return Ok(());
        }
        if let Some(lease) = completion.lease {
            self.heard_at = self.start.elapsed();
            let now_ns = self.heard_at.as_nanos() as u64;
            let outcome = self.hearing.feed(token.slot, self.ring.bytes(&lease), now_ns);
            self.ring.release(lease);
            outcome.map_err(|wrong| anyhow!(wrong))?;
        }
        match completion.result {
            Ok(0) => bail!("the server closed the connection"),
            Ok(_) | Err(rustix::io::Errno::NOBUFS) => {}
            Err(error) => return Err(error).context("the connection was lost"),
        }
        if !completion.more {
            self.ring.recv_stream(token)?;
        }
        Ok(())
    }

    fn hear(&mut self, member: u32, bytes: &[u8]) -> Result<()> {
        let now_ns = self.now_ns();
        self.hearing.feed(member, bytes, now_ns).map_err(|wrong| anyhow!(wrong))
    }
}

fn token(op: Op, slot: u32) -> Token {
    Token { op, slot, generation: 0 }
}
