//! The limits of this process, and what they allow.
//!
//! Owns the arithmetic between `RLIMIT_NOFILE`, `RLIMIT_MEMLOCK`, cores and rings. Called by the
//! probe and by the program at start; changes nothing but the soft limit of descriptors.

use super::Plan;
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use std::io;
use std::time::Duration;

/// A limit that is none.
pub const LIMIT_UNLIMITED: u64 = u64::MAX;

const PAGE_BYTES: u64 = 4_096;

/// Bytes of an entry of the submission queue, of the completion queue, of a buffer ring, and of
/// the header before the completion queue (`struct io_rings`), as in the kernel's
/// `io_uring_types.h` and `uapi/linux/io_uring.h`.
const SQE_BYTES: u64 = 64;
const CQE_BYTES: u64 = 16;
const BUFFER_ENTRY_BYTES: u64 = 16;
const RINGS_HEADER_BYTES: u64 = 320;

/// CAP_IPC_LOCK, which lifts `RLIMIT_MEMLOCK` (capabilities(7)).
const CAP_IPC_LOCK: u32 = 14;

/// Descriptors of a process beside the sockets in its rings: standard streams, rings, doorbells,
/// listeners, what the control thread opens. Only these count against the process's own table.
const DESCRIPTORS_RESERVED: u64 = 16;

/// The largest table of direct descriptors a kernel takes (`IORING_MAX_FIXED_FILES`).
pub(super) const TABLE_SLOTS_MAX: u64 = 1 << 20;

/// How long memory that fits into the limit and is refused is asked for again: the memory of a ring
/// that is closed, also by the end of a process that was killed, is charged for some time after.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(5);

/// The limits of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Soft `RLIMIT_NOFILE`: descriptors of the process, and slots of *each* ring's table.
    pub nofile_soft: u64,
    /// Hard `RLIMIT_NOFILE`.
    pub nofile_hard: u64,
    /// Soft `RLIMIT_MEMLOCK` in bytes, for all processes of the user together.
    pub memlock_bytes: u64,
    /// Whether CAP_IPC_LOCK makes the limit above moot.
    pub memlock_moot: bool,
    /// Cores this process may run on.
    pub cores: usize,
}

/// What the limits allow for a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allowance {
    /// Connections a shard can hold: the size of its table of direct descriptors.
    pub connections_per_shard: u64,
    /// Connections all shards can hold.
    pub connections: u64,
    /// What memlock allows.
    pub memlock: Memlock,
    /// The arithmetic of it in words.
    pub arithmetic: Vec<String>,
}

/// What `RLIMIT_MEMLOCK` allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memlock {
    /// Bytes a shard of the plan is charged.
    pub shard_bytes: u64,
    /// Bytes a shard is charged with the smallest completion queue the engine falls back to.
    pub shard_bytes_min: u64,
    /// Shards of the plan that fit; `None`: any number.
    pub shards: Option<u64>,
    /// Shards with the smallest completion queue that fit; `None`: any number.
    pub shards_at_least: Option<u64>,
}

/// Raises the soft limit of descriptors to the hard one, which every process may, and answers the
/// limits after it. Where the system refuses, the limits stay what they were.
pub fn raise_nofile() -> Limits {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // A refusal shows in the limits answered.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    Limits::of_this_process()
}

/// Takes so many descriptors at once, and gives them back.
///
/// # Errors
///
/// There are not as many.
pub fn try_descriptors(count: usize) -> io::Result<()> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(eventfd(0, EventfdFlags::CLOEXEC)?);
    }
    Ok(())
}

impl Limits {
    /// Reads the limits of this process.
    pub fn of_this_process() -> Self {
        let nofile = getrlimit(Resource::Nofile);
        Self {
            nofile_soft: nofile.current.unwrap_or(LIMIT_UNLIMITED),
            nofile_hard: nofile.maximum.unwrap_or(LIMIT_UNLIMITED),
            memlock_bytes: getrlimit(Resource::Memlock).current.unwrap_or(LIMIT_UNLIMITED),
            memlock_moot: has_ipc_lock(),
            cores: cores(),
        }
    }

    /// Whether memory of rings is limited at all.
    pub fn memlock_counts(&self) -> bool {
        !self.memlock_moot && self.memlock_bytes != LIMIT_UNLIMITED
    }

    /// How long memory for the rings of all shards of `plan` is worth asking for again.
    pub fn memory_timeout(&self, plan: &Plan) -> Duration {
        let shard_bytes = memlock_needed_bytes(
            plan.submission_entries,
            plan.completion_entries,
            plan.buffer_entries,
        );
        let fits = shard_bytes * plan.shards as u64 <= self.memlock_bytes;
        if self.memlock_counts() && fits { MEMORY_TIMEOUT } else { Duration::ZERO }
    }

    /// What these limits allow for `plan`, whose shards are counted already.
    pub fn allow(&self, plan: &Plan) -> Allowance {
        let needed = |completion_entries| {
            memlock_needed_bytes(plan.submission_entries, completion_entries, plan.buffer_entries)
        };
        let shard_bytes = needed(plan.completion_entries);
        let shard_bytes_min = needed(plan.submission_entries);
        let fit = |bytes| self.memlock_counts().then(|| self.memlock_bytes / bytes);
        let memlock = Memlock {
            shard_bytes,
            shard_bytes_min,
            shards: fit(shard_bytes),
            shards_at_least: fit(shard_bytes_min),
        };
        let slots = self.nofile_soft.min(TABLE_SLOTS_MAX);
        let per_shard = slots.saturating_sub(DESCRIPTORS_RESERVED);
        let connections = per_shard.saturating_mul(plan.shards as u64);
        let mut arithmetic = vec![
            format!(
                "connections: ({slots} descriptors - {DESCRIPTORS_RESERVED} reserved) x {} shards = \
                 {connections}",
                plan.shards
            ),
            format!(
                "memlock per shard: SQ {} x {SQE_BYTES} B + CQ {} x {CQE_BYTES} B + buffers {} x \
                 {BUFFER_ENTRY_BYTES} B, in pages = {} KiB (at least {} KiB)",
                plan.submission_entries,
                plan.completion_entries,
                plan.buffer_entries,
                shard_bytes / 1_024,
                shard_bytes_min / 1_024
            ),
        ];
        arithmetic.push(match (memlock.shards, memlock.shards_at_least) {
            (Some(shards), Some(at_least)) => format!(
                "memlock: {} KiB allow {shards} shards of {} KiB, or {at_least} of {} KiB",
                self.memlock_bytes / 1_024,
                shard_bytes / 1_024,
                shard_bytes_min / 1_024
            ),
            _ if self.memlock_moot => "memlock: CAP_IPC_LOCK lifts the limit".into(),
            _ => "memlock: no limit".into(),
        });
        Allowance { connections_per_shard: per_shard, connections, memlock, arithmetic }
    }
}

/// Bytes that a ring with these entries is charged against `RLIMIT_MEMLOCK` (getrlimit(2)), where
/// the kernel charges rings: the submission entries, the completion queue with its header, and
/// the ring of receive buffers, each in whole pages. The buffers themselves are ordinary memory.
/// Assumes `IORING_SETUP_NO_SQARRAY`, which every kernel that charges rings has (6.18 does).
pub fn memlock_needed_bytes(
    submission_entries: u32,
    completion_entries: u32,
    buffer_entries: u16,
) -> u64 {
    let pages = |bytes: u64| bytes.next_multiple_of(PAGE_BYTES);
    pages(u64::from(submission_entries) * SQE_BYTES)
        + pages(RINGS_HEADER_BYTES + u64::from(completion_entries) * CQE_BYTES)
        + pages(u64::from(buffer_entries) * BUFFER_ENTRY_BYTES)
}

fn cores() -> usize {
    let affinity = rustix::thread::sched_getaffinity(None);
    affinity.map_or(1, |set| set.count().max(1) as usize)
}

/// Whether CapEff in /proc/self/status has CAP_IPC_LOCK (proc_pid_status(5)).
fn has_ipc_lock() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    capabilities_of(&status) & (1 << CAP_IPC_LOCK) != 0
}

fn capabilities_of(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(memlock_bytes: u64, memlock_moot: bool) -> Limits {
        Limits { nofile_soft: 20_000, nofile_hard: 20_000, memlock_bytes, memlock_moot, cores: 2 }
    }

    #[test]
    fn memlock_is_counted_in_pages() {
        assert_eq!(memlock_needed_bytes(64, 64, 1), 3 * PAGE_BYTES);
        // 1 MiB of completions and a page for the header; 256 KiB; 16 KiB.
        assert_eq!(memlock_needed_bytes(4_096, 65_536, 1_024), (1_024 + 4 + 256 + 16) * 1_024);
    }

    #[test]
    fn memlock_allows_whole_shards() {
        let plan = Plan { shards: 2, ..Plan::default() };
        let of_8_mib = limits(8 << 20, false).allow(&plan);
        assert_eq!(of_8_mib.memlock.shards, Some(6));
        assert_eq!(of_8_mib.memlock.shards_at_least, Some(24));
        assert_eq!(of_8_mib.connections_per_shard, 19_984);
        assert_eq!(of_8_mib.connections, 39_968);
        let unlimited = Limits { nofile_soft: LIMIT_UNLIMITED, ..limits(8 << 20, true) };
        assert_eq!(unlimited.allow(&plan).connections_per_shard, (1 << 20) - 16);
        assert_eq!(limits(8 << 20, true).allow(&plan).memlock.shards, None);
        assert_eq!(limits(LIMIT_UNLIMITED, false).allow(&plan).memlock.shards, None);
    }

    #[test]
    fn memory_is_waited_for_where_it_can_come() {
        let plan = Plan { shards: 6, ..Plan::default() };
        assert_eq!(limits(8 << 20, false).memory_timeout(&plan), MEMORY_TIMEOUT);
        let too_many = Plan { shards: 7, ..plan };
        assert_eq!(limits(8 << 20, false).memory_timeout(&too_many), Duration::ZERO);
        assert_eq!(limits(8 << 20, true).memory_timeout(&plan), Duration::ZERO);
        assert_eq!(limits(LIMIT_UNLIMITED, false).memory_timeout(&plan), Duration::ZERO);
    }

    #[test]
    fn capabilities_are_read_from_the_status() {
        assert_eq!(capabilities_of("Name:\tx\nCapEff:\t0000000000004000\n"), 1 << CAP_IPC_LOCK);
        assert_eq!(capabilities_of("Name:\tx\n"), 0);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let limits = raise_nofile();
        assert_eq!(limits.nofile_soft, limits.nofile_hard);
        assert!(limits.cores >= 1);
    }
}
