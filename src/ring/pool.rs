//! The receive buffers of a ring, and the right to a part of one.
//!
//! One region of memory, cut into buffers of one size. The kernel (or the simulator) writes into
//! those it was provided; what it has written becomes a [`Lease`]. A buffer goes back to the
//! kernel when the kernel is done with it *and* every lease of it was dropped.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

/// The memory and who has which part of it.
pub(super) struct Pool {
    base: NonNull<u8>,
    layout: Layout,
    buffer_bytes: u32,
    states: Box<[Cell<State>]>,
    /// Buffers that nobody uses and the kernel does not have.
    returned: RefCell<Vec<u16>>,
    /// Buffers that the kernel may still write to.
    provided: Cell<u32>,
    /// Set when operations may be in flight at the end: then the memory is never freed.
    leaked: Cell<bool>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Bytes the kernel has filled so far.
    filled: u32,
    /// Leases not yet dropped.
    leases: u32,
    /// Whether the kernel may still write to it.
    provided: bool,
}

impl Pool {
    /// A pool of `count` buffers, all of them returned, none provided.
    pub(super) fn new(count: u16, buffer_bytes: u32) -> Rc<Self> {
        assert!(count > 0 && buffer_bytes > 0, "an empty receive pool");
        let bytes = usize::from(count) * buffer_bytes as usize;
        let layout = Layout::from_size_align(bytes, 4_096).expect("a pool smaller than memory");
        // SAFETY: the layout has a size above zero. The region is owned by this pool and freed
        // in its `drop`, which runs after the ring and every lease are gone.
        let base = unsafe { alloc(layout) };
        let base = NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout));
        // Touches every page, so that none is first touched while a message arrives. Not with
        // zeroes: the compiler would ask the allocator for zeroed memory, which is untouched.
        // SAFETY: `base` is the region of `bytes` bytes made just now; nobody else knows it.
        unsafe { base.write_bytes(0xee, bytes) };
        Rc::new(Self {
            base,
            layout,
            buffer_bytes,
            states: vec![Cell::new(State::default()); usize::from(count)].into(),
            returned: RefCell::new((0..count).rev().collect()),
            provided: Cell::new(0),
            leaked: Cell::new(false),
        })
    }

    pub(super) fn count(&self) -> u16 {
        self.states.len() as u16
    }

    pub(super) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Buffers the kernel may write to, in eighths of all.
    pub(super) fn free_eighths(&self) -> u32 {
        (self.provided.get() + self.returned.borrow().len() as u32) * 8 / self.states.len() as u32
    }

    /// Takes a buffer that is to be provided, whole.
    pub(super) fn provide(&self) -> Option<u16> {
        let id = self.returned.borrow_mut().pop()?;
        self.states[usize::from(id)].set(State { filled: 0, leases: 0, provided: true });
        self.provided.set(self.provided.get() + 1);
        Some(id)
    }

    /// Where buffer `id` begins.
    pub(super) fn address(&self, id: u16) -> NonNull<u8> {
        assert!(id < self.count(), "a buffer that does not exist");
        // SAFETY: `id` is below the count, so the address is inside the region owned by `self`.
        unsafe { self.base.add(usize::from(id) * self.buffer_bytes as usize) }
    }

    /// The kernel has written `bytes` more into buffer `id`; `more` if it may write again.
    ///
    /// # Panics
    ///
    /// If the buffer was not provided or is too small: then the kernel and we disagree about who
    /// owns which memory, and to go on would be unsound.
    pub(super) fn take(self: &Rc<Self>, id: u16, bytes: u32, more: bool) -> Lease {
        let address = self.address(id);
        let cell = &self.states[usize::from(id)];
        let State { filled, leases, provided } = cell.get();
        assert!(provided, "a completion names a receive buffer that was not provided");
        assert!(bytes <= self.buffer_bytes - filled, "a completion overruns its receive buffer");
        cell.set(State { filled: filled + bytes, leases: leases + 1, provided: more });
        if !more {
            self.provided.set(self.provided.get() - 1);
        }
        // SAFETY: `filled + bytes` is at most the size of the buffer (asserted above).
        let start = unsafe { address.add(filled as usize) };
        Lease { pool: Rc::clone(self), start, bytes, id }
    }

    /// Never frees the memory: the kernel may still write to it.
    pub(super) fn leak(&self) {
        self.leaked.set(true);
    }

    fn release(&self, id: u16) {
        let cell = &self.states[usize::from(id)];
        let mut state = cell.get();
        state.leases -= 1;
        cell.set(state);
        if state.leases == 0 && !state.provided {
            self.returned.borrow_mut().push(id);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.leaked.get() {
            // SAFETY: allocated in `new` with this layout; no lease is left (each holds an `Rc`
            // of the pool) and the ring has seen the terminal completion of every receive, or it
            // had called `leak`.
            unsafe { dealloc(self.base.as_ptr(), self.layout) };
        }
    }
}

/// The right to a part of a receive buffer. Dropping it gives the part back.
pub struct Lease {
    pool: Rc<Pool>,
    start: NonNull<u8>,
    bytes: u32,
    id: u16,
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `take` made this range from bytes the kernel has finished writing; it is in
        // the region that `self.pool` keeps alive, and no other lease covers it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes as usize) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; ranges of leases are disjoint, and the kernel writes only
        // behind what it has filled, so `&mut self` is the only access to these bytes.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes as usize) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.release(self.id);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes of buffer {})", self.bytes, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_when_kernel_and_leases_are_done() {
        let pool = Pool::new(2, 64);
        let id = pool.provide().unwrap();
        let mut first = pool.take(id, 10, true);
        let second = pool.take(id, 20, false);
        assert_eq!(pool.free_eighths(), 4);
        first[9] = 1;
        assert_eq!((first.len(), second.len(), second[0]), (10, 20, 0xee));
        drop(first);
        assert_eq!(pool.returned.borrow().len(), 1);
        drop(second);
        assert_eq!(pool.returned.borrow().len(), 2);
        assert_eq!(pool.free_eighths(), 8);
    }

    #[test]
    #[should_panic(expected = "not provided")]
    fn a_buffer_that_was_not_provided_is_refused() {
        let pool = Pool::new(1, 64);
        drop(pool.take(0, 1, false));
    }

    #[test]
    #[should_panic(expected = "overruns")]
    fn an_overrun_is_refused() {
        let pool = Pool::new(1, 64);
        let id = pool.provide().unwrap();
        drop(pool.take(id, 65, false));
    }
}
