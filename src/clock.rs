//! Time as the engine sees it: a number of milliseconds that only grows.
//!
//! Nobody in the engine asks the operating system for the time; the stores of sessions do. A
//! [`Ring`](crate::ring::Ring) says what time it is, once a batch, and hands a [`Moment`] down; the
//! simulator hands down an invented one.

use std::ops::Add;
use std::time::Duration;

/// A point in time, in whole milliseconds since the ring was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The moment `millis` milliseconds after the ring was made.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the ring was made.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time from `earlier` until this moment, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Rounds up to the next millisecond and saturates, so that a deadline is never early.
    fn add(self, duration: Duration) -> Self {
        // In seconds and the rest, because the nanoseconds of it all are a division of 128 bits.
        let rest = u64::from(duration.subsec_nanos().div_ceil(1_000_000));
        let millis = duration.as_secs().saturating_mul(1_000).saturating_add(rest);
        Self(self.0.saturating_add(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        let start = Moment::from_millis(10);
        assert_eq!((start + Duration::from_micros(1)).as_millis(), 11);
        assert_eq!((start + Duration::MAX).as_millis(), u64::MAX);
        assert_eq!(start.since(Moment::from_millis(25)), Duration::ZERO);
    }
}
