//! Memory that threads keep for its next use, and giving it back to the system.
//!
//! A thread keeps the memory of large buffers only if it has asked for that: a shard, which uses it
//! again at once and looks after it. Called by the engine; it frees nothing that is in use.

use super::buffer::store;

/// From now on this thread keeps the memory of large buffers that it has made and drops.
pub fn keep_buffers() {
    store::keep();
}

/// Bytes that this thread keeps.
pub fn kept_bytes() -> usize {
    store::kept_bytes()
}

/// Gives what this thread keeps to the allocator, the largest first, until at most so many bytes are
/// left. Says how many these were.
pub fn release_to(bytes: usize) -> usize {
    store::release_to(bytes)
}

/// Lets the allocator give to the system what this thread has freed. Without effect if the process
/// has another allocator than ours.
pub fn collect() {
    // SAFETY: it takes no pointer, may be called on every thread at any time, and gives away only
    // what was freed.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
