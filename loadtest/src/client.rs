//! One echo connection: what is in flight, what came back, whether it was right.
//!
//! The echo loop owns the connections and hands them completions; after each batch it lets the
//! touched ones send. There are two ways to receive: small messages stream into shared buffers
//! and are compared with the expected image, several messages in one comparison; large ones are
//! received exactly, most of them without copying their payload. The connection keeps no clock.

use std::collections::VecDeque;
use std::io;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;

use crate::frame_check::{Event, FrameCheck};
use crate::frames;
use crate::operation::{Op, Region, Token};
use crate::ring::{Lease, Ring};
use crate::workload::Script;

/// Messages above this many bytes on the wire are received exactly.
const STREAM_BYTES_MAX: usize = 8 * 1024;
/// A send up to this size is expected to fit into the socket and completes silently.
const SILENT_BYTES_MAX: usize = 32 * 1024;
/// How many first messages of a connection are always compared.
const VERIFIED_FIRST: u64 = 2;
/// Later one message in so many is compared.
const VERIFIED_EVERY: u64 = 64;

/// State of one connection; `slot` is its direct descriptor.
#[derive(Debug)]
pub struct Connection {
    slot: u32,
    script: Script,
    received: u64,
    allowed: usize,
    next_message: usize,
    /// What the last send has not brought to the kernel, and whether a completion must come.
    unsent: &'static [u8],
    sending: bool,
    unanswered: VecDeque<(u64, u32)>,
    receive: Receive,
}

/// What a [`Connection::flush`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Messages handed to the kernel.
    pub messages: u64,
    /// Some are left that may go in the next round.
    pub more: bool,
}

#[derive(Debug)]
enum Receive {
    Image {
        /// Bytes received in all.
        position: usize,
        /// The position at which the message under way began.
        message_start: usize,
    },
    Frames(FrameCheck),
    Exact {
        region: Option<Region>,
        /// What is still to be thrown away of the message under way.
        rest_bytes: usize,
    },
}

impl Connection {
    /// A connection in `slot` that may send its first `allowed` messages.
    pub fn new(slot: u32, script: Script, allowed: usize, verify_all: bool) -> Connection {
        let largest_bytes = script.shape.echo_bytes_max();
        let receive = if largest_bytes > STREAM_BYTES_MAX && !verify_all {
            Receive::Exact { region: Some(Region::new(largest_bytes)), rest_bytes: 0 }
        } else {
            Receive::Image { position: 0, message_start: 0 }
        };
        Connection {
            slot,
            script,
            received: 0,
            allowed,
            next_message: 0,
            unsent: &[],
            sending: false,
            unanswered: VecDeque::with_capacity(script.shape.depth),
            receive,
        }
    }

    /// Arms the first receive.
    pub fn start(&mut self, ring: &mut Ring) -> io::Result<()> {
        match self.receive {
            Receive::Exact { .. } => self.expect_message(ring),
            _ => ring.recv_stream(self.token(Op::Stream)),
        }
    }

    /// Messages sent and not yet back.
    pub fn in_flight(&self) -> u64 {
        self.unanswered.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// Lets one more message go, whose latency counts from `intended_ns`.
    pub fn owe(&mut self, intended_ns: u64) {
        self.allowed += 1;
        self.unanswered.push_back((intended_ns, 1));
    }

    /// Counts the messages that may go now as sent at `now_ns`: the closed loop. Tells how many.
    pub fn stamp(&mut self, now_ns: u64) -> u64 {
        if self.allowed == 0 || self.sending {
            return 0;
        }
        self.unanswered.push_back((now_ns, self.allowed as u32));
        self.allowed as u64
    }

    /// Sends as many messages as may go, at most a period of them. One send at a time: two would
    /// overtake.
    pub fn flush(&mut self, ring: &mut Ring) -> io::Result<Flushed> {
        if self.allowed == 0 || self.sending {
            return Ok(Flushed { messages: 0, more: false });
        }
        let period = self.script.shape.period();
        let count = self.allowed.min(period);
        self.unsent = self.script.send_run(self.next_message, count);
        self.next_message = (self.next_message + count) % period;
        self.allowed -= count;
        self.sending = self.unsent.len() > SILENT_BYTES_MAX;
        match self.sending {
            true => ring.send(self.unsent, self.token(Op::Send))?,
            false => ring.send_silent(self.unsent, self.token(Op::Send))?,
        }
        Ok(Flushed { messages: count as u64, more: self.allowed > 0 && !self.sending })
    }

    /// A send ended, or a silent one did not go out whole.
    pub fn on_sent(&mut self, ring: &mut Ring, result: Result<u32, Errno>) -> Result<()> {
        let count = match result {
            Ok(count) => count as usize,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error).context("the connection was lost while sending"),
        };
        self.unsent = self.unsent.get(count..).unwrap_or_default();
        self.sending = !self.unsent.is_empty();
        if self.sending {
            ring.send(self.unsent, self.token(Op::Send))?;
        }
        Ok(())
    }

    /// Bytes of a streaming receive. Returns how many messages they completed.
    pub fn on_stream(&mut self, ring: &mut Ring, lease: Lease) -> Result<u64> {
        let before = self.received;
        let outcome = match &mut self.receive {
            Receive::Image { position, message_start } => {
                let bytes = ring.bytes(&lease);
                let matched = self.script.matching(*position, bytes);
                *position += matched;
                let period = self.script.shape.period() as u64;
                loop {
                    let awaited = (self.received % period) as usize;
                    let end = *message_start + self.script.echo_message(awaited).len();
                    if *position < end {
                        break;
                    }
                    *message_start = end;
                    self.received += 1;
                }
                if matched == bytes.len() {
                    Ok(Vec::new())
                } else {
                    let rest = bytes[matched..].to_vec();
                    let under_way_bytes = *position - *message_start;
                    self.leave_image(under_way_bytes, &rest)
                }
            }
            Receive::Frames(_) => {
                let bytes = ring.bytes(&lease).to_vec();
                self.feed_frames(&bytes)
            }
            Receive::Exact { .. } => Ok(Vec::new()),
        };
        ring.release(lease);
        for pong in outcome.map_err(|wrong| anyhow::anyhow!(wrong))? {
            let frame = pong.into_boxed_slice();
            // A pong under way makes another one superfluous (RFC 6455 §5.5.3).
            ring.send_owned(frame, self.token(Op::SendOwned))?;
        }
        Ok(self.received - before)
    }

    /// An exact receive ended. Returns how many messages it completed.
    pub fn on_exact(&mut self, ring: &mut Ring, count: usize) -> Result<u64> {
        let message = self.message_awaited();
        let header_bytes = self.script.echo_header_bytes(message);
        let whole_bytes = self.script.echo_message(message).len();
        let expected = if self.verifies() { whole_bytes } else { header_bytes };
        ensure!(count == expected, "the server closed the connection within a message");
        let region = ring.take_region(self.slot).context("a receive without its memory")?;
        let (seen, wanted) = (&region.bytes()[..expected], self.script.echo_message(message));
        let (header, wanted_header) = (&seen[..header_bytes], &wanted[..header_bytes]);
        ensure!(
            header == wanted_header,
            "message {} came back in frames of another shape (header {header:02x?}); \
             --verify full follows fragments and pings",
            self.received
        );
        ensure!(seen == &wanted[..expected], "wrong content in message {}", self.received);
        self.receive = Receive::Exact { region: Some(region), rest_bytes: 0 };
        if expected < whole_bytes {
            self.discard(ring, whole_bytes - header_bytes)?;
            return Ok(0);
        }
        self.received += 1;
        self.expect_message(ring)?;
        Ok(1)
    }

    /// A discarding receive ended. Returns how many messages it completed.
    pub fn on_discarded(&mut self, ring: &mut Ring, count: usize) -> Result<u64> {
        let Receive::Exact { rest_bytes, .. } = self.receive else { return Ok(0) };
        ensure!(count > 0, "the server closed the connection within a message");
        if count < rest_bytes {
            self.discard(ring, rest_bytes - count)?;
            return Ok(0);
        }
        self.received += 1;
        self.expect_message(ring)?;
        Ok(1)
    }

    /// Counts `messages` that came back as room for new ones; tells when they had been sent.
    pub fn settle(&mut self, mut messages: u64, stop: bool, mut sent: impl FnMut(u64, u64)) {
        if !stop {
            self.allowed += messages as usize;
        }
        while messages > 0 {
            let Some((sent_ns, count)) = self.unanswered.front_mut() else { return };
            let part = messages.min(u64::from(*count));
            sent(*sent_ns, part);
            messages -= part;
            *count -= part as u32;
            if *count == 0 {
                self.unanswered.pop_front();
            }
        }
    }

    /// Says goodbye (RFC 6455 §7.1.2) unless the run is raw.
    pub fn close(&mut self, ring: &mut Ring) -> io::Result<()> {
        if self.script.shape.raw {
            return Ok(());
        }
        let mut frame = Vec::new();
        frames::write_frame(&mut frame, frames::CLOSE, Some([1; 4]), &1000_u16.to_be_bytes());
        ring.send_owned(frame.into_boxed_slice(), self.token(Op::SendOwned)).map(|_| ())
    }

    /// The name of an operation of this connection.
    pub fn token(&self, op: Op) -> Token {
        Token { op, slot: self.slot, generation: 0 }
    }

    /// The message of the period that comes next.
    fn message_awaited(&self) -> usize {
        (self.received % self.script.shape.period() as u64) as usize
    }

    fn verifies(&self) -> bool {
        self.received < VERIFIED_FIRST || self.received.is_multiple_of(VERIFIED_EVERY)
    }

    fn expect_message(&mut self, ring: &mut Ring) -> io::Result<()> {
        let message = self.message_awaited();
        let whole_bytes = self.script.echo_message(message).len();
        let len_bytes = match self.verifies() {
            true => whole_bytes,
            false => self.script.echo_header_bytes(message),
        };
        if len_bytes == 0 {
            return self.discard(ring, whole_bytes);
        }
        match &mut self.receive {
            Receive::Exact { region, .. } => match region.take() {
                Some(region) => ring.recv_exact(region, len_bytes as u32, self.token(Op::Exact)),
                None => Err(io::Error::other("a second exact receive")),
            },
            _ => Ok(()),
        }
    }

    fn discard(&mut self, ring: &mut Ring, len_bytes: usize) -> io::Result<()> {
        if let Receive::Exact { rest_bytes, .. } = &mut self.receive {
            *rest_bytes = len_bytes;
        }
        ring.recv_discard(len_bytes as u32, self.token(Op::Discard))
    }

    /// Goes from comparing images to reading frames, at the start of the message under way.
    fn leave_image(&mut self, under_way_bytes: usize, rest: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        if self.script.shape.raw {
            return Err(format!("wrong content in message {}", self.received));
        }
        let message = self.message_awaited();
        let head = &self.script.echo_message(message)[..under_way_bytes];
        self.receive = Receive::Frames(FrameCheck::new(message));
        let mut pongs = self.feed_frames(head)?;
        pongs.extend(self.feed_frames(rest)?);
        Ok(pongs)
    }

    fn feed_frames(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut pongs = Vec::new();
        if let Receive::Frames(check) = &mut self.receive {
            let received = &mut self.received;
            check.feed(&self.script, bytes, |event| match event {
                Event::Message => *received += 1,
                Event::Ping(payload) => {
                    let mut frame = Vec::new();
                    frames::write_frame(&mut frame, frames::PONG, Some([1; 4]), &payload);
                    pongs.push(frame);
                }
            })?;
        }
        Ok(pongs)
    }
}
