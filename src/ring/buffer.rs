//! A growable run of bytes whose memory is used again, in the hands of one word.
//!
//! Messages on their way in and frames on their way out live in a [`Buffer`]. Its lengths stand in
//! front of its bytes, so that moving one through a future is moving a pointer: with them inside,
//! a third of the CPU time of a small echo went into waiting for its words to be put together
//! again. A fresh 1 MiB `Vec` per message doubled the cost of an echo (page faults), so memory of
//! 4 KiB and more goes back to a store of the thread that has made it instead of to the allocator;
//! below that the allocator is as quick.

pub(super) mod store;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

/// Bytes that [`Buffer::with_headroom`] keeps free in front, so that a frame header can be put
/// there without moving the payload.
pub const BUFFER_HEADROOM: usize = 16;

/// Up to this many bytes are copied where they are; for more a call of `memcpy` pays.
const SHORT_BYTES_MAX: usize = 128;

/// What stands in front of the bytes. `start <= end <= capacity`, always, so that their differences
/// are taken without a check; nor is there one when `end` moves into room that was seen.
#[repr(C)]
struct Head {
    /// Bytes behind the head; 0 only in [`EMPTY`].
    capacity: usize,
    /// The bytes are `start..end` of them, and have been written.
    start: usize,
    end: usize,
    /// What the owner wants to remember of the bytes.
    mark: u8,
    /// The store that has made it, if one did.
    home: u16,
}

/// The head of all buffers without memory. Nobody writes to it.
static EMPTY: Head = Head { capacity: 0, start: 0, end: 0, mark: 0, home: store::NOBODY };

/// Owned bytes. Derefs to them; dropping it gives the memory back.
pub struct Buffer(NonNull<Head>);

// SAFETY: a buffer is the only owner of its memory, like a `Vec`.
unsafe impl Send for Buffer {}
// SAFETY: through `&Buffer` the memory is only read.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// An empty buffer without memory.
    pub const fn new() -> Self {
        Self(NonNull::from_ref(&EMPTY))
    }

    /// An empty buffer with room for `capacity` bytes.
    #[inline]
    pub fn with_capacity(capacity: usize) -> Self {
        if capacity < 1 << store::CLASS_MIN {
            Self::allocate(capacity, store::NOBODY)
        } else {
            store::take(capacity)
        }
    }

    /// An empty buffer with room for `capacity` bytes behind and [`BUFFER_HEADROOM`] in front.
    #[inline]
    pub fn with_headroom(capacity: usize) -> Self {
        let mut buffer = Self::with_capacity(capacity + BUFFER_HEADROOM);
        // As an array, because it becomes one store.
        buffer.append(&[0; BUFFER_HEADROOM]);
        buffer.set(BUFFER_HEADROOM, BUFFER_HEADROOM);
        buffer
    }

    /// A buffer of these bytes with [`BUFFER_HEADROOM`] in front and this [`Buffer::mark`].
    #[inline(always)]
    pub fn copy_with_headroom(bytes: &[u8], mark: u8) -> Self {
        let end = BUFFER_HEADROOM + bytes.len();
        let mut buffer = Self::with_capacity(end);
        // SAFETY: `with_capacity` never gives `EMPTY`, so this is a head of its own. That all bytes
        // up to `end` have been written is made true before anybody can look.
        let head = unsafe { buffer.0.as_mut() };
        (head.start, head.end, head.mark) = (BUFFER_HEADROOM, end, mark);
        // SAFETY: the capacity is `end` or more.
        unsafe { buffer.write(BUFFER_HEADROOM, bytes) };
        buffer
    }

    /// A buffer of these bytes, without headroom.
    #[inline(always)]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(bytes.len());
        buffer.append(bytes);
        buffer
    }

    /// Memory of the allocator, made by this store. Freed in `drop`, if no store keeps it.
    #[inline(always)]
    fn allocate(capacity: usize, home: u16) -> Self {
        // 0 is for `EMPTY`.
        let capacity = capacity.max(1);
        let layout = layout(capacity);
        // SAFETY: the size of the layout is above zero.
        let memory = unsafe { alloc(layout) };
        let Some(head) = NonNull::new(memory.cast::<Head>()) else { handle_alloc_error(layout) };
        // SAFETY: the memory is as large and as aligned as a `Head` and more, and ours alone.
        unsafe { head.write(Head { capacity, start: 0, end: 0, mark: 0, home }) };
        Self(head)
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        // SAFETY: it points to `EMPTY` or to what `allocate` wrote, which lives as long as `self`.
        unsafe { self.0.as_ref() }
    }

    /// Says which of the bytes there are: some of those that were before, or less.
    #[inline(always)]
    fn set(&mut self, start: usize, end: usize) {
        debug_assert!(start <= end && end <= self.head().end);
        if self.head().capacity > 0 {
            // SAFETY: it has memory, so this is not `EMPTY` but a head of its own, borrowed
            // mutably with `self`.
            let head = unsafe { self.0.as_mut() };
            head.start = start;
            head.end = end;
        }
    }

    /// Where the byte at `place` of the memory is.
    #[inline(always)]
    fn at(&self, place: usize) -> *mut u8 {
        debug_assert!(place <= self.head().capacity);
        // SAFETY: behind the head, which is at most the end of its allocation.
        let bytes = unsafe { self.0.as_ptr().add(1) }.cast::<u8>();
        // SAFETY: the memory is `capacity` bytes behind the head, in one allocation, and every
        // place asked for is not behind their end.
        unsafe { bytes.add(place) }
    }

    /// One byte that the owner may use to remember what the bytes are; 0 at first.
    #[inline(always)]
    pub fn mark(&self) -> u8 {
        self.head().mark
    }

    /// Sets [`Buffer::mark`]; without effect on a buffer without memory.
    #[inline(always)]
    pub fn set_mark(&mut self, mark: u8) {
        if self.head().capacity > 0 {
            // SAFETY: it has memory, so this is not `EMPTY` but a head of its own, borrowed
            // mutably with `self`.
            unsafe { self.0.as_mut() }.mark = mark;
        }
    }

    /// Bytes that can be appended without moving the others.
    #[inline(always)]
    pub fn room(&self) -> usize {
        self.head().capacity.wrapping_sub(self.head().end)
    }

    /// Bytes of memory this buffer holds, used or not.
    #[inline(always)]
    pub fn capacity(&self) -> usize {
        self.head().capacity
    }

    /// Bytes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.head().end.wrapping_sub(self.head().start)
    }

    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.head().start == self.head().end
    }

    /// Appends `bytes`, moving to larger memory (of the store) where they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if bytes.len() > self.room() {
            self.reserve(bytes.len());
        }
        self.append(bytes);
    }

    /// Appends a frame whose header has two bytes. `false`, and nothing done, without room.
    #[inline(always)]
    pub fn append_frame(&mut self, header: [u8; 2], payload: &[u8]) -> bool {
        let (end, bytes) = (self.head().end, header.len() + payload.len());
        if bytes > self.room() {
            return false;
        }
        // SAFETY: there is room for both, seen just above.
        unsafe { self.write(end, &header) };
        // SAFETY: as above; the payload begins where the header ends.
        unsafe { self.write(end.wrapping_add(header.len()), payload) };
        // SAFETY: there was room for two bytes, so this is not `EMPTY` but a head of its own,
        // borrowed mutably with `self`. The bytes up to the new end are written.
        unsafe { self.0.as_mut() }.end = end.wrapping_add(bytes);
        true
    }

    /// Appends what there is room for.
    #[inline(always)]
    fn append(&mut self, bytes: &[u8]) {
        let (end, count) = (self.head().end, bytes.len());
        assert!(count <= self.room(), "no room for what is appended");
        // SAFETY: asserted above.
        unsafe { self.write(end, bytes) };
        if count > 0 {
            // SAFETY: there was room for a byte, so this is not `EMPTY` but a head of its own,
            // borrowed mutably with `self`. The bytes up to the new end are written.
            unsafe { self.0.as_mut() }.end = end.wrapping_add(count);
        }
    }

    /// Writes `bytes` to `place` of the memory, and leaves to the caller to say that they are there.
    ///
    /// # Safety
    ///
    /// The memory ends no sooner than they do.
    #[inline(always)]
    // SAFETY: stated above; the callers compare with the room or have just made it.
    unsafe fn write(&mut self, place: usize, bytes: &[u8]) {
        let (from, to, count) = (bytes.as_ptr(), self.at(place), bytes.len());
        // SAFETY: `count` bytes from `place` on are inside the memory, which `self` owns, so they
        // are not those of `bytes`. No copy below leaves either range.
        #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one range for all of them")]
        unsafe {
            match count {
                64..=SHORT_BYTES_MAX => copy_ends::<64>(from, to, count),
                32..64 => copy_ends::<32>(from, to, count),
                16..32 => copy_ends::<16>(from, to, count),
                8..16 => copy_ends::<8>(from, to, count),
                4..8 => copy_ends::<4>(from, to, count),
                2..4 => copy_ends::<2>(from, to, count),
                _ => ptr::copy_nonoverlapping(from, to, count),
            }
        }
    }

    /// Makes room for `additional` bytes behind, in larger memory, or where the first bytes were
    /// dropped. [`BUFFER_HEADROOM`] is kept if it was there.
    pub fn reserve(&mut self, additional: usize) {
        if additional <= self.room() {
            return;
        }
        let (start, length) = (self.head().start, self.len());
        let headroom = start.min(BUFFER_HEADROOM);
        let wanted = headroom + length + additional;
        if wanted <= self.capacity() && length <= start {
            // SAFETY: both ranges are inside the memory, and the first has been written;
            // `copy` lets them overlap.
            unsafe { ptr::copy(self.at(start), self.at(headroom), length) };
            self.set(headroom, headroom + length);
            return;
        }
        let mut larger = Self::with_capacity(wanted.max(2 * length));
        larger.append(&[0; BUFFER_HEADROOM][..headroom]);
        larger.append(self);
        let end = larger.head().end;
        larger.set(headroom, end);
        larger.set_mark(self.mark());
        *self = larger;
    }

    /// Puts `header` directly in front of the bytes. `false`, and nothing done, without room.
    #[inline]
    pub fn prepend(&mut self, header: &[u8]) -> bool {
        let (start, end) = (self.head().start, self.head().end);
        let Some(place) = start.checked_sub(header.len()) else { return false };
        // SAFETY: they end at `start`, which is inside the memory.
        unsafe { self.write(place, header) };
        self.set(place, end);
        true
    }

    /// Drops the first `count` bytes.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advance past the end of a buffer");
        let (start, end) = (self.head().start + count, self.head().end);
        if start == end {
            let start = start.min(BUFFER_HEADROOM);
            self.set(start, start);
        } else {
            self.set(start, end);
        }
    }

    /// Moves the first `count` bytes out into a buffer of their own, with headroom and mark.
    pub fn split_to(&mut self, count: usize) -> Self {
        let front = Self::copy_with_headroom(&self[..count], self.mark());
        self.advance(count);
        front
    }

    /// Gives the memory to the allocator.
    #[inline(always)]
    fn free(&mut self) {
        let capacity = self.head().capacity;
        if capacity > 0 {
            let bytes = size_of::<Head>().wrapping_add(capacity);
            // SAFETY: `allocate` has found that this is a layout.
            let layout = unsafe { Layout::from_size_align_unchecked(bytes, align_of::<Head>()) };
            // SAFETY: `allocate` made it with this layout. Called by `drop` and by the store, which
            // forgets it then, and nothing of the kernel's points to it: what is being sent is in a `SendTable`.
            unsafe { dealloc(self.0.as_ptr().cast(), layout) };
        }
    }
}

/// Copies `count` bytes, `N` to `2 * N` of them, as their first `N` and their last `N`: no loop.
///
/// # Safety
///
/// That of [`ptr::copy_nonoverlapping`] for `count` bytes, and `count` is in that range.
#[inline(always)]
// SAFETY: stated above; `append`, the only caller, is where both ranges are known.
unsafe fn copy_ends<const N: usize>(from: *const u8, to: *mut u8, count: usize) {
    // SAFETY: `N <= count <= 2 * N`, so neither copy leaves the ranges that the caller vouches for.
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one range for both of them")]
    unsafe {
        ptr::copy_nonoverlapping(from, to, N);
        ptr::copy_nonoverlapping(from.add(count - N), to.add(count - N), N);
    }
}

/// The layout of a head and so many bytes.
#[inline(always)]
fn layout(capacity: usize) -> Layout {
    let bytes = size_of::<Head>().checked_add(capacity).expect("a buffer smaller than memory");
    Layout::from_size_align(bytes, align_of::<Head>()).expect("a buffer smaller than memory")
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if self.head().capacity < store::STORED_BYTES_MIN || !store::give(self) {
            self.free();
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes from start to end are inside the memory and have been written; nobody
        // writes to them while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.at(self.head().start), self.len()) }
    }
}

impl DerefMut for Buffer {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `&mut self` is the only way to them, and without bytes the slice
        // is empty, so that nobody writes to `EMPTY`.
        unsafe { std::slice::from_raw_parts_mut(self.at(self.head().start), self.len()) }
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
        store::keep();
        let first = Buffer::with_capacity(1 << 20);
        let address = first.as_ptr();
        drop(first);
        assert_eq!(Buffer::with_capacity(1 << 20).as_ptr(), address);
    }

    #[test]
    fn split_and_advance() {
        let mut buffer = Buffer::copy_of(b"hello world");
        assert_eq!(&*buffer.split_to(6), b"hello ");
        buffer.advance(1);
        assert_eq!(&*buffer, b"orld");
    }
}
