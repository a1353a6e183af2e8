//! Making a kernel ring: flags, queues, the table of direct descriptors, the receive buffers.
//!
//! Called by the kernel's ring and the self-test. It waits where memory of a ring that has gone is
//! still charged, so it may run at the start only.

use super::super::pool::Pool;
use super::super::{Errno, ReceiveMode};
use io_uring::types::BufRingEntry;
use io_uring::{IoUring, Submitter};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The buffer group that all receives of a ring use.
pub(super) const BUFFER_GROUP: u16 = 0;

/// `IOU_PBUF_RING_INC`: a buffer is used up bit by bit (kernel 6.12).
const INCREMENTAL: u16 = 2;

/// Time between two tries where there is no memory.
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(20);

/// For how long memory is asked for again at least, before every halving of the queue: that of
/// our own rings that are closed comes back within about 10 ms.
const NO_MEMORY_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// Sizes of a kernel ring.
#[derive(Clone, Debug)]
pub struct KernelRingOptions {
    /// Entries of the submission queue, a power of two.
    pub submission_entries: u32,
    /// Entries of the completion queue, a power of two. Halved while memory for it is refused.
    pub completion_entries: u32,
    /// Direct descriptors, hence connections; at most `RLIMIT_NOFILE`.
    pub slots: u32,
    /// Receive buffers, a power of two.
    pub buffer_count: u16,
    /// Bytes of a receive buffer.
    pub buffer_bytes: u32,
    /// How buffers are provided.
    pub receive: ReceiveMode,
    /// Send with `MSG_WAITALL`.
    pub send_waitall: bool,
    /// How long memory that is refused is asked for again before less is: where the limit allows
    /// it, it is still charged for a ring of a process that has just ended.
    pub memory_timeout: Duration,
}

/// Why a ring could not be made: the step and what the kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {errno}")]
pub struct KernelRingError {
    /// Which step failed.
    pub step: SetupStep,
    /// What the kernel said.
    pub errno: Errno,
}

/// The steps of making a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupStep {
    /// `io_uring_setup(2)`.
    Setup,
    /// Registering the table of direct descriptors.
    Descriptors,
    /// Registering the ring of receive buffers.
    Buffers,
    /// Making the eventfd of the doorbell.
    Doorbell,
}

impl std::fmt::Display for SetupStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Setup => "io_uring_setup",
            Self::Descriptors => "registering direct descriptors",
            Self::Buffers => "registering receive buffers",
            Self::Doorbell => "eventfd",
        })
    }
}

/// `io_uring_setup` with what the engine needs, and the smallest completion queue it can get.
///
/// A closed ring's memory is given back to the memlock account late, so a refusal for lack of
/// memory is tried again before the queue is halved.
pub(super) fn build(options: &KernelRingOptions) -> Result<IoUring, KernelRingError> {
    let mut completion_entries = options.completion_entries;
    let floor = options.submission_entries.max(1_024).min(options.completion_entries);
    let mut until = Instant::now() + options.memory_timeout.max(NO_MEMORY_TIMEOUT_MIN);
    loop {
        match build_once(options.submission_entries, completion_entries) {
            Ok(ring) => return Ok(ring),
            Err(Errno::NOMEM) if Instant::now() < until => thread::sleep(NO_MEMORY_PAUSE),
            Err(Errno::NOMEM) if completion_entries > floor => {
                completion_entries /= 2;
                until = Instant::now() + NO_MEMORY_TIMEOUT_MIN;
            }
            Err(errno) => return Err(KernelRingError { step: SetupStep::Setup, errno }),
        }
    }
}

fn build_once(submission_entries: u32, completion_entries: u32) -> Result<IoUring, Errno> {
    let attempt = |no_array: bool| {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
        builder.setup_cqsize(completion_entries).dontfork();
        if no_array {
            builder.setup_no_sqarray();
        }
        builder.build(submission_entries).map_err(|error| errno(&error))
    };
    match attempt(true) {
        // NO_SQARRAY came with kernel 6.6; it only saves memory.
        Err(Errno::INVAL) => attempt(false),
        result => result,
    }
}

/// Registers the table of direct descriptors.
pub(super) fn register_slots(submitter: &Submitter<'_>, slots: u32) -> Result<(), KernelRingError> {
    submitter
        .register_files_sparse(slots)
        .map_err(|error| KernelRingError { step: SetupStep::Descriptors, errno: errno(&error) })
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The ring of provided buffers: entries the kernel reads, and our tail in the first of them.
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
    tail: u16,
    leaked: bool,
}

impl BufferRing {
    /// Allocates the entries and registers them for [`BUFFER_GROUP`], which is asked for again for
    /// `timeout` while there is no memory.
    pub(super) fn register(
        submitter: &Submitter<'_>,
        count: u16,
        receive: ReceiveMode,
        timeout: Duration,
    ) -> Result<Self, KernelRingError> {
        assert!(count.is_power_of_two(), "receive buffers come in powers of two");
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(bytes, 4_096).expect("at most 512 KiB");
        // SAFETY: the layout has a size above zero. The memory is owned by this value and freed
        // in its `drop`, after the ring that was told of it is closed.
        let memory = unsafe { alloc_zeroed(layout) };
        let entries = NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout));
        let ring = Self { entries, layout, mask: count - 1, tail: 0, leaked: false };
        let flags = match receive {
            ReceiveMode::Incremental => INCREMENTAL,
            ReceiveMode::Classic => 0,
        };
        let address = memory as u64;
        let until = Instant::now() + timeout;
        loop {
            // SAFETY: the entries are owned by `ring`, page-aligned, `count` long, and outlive the
            // io_uring instance (field order of `KernelRing`, or the leak in its `drop`).
            let registered = unsafe {
                submitter.register_buf_ring_with_flags(address, count, BUFFER_GROUP, flags)
            };
            match registered.map_err(|error| errno(&error)) {
                Ok(()) => return Ok(ring),
                Err(Errno::NOMEM) if Instant::now() < until => thread::sleep(NO_MEMORY_PAUSE),
                Err(errno) => return Err(KernelRingError { step: SetupStep::Buffers, errno }),
            }
        }
    }

    /// Hands every buffer that was returned to `pool` to the kernel.
    pub(super) fn provide_from(&mut self, pool: &Rc<Pool>) {
        let before = self.tail;
        while let Some(id) = pool.provide() {
            let index = usize::from(self.tail & self.mask);
            // SAFETY: `index` is below the number of entries, which `self` owns.
            let mut entry = unsafe { self.entries.add(index) };
            // SAFETY: inside the entries, aligned, and past the tail, where the kernel does not
            // look until the tail is moved below.
            let entry = unsafe { entry.as_mut() };
            entry.set_addr(pool.address(id).as_ptr() as u64);
            entry.set_len(pool.buffer_bytes());
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
        }
        if self.tail != before {
            self.tail_word().store(self.tail, Ordering::Release);
        }
    }

    fn tail_word(&self) -> &AtomicU16 {
        // SAFETY: the first entry is owned by `self`; its tail field is inside it.
        let word = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the word is aligned, lives as long as `self`, and apart from us only the
        // kernel touches it, atomically.
        unsafe { AtomicU16::from_ptr(word.cast_mut()) }
    }

    /// Never frees the entries: the kernel may still read them.
    pub(super) fn leak(&mut self) {
        self.leaked = true;
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: allocated in `register` with this layout, and the ring is closed by now.
            unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) };
        }
    }
}
