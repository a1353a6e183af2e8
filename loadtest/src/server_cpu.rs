//! What processes spend: CPU time, context switches and memory from `/proc` (proc(5)).
//!
//! `echo` and `idle` take a snapshot before and after. All threads and child processes count;
//! the time of a thread that ends in between is lost, so a server should keep its threads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Sums over all threads of a process and its children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Exact run time.
    pub cpu_ns: u64,
    /// Time ready to run, standing in line for a core.
    pub queued_ns: u64,
    /// In clock ticks, good for the proportion only.
    pub user_ticks: u64,
    pub kernel_ticks: u64,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    /// Per thread: time it ran or stood in line for a core.
    wanted_ns: BTreeMap<u32, u64>,
}

impl Usage {
    /// What the process tree of `pid` has spent so far.
    pub fn of_tree(pid: u32) -> Result<Usage> {
        let mut sum = Usage::default();
        for member in tree(pid)? {
            let tasks = format!("/proc/{member}/task");
            let Ok(entries) = fs::read_dir(&tasks) else { continue };
            for task in entries.flatten() {
                // A thread may end between listing and reading.
                let _ended = sum.add_task(&task.path().to_string_lossy());
            }
        }
        Ok(sum)
    }

    /// What was spent since `earlier`.
    pub fn since(&self, earlier: &Usage) -> Usage {
        let wanted_ns = self.wanted_ns.iter().map(|(thread, wanted)| {
            let before = earlier.wanted_ns.get(thread).copied().unwrap_or(0);
            (*thread, wanted.saturating_sub(before))
        });
        Usage {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            queued_ns: self.queued_ns.saturating_sub(earlier.queued_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            kernel_ticks: self.kernel_ticks.saturating_sub(earlier.kernel_ticks),
            voluntary_switches: self.voluntary_switches.saturating_sub(earlier.voluntary_switches),
            involuntary_switches: self
                .involuntary_switches
                .saturating_sub(earlier.involuntary_switches),
            wanted_ns: wanted_ns.collect(),
        }
    }

    /// The time the hungriest thread ran or stood in line for a core.
    pub fn busiest_thread_ns(&self) -> u64 {
        self.wanted_ns.values().copied().max().unwrap_or(0)
    }

    fn add_task(&mut self, path: &str) -> Option<()> {
        let thread = path.rsplit('/').next()?.parse().ok()?;
        let schedstat = fs::read_to_string(format!("{path}/schedstat")).ok()?;
        let mut fields = schedstat.split_whitespace().map(str::parse::<u64>);
        let (ran_ns, queued_ns) = (fields.next()?.ok()?, fields.next()?.ok()?);
        let stat = fs::read_to_string(format!("{path}/stat")).ok()?;
        let (user_ticks, kernel_ticks) = ticks(&stat)?;
        let status = fs::read_to_string(format!("{path}/status")).ok()?;
        self.cpu_ns += ran_ns;
        self.queued_ns += queued_ns;
        self.user_ticks += user_ticks;
        self.kernel_ticks += kernel_ticks;
        self.voluntary_switches += field(&status, "voluntary_ctxt_switches:")?;
        self.involuntary_switches += field(&status, "nonvoluntary_ctxt_switches:")?;
        self.wanted_ns.insert(thread, ran_ns + queued_ns);
        Some(())
    }
}

/// Resident memory of a process tree in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub rss_bytes: u64,
    pub pss_bytes: u64,
}

impl Memory {
    /// Sums `smaps_rollup`.
    pub fn of_tree(pid: u32) -> Result<Memory> {
        let mut sum = Memory::default();
        for member in tree(pid)? {
            let Ok(text) = fs::read_to_string(format!("/proc/{member}/smaps_rollup")) else {
                continue;
            };
            sum.rss_bytes += field(&text, "Rss:").unwrap_or(0) * 1024;
            sum.pss_bytes += field(&text, "Pss:").unwrap_or(0) * 1024;
        }
        Ok(sum)
    }
}

/// Whether the process has ended or does so now. A dying process closes its sockets first, so
/// this looks for a moment.
pub fn has_ended(pid: u32) -> bool {
    (0..30).any(|look| {
        if look > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        !is_alive(pid)
    })
}

fn is_alive(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|text| after_name(&text).is_some_and(|rest| !rest.starts_with(['Z', 'X'])))
}

fn tree(pid: u32) -> Result<BTreeSet<u32>> {
    fs::metadata(format!("/proc/{pid}")).with_context(|| format!("no process {pid}"))?;
    let mut members = BTreeSet::from([pid]);
    let mut unseen = vec![pid];
    while let Some(parent) = unseen.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let new = children.split_whitespace().filter_map(|child| child.parse().ok());
            unseen.extend(new.filter(|child| members.insert(*child)));
        }
    }
    Ok(members)
}

/// The fields of a `stat` file behind the name, which may hold anything.
fn after_name(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ").map(|(_, rest)| rest)
}

fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = after_name(stat)?.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_fields_behind_a_hostile_name() {
        let stat = "7 (a) R (b) S 1 7 7 0 -1 4194304 99 0 0 0 12 34 0 0 20 0 1 0";
        assert_eq!(ticks(stat), Some((12, 34)));
        assert_eq!(
            field("Name:\tx\nvoluntary_ctxt_switches:\t5\n", "voluntary_ctxt_switches:"),
            Some(5)
        );
        assert_eq!(field("nonvoluntary_ctxt_switches:\t5\n", "voluntary_ctxt_switches:"), None);
    }

    #[test]
    fn own_time_grows_with_work() {
        let pid = std::process::id();
        let before = Usage::of_tree(pid).unwrap();
        let mut sum = 0_u64;
        for step in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum ^ step);
        }
        thread::yield_now();
        let spent = Usage::of_tree(pid).unwrap().since(&before);
        assert!(spent.cpu_ns > 100_000, "{spent:?}");
        assert!(spent.busiest_thread_ns() > 100_000, "{spent:?}");
        assert!(is_alive(pid));
        assert!(Memory::of_tree(pid).unwrap().rss_bytes > 100_000);
    }
}
