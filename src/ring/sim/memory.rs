//! Where the simulated kernel touches memory that it was lent.
//!
//! It writes into the pool's buffers and reads the bytes of a send through the same pointers that
//! the real kernel gets, at the moment at which the real kernel could, so that a sanitizer sees a
//! buffer that was freed too early. The only unsafe code of the simulator.

use super::super::ReceiveMode;
use super::super::pool::{Lease, Pool};
use super::super::sends::SendRange;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::rc::Rc;

/// The receive buffers as the kernel sees them: those it was provided, in order.
pub(super) struct Memory {
    pool: Rc<Pool>,
    receive: ReceiveMode,
    /// Buffers to write to, the first one next, with the bytes written so far.
    available: VecDeque<(u16, u32)>,
    /// Which buffers the kernel has, or has used up in a completion that was not taken.
    provided: Vec<bool>,
}

/// What a write used: the buffer, from where on, whether the kernel may write to it again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    buffer: u16,
    start: u32,
    pub(super) bytes: u32,
    more: bool,
}

impl Memory {
    pub(super) fn new(count: u16, buffer_bytes: u32, receive: ReceiveMode) -> Self {
        let pool = Pool::new(count, buffer_bytes);
        let provided = vec![false; usize::from(count)];
        Self { pool, receive, available: VecDeque::new(), provided }
    }

    /// Takes every buffer that was returned. What is in it is the kernel's from here on, so it is
    /// scribbled over.
    pub(super) fn provide(&mut self) {
        while let Some(id) = self.pool.provide() {
            let before = std::mem::replace(&mut self.provided[usize::from(id)], true);
            assert!(!before, "buffer {id} was provided while the kernel had it");
            self.available.push_back((id, 0));
            self.scribble(id, 0, self.pool.buffer_bytes());
        }
    }

    /// Moves up to `most` bytes out of `queue` into the next buffer. `None` without a buffer.
    pub(super) fn write(&mut self, queue: &mut VecDeque<u8>, most: usize) -> Option<Written> {
        let (buffer, filled) = self.available.pop_front()?;
        let room = self.pool.buffer_bytes() - filled;
        let bytes = u32::try_from(most.min(queue.len())).unwrap_or(u32::MAX).min(room);
        let piece: Vec<u8> = queue.drain(..bytes as usize).collect();
        self.copy(buffer, filled, &piece);
        let filled = filled + bytes;
        let more = self.receive == ReceiveMode::Incremental && filled < self.pool.buffer_bytes();
        if more {
            self.available.push_front((buffer, filled));
            // Behind what was delivered the kernel may write at any time.
            self.scribble(buffer, filled, 64.min(self.pool.buffer_bytes() - filled));
        }
        Some(Written { buffer, start: filled - bytes, bytes, more })
    }

    /// The completion that names what was written is being taken.
    pub(super) fn take(&mut self, written: Written) -> Lease {
        let Written { buffer, start, bytes, more } = written;
        self.provided[usize::from(buffer)] = more;
        let lease = self.pool.take(buffer, bytes, more);
        let written = self.pool.address(buffer).addr().get() + start as usize;
        assert_eq!(lease.as_ptr().addr(), written, "a lease of what was not written");
        lease
    }

    /// Whether there is one to write to.
    pub(super) fn has_buffer(&self) -> bool {
        !self.available.is_empty()
    }

    pub(super) fn free_eighths(&self) -> u32 {
        self.pool.free_eighths()
    }

    /// Buffers of which a part is lent, after those that were returned have been provided.
    pub(super) fn lent(&mut self) -> usize {
        self.provide();
        self.provided.iter().filter(|provided| !**provided).count()
    }

    fn scribble(&self, buffer: u16, from: u32, bytes: u32) {
        self.copy(buffer, from, &vec![0xa5; bytes as usize]);
    }

    fn copy(&self, buffer: u16, from: u32, bytes: &[u8]) {
        assert!(self.provided[usize::from(buffer)], "the kernel does not have buffer {buffer}");
        assert!(from as usize + bytes.len() <= self.pool.buffer_bytes() as usize);
        let start = self.pool.address(buffer);
        // SAFETY: `from` is inside the buffer (asserted above), which `pool` owns.
        let start = unsafe { start.add(from as usize) };
        // SAFETY: the range is inside the buffer; the buffer was provided and its completion not
        // taken (asserted above), and leases cover only what earlier completions delivered.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }
}

/// Bytes of a send in all.
pub(super) fn send_bytes(range: &SendRange) -> usize {
    pieces(range).iter().map(|piece| piece.len()).sum()
}

/// Appends `count` bytes of a send, from byte `from` on, to `queue`.
pub(super) fn read_send(range: &SendRange, from: usize, count: usize, queue: &mut VecDeque<u8>) {
    let (mut skip, mut left) = (from, count);
    for piece in pieces(range) {
        let start = skip.min(piece.len());
        let end = (start + left).min(piece.len());
        queue.extend(&piece[start..end]);
        skip -= start;
        left -= end - start;
    }
    assert_eq!(left, 0, "a send is shorter than its length");
}

/// The runs of bytes of a send, found the way the kernel finds them.
fn pieces(range: &SendRange) -> Vec<&[u8]> {
    match *range {
        SendRange::One(start, bytes) => {
            // SAFETY: the record of this send is kept by `SendTable` until `finish`, which is
            // called when the terminal completion is taken; the caller has not posted it yet.
            let run = unsafe { std::slice::from_raw_parts(start, bytes as usize) };
            vec![run]
        }
        SendRange::Several(header) => {
            // SAFETY: as above, for the `msghdr` in the record.
            let header = unsafe { &*header };
            // SAFETY: as above, for the vectors of the record; the header holds their number.
            let vectors = unsafe { std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen) };
            let run = |vector: &libc::iovec| {
                // SAFETY: as above, for the bytes that the vectors name.
                unsafe { std::slice::from_raw_parts(vector.iov_base.cast(), vector.iov_len) }
            };
            vectors.iter().map(run).collect()
        }
    }
}
