//! What this host offers to a ring, found by doing.
//!
//! Owns the ladder of kernel features the engine stands on and the arithmetic of the limits. The
//! program probes once before it starts, and `ringwire doctor` prints the [`Report`]. Nothing
//! here keeps a ring, and no answer comes from a version string.

mod held;
mod ladder;
mod limits;
mod refusal;

pub use limits::{
    Allowance, LIMIT_UNLIMITED, Limits, Memlock, memlock_needed_bytes, raise_nofile,
    try_descriptors,
};

use serde::Serialize;

/// The rings that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Shards; 0: one per core.
    pub shards: usize,
    /// Entries of each submission queue.
    pub submission_entries: u32,
    /// Entries of each completion queue.
    pub completion_entries: u32,
    /// Entries of each ring of receive buffers.
    pub buffer_entries: u16,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            shards: 0,
            submission_entries: 4_096,
            completion_entries: 65_536,
            buffer_entries: 512,
        }
    }
}

/// One feature of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rung {
    /// Its name in the kernel's headers.
    pub name: &'static str,
    /// Whether this host has it.
    pub ok: bool,
    /// Whether the server needs it to run.
    pub required: bool,
    /// What the engine does with it.
    pub purpose: &'static str,
    /// What happens without it.
    pub without: &'static str,
    /// What to do where it is missing.
    pub remedy: String,
    /// What was seen: an error, or a number.
    pub seen: String,
}

/// Why the server cannot run on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{cause}; {remedy}")]
pub struct Blocked {
    /// What stands in the way.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
    /// The exit code of the program (sysexits.h): 78, configuration, where the host has no rings.
    pub exit_code: u8,
}

/// What this host offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The kernel's release, for people; nothing depends on it.
    pub kernel: String,
    /// Every feature looked for. Without io_uring only the first.
    pub rungs: Vec<Rung>,
    /// Whether a buffer ring with `IOU_PBUF_RING_INC` can be registered. Whether it also works,
    /// the self-test at start finds out.
    pub incremental_registers: bool,
    /// The limits of this process.
    pub limits: Limits,
    /// What the limits allow for the plan.
    pub allowance: Allowance,
    /// The plan that was asked about, with the number of shards filled in.
    pub plan: Plan,
    blocked: Option<Blocked>,
}

impl Report {
    /// Why the server cannot run here, if it cannot.
    pub fn fatal(&self) -> Option<&Blocked> {
        self.blocked.as_ref()
    }

    /// Adds what came of a start on this host.
    pub fn add_start(&mut self, result: Result<(), Blocked>) {
        self.rungs.push(Rung {
            name: "start",
            ok: result.is_ok(),
            required: true,
            purpose: "all of it together: threads, descriptors, addresses",
            without: "the server cannot run",
            remedy: result.as_ref().err().map_or_else(String::new, |it| it.remedy.clone()),
            seen: result.as_ref().err().map_or_else(|| "works".into(), |it| it.cause.clone()),
        });
        self.blocked = self.blocked.take().or(result.err());
    }
}

/// Probes for rings of the default size.
pub fn probe() -> Report {
    probe_for(Plan::default())
}

/// Probes for the rings of `plan`. Takes some milliseconds, and less than a second where
/// memory of a ring just closed is still charged.
pub fn probe_for(mut plan: Plan) -> Report {
    let limits = Limits::of_this_process();
    if plan.shards == 0 {
        plan.shards = limits.cores;
    }
    let found = ladder::climb(&plan, &limits);
    Report {
        kernel: kernel_release(),
        incremental_registers: found.has("IOU_PBUF_RING_INC"),
        rungs: found.rungs,
        allowance: limits.allow(&plan),
        limits,
        plan,
        blocked: found.blocked,
    }
}

fn kernel_release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().escape_debug().to_string()
}
