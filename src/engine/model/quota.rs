//! So many in a second, and a count of the others. For the lines of logs: the engine's and the
//! program's. Knows no clock.

/// What is counted, second by second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quota {
    second: u64,
    taken: u32,
    /// Those that were too many, since one last was not.
    more: u64,
}

impl Quota {
    /// One in this second, of which there may be `max`; zero: as many as come. If it is not too
    /// many: how many were since the last that was not.
    pub fn take(&mut self, second: u64, max: u32) -> Option<u64> {
        if self.second != second {
            self.second = second;
            self.taken = 0;
        }
        if max > 0 && self.taken >= max {
            self.more += 1;
            return None;
        }
        self.taken = self.taken.saturating_add(1);
        Some(self.rest())
    }

    /// How many were too many since the last that was not, told once.
    pub fn rest(&mut self) -> u64 {
        std::mem::take(&mut self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_in_a_second_is_counted_for_the_next() {
        let mut quota = Quota::default();
        let taken = (0..10).filter(|_| quota.take(7, 3).is_some()).count();
        assert_eq!(taken, 3);
        assert_eq!([quota.take(8, 3), quota.take(8, 3)], [Some(7), Some(0)]);
        // A clock that is set back begins a second as well.
        assert_eq!(quota.take(2, 1), Some(0));
        assert_eq!((quota.take(2, 1), quota.rest(), quota.rest()), (None, 1, 0));
        assert!((0..1_000).all(|_| quota.take(2, 0) == Some(0)));
    }
}
