//! Large memory between two uses, kept by each thread for itself.
//!
//! A thread keeps what it has made, and nothing that came to it from another: where messages go from
//! one thread to the next, one would pile up what it never needs, while the other goes on making it.
//! So a store holds at most what its thread had in use at one time.

use super::Buffer;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU16, Ordering};

/// Smallest and largest capacity that the store keeps, as powers of two: 4 KiB to 16 MiB, and
/// [`SLACK_BYTES`] more each.
pub(super) const CLASS_MIN: u32 = 12;
const CLASS_MAX: u32 = 24;
const CLASSES: usize = (CLASS_MAX - CLASS_MIN + 1) as usize;

/// What a class holds beyond its power of two, so that a payload of exactly 1 MiB and its headroom
/// do not need the class of 2 MiB.
const SLACK_BYTES: usize = 64;

/// Smallest capacity that goes back to the store.
pub(super) const STORED_BYTES_MIN: usize = (1 << CLASS_MIN) + SLACK_BYTES;

/// Bytes that the store of one thread keeps at most, over all classes.
const STORE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Buffers that the store of one thread keeps at most in one class.
const STORE_ITEMS_MAX: usize = 1_024;

/// The home of what no store has made.
pub(super) const NOBODY: u16 = 0;

/// The newest of the stores that keep something. Where two have the same number, after 65,535 of
/// them, each keeps what the other has made.
static NEWEST: AtomicU16 = AtomicU16::new(NOBODY);

thread_local! {
    static STORE: RefCell<Store> = const { RefCell::new(Store::new()) };
}

/// Memory that waits for its next use.
struct Store {
    classes: [Vec<Buffer>; CLASSES],
    bytes: usize,
    /// Its number; [`NOBODY`] unless the thread keeps anything.
    home: u16,
}

impl Store {
    const fn new() -> Self {
        Self { classes: [const { Vec::new() }; CLASSES], bytes: 0, home: NOBODY }
    }

    fn take(&mut self, capacity: usize) -> Buffer {
        let power = capacity.saturating_sub(SLACK_BYTES).next_power_of_two();
        let class = power.trailing_zeros().max(CLASS_MIN);
        if class > CLASS_MAX {
            return Buffer::allocate(capacity, NOBODY);
        }
        match self.classes[(class - CLASS_MIN) as usize].pop() {
            Some(buffer) => {
                self.bytes -= buffer.capacity();
                buffer
            }
            None => Buffer::allocate((1 << class) + SLACK_BYTES, self.home),
        }
    }

    /// Keeps the memory of a buffer that is being dropped. `false` if there is no place for it.
    fn give(&mut self, buffer: &mut Buffer) -> bool {
        let (capacity, home) = (buffer.capacity(), buffer.head().home);
        if home != self.home || home == NOBODY || self.bytes + capacity > STORE_BYTES_MAX {
            return false;
        }
        // Made by `take`, so there is a class for it.
        let class = (capacity - SLACK_BYTES).ilog2();
        let store = &mut self.classes[(class - CLASS_MIN) as usize];
        if store.len() == STORE_ITEMS_MAX {
            return false;
        }
        self.bytes += capacity;
        buffer.set(0, 0);
        buffer.set_mark(0);
        store.push(std::mem::take(buffer));
        true
    }
}

/// From now on the thread keeps what it makes.
pub(in crate::ring) fn keep() {
    let next = NEWEST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    STORE.with_borrow_mut(|store| {
        if store.home == NOBODY {
            store.home = next.max(1);
        }
    });
}

/// Bytes that the thread keeps.
pub(in crate::ring) fn kept_bytes() -> usize {
    STORE.with_borrow(|store| store.bytes)
}

/// Frees what is kept, the largest first, until at most so many bytes are left; and says how many
/// it has freed.
pub(in crate::ring) fn release_to(bytes: usize) -> usize {
    STORE.with_borrow_mut(|store| {
        let before = store.bytes;
        for class in store.classes.iter_mut().rev() {
            while store.bytes > bytes
                && let Some(mut buffer) = class.pop()
            {
                store.bytes -= buffer.capacity();
                // Not by a drop, which would look for a place in here.
                buffer.free();
                std::mem::forget(buffer);
            }
        }
        before - store.bytes
    })
}

/// Memory of the store or new. Apart, so that small buffers stay short code.
#[inline(never)]
pub(super) fn take(capacity: usize) -> Buffer {
    STORE.with_borrow_mut(|store| store.take(capacity))
}

/// Keeps the memory of a large buffer that is being dropped. `false` if there is no place for it.
#[inline(never)]
pub(super) fn give(buffer: &mut Buffer) -> bool {
    // A thread that is ending has no store any more.
    STORE.try_with(|store| store.borrow_mut().give(buffer)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_has_not_asked_keeps_nothing_and_the_others_give_it_back() {
        std::thread::spawn(|| {
            drop(Buffer::with_capacity(1 << 20));
            assert_eq!(kept_bytes(), 0);
            keep();
            let sizes = [5_000, 70_000, 1 << 20];
            sizes.map(Buffer::with_capacity).into_iter().for_each(drop);
            let kept = kept_bytes();
            assert!(kept >= sizes.iter().sum());
            assert!(release_to(200_000) >= 1 << 20);
            assert!(kept_bytes() >= 75_000 && kept_bytes() <= 200_000);
            let left = kept_bytes();
            assert_eq!((release_to(0), kept_bytes(), release_to(0)), (left, 0, 0));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_another_thread_has_made_is_not_kept() {
        keep();
        let make = || (0..100).map(|_| Buffer::with_capacity(60_000)).collect::<Vec<_>>();
        let foreign = std::thread::spawn(move || {
            keep();
            make()
        });
        let foreign = [foreign.join().unwrap(), std::thread::spawn(make).join().unwrap()];
        let before = kept_bytes();
        drop(foreign);
        assert_eq!(kept_bytes(), before);
        drop(make());
        assert!(kept_bytes() > before);
        // What is used again stays at home.
        drop(make());
        assert!(kept_bytes() < before + 150 * 65_600);
    }

    #[test]
    fn the_store_is_bounded() {
        keep();
        let many: Vec<Buffer> = (0..64).map(|_| Buffer::with_capacity(1 << 20)).collect();
        drop(many);
        STORE.with_borrow(|store| assert!(store.bytes <= STORE_BYTES_MAX));
    }
}
