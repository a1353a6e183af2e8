//! The kernel's ring.
//!
//! One per shard, made and used on that shard's thread only (`SINGLE_ISSUER`). Completions run when
//! the shard enters the kernel and at no other time (`DEFER_TASKRUN`). Owns the ring, its receive
//! buffers and the bytes in flight. The launch makes it; a shard knows it as a [`Ring`] alone.

mod address;
pub mod probe;
mod selftest;
mod setup;

pub use selftest::receive_mode_that_works;
pub use setup::{KernelRingError, KernelRingOptions, SetupStep};

use super::pool::Pool;
use super::sends::{SendRange, SendTable};
use super::{
    Completion, Doorbell, Errno, Operation, Outcome, Ring, RingCounters, Submission, Token,
};
use crate::clock::Moment;
use address::AddressTable;
use io_uring::types::{DestinationSlot, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use setup::{BUFFER_GROUP, BufferRing};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

const DOORBELL: Token = Token::new(Operation::Doorbell, 0, 0);

/// io_uring. The order of the fields is the order in which they end: queues, ring, memory.
pub struct KernelRing {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    /// What the three above borrow from.
    _instance: Instance,
    buffer_ring: BufferRing,
    pool: Rc<Pool>,
    sends: SendTable,
    addresses: AddressTable,
    listeners: Vec<OwnedFd>,
    bell: Arc<Bell>,
    /// Submissions that found the queue full, in order.
    backlog: VecDeque<squeue::Entry>,
    /// Operations pushed whose terminal completion has not been taken, the doorbell's excepted.
    in_flight: u64,
    send_flags: i32,
    slots: u32,
    counters: RingCounters,
    started: Instant,
}

impl KernelRing {
    /// Makes a ring on the thread that will use it. `listeners` are what
    /// [`Submission::Accept`] names by index.
    ///
    /// # Errors
    ///
    /// The step that failed and what the kernel said.
    pub fn new(
        options: &KernelRingOptions,
        listeners: Vec<OwnedFd>,
    ) -> Result<Self, KernelRingError> {
        let bell = Bell::new()?;
        let instance = Instance(NonNull::from(Box::leak(Box::new(setup::build(options)?))));
        // SAFETY: leaked just now, so nobody else refers to it; freed when `Instance` drops,
        // which `KernelRing` declares behind the three halves.
        let (mut submitter, submissions, completions) =
            unsafe { &mut *instance.0.as_ptr() }.split();
        // Saves a look-up per enter; a kernel that refuses loses nothing else.
        let _ = submitter.register_ring_fd();
        setup::register_slots(&submitter, options.slots)?;
        let (count, timeout) = (options.buffer_count, options.memory_timeout);
        let buffer_ring = BufferRing::register(&submitter, count, options.receive, timeout)?;
        let waitall = if options.send_waitall { libc::MSG_WAITALL } else { 0 };
        let mut ring = Self {
            submitter,
            submissions,
            completions,
            _instance: instance,
            buffer_ring,
            pool: Pool::new(options.buffer_count, options.buffer_bytes),
            sends: SendTable::new(options.slots),
            addresses: AddressTable::default(),
            listeners,
            bell,
            backlog: VecDeque::new(),
            in_flight: 0,
            send_flags: libc::MSG_NOSIGNAL | waitall,
            slots: options.slots,
            counters: RingCounters::default(),
            started: Instant::now(),
        };
        ring.arm_doorbell();
        Ok(ring)
    }

    /// Entries of the completion queue that the kernel granted.
    pub fn completion_entries(&self) -> usize {
        self.completions.capacity()
    }

    /// Puts a socket that was not accepted into a slot.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn install(&mut self, slot: u32, socket: &OwnedFd) -> Result<(), Errno> {
        let installed = self.submitter.register_files_update(slot, &[socket.as_raw_fd()]);
        installed.map(drop).map_err(|error| setup::errno(&error))
    }

    fn arm_doorbell(&mut self) {
        let fd = Fd(self.bell.0.as_raw_fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
        self.queue(entry.user_data(DOORBELL.to_bits()));
    }

    fn entry(&mut self, token: Token, submission: Submission) -> squeue::Entry {
        let socket = Fixed(token.slot);
        match submission {
            Submission::Accept => {
                let listener = Fd(self.listeners[token.slot as usize].as_raw_fd());
                opcode::AcceptMulti::new(listener).allocate_file_index(true).build()
            }
            Submission::AcceptOne => {
                let listener = Fd(self.listeners[token.slot as usize].as_raw_fd());
                let free_slot = Some(DestinationSlot::auto_target());
                opcode::Accept::new(listener, std::ptr::null_mut(), std::ptr::null_mut())
                    .file_index(free_slot)
                    .build()
            }
            Submission::Receive => opcode::RecvMulti::new(socket, BUFFER_GROUP).build(),
            Submission::ReceiveOnce { bytes_max } => receive_once(socket, bytes_max),
            Submission::Send(data) => match self.sends.begin(token.slot, data) {
                SendRange::One(start, bytes) => {
                    opcode::Send::new(socket, start, bytes).flags(self.send_flags).build()
                }
                SendRange::Several(header) => {
                    opcode::SendMsg::new(socket, header).flags(self.send_flags as u32).build()
                }
            },
            Submission::ShutdownWrite => opcode::Shutdown::new(socket, libc::SHUT_WR).build(),
            Submission::Cancel(operation) => {
                opcode::AsyncCancel::new(Token { operation, ..token }.to_bits()).build()
            }
            Submission::AwaitHangup => opcode::PollAdd::new(socket, libc::POLLRDHUP as u32).build(),
            Submission::PeerAddress(family) => self.addresses.begin(token.slot, family),
            Submission::Unacknowledged => address::unacknowledged(socket),
            Submission::ResetOnClose => reset_on_close(socket),
            Submission::Close => opcode::Close::new(socket).build(),
        }
    }

    /// Queues an entry, behind those that are waiting already.
    fn queue(&mut self, entry: squeue::Entry) {
        if !self.backlog.is_empty() || !self.try_queue(&entry) {
            self.counters.submission_queue_full += 1;
            self.backlog.push_back(entry);
            self.flush_backlog();
        }
    }

    fn try_queue(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what `entry` points to is owned by `pool`, `sends`, `addresses`, `listeners` or
        // `bell`, which keep it until the operation's terminal completion was taken (or leak it).
        let queued = unsafe { self.submissions.push(entry) }.is_ok();
        self.counters.submissions += u64::from(queued);
        queued
    }

    /// Makes room by handing the queue to the kernel, and moves what waits into it. What cannot
    /// move now does so before the next wait.
    fn flush_backlog(&mut self) {
        while let Some(entry) = self.backlog.front().cloned() {
            if self.try_queue(&entry) {
                self.backlog.pop_front();
                continue;
            }
            self.submissions.sync();
            self.counters.enters += 1;
            if self.submitter.submit().is_err() {
                return;
            }
            self.submissions.sync();
            if self.submissions.is_full() {
                return;
            }
        }
    }

    fn enter(&mut self, until: Option<Moment>) -> Result<(), Errno> {
        self.counters.enters += 1;
        let result = match until {
            None => self.submitter.submit_and_wait(1),
            Some(until) => {
                let wait = until.since(self.now());
                let timespec = Timespec::from(wait);
                self.submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
        };
        match result.map_err(|error| setup::errno(&error)) {
            // ETIME: the deadline. EINTR: a signal. EBUSY, EAGAIN: the completion queue has
            // overflowed or memory is short; completions must be taken before more is submitted.
            Ok(_) | Err(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn completion(&mut self, token: Token, entry: &cqueue::Entry) -> Completion {
        let (result, flags) = (entry.result(), entry.flags());
        let more = cqueue::more(flags);
        if !more && token.operation != Operation::Doorbell {
            self.in_flight -= 1;
        }
        let error = (result < 0).then(|| Errno::from_raw_os_error(-result));
        let outcome = match (token.operation, error) {
            (Operation::Receive, _) => self.received(result, flags, error),
            (Operation::Send, None) => {
                let data = self.sends.finish(token.slot);
                let sent = result as usize;
                self.counters.short_sends += u64::from(sent < data.len());
                Outcome::Sent(sent, data)
            }
            (Operation::Send, Some(errno)) => {
                Outcome::SendFailed(errno, self.sends.finish(token.slot))
            }
            (Operation::PeerAddress, _) => {
                Outcome::PeerAddress(self.addresses.finish(token.slot, result))
            }
            (Operation::Unacknowledged, _) => Outcome::Unacknowledged(u32::try_from(result).ok()),
            (_, Some(errno)) => Outcome::Failed(errno),
            (Operation::Accept, None) => Outcome::Accepted(result as u32),
            (Operation::Hangup, None) => {
                // Both directions may be shut, or the peer of a Unix socket gone, with bytes unread.
                let reset = result & i32::from(libc::POLLERR) != 0;
                Outcome::HungUp { reset }
            }
            (Operation::Doorbell, None) => Outcome::Rang,
            (_, None) => Outcome::Done,
        };
        if token.operation == Operation::Doorbell && !more {
            self.arm_doorbell();
        }
        Completion { token, outcome, more }
    }

    fn received(&mut self, result: i32, flags: u32, error: Option<Errno>) -> Outcome {
        let lease = cqueue::buffer_select(flags).map(|id| {
            let bytes = result.max(0) as u32;
            self.pool.take(id, bytes, cqueue::buffer_more(flags))
        });
        match (error, lease) {
            (Some(errno), _) => {
                self.counters.out_of_buffers += u64::from(errno == Errno::NOBUFS);
                Outcome::Failed(errno)
            }
            (None, Some(lease)) if !lease.is_empty() => Outcome::Received(lease),
            (None, _) => Outcome::EndOfStream,
        }
    }
}

impl Ring for KernelRing {
    fn now(&self) -> Moment {
        Moment::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn slots(&self) -> u32 {
        self.slots
    }

    fn doorbell(&self) -> Arc<dyn Doorbell> {
        Arc::clone(&self.bell) as Arc<dyn Doorbell>
    }

    fn push(&mut self, token: Token, submission: Submission) {
        let entry = self.entry(token, submission).user_data(token.to_bits());
        self.in_flight += 1;
        self.queue(entry);
    }

    fn submit_and_wait(&mut self, until: Option<Moment>) -> Result<(), Errno> {
        self.buffer_ring.provide_from(&self.pool);
        self.flush_backlog();
        self.submissions.sync();
        self.counters.overflows += u64::from(self.submissions.cq_overflow());
        // With a backlog there is more to submit as soon as completions were taken.
        let until = if self.backlog.is_empty() { until } else { Some(self.now()) };
        self.enter(until)?;
        self.submissions.sync();
        self.completions.sync();
        Ok(())
    }

    fn next_completion(&mut self) -> Option<Completion> {
        loop {
            let Some(entry) = self.completions.next() else {
                self.completions.sync();
                return None;
            };
            self.counters.completions += 1;
            if let Some(token) = Token::from_bits(entry.user_data()) {
                return Some(self.completion(token, &entry));
            }
        }
    }

    fn free_buffer_eighths(&self) -> u32 {
        self.pool.free_eighths()
    }

    fn counters(&self) -> RingCounters {
        self.counters
    }
}

impl Drop for KernelRing {
    fn drop(&mut self) {
        let quiet = self.in_flight == 0 && self.sends.in_flight() == 0;
        if !quiet {
            // The kernel may write and read after the ring is closed: what it can see stays.
            self.pool.leak();
            self.buffer_ring.leak();
            self.sends.leak();
            self.addresses.leak();
        }
    }
}

/// A receive that takes its buffer from the group when there is something to receive. With a length
/// of 0 it would take all the room of one, which may be 128 KiB.
fn receive_once(socket: Fixed, bytes_max: u32) -> squeue::Entry {
    let receive = opcode::Recv::new(socket, std::ptr::null_mut(), bytes_max.max(1));
    receive.buf_group(BUFFER_GROUP).build().flags(squeue::Flags::BUFFER_SELECT)
}

/// `SO_LINGER` of no time: a close sends a reset (socket(7)).
fn reset_on_close(socket: Fixed) -> squeue::Entry {
    // In the program's own memory, so that it is there whenever the kernel reads it.
    static NO_TIME: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (level, option) = (libc::SOL_SOCKET as u32, libc::SO_LINGER as u32);
    let bytes = size_of::<libc::linger>() as u32;
    opcode::SetSockOpt::new(socket, level, option, (&raw const NO_TIME).cast(), bytes).build()
}

/// The mapped ring, closed and unmapped when dropped.
struct Instance(NonNull<IoUring>);

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak` in `KernelRing::new`, whose queues are dropped before.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// An eventfd: one write wakes the ring, however many threads write.
#[derive(Debug)]
struct Bell(OwnedFd);

impl Bell {
    fn new() -> Result<Arc<Self>, KernelRingError> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(|fd| Arc::new(Self(fd)))
            .map_err(|errno| KernelRingError { step: SetupStep::Doorbell, errno })
    }
}

impl Doorbell for Bell {
    fn ring(&self) {
        // EAGAIN: the counter is full, so the ring is being woken anyway.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}
