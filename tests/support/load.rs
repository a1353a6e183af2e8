//! Many connections at once: threads, descriptors, and numbers that are random and repeatable.

use ringwire::ring::probe;
use std::sync::{Condvar, Mutex};
use std::thread;

/// Numbers of a xorshift generator.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() >> 11) as usize % end
    }
}

/// Runs `work` in so many threads, each with its number.
pub fn in_threads(count: usize, work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for number in 0..count {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
}

/// Descriptors of this process that a test has reserved, because the tests run side by side.
pub struct Descriptors(usize);

static TAKEN: Mutex<usize> = Mutex::new(0);
static RETURNED: Condvar = Condvar::new();

/// For whoever did not reserve any.
const FOR_OTHERS: usize = 1_500;

impl Descriptors {
    /// Waits for so many, or for as many as this process may have at all.
    pub fn take(wanted: usize) -> Self {
        let limit = usize::try_from(probe::raise_nofile().nofile_soft).unwrap_or(usize::MAX);
        let all = limit.saturating_sub(FOR_OTHERS).max(100);
        let count = wanted.min(all);
        let taken = TAKEN.lock().expect("not poisoned");
        let fits = |taken: &mut usize| *taken + count > all;
        *RETURNED.wait_while(taken, fits).expect("not poisoned") += count;
        Self(count)
    }

    pub fn count(&self) -> usize {
        self.0
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        *TAKEN.lock().expect("not poisoned") -= self.0;
        RETURNED.notify_all();
    }
}
