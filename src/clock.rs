//! Time as the engine sees it: a number of milliseconds that only grows.
//!
//! No shard asks the operating system for the time: a [`Ring`](crate::ring::Ring) says what time it
//! is, once a batch, and hands a [`Moment`] down; the simulator hands down an invented one. Other
//! threads ask: holders of shared sockets, listeners while they are bound, the stores of sessions.
//! The time of day is for people: nothing is decided by it.

use std::ops::Add;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, in whole milliseconds since the ring was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// One that never comes.
    pub(crate) const NEVER: Self = Self(u64::MAX);

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

/// A [`Moment`] in six bytes instead of eight, which lasts for 8,900 years; later ones are the
/// latest, that never comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShortMoment([u16; 3]);

impl ShortMoment {
    const MILLIS_MAX: u64 = (1 << 48) - 1;

    /// The same moment as a number.
    #[inline]
    pub(crate) const fn moment(self) -> Moment {
        let Self([low, middle, high]) = self;
        match (high as u64) << 32 | (middle as u64) << 16 | low as u64 {
            Self::MILLIS_MAX => Moment(u64::MAX),
            millis => Moment(millis),
        }
    }
}

impl From<Moment> for ShortMoment {
    #[inline]
    fn from(moment: Moment) -> Self {
        let millis = moment.0.min(Self::MILLIS_MAX);
        Self([millis as u16, (millis >> 16) as u16, (millis >> 32) as u16])
    }
}

/// Where the time of day comes from. It is asked whenever it is told, because the clock of a host
/// may be years off until somebody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeOfDay {
    /// The clock of the host.
    Host,
    /// The ring was made in 1970.
    Invented,
}

impl TimeOfDay {
    /// Milliseconds since 1970.
    pub(crate) fn unix_ms(self, now: Moment) -> u64 {
        match self {
            Self::Invented => now.as_millis(),
            Self::Host => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        }
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

    #[test]
    fn a_short_moment_is_the_same_or_never() {
        for millis in [0, 1, 0xffff, 0x1_0000, 0x1234_5678_9abc, (1 << 48) - 2] {
            assert_eq!(ShortMoment::from(Moment(millis)).moment(), Moment(millis));
        }
        for millis in [(1 << 48) - 1, 1 << 48, u64::MAX] {
            assert_eq!(ShortMoment::from(Moment(millis)).moment(), Moment(u64::MAX));
        }
    }
}
