//! How far a suite is, what is left of its time, and whether it is late. Time comes in as an
//! argument.

/// How far the plan was worth what it said before that is believed.
const TRIED_MS: u64 = 20_000;

/// What was planned, and what of it is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// 0 is any time.
    pub budget_ms: u64,
    pub planned_ms: u64,
    pub done_ms: u64,
}

impl Clock {
    /// What is left by the plan, corrected by what the plan was worth in the time since the start.
    pub fn left_ms(&self, elapsed_ms: u64) -> u64 {
        let left = self.planned_ms.saturating_sub(self.done_ms);
        if self.done_ms < TRIED_MS { left } else { left * elapsed_ms / self.done_ms }
    }

    /// Whether all that is left would take a sixth more than the budget allows.
    pub fn is_late(&self, elapsed_ms: u64) -> bool {
        self.budget_ms > 0 && elapsed_ms + self.left_ms(elapsed_ms) > self.budget_ms * 7 / 6
    }

    /// A line for people.
    pub fn words(&self, elapsed_ms: u64) -> String {
        format!(
            "{:3} %, {} min so far, about {} left",
            100 * self.done_ms.min(self.planned_ms) / (self.planned_ms + 1),
            elapsed_ms / 60_000,
            minutes(self.left_ms(elapsed_ms))
        )
    }
}

/// `40 s` or `12 min`.
pub fn minutes(millis: u64) -> String {
    match millis {
        short if short < 60_000 => format!("{} s", short.div_ceil(1000)),
        long => format!("{} min", (long + 30_000) / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_what_the_plan_was_worth() {
        let clock = Clock { budget_ms: 60_000, planned_ms: 60_000, done_ms: 10_000 };
        assert_eq!(clock.left_ms(99_000), 50_000, "too early to tell");
        let clock = Clock { done_ms: 30_000, ..clock };
        assert_eq!(clock.left_ms(45_000), 45_000);
        assert!(!clock.is_late(30_000));
        assert!(clock.is_late(36_000));
        assert!(!Clock { budget_ms: 0, ..clock }.is_late(999_000));
        assert_eq!(clock.words(61_000), " 49 %, 1 min so far, about 1 min left");
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(minutes(1), "1 s");
        assert_eq!(minutes(59_999), "60 s");
        assert_eq!(minutes(89_999), "1 min");
        assert_eq!(minutes(90_000), "2 min");
    }
}
