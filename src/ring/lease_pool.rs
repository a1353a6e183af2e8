//! Leases that no kernel has filled, for the in-memory ring of `benches/`. Not API.

use super::pool::{Lease, Pool};
use std::cell::Cell;
use std::rc::Rc;

/// A receive pool that its owner fills as the kernel fills an incremental one: bytes are put
/// behind each other, and a buffer comes back when every lease of it was dropped.
pub struct LeasePool {
    pool: Rc<Pool>,
    /// The buffer that is being filled, and the bytes in it.
    current: Cell<Option<(u16, u32)>>,
}

impl LeasePool {
    /// So many buffers of so many bytes.
    pub fn new(count: u16, buffer_bytes: u32) -> Self {
        Self { pool: Pool::new(count, buffer_bytes), current: Cell::new(None) }
    }

    /// A lease of a copy of `bytes`; `None` if no buffer has room for them.
    pub fn fill(&self, bytes: &[u8]) -> Option<Lease> {
        let wanted = u32::try_from(bytes.len()).ok()?;
        let room = self.pool.buffer_bytes();
        let (id, filled) = match self.current.get() {
            Some((id, filled)) if wanted <= room - filled => (id, filled),
            full => {
                if let Some((id, _)) = full {
                    drop(self.pool.take(id, 0, false));
                }
                self.current.set(None);
                (self.pool.provide().filter(|_| wanted <= room)?, 0)
            }
        };
        let mut lease = self.pool.take(id, wanted, true);
        lease.copy_from_slice(bytes);
        self.current.set(Some((id, filled + wanted)));
        Some(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_filled_one_behind_the_other_and_come_back() {
        let pool = LeasePool::new(2, 8);
        let (first, second) = (pool.fill(b"abc").unwrap(), pool.fill(b"defgh").unwrap());
        assert_eq!((&*first, &*second), (&b"abc"[..], &b"defgh"[..]));
        let third = pool.fill(b"ijklmnop").unwrap();
        assert!(pool.fill(b"q").is_none(), "both buffers are leased");
        drop((first, second));
        assert_eq!(&*pool.fill(b"q").unwrap(), b"q");
        assert_eq!(&*third, b"ijklmnop");
        assert!(pool.fill(&[0; 9]).is_none(), "more than a buffer holds");
    }
}
