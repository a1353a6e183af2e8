//! The only unsafe file: one io_uring per thread, its provided buffers and what the kernel may
//! touch.
//!
//! The echo loop, the idle holder and the io_uring floor call it. It knows neither WebSocket nor
//! measuring. The rule that makes its interface safe: **a ring and all the memory it owns are
//! leaked** ([`Ring::leak`]), because a load generator lives as long as its process. So no
//! operation can outlive its memory; what is left to guard is *reading* memory the kernel still
//! writes, which [`Lease`] and [`Region`] do.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::squeue::Flags;
use io_uring::types::{BufRingEntry, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};
use rustix::net::{RecvFlags, SendFlags};

use crate::operation::{Completion, Op, Region, Sizes, Token};

/// `IOU_PBUF_RING_INC` of `<linux/io_uring.h>`: a provided buffer is consumed bit by bit.
const PBUF_RING_INC: u16 = 2;
const BUFFER_GROUP: u16 = 0;
const PAGE_BYTES: usize = 4096;

/// Bytes the kernel has written into a provided buffer. Give it back with [`Ring::release`];
/// a lost one keeps its buffer out of use.
#[derive(Debug)]
pub struct Lease {
    buffer: u16,
    start_bytes: u32,
    len_bytes: u32,
}

impl Lease {
    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        self.len_bytes as usize
    }

    fn adjoins(&self, next: &Lease) -> bool {
        self.buffer == next.buffer && self.start_bytes + self.len_bytes == next.start_bytes
    }
}

#[repr(align(4096))]
#[derive(Clone, Copy)]
struct Page(#[expect(dead_code, reason = "reached by pointer")] [u8; PAGE_BYTES]);

/// A provided-buffer ring: `count` buffers of `bytes_each` in one piece of leaked memory.
struct Buffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    count: u16,
    bytes_each: u32,
    tail: u16,
    published: u16,
    state: Vec<BufferState>,
}

#[derive(Clone, Copy, Default)]
struct BufferState {
    /// Where the kernel will write next.
    offset_bytes: u32,
    leases: u32,
    /// The kernel is done with it; it returns when the last lease does.
    finished: bool,
}

/// One io_uring with direct descriptors and an incremental provided-buffer ring.
pub struct Ring {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    buffers: Buffers,
    regions: HashMap<u32, (Region, bool)>,
    owned_sends: HashMap<u32, Box<[u8]>>,
    discard: *mut u8,
    discard_bytes: usize,
}

impl Ring {
    /// Sets up a ring for the calling thread, which alone may use it. It stays until the process
    /// ends.
    pub fn leak(sizes: Sizes) -> io::Result<&'static mut Ring> {
        let uring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_no_sqarray()
            .setup_cqsize(sizes.completions)
            .build(sizes.submissions)?;
        let (mut submitter, submissions, completions) = Box::leak(Box::new(uring)).split();
        submitter.register_ring_fd()?;
        submitter.register_files_sparse(sizes.slots)?;
        let buffers = Buffers::register(&submitter, sizes.buffers, sizes.buffer_bytes)?;
        Ok(Box::leak(Box::new(Ring {
            submitter,
            submissions,
            completions,
            buffers,
            regions: HashMap::new(),
            owned_sends: HashMap::new(),
            discard: std::ptr::null_mut(),
            discard_bytes: 0,
        })))
    }

    /// Puts `fds` into the slots from `first_slot` on. The caller may drop its descriptors then.
    pub fn install(&mut self, first_slot: u32, fds: &[RawFd]) -> io::Result<()> {
        self.submitter.register_files_update(first_slot, fds).map(|_| ())
    }

    /// Accepts for ever into free slots. The result of a completion is the slot.
    pub fn accept_multishot(&mut self, listener: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).allocate_file_index(true);
        self.push(entry.build(), token)
    }

    /// Receives for ever into provided buffers; each completion carries a [`Lease`].
    pub fn recv_stream(&mut self, token: Token) -> io::Result<()> {
        self.push(opcode::RecvMulti::new(Fixed(token.slot), BUFFER_GROUP).build(), token)
    }

    /// Receives exactly `len_bytes` to the front of `region`, which [`Ring::take_region`] hands
    /// back after the completion. One per slot at a time.
    pub fn recv_exact(&mut self, region: Region, len_bytes: u32, token: Token) -> io::Result<()> {
        assert!(len_bytes as usize <= region.bytes().len(), "an exact receive beyond its region");
        assert!(!self.regions.contains_key(&token.slot), "two exact receives on one slot");
        let (held, _) = self.regions.entry(token.slot).or_insert((region, false));
        let at = held.start();
        let flags = RecvFlags::WAITALL.bits() as i32;
        self.push(opcode::Recv::new(Fixed(token.slot), at, len_bytes).flags(flags).build(), token)
    }

    /// The region of a finished exact receive.
    pub fn take_region(&mut self, slot: u32) -> Option<Region> {
        match self.regions.get(&slot) {
            Some((_, true)) => self.regions.remove(&slot).map(|(region, _)| region),
            _ => None,
        }
    }

    /// Throws up to `len_bytes` of the stream away without copying them (`MSG_TRUNC`, tcp(7)). The
    /// completion counts what was there; `MSG_WAITALL` would wait for too much after a part,
    /// since truncated bytes do not advance the kernel's iterator.
    pub fn recv_discard(&mut self, len_bytes: u32, token: Token) -> io::Result<()> {
        if self.discard_bytes < len_bytes as usize {
            // The kernel should not write here at all; if it does, it finds room. Leaked, since
            // an earlier receive may still name the smaller one.
            let room = vec![0_u8; len_bytes as usize].leak();
            self.discard_bytes = room.len();
            self.discard = room.as_mut_ptr();
        }
        let flags = RecvFlags::TRUNC.bits() as i32;
        let entry = opcode::Recv::new(Fixed(token.slot), self.discard, len_bytes).flags(flags);
        self.push(entry.build(), token)
    }

    /// Sends `bytes`; the completion comes when all of them are with the kernel.
    pub fn send(&mut self, bytes: &'static [u8], token: Token) -> io::Result<()> {
        self.push(send_entry(token.slot, bytes.as_ptr(), bytes.len(), SendFlags::empty()), token)
    }

    /// Sends `bytes` if the socket takes all of them at once, and is silent then. A completion
    /// comes only when it took less; it counts what went out.
    pub fn send_silent(&mut self, bytes: &'static [u8], token: Token) -> io::Result<()> {
        let entry = send_entry(token.slot, bytes.as_ptr(), bytes.len(), SendFlags::DONTWAIT);
        self.push(entry.flags(Flags::SKIP_SUCCESS), token)
    }

    /// Sends bytes that nobody else keeps. One per slot at a time; `false` if one is under way.
    pub fn send_owned(&mut self, bytes: Box<[u8]>, token: Token) -> io::Result<bool> {
        if self.owned_sends.contains_key(&token.slot) {
            return Ok(false);
        }
        let entry = send_entry(token.slot, bytes.as_ptr(), bytes.len(), SendFlags::empty());
        self.owned_sends.insert(token.slot, bytes);
        self.push(entry, token).map(|()| true)
    }

    /// Sends from where a lease lies, without its first `skip_bytes`. The caller keeps the lease
    /// until the completion, or until the next [`Ring::wait`] has returned if `silent`.
    pub fn send_lease(
        &mut self,
        lease: &Lease,
        skip_bytes: u32,
        silent: bool,
        token: Token,
    ) -> io::Result<()> {
        let bytes = &self.bytes(lease)[skip_bytes as usize..];
        let (at, len) = (bytes.as_ptr(), bytes.len());
        let entry = if silent {
            let entry = send_entry(token.slot, at, len, SendFlags::DONTWAIT);
            entry.flags(Flags::SKIP_SUCCESS)
        } else {
            send_entry(token.slot, at, len, SendFlags::empty())
        };
        self.push(entry, token)
    }

    /// Closes a slot. Nothing may be armed on it.
    pub fn close(&mut self, token: Token) -> io::Result<()> {
        self.push(opcode::Close::new(Fixed(token.slot)).build(), token)
    }

    /// The bytes of a lease.
    pub fn bytes(&self, lease: &Lease) -> &[u8] {
        self.buffers.bytes(lease)
    }

    /// Joins `next` to `lease` when it follows without a gap; hands it back otherwise.
    pub fn join(&mut self, lease: &mut Lease, next: Lease) -> Option<Lease> {
        if !lease.adjoins(&next) {
            return Some(next);
        }
        lease.len_bytes += next.len_bytes;
        self.buffers.state[usize::from(next.buffer)].leases -= 1;
        None
    }

    /// Gives a lease back. Its buffer returns to the kernel with the next [`Ring::wait`] when all
    /// of it is back.
    pub fn release(&mut self, lease: Lease) {
        self.buffers.release(lease);
    }

    /// How many provided buffers the kernel may still fill.
    pub fn free_buffers(&self) -> usize {
        self.buffers.state.iter().filter(|state| !state.finished).count()
    }

    /// Submits what was pushed and waits for a completion, at most `timeout`.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.buffers.publish();
        self.submissions.sync();
        let outcome = match timeout {
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                self.submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
            None => self.submitter.submit_and_wait(1),
        };
        self.submissions.sync();
        self.completions.sync();
        forgive(outcome)
    }

    /// The next completion that has arrived.
    pub fn next(&mut self) -> Option<Completion> {
        let entry = self.completions.next()?;
        let token = Token::unpack(entry.user_data());
        let more = cqueue::more(entry.flags());
        let result = match entry.result() {
            failed if failed < 0 => Err(rustix::io::Errno::from_raw_os_error(-failed)),
            count => Ok(count as u32),
        };
        let lease = match (cqueue::buffer_select(entry.flags()), result) {
            (Some(buffer), Ok(count)) => {
                self.buffers.lease(buffer, count, cqueue::buffer_more(entry.flags()))
            }
            _ => None,
        };
        match token.op {
            Op::Exact => {
                if let Some((_, arrived)) = self.regions.get_mut(&token.slot) {
                    *arrived = true;
                }
            }
            Op::SendOwned => drop(self.owned_sends.remove(&token.slot)),
            _ => {}
        }
        Some(Completion { token, result, more, lease })
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) -> io::Result<()> {
        let entry = entry.user_data(token.pack());
        if self.submissions.is_full() {
            self.submissions.sync();
            self.flush_full_queue()?;
        }
        // SAFETY: an entry names only memory that lives until its completion: static bytes,
        // `buffers` and `discard` (leaked), a `Region` in `regions` (freed by its owner, who gets
        // it only after the completion), a box in `owned_sends` (freed in `next` at its
        // completion). The ring that owns them is leaked.
        let pushed = unsafe { self.submissions.push(&entry) };
        pushed.map_err(|_| io::Error::other("the submission queue stays full"))
    }

    fn flush_full_queue(&mut self) -> io::Result<()> {
        let outcome = self.submitter.submit();
        self.submissions.sync();
        forgive(outcome)
    }
}

fn send_entry(slot: u32, at: *const u8, len: usize, extra: SendFlags) -> squeue::Entry {
    let flags = (SendFlags::NOSIGNAL | extra).bits() | RecvFlags::WAITALL.bits();
    opcode::Send::new(Fixed(slot), at, len as u32).flags(flags as i32).build()
}

/// A wait that ended early is no failure: the caller looks at the completions anyway.
fn forgive(outcome: io::Result<usize>) -> io::Result<()> {
    use rustix::io::Errno;
    match outcome {
        Ok(_) => Ok(()),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::TIME | Errno::INTR | Errno::AGAIN | Errno::BUSY) => Ok(()),
            _ => Err(error),
        },
    }
}

impl Buffers {
    fn register(submitter: &Submitter<'_>, count: u16, bytes_each: u32) -> io::Result<Buffers> {
        assert!(count.is_power_of_two(), "the number of buffers is a power of two");
        let pages = |bytes: usize| vec![Page([0; PAGE_BYTES]); bytes.div_ceil(PAGE_BYTES)].leak();
        let entry_bytes = usize::from(count) * size_of::<BufRingEntry>();
        let entries = pages(entry_bytes).as_mut_ptr().cast::<BufRingEntry>();
        let memory = pages(usize::from(count) * bytes_each as usize).as_mut_ptr().cast::<u8>();
        // SAFETY: `entries` points at leaked, page-aligned memory of `count` entries; it and the
        // buffers its entries will name live until the process ends.
        unsafe {
            submitter.register_buf_ring_with_flags(
                entries as u64,
                count,
                BUFFER_GROUP,
                PBUF_RING_INC,
            )
        }?;
        let state = vec![BufferState::default(); usize::from(count)];
        let mut buffers =
            Buffers { entries, memory, count, bytes_each, tail: 0, published: 0, state };
        (0..count).for_each(|buffer| buffers.offer(buffer));
        buffers.publish();
        Ok(buffers)
    }

    fn offer(&mut self, buffer: u16) {
        self.state[usize::from(buffer)] = BufferState::default();
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: `index` is below `count`, the length of the leaked array.
        let at = unsafe { self.entries.add(index) };
        // SAFETY: the array is leaked and aligned, and the kernel does not look at this entry
        // before `publish` moves the tail past it.
        let entry = unsafe { &mut *at };
        let offset = usize::from(buffer) * self.bytes_each as usize;
        entry.set_addr(self.memory as u64 + offset as u64);
        entry.set_len(self.bytes_each);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what `offer` wrote.
    fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        // SAFETY: `entries` is the first entry of the registered ring and is leaked.
        let tail = unsafe { BufRingEntry::tail(self.entries) };
        // SAFETY: the tail is an aligned `u16` in leaked memory that only atomics touch.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }

    fn lease(&mut self, buffer: u16, len_bytes: u32, stays: bool) -> Option<Lease> {
        let state = self.state.get_mut(usize::from(buffer))?;
        let lease = Lease { buffer, start_bytes: state.offset_bytes, len_bytes };
        state.offset_bytes += len_bytes;
        state.leases += 1;
        state.finished = !stays;
        Some(lease)
    }

    fn release(&mut self, lease: Lease) {
        let state = &mut self.state[usize::from(lease.buffer)];
        state.leases -= 1;
        if state.finished && state.leases == 0 {
            self.offer(lease.buffer);
        }
    }

    fn bytes(&self, lease: &Lease) -> &[u8] {
        let end = u64::from(lease.start_bytes) + u64::from(lease.len_bytes);
        assert!(lease.buffer < self.count && end <= u64::from(self.bytes_each));
        let offset =
            usize::from(lease.buffer) * self.bytes_each as usize + lease.start_bytes as usize;
        // SAFETY: the assertion above keeps the offset inside the leaked memory.
        let at = unsafe { self.memory.add(offset) };
        // SAFETY: the range lies in leaked memory; the kernel wrote it before the completion that
        // made this lease and writes it again only after `release` has taken the lease.
        unsafe { std::slice::from_raw_parts(at, lease.len_bytes as usize) }
    }
}
