//! A growable run of bytes whose memory is used again.
//!
//! Messages on their way in and frames on their way out live in a [`Buffer`]. A fresh 1 MiB `Vec`
//! per message doubled the cost of an echo (page faults), so memory of 4 KiB and more goes back
//! to a store of the thread instead of to the allocator; below that the allocator is as quick.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;

/// Bytes that [`Buffer::with_headroom`] keeps free in front, so that a frame header can be put
/// there without moving the payload.
pub const BUFFER_HEADROOM: usize = 16;

/// Smallest and largest capacity that the store keeps, as powers of two: 4 KiB to 16 MiB, and
/// [`SLACK_BYTES`] more each.
const CLASS_MIN: u32 = 12;
const CLASS_MAX: u32 = 24;
const CLASSES: usize = (CLASS_MAX - CLASS_MIN + 1) as usize;

/// What a class holds beyond its power of two, so that a payload of exactly 1 MiB and its headroom
/// do not need the class of 2 MiB.
const SLACK_BYTES: usize = 64;

/// Smallest capacity that goes back to the store.
const STORED_BYTES_MIN: usize = (1 << CLASS_MIN) + SLACK_BYTES;

/// Bytes that the store of one thread keeps at most, over all classes.
const STORE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Buffers that the store of one thread keeps at most in one class.
const STORE_ITEMS_MAX: usize = 1_024;

thread_local! {
    static STORE: RefCell<Store> = const { RefCell::new(Store::new()) };
}

struct Store {
    classes: [Vec<Vec<u8>>; CLASSES],
    bytes: usize,
}

impl Store {
    const fn new() -> Self {
        Self { classes: [const { Vec::new() }; CLASSES], bytes: 0 }
    }

    fn take(&mut self, capacity: usize) -> Vec<u8> {
        let power = capacity.saturating_sub(SLACK_BYTES).next_power_of_two();
        let class = power.trailing_zeros().max(CLASS_MIN);
        if class > CLASS_MAX {
            return Vec::with_capacity(capacity);
        }
        match self.classes[(class - CLASS_MIN) as usize].pop() {
            Some(memory) => {
                self.bytes -= memory.capacity();
                memory
            }
            None => Vec::with_capacity((1 << class) + SLACK_BYTES),
        }
    }

    fn give(&mut self, mut memory: Vec<u8>) {
        let capacity = memory.capacity();
        let class = (capacity - SLACK_BYTES).ilog2();
        if class > CLASS_MAX || self.bytes + capacity > STORE_BYTES_MAX {
            return;
        }
        let store = &mut self.classes[(class - CLASS_MIN) as usize];
        if store.len() < STORE_ITEMS_MAX {
            self.bytes += capacity;
            memory.clear();
            store.push(memory);
        }
    }
}

/// Owned bytes: `start..` of a `Vec`. Derefs to the bytes; dropping it gives the memory back.
#[derive(Default)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// An empty buffer without memory.
    pub const fn new() -> Self {
        Self { memory: Vec::new(), start: 0 }
    }

    /// An empty buffer with room for `capacity` bytes.
    #[inline]
    pub fn with_capacity(capacity: usize) -> Self {
        let memory = if capacity < 1 << CLASS_MIN {
            Vec::with_capacity(capacity)
        } else {
            take_stored(capacity)
        };
        Self { memory, start: 0 }
    }

    /// An empty buffer with room for `capacity` bytes behind and [`BUFFER_HEADROOM`] in front.
    #[inline]
    pub fn with_headroom(capacity: usize) -> Self {
        let mut buffer = Self::with_capacity(capacity + BUFFER_HEADROOM);
        // As an array, because it becomes one store; `resize` becomes a call.
        buffer.memory.extend_from_slice(&[0; BUFFER_HEADROOM]);
        buffer.start = BUFFER_HEADROOM;
        buffer
    }

    /// Bytes that can be appended without moving the others.
    pub fn room(&self) -> usize {
        self.memory.capacity() - self.memory.len()
    }

    /// Bytes of memory this buffer holds, used or not.
    pub fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// Appends `bytes`, moving to larger memory (of the store) where they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if bytes.len() > self.room() {
            self.reserve(bytes.len());
        }
        self.memory.extend_from_slice(bytes);
    }

    /// Makes room for `additional` bytes behind, in larger memory, or where the first bytes were
    /// dropped. [`BUFFER_HEADROOM`] is kept if it was there.
    pub fn reserve(&mut self, additional: usize) {
        if additional <= self.room() {
            return;
        }
        let headroom = self.start.min(BUFFER_HEADROOM);
        let wanted = headroom + self.len() + additional;
        if wanted <= self.memory.capacity() && self.len() <= self.start {
            self.memory.copy_within(self.start.., headroom);
            self.memory.truncate(headroom + self.len());
            self.start = headroom;
            return;
        }
        let mut larger = Self::with_capacity(wanted.max(2 * self.len()));
        larger.memory.resize(headroom, 0);
        larger.memory.extend_from_slice(self);
        larger.start = headroom;
        *self = larger;
    }

    /// Puts `header` directly in front of the bytes. `false`, and nothing done, without room.
    pub fn prepend(&mut self, header: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(header.len()) else { return false };
        self.memory[start..self.start].copy_from_slice(header);
        self.start = start;
        true
    }

    /// Drops the first `count` bytes.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advance past the end of a buffer");
        self.start += count;
        if self.start == self.memory.len() {
            self.start = self.start.min(BUFFER_HEADROOM);
            self.memory.truncate(self.start);
        }
    }

    /// Moves the first `count` bytes out into a buffer of their own, with headroom.
    pub fn split_to(&mut self, count: usize) -> Self {
        let mut front = Self::with_headroom(count);
        front.extend_from_slice(&self[..count]);
        self.advance(count);
        front
    }
}

/// Memory of the store or new. Apart, so that small buffers stay short code.
#[inline(never)]
fn take_stored(capacity: usize) -> Vec<u8> {
    STORE.with_borrow_mut(|store| store.take(capacity))
}

#[inline(never)]
fn give_stored(memory: Vec<u8>) {
    // A thread that is ending has no store any more; the allocator takes it then.
    let _ = STORE.try_with(|store| store.borrow_mut().give(memory));
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if self.memory.capacity() >= STORED_BYTES_MIN {
            give_stored(std::mem::take(&mut self.memory));
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(memory: Vec<u8>) -> Self {
        Self { memory, start: 0 }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_survives_growth() {
        let mut buffer = Buffer::with_headroom(8);
        for _ in 0..1_000 {
            buffer.extend_from_slice(&[7; 100]);
        }
        assert!(buffer.prepend(&[1, 2, 3, 4]));
        assert_eq!(&buffer[..5], &[1, 2, 3, 4, 7]);
        assert_eq!(buffer.len(), 100_004);
        assert!(!Buffer::with_capacity(10).prepend(&[1]));
    }

    #[test]
    fn large_memory_is_used_again() {
        let first = Buffer::with_capacity(1 << 20);
        let address = first.memory.as_ptr();
        drop(first);
        assert_eq!(Buffer::with_capacity(1 << 20).memory.as_ptr(), address);
    }

    #[test]
    fn the_store_is_bounded() {
        let many: Vec<Buffer> = (0..64).map(|_| Buffer::with_capacity(1 << 20)).collect();
        drop(many);
        STORE.with_borrow(|store| assert!(store.bytes <= STORE_BYTES_MAX));
    }

    #[test]
    fn split_and_advance() {
        let mut buffer = Buffer::from(b"hello world".to_vec());
        assert_eq!(&*buffer.split_to(6), b"hello ");
        buffer.advance(1);
        assert_eq!(&*buffer, b"orld");
    }
}
