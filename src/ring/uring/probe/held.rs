//! Rings that the probe holds for a moment, with the memory the kernel may see.
//!
//! Owns the only unsafe line of the probe. Called by the climb. Nothing is ever submitted to these
//! rings.
#![allow(unsafe_code)]

use super::Plan;
use super::limits::Limits;
use io_uring::{Builder, IoUring};
use rustix::io::Errno;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time between two tries where there is no memory.
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(10);

const BUFFER_GROUP: u16 = 0;
const BUFFER_ENTRY_BYTES: usize = 16;
const PAGE_BYTES: usize = 4_096;

/// Builds a ring; where its memory is limited, with patience.
pub(super) fn built(builder: &Builder, entries: u32, limits: &Limits) -> Result<IoUring, Errno> {
    let plan = Plan {
        shards: 1,
        submission_entries: entries,
        completion_entries: 2 * entries,
        buffer_entries: 0,
    };
    patiently(limits.memory_timeout(&plan), || builder.build(entries).map_err(errno_of))
}

/// Makes `rings` rings of `plan` at once, each with a ring of buffers, and lets them go again.
/// Where there is no memory, it is asked for again for `timeout`.
pub(super) fn held_at_once(
    builder: &Builder,
    plan: &Plan,
    completion_entries: u32,
    rings: usize,
    timeout: Duration,
) -> Result<(), Errno> {
    let mut builder = builder.clone();
    builder.setup_cqsize(completion_entries);
    let entries = plan.buffer_entries.next_power_of_two();
    patiently(timeout, || {
        let mut held = Vec::new();
        for _ in 0..rings {
            let ring = builder.build(plan.submission_entries).map_err(errno_of)?;
            let mut buffers = BufferRing::new(ring, entries);
            buffers.register(0)?;
            held.push(buffers);
        }
        Ok(())
    })
}

fn patiently<T>(
    timeout: Duration,
    mut attempt: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let until = Instant::now() + timeout;
    loop {
        match attempt() {
            Err(Errno::NOMEM) if Instant::now() < until => {}
            result => return result,
        }
        sleep(NO_MEMORY_PAUSE);
    }
}

/// The number of an error of the system.
pub(super) fn errno_of(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// A ring with memory for a ring of buffers.
pub(super) struct BufferRing {
    ring: IoUring,
    memory: Box<[Page]>,
    entries: u16,
}

/// Memory as the kernel wants it for a ring of buffers: whole pages.
#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Page([u8; PAGE_BYTES]);

impl BufferRing {
    /// Memory for `entries` buffers, a power of two, beside `ring`; nothing is registered yet.
    pub(super) fn new(ring: IoUring, entries: u16) -> Self {
        let pages = (usize::from(entries) * BUFFER_ENTRY_BYTES).div_ceil(PAGE_BYTES);
        Self { ring, memory: vec![Page([0; PAGE_BYTES]); pages].into(), entries }
    }

    /// Registers the memory.
    pub(super) fn register(&mut self, flags: u16) -> Result<(), Errno> {
        let address = self.memory.as_mut_ptr() as u64;
        let submitter = self.ring.submitter();
        // SAFETY: the kernel may read and write the pages of `self.memory`, which `new` made large
        // enough for `self.entries` and which are freed only after `drop` has unregistered them.
        // No operation is ever submitted to this ring, so there is no completion to wait for.
        unsafe {
            submitter.register_buf_ring_with_flags(address, self.entries, BUFFER_GROUP, flags)
        }
        .map_err(errno_of)
    }

    /// Takes the memory back from the kernel.
    pub(super) fn unregister(&mut self) {
        // An error means that nothing is registered.
        let _ = self.ring.submitter().unregister_buf_ring(BUFFER_GROUP);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        self.unregister();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_ring_is_registered_once_and_without_unknown_flags() {
        let limits = Limits::of_this_process();
        let ring = built(&IoUring::builder(), 8, &limits).expect("io_uring");
        let mut buffers = BufferRing::new(ring, 8);
        assert_eq!(buffers.register(1 << 15), Err(Errno::INVAL));
        assert_eq!(buffers.register(0), Ok(()));
        assert_eq!(buffers.register(0), Err(Errno::EXIST));
        buffers.unregister();
        assert_eq!(buffers.register(0), Ok(()));
    }

    #[test]
    fn patience_ends() {
        for (timeout, attempts_min) in [(Duration::ZERO, 1), (NO_MEMORY_PAUSE, 2)] {
            let mut attempts = 0;
            let result: Result<(), Errno> = patiently(timeout, || {
                attempts += 1;
                Err(Errno::NOMEM)
            });
            assert!(result == Err(Errno::NOMEM) && attempts >= attempts_min, "{attempts}");
        }
        let mut attempts = 0;
        let result = patiently(Duration::from_secs(60), || {
            attempts += 1;
            if attempts < 3 { Err(Errno::NOMEM) } else { Ok(attempts) }
        });
        assert_eq!(result, Ok(3));
    }
}
