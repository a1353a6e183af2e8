//! What an engine has counted, and how it is: plain data for operators and metrics, put together by
//! [`reach`](crate::engine::commands::dispatch) from what each shard reports.

use crate::engine::model::counters::Totals;
use crate::engine::model::memory::{MemoryStatus, ShardMemory};
use std::sync::Arc;
use std::time::Duration;

/// How an engine is.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EngineStatus {
    /// Time since it started.
    pub uptime: Duration,
    /// Whether it is being drained.
    pub draining: bool,
    /// Whether it accepts connections.
    pub ready: bool,
    /// Whether every shard does its work.
    pub healthy: bool,
    /// Connections there are.
    pub connections: u64,
    /// Connections it takes at most.
    pub connections_max: u64,
    /// How the memory of the process is.
    pub memory: MemoryStatus,
    /// What all shards have counted.
    pub totals: Totals,
    /// Each shard.
    pub shards: Vec<ShardStatus>,
    /// Each route, in the order of declaration.
    pub routes: Vec<RouteStatus>,
    /// Requests answered with something else than 101 or a page, by HTTP status; 0 for those
    /// that are seldom.
    pub refusals: Vec<(u16, u64)>,
    /// WebSockets that have ended, by close code: `1000` to `1015`, `3xxx`, `4xxx`, `other`.
    pub closes: Vec<(&'static str, u64)>,
    /// Time from what the kernel reported to everything that follows from it being submitted:
    /// how long a message is in our hands. One batch in 64 is measured.
    pub read_to_write: Histogram,
}

/// How one shard is.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShardStatus {
    /// Its number.
    pub shard: usize,
    /// Connections it has.
    pub connections: u64,
    /// Handlers that run in it.
    pub handlers: u64,
    /// Connections it takes at most.
    pub connections_max: u64,
    /// What it has counted.
    pub totals: Totals,
    /// Share of its receive buffers that are free, in eighths.
    pub free_buffer_eighths: u32,
    /// Shared sockets that are gone and have left something to read, and what its messages cost.
    pub remains: u64,
    /// See [`remains`](Self::remains).
    pub remains_bytes: u64,
    /// How its memory is.
    pub memory: ShardMemory,
    /// Time since it last went round; zero while it waits for something to do.
    pub tick_age: Duration,
}

/// How one route is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteStatus {
    /// The path it was declared with.
    pub path: Arc<str>,
    /// WebSockets that were opened.
    pub opened: u64,
    /// Those that are open.
    pub open: u64,
    /// Those of them that are shared.
    pub shared: u64,
    /// Those of them that nobody holds.
    pub unattended: u64,
    /// Whether its WebSockets are shared: it was declared so, or one of them was.
    pub shared_connection: bool,
    /// Whether a page is served there, instead of WebSockets.
    pub page: bool,
}

/// How many fell into which range of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// `buckets[i]` counts what took less than `2^i` µs and not less than half of that; the last
    /// one counts all that took longer as well.
    pub buckets: [u64; Self::BUCKETS],
    /// All of them together, in nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// Ranges there are. The last bound is half a second.
    pub const BUCKETS: usize = 20;

    /// The upper bound of a bucket in microseconds; `None`: it has none.
    pub const fn bound_us(bucket: usize) -> Option<u64> {
        if bucket + 1 < Self::BUCKETS { Some(1 << bucket) } else { None }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// One more.
    pub(in crate::engine) fn record(&mut self, took_ns: u64) {
        let bucket = (64 - (took_ns / 1_000).leading_zeros()) as usize;
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
        self.sum_ns += took_ns;
    }
}

impl std::ops::AddAssign for Histogram {
    fn add_assign(&mut self, other: Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(mine, more)| *mine += more);
        self.sum_ns += other.sum_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_below_its_bound() {
        for (took_ns, bucket) in [
            (0, 0),
            (999, 0),
            (1_000, 1),
            (1_999, 1),
            (2_000, 2),
            (1_023_999, 10),
            (u64::MAX / 2, 19),
        ] {
            let mut histogram = Histogram::default();
            histogram.record(took_ns);
            assert_eq!((histogram.buckets[bucket], histogram.count()), (1, 1), "{took_ns}");
            if let Some(bound_us) = Histogram::bound_us(bucket) {
                assert!(took_ns < bound_us * 1_000, "{took_ns}");
            }
        }
    }
}
