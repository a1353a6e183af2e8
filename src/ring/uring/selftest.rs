//! Does this kernel do what its version promises? Asked by doing it.
//!
//! Incremental buffers had bugs on several kernels. Before a shard relies on them, a known stream
//! goes through a real ring over a socket pair, in pieces of every kind, and must come out the
//! same, in order, to the end.

use super::super::{Errno, Operation, Outcome, ReceiveMode, Ring, Submission, Token};
use super::{KernelRing, KernelRingOptions};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The best way to provide receive buffers that works on this kernel.
///
/// # Errors
///
/// What the kernel said when not even classic buffers work.
pub fn receive_mode_that_works() -> Result<ReceiveMode, Errno> {
    match check(ReceiveMode::Incremental) {
        Ok(()) => Ok(ReceiveMode::Incremental),
        Err(_) => check(ReceiveMode::Classic).map(|()| ReceiveMode::Classic),
    }
}

/// Sizes of the pieces, chosen to end before, at and behind the end of a 4 KiB buffer.
const PIECES: [usize; 12] = [1, 100, 3_995, 4_096, 4_095, 1, 1, 5_000, 20_000, 7, 8_192, 300];

fn check(receive: ReceiveMode) -> Result<(), Errno> {
    let options = KernelRingOptions {
        submission_entries: 8,
        completion_entries: 64,
        slots: 2,
        buffer_count: 4,
        buffer_bytes: 4_096,
        receive,
        send_waitall: true,
        // It needs next to nothing.
        memory_timeout: Duration::from_secs(2),
    };
    let mut ring = KernelRing::new(&options, Vec::new()).map_err(|error| error.errno)?;
    // One after the other through the same buffers: after an end they are where we think they are.
    for once in [None, Some(3_000)] {
        check_stream(&mut ring, once)?;
    }
    Ok(())
}

/// A stream to its end, received in shots of at most so many bytes or by a multishot receive.
fn check_stream(ring: &mut KernelRing, once: Option<u32>) -> Result<(), Errno> {
    let (near, far) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    ring.install(0, &near)?;
    drop(near);
    let mut stream = Stream { once, sent: 0, received: 0 };
    stream.arm(ring);
    for piece in PIECES {
        stream.send(&far, piece)?;
        while stream.received < stream.sent {
            stream.receive(ring)?;
        }
    }
    drop(far);
    while !stream.receive(ring)? {}
    ring.push(Token::new(Operation::Close, 0, 0), Submission::Close);
    ring.submit_and_wait(None)?;
    while ring.next_completion().is_some() {}
    Ok(())
}

/// A stream in which every byte is a function of its position.
struct Stream {
    once: Option<u32>,
    sent: usize,
    received: usize,
}

impl Stream {
    fn byte(position: usize) -> u8 {
        (position.wrapping_mul(167) >> 3) as u8
    }

    fn arm(&self, ring: &mut KernelRing) {
        let receive = match self.once {
            Some(bytes_max) => Submission::ReceiveOnce { bytes_max },
            None => Submission::Receive,
        };
        ring.push(Token::new(Operation::Receive, 0, 0), receive);
    }

    fn send(&mut self, far: &OwnedFd, bytes: usize) -> Result<(), Errno> {
        let piece: Vec<u8> = (self.sent..self.sent + bytes).map(Self::byte).collect();
        let mut rest = &piece[..];
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(far, rest)?..];
        }
        self.sent += bytes;
        Ok(())
    }

    /// Waits once and takes what is there; `true` at the end of the stream. EIO for bytes that
    /// are wrong, EOVERFLOW for too many in a shot, ETIME for bytes that do not come.
    fn receive(&mut self, ring: &mut KernelRing) -> Result<bool, Errno> {
        ring.submit_and_wait(Some(ring.now() + Duration::from_secs(1)))?;
        let (mut progress, mut ended, mut rearm) = (false, false, false);
        while let Some(completion) = ring.next_completion() {
            progress = true;
            match completion.outcome {
                Outcome::Received(lease) => {
                    if self.once.is_some_and(|most| completion.more || lease.len() > most as usize)
                    {
                        return Err(Errno::OVERFLOW);
                    }
                    let right =
                        lease.iter().zip(self.received..).all(|(b, at)| *b == Self::byte(at));
                    if !right {
                        return Err(Errno::IO);
                    }
                    self.received += lease.len();
                    rearm = !completion.more;
                }
                Outcome::Failed(Errno::NOBUFS) => rearm = true,
                Outcome::EndOfStream => ended = true,
                Outcome::Failed(errno) => return Err(errno),
                _ => {}
            }
        }
        if rearm {
            self.arm(ring);
        }
        if progress { Ok(ended) } else { Err(Errno::TIME) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_buffers_work_here() {
        check(ReceiveMode::Classic).unwrap();
    }

    #[test]
    fn the_best_mode_is_found() {
        receive_mode_that_works().unwrap();
    }
}
