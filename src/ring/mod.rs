//! The edge to the kernel: submissions in, completions out.
//!
//! `ring` owns every byte the kernel can see: the receive buffers ([`Lease`] is the right to one
//! part of one), the bytes of a send until its terminal completion ([`SendData`]), the ring
//! itself. Unsafe code stands here, and beside it only where `proto` chooses CPU features; it knows
//! neither the protocol nor the engine. The engine calls [`Ring::push`], [`Ring::submit_and_wait`]
//! and [`Ring::next_completion`], in this order, once a batch; it looks at the ring's time and its
//! counts as it likes.
//!
//! The trait stands at the level of submissions and completions, not of "read a socket", because
//! that is where the mistakes of ring programs are: completions that come late, twice removed
//! from their cause, short, or for a slot that has a new owner. [`KernelRing`] is io_uring;
//! [`sim::SimRing`] is an invented kernel with a seed.

#![allow(unsafe_code)]

mod buffer;
#[cfg(test)]
mod conformance;
mod lease_pool;
pub mod memory;
mod pool;
mod queue;
mod sends;
pub mod sim;
mod token;
mod uring;

pub use buffer::{BUFFER_HEADROOM, Buffer};
#[doc(hidden)]
pub use lease_pool::LeasePool;
pub use pool::Lease;
pub use queue::Queue;
pub use rustix::io::Errno;
pub use sends::SendData;
pub use token::{Operation, Token};
pub use uring::{KernelRing, KernelRingError, KernelRingOptions, SetupStep};
pub use uring::{probe, receive_mode_that_works};

use crate::clock::Moment;
use std::net::SocketAddr;
use std::sync::Arc;

/// What the engine may ask the kernel to do. The slot it is about stands in the [`Token`].
#[derive(Debug)]
pub enum Submission {
    /// Accept connections into free slots until told otherwise (multishot). The token's slot is
    /// the index of the listener.
    Accept,
    /// Accept one connection into a free slot, in turn with all others that wait for the listener.
    AcceptOne,
    /// Receive until told otherwise (multishot), into buffers the ring provides. While there is
    /// something to receive it takes one buffer after the other, up to all of them within one wait,
    /// and then ends with ENOBUFS; at once, if no buffer is free when it is pushed.
    Receive,
    /// Receive once, into one buffer the ring provides: at most so many bytes, and no more than
    /// that buffer has room for. The first completion is terminal: bytes, the end of the stream,
    /// or a failure; ENOBUFS, and nothing is lost, where no buffer is free, now or when something is
    /// to be received. Those pushed in one batch that find something to receive get buffers in the order
    /// of their pushes, before any receive that was armed already. Its token is that of
    /// [`Operation::Receive`], and so is its cancel; of both kinds a slot has one at most.
    ReceiveOnce {
        /// At least one.
        bytes_max: u32,
    },
    /// Send all of it, in order; of more than [`SendData::PIECES_MAX`] pieces the first so many. At
    /// most one send may be in flight per slot.
    Send(SendData),
    /// Half-close: send FIN after what was sent.
    ShutdownWrite,
    /// End the operation of this kind that the slot has under the same generation; for
    /// [`Operation::Accept`], that of the listener. Found by its token, which costs the kernel the
    /// same however many operations there are; by descriptor it looks at all of them. Its completion
    /// says whether there was one, maybe twice of one that is cancelled twice; ENOENT if not. What
    /// became of that is told by its own, before or after.
    Cancel(Operation),
    /// Complete once the peer has closed its end, without reading.
    AwaitHangup,
    /// Ask who the peer is; the family is that of the listener.
    PeerAddress(AddressFamily),
    /// Ask how many of the bytes that were sent the peer's system has not acknowledged yet.
    Unacknowledged,
    /// Make the close a reset, which drops what was not sent. Has no effect on a Unix socket, and
    /// fails on kernels before 6.7: then the close is what it always is.
    ResetOnClose,
    /// Give the slot back. Only when no other operation of it is in flight. Sends FIN behind what
    /// was sent; a reset, if something that came was not read.
    Close,
}

/// The family of a socket's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// IPv4.
    V4,
    /// IPv6, or IPv4 mapped into it.
    V6,
}

/// How receive buffers are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveMode {
    /// Bit by bit: one buffer holds what many connections sent (kernel 6.12).
    Incremental,
    /// One buffer per receive.
    Classic,
}

/// What came of a submission, or of one shot of it.
#[derive(Debug)]
pub enum Outcome {
    /// A connection was accepted into this slot.
    Accepted(u32),
    /// Bytes arrived: at least one.
    Received(Lease),
    /// The peer has closed its end.
    EndOfStream,
    /// So many bytes were sent; the data comes back, whole. Fewer than all if the send was cancelled,
    /// or if the connection broke: then nothing else is told why.
    Sent(usize, SendData),
    /// A send failed; the data comes back, whole.
    SendFailed(Errno, SendData),
    /// Who the peer is; `None` for a Unix socket, or where the kernel cannot tell (before 6.7).
    PeerAddress(Option<SocketAddr>),
    /// So many bytes are not acknowledged; `None` for a Unix socket, where what was sent is with the
    /// peer, or where the kernel cannot tell (before 6.7).
    Unacknowledged(Option<u32>),
    /// The peer has closed its end, or (`reset`) the connection is broken.
    HungUp {
        /// There is an error, and nothing more can be sent or received. Not if a receive or a send
        /// was told of that before.
        reset: bool,
    },
    /// Another thread rang the [`Doorbell`].
    Rang,
    /// Done, with nothing to tell.
    Done,
    /// Failed, for this reason.
    Failed(Errno),
}

/// One completion.
#[derive(Debug)]
pub struct Completion {
    /// Which operation, of which slot and generation.
    pub token: Token,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether the operation stays armed. `false` is its terminal completion: whatever it was
    /// lent is free, and nothing restarts it but a new submission.
    pub more: bool,
}

/// Wakes a ring's thread out of [`Ring::submit_and_wait`], from any thread.
pub trait Doorbell: Send + Sync {
    /// Rings. Cheap to call twice; never blocks.
    fn ring(&self);
}

/// Counts since the ring was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Times the kernel was entered.
    pub enters: u64,
    /// Submissions handed to the kernel.
    pub submissions: u64,
    /// Completions taken.
    pub completions: u64,
    /// Times the completion queue was found to have overflowed.
    pub overflows: u64,
    /// Times the submission queue was full when something was pushed.
    pub submission_queue_full: u64,
    /// Receives that ended because no buffer was free (ENOBUFS).
    pub out_of_buffers: u64,
    /// Sends that ended before all was sent.
    pub short_sends: u64,
}

impl std::ops::AddAssign for RingCounters {
    fn add_assign(&mut self, other: Self) {
        self.enters += other.enters;
        self.submissions += other.submissions;
        self.completions += other.completions;
        self.overflows += other.overflows;
        self.submission_queue_full += other.submission_queue_full;
        self.out_of_buffers += other.out_of_buffers;
        self.short_sends += other.short_sends;
    }
}

/// A ring: the kernel's, or the simulator's. Completions of one operation come in the order in which
/// things happened; those of different ones in any. What else a ring keeps is written down as checks
/// that run over each of them, in the module `conformance`.
pub trait Ring {
    /// The current time. Asked once a batch.
    fn now(&self) -> Moment;

    /// The current time in nanoseconds, where the ring has it so fine. For measurements only.
    fn now_ns(&self) -> u64 {
        self.now().as_millis().saturating_mul(1_000_000)
    }

    /// Slots there are, hence connections at most.
    fn slots(&self) -> u32;

    /// What other threads ring to end this ring's wait: the present one, or the next if it does
    /// not wait. It may outlive the ring, and then rings for nobody.
    fn doorbell(&self) -> Arc<dyn Doorbell>;

    /// Queues a submission. Never fails: when the submission queue is full it is handed to the
    /// kernel first. What is pushed is committed; only its terminal completion ends it.
    fn push(&mut self, token: Token, submission: Submission);

    /// Hands the queue to the kernel and waits for a completion, or until `until`. `None` waits
    /// without end. Returns at once when a completion is ready.
    ///
    /// # Errors
    ///
    /// Only what leaves the ring unusable; a full queue, a signal and a passing lack of memory
    /// are dealt with inside.
    fn submit_and_wait(&mut self, until: Option<Moment>) -> Result<(), Errno>;

    /// The next completion, if one is ready.
    fn next_completion(&mut self) -> Option<Completion>;

    /// Share of the receive buffers that are free, in eighths (8: all of them).
    fn free_buffer_eighths(&self) -> u32;

    /// Counts so far.
    fn counters(&self) -> RingCounters;
}
