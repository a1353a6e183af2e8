//! The clock of an open loop: which message is to be sent when, whatever the server does.
//!
//! `echo` and `fanout` ask it; it reads no clock itself and knows no connection.

use std::time::Duration;

/// Messages at equal distances, handed to the connections in turn.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval_ns: f64,
    connections: u32,
    issued: u64,
}

impl Schedule {
    /// `per_second` messages in all over `connections`.
    pub fn new(per_second: f64, connections: u32) -> Schedule {
        Schedule { interval_ns: 1e9 / per_second, connections, issued: 0 }
    }

    /// The next message that is due at `now_ns`: its connection and the time it was due.
    pub fn next_due(&mut self, now_ns: u64) -> Option<(u32, u64)> {
        let due_ns = self.due_ns();
        if due_ns > now_ns {
            return None;
        }
        let connection = (self.issued % u64::from(self.connections)) as u32;
        self.issued += 1;
        Some((connection, due_ns))
    }

    /// How long there is nothing to send.
    pub fn rest(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(self.due_ns().saturating_sub(now_ns))
    }

    fn due_ns(&self) -> u64 {
        // From the count, not by adding up, so that no error adds up either.
        (self.issued as f64 * self.interval_ns) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_at_equal_distances_in_turn() {
        let mut schedule = Schedule::new(1000.0, 3);
        let mut due = Vec::new();
        while let Some(next) = schedule.next_due(3_500_000) {
            due.push(next);
        }
        assert_eq!(due, [(0, 0), (1, 1_000_000), (2, 2_000_000), (0, 3_000_000)]);
        assert_eq!(schedule.rest(3_500_000), Duration::from_micros(500));
        assert_eq!(schedule.rest(9_000_000), Duration::ZERO);
    }

    #[test]
    fn a_stall_moves_no_intended_time() {
        let mut schedule = Schedule::new(1_000_000.0, 1);
        assert_eq!(schedule.next_due(0), Some((0, 0)));
        assert_eq!(schedule.next_due(0), None);
        assert_eq!(schedule.next_due(5_000_000), Some((0, 1_000)), "late, but due when it was");
    }
}
