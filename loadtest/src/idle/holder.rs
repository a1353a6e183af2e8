//! One thread of the idle run: a ring and the connections it holds.
//!
//! `idle` starts the threads and reads [`Shared`]. A ring's table of direct descriptors is limited
//! by `RLIMIT_NOFILE`, but they do not count as open files of the process.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::connect::{self, WAVE};
use crate::frames;
use crate::handshake::Target;
use crate::operation::{Completion, Op, Sizes, Token};
use crate::ring::Ring;

/// A server that pushes messages above this size is not idle.
const FRAME_BYTES_MAX: u64 = 1 << 20;
const TICK: Duration = Duration::from_millis(200);
/// Who has not said goodbye by then leaves without.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// What the threads tell each other.
#[derive(Default)]
pub struct Shared {
    /// Open no more.
    pub enough: AtomicBool,
    /// Leave.
    pub stop: AtomicBool,
    pub opened: AtomicU32,
    pub pings: AtomicU32,
    pub lost: AtomicU32,
}

/// One thread's connections.
pub struct Holder<'s> {
    ring: &'static mut Ring,
    shared: &'s Shared,
    count: u32,
    opened: u32,
    raw: bool,
    ended: u32,
    leaving: bool,
    /// Beginnings of frames, by slot.
    partial: HashMap<u32, Vec<u8>>,
}

impl<'s> Holder<'s> {
    /// Sets up the ring for `count` connections on the calling thread.
    pub fn new(count: u32, raw: bool, shared: &'s Shared) -> Result<Holder<'s>> {
        let sizes = Sizes {
            submissions: 1_024,
            completions: 16_384,
            slots: count,
            buffers: 64,
            buffer_bytes: 4_096,
        };
        let ring = Ring::leak(sizes).context("cannot set up the io_uring")?;
        let partial = HashMap::new();
        Ok(Holder { ring, shared, count, opened: 0, raw, ended: 0, leaving: false, partial })
    }

    /// Opens the connections, which are numbered from `first` on.
    pub fn open(&mut self, target: &Target, first: u32) -> Result<()> {
        for from in (0..self.count).step_by(WAVE as usize) {
            let is_over = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
            if is_over(&self.shared.enough) || is_over(&self.shared.stop) {
                break;
            }
            let count = WAVE.min(self.count - from);
            let wave = connect::open_wave(target, first + from, count, self.raw)?;
            let fds: Vec<RawFd> = wave.iter().map(|opened| opened.stream.as_raw_fd()).collect();
            self.ring.install(from, &fds)?;
            for (slot, opened) in (from..).zip(&wave) {
                self.ring.recv_stream(token(Op::Stream, slot))?;
                self.read_frames(slot, &opened.early)?;
            }
            self.opened += count;
            self.shared.opened.fetch_add(count, Ordering::AcqRel);
            // The kernel hands out some twenty completions at a time, and pings may be as many as
            // connections by now.
            while self.serve(Duration::ZERO)? && !is_over(&self.shared.enough) {}
        }
        Ok(())
    }

    /// Answers pings until all are to leave, and leaves.
    pub fn hold(&mut self) -> Result<()> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.serve(TICK)?;
        }
        self.leaving = true;
        if self.raw {
            return Ok(());
        }
        let until = Instant::now() + GOODBYE_MAX;
        let mut goodbye = Vec::new();
        frames::write_frame(&mut goodbye, frames::CLOSE, Some([1; 4]), &1000_u16.to_be_bytes());
        for slot in 0..self.opened {
            let bytes = goodbye.clone().into_boxed_slice();
            self.ring.send_owned(bytes, token(Op::SendOwned, slot))?;
            if slot % 1_024 == 0 {
                self.serve(Duration::ZERO)?;
                if Instant::now() > until {
                    return Ok(());
                }
            }
        }
        while self.ended < self.opened && Instant::now() < until {
            self.serve(TICK)?;
        }
        Ok(())
    }

    /// Takes what has come until then; `false` if nothing has.
    fn serve(&mut self, timeout: Duration) -> Result<bool> {
        self.ring.wait(Some(timeout))?;
        let mut any = false;
        while let Some(completion) = self.ring.next() {
            any = true;
            if completion.token.op == Op::Stream {
                self.on_stream(completion)?;
            }
        }
        Ok(any)
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
