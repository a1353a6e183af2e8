//! The climb: one rung after the other, each by asking the kernel for it.
//!
//! Owns the small rings of the probe for as long as it runs. Called by the probe alone. Nothing
//! is submitted here, so the kernel never owns memory of an operation.

use super::held::{BufferRing, built, errno_of, held_at_once};
use super::limits::{Limits, TABLE_SLOTS_MAX, memlock_needed_bytes};
use super::refusal::{self, REMEDY_KERNEL, System};
use super::{Blocked, Plan, Rung};
use io_uring::{Builder, IoUring, Probe, cqueue, opcode, squeue};
use rustix::io::Errno;
use std::time::Duration;

/// Entries of the rings that only try flags.
const ENTRIES_SMALL: u32 = 8;

/// Flag of a buffer ring whose buffers are consumed bit by bit (`IOU_PBUF_RING_INC`, kernel 6.12).
const PBUF_RING_INC: u16 = 2;

/// For how long at most our own small rings, which are closed by then, are still charged.
const OWN_MEMORY_TIMEOUT: Duration = Duration::from_millis(100);

/// What a climb found.
pub(super) struct Found {
    pub(super) rungs: Vec<Rung>,
    pub(super) blocked: Option<Blocked>,
}

impl Found {
    pub(super) fn has(&self, name: &str) -> bool {
        self.rungs.iter().any(|rung| rung.name == name && rung.ok)
    }

    fn add(&mut self, rung: Rung) -> bool {
        let ok = rung.ok;
        if rung.required && !ok && self.blocked.is_none() {
            let cause = format!("{} is missing ({})", rung.name, rung.seen);
            self.blocked = Some(refusal::blocked(cause, rung.remedy.clone()));
        }
        self.rungs.push(rung);
        ok
    }

    /// A feature that fails for want of memory or descriptors is not missing: the limit is the cause.
    fn short_of(&mut self, errno: Errno, limits: &Limits) {
        if matches!(errno, Errno::NOMEM | Errno::MFILE | Errno::NFILE) {
            let reason = refusal::of_setup(errno, &System::read(), limits);
            self.blocked.get_or_insert(reason);
        }
    }
}

/// Climbs the whole ladder. Stops early only where there is no io_uring at all.
pub(super) fn climb(plan: &Plan, limits: &Limits) -> Found {
    let mut found = Found { rungs: Vec::new(), blocked: None };
    let setup = built(&IoUring::builder(), ENTRIES_SMALL, limits).map(drop);
    if let Err(errno) = setup {
        let reason = refusal::of_setup(errno, &System::read(), limits);
        found.add(setup_rung(Err(errno), &reason.remedy));
        found.blocked = Some(reason);
        return found;
    }
    found.add(setup_rung(Ok(()), ""));
    let builder = climb_flags(&mut found, limits);
    match built(&builder, ENTRIES_SMALL, limits) {
        Ok(ring) => {
            climb_features(&mut found, &ring);
            climb_opcodes(&mut found, &ring);
            climb_table(&mut found, &ring, limits);
            climb_buffers(&mut found, ring, limits);
        }
        Err(errno) => {
            found.short_of(errno, limits);
            let cause = format!("a ring with all flags cannot be made ({errno})");
            found.blocked.get_or_insert(refusal::blocked(cause, REMEDY_KERNEL.into()));
        }
    }
    climb_memory(&mut found, &builder, plan, limits);
    found
}

fn setup_rung(result: Result<(), Errno>, remedy: &str) -> Rung {
    Rung {
        name: "io_uring_setup",
        ok: result.is_ok(),
        required: true,
        purpose: "everything",
        without: "the server cannot run",
        remedy: remedy.into(),
        seen: seen(result),
    }
}

fn seen(result: Result<(), Errno>) -> String {
    match result {
        Ok(()) => "works".into(),
        Err(errno) => errno.to_string(),
    }
}

/// A set-up flag, in the order in which they are laid upon each other.
struct SetupFlag {
    name: &'static str,
    required: bool,
    set: fn(&mut Builder) -> &mut Builder,
    purpose: &'static str,
    without: &'static str,
    remedy: &'static str,
}

const SETUP_FLAGS: [SetupFlag; 4] = [
    SetupFlag {
        name: "IORING_SETUP_SINGLE_ISSUER",
        required: true,
        set: Builder::setup_single_issuer,
        purpose: "one thread per ring; needed for DEFER_TASKRUN",
        without: "the server cannot run",
        remedy: REMEDY_KERNEL,
    },
    SetupFlag {
        name: "IORING_SETUP_DEFER_TASKRUN",
        required: true,
        set: Builder::setup_defer_taskrun,
        purpose: "completions arrive only when the shard asks",
        without: "the server cannot run",
        remedy: REMEDY_KERNEL,
    },
    SetupFlag {
        name: "IORING_SETUP_SUBMIT_ALL",
        required: true,
        set: Builder::setup_submit_all,
        purpose: "one bad operation does not stop a batch",
        without: "the server cannot run",
        remedy: REMEDY_KERNEL,
    },
    SetupFlag {
        name: "IORING_SETUP_NO_SQARRAY",
        required: false,
        set: Builder::setup_no_sqarray,
        purpose: "a smaller submission queue",
        without: "16 KiB more per shard",
        remedy: "nothing needs doing; Linux 6.6 has it",
    },
];

/// Tries the flags one upon the other and answers a builder with those that work.
fn climb_flags(found: &mut Found, limits: &Limits) -> Builder {
    let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
    for flag in SETUP_FLAGS {
        let mut with = builder.clone();
        (flag.set)(&mut with);
        let result = built(&with, ENTRIES_SMALL, limits).map(drop);
        if let Err(errno) = result {
            found.short_of(errno, limits);
        }
        let ok = found.add(Rung {
            name: flag.name,
            ok: result.is_ok(),
            required: flag.required,
            purpose: flag.purpose,
            without: flag.without,
            remedy: flag.remedy.into(),
            seen: seen(result),
        });
        if ok {
            builder = with;
        }
    }
    builder
}

fn climb_features(found: &mut Found, ring: &IoUring) {
    let features = [
        (
            "IORING_FEAT_EXT_ARG",
            ring.params().is_feature_ext_arg(),
            "timeouts without a system call each",
        ),
        (
            "IORING_FEAT_NODROP",
            ring.params().is_feature_nodrop(),
            "no completion is lost when the queue is full",
        ),
    ];
    for (name, ok, purpose) in features {
        found.add(required(name, ok, purpose));
    }
}

fn required(name: &'static str, ok: bool, purpose: &'static str) -> Rung {
    Rung {
        name,
        ok,
        required: true,
        purpose,
        without: "the server cannot run",
        remedy: REMEDY_KERNEL.into(),
        seen: if ok { "works".into() } else { "not offered".into() },
    }
}

fn climb_opcodes(found: &mut Found, ring: &IoUring) {
    let mut probe = Probe::new();
    // Where even the question is unknown, every opcode shows as missing.
    let _ = ring.submitter().register_probe(&mut probe);
    let opcodes = [
        ("IORING_OP_ACCEPT", opcode::Accept::CODE, "connections come in"),
        ("IORING_OP_RECV", opcode::Recv::CODE, "bytes come in"),
        ("IORING_OP_SEND", opcode::Send::CODE, "bytes go out"),
        ("IORING_OP_SENDMSG", opcode::SendMsg::CODE, "bytes go out from several places"),
        ("IORING_OP_ASYNC_CANCEL", opcode::AsyncCancel::CODE, "operations of a gone peer end"),
        ("IORING_OP_SHUTDOWN", opcode::Shutdown::CODE, "the peer learns of the end"),
        ("IORING_OP_CLOSE", opcode::Close::CODE, "sockets are closed"),
        ("IORING_OP_POLL_ADD", opcode::PollAdd::CODE, "other threads ring the doorbell"),
    ];
    for (name, code, purpose) in opcodes {
        found.add(required(name, probe.is_supported(code), purpose));
    }
    let ok = probe.is_supported(opcode::UringCmd16::CODE);
    found.add(Rung {
        required: false,
        without: "a socket's options and peer cannot be asked for through the ring",
        remedy: "nothing needs doing; Linux 6.7 has it for sockets".into(),
        ..required("IORING_OP_URING_CMD", ok, "options of sockets")
    });
}

fn climb_table(found: &mut Found, ring: &IoUring, limits: &Limits) {
    let slots = limits.nofile_soft.min(TABLE_SLOTS_MAX);
    let result = ring.submitter().register_files_sparse(slots as u32).map_err(errno_of);
    found.add(Rung {
        seen: match result {
            Ok(()) => format!("{slots} slots"),
            Err(errno) => format!("{slots} slots: {errno}"),
        },
        remedy: match result {
            Err(Errno::MFILE) => "raise RLIMIT_NOFILE (LimitNOFILE=)".into(),
            Err(Errno::NOMEM) => "give the process more memory".into(),
            _ => REMEDY_KERNEL.into(),
        },
        ..required(
            "IORING_REGISTER_FILES2",
            result.is_ok(),
            "sockets outside the process's descriptors",
        )
    });
}

fn climb_buffers(found: &mut Found, ring: IoUring, limits: &Limits) {
    let mut buffers = BufferRing::new(ring, ENTRIES_SMALL as u16);
    let classic = buffers.register(0);
    if let Err(errno) = classic {
        found.short_of(errno, limits);
    }
    found.add(Rung {
        seen: seen(classic),
        remedy: match classic {
            Err(Errno::NOMEM) => "raise RLIMIT_MEMLOCK (LimitMEMLOCK=)".into(),
            _ => REMEDY_KERNEL.into(),
        },
        ..required(
            "IORING_REGISTER_PBUF_RING",
            classic.is_ok(),
            "an idle connection holds no buffer",
        )
    });
    buffers.unregister();
    let incremental = buffers.register(PBUF_RING_INC);
    found.add(Rung {
        required: false,
        without: "4 KiB buffers: up to twice the CPU for large messages",
        remedy: "run Linux 6.12 or newer".into(),
        seen: seen(incremental),
        ..required("IOU_PBUF_RING_INC", incremental.is_ok(), "large buffers filled bit by bit")
    });
}

/// Makes the rings of all shards at once, with the largest completion queue that works, as the
/// shards will. Without a limit on memory, one of them.
fn climb_memory(found: &mut Found, builder: &Builder, plan: &Plan, limits: &Limits) {
    let rings = if limits.memlock_counts() { plan.shards } else { 1 };
    let mut completion_entries = plan.completion_entries;
    let mut timeout_max = Duration::MAX;
    let result = loop {
        let timeout = limits.memory_timeout(&Plan { completion_entries, ..*plan });
        let result =
            held_at_once(builder, plan, completion_entries, rings, timeout.min(timeout_max));
        // What was not given back by then is somebody's. Our own rings of before come back soon.
        if !timeout.is_zero() {
            timeout_max = OWN_MEMORY_TIMEOUT;
        }
        let smaller = completion_entries / 2;
        if result != Err(Errno::NOMEM) || smaller < plan.submission_entries {
            break result;
        }
        completion_entries = smaller;
    };
    if let Err(errno @ (Errno::MFILE | Errno::NFILE)) = result {
        found.short_of(errno, limits);
    }
    let wanted_kib = shards_bytes(plan, plan.completion_entries) / 1_024;
    let rung = Rung {
        name: "RLIMIT_MEMLOCK",
        ok: result.is_ok(),
        required: true,
        purpose: "memory of the rings",
        without: "the server cannot run",
        remedy: format!(
            "raise it to {wanted_kib} KiB (LimitMEMLOCK={wanted_kib}K, ulimit -l {wanted_kib}), \
             or use fewer shards"
        ),
        seen: match result {
            Ok(()) => {
                format!("rings made at once: {rings}, with {completion_entries} completions each")
            }
            Err(Errno::NOMEM) if limits.memlock_counts() => format!(
                "the rings of {} shards need {} KiB, the limit is {} KiB for all processes of \
                 this user",
                plan.shards,
                shards_bytes(plan, plan.submission_entries) / 1_024,
                limits.memlock_bytes / 1_024
            ),
            Err(errno) => errno.to_string(),
        },
    };
    if !rung.ok {
        let cause = format!("{} is too small ({})", rung.name, rung.seen);
        found.blocked.get_or_insert(refusal::blocked(cause, rung.remedy.clone()));
    }
    found.add(rung);
}

fn shards_bytes(plan: &Plan, completion_entries: u32) -> u64 {
    let shard =
        memlock_needed_bytes(plan.submission_entries, completion_entries, plan.buffer_entries);
    shard * plan.shards as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::of_this_process()
    }

    #[test]
    fn a_missing_required_rung_blocks_and_an_optional_one_does_not() {
        let mut found = Found { rungs: Vec::new(), blocked: None };
        assert!(!found.add(Rung { required: false, ..required("OPTIONAL", false, "") }));
        assert_eq!(found.blocked, None);
        assert!(found.add(required("THERE", true, "")));
        found.add(required("FIRST", false, ""));
        found.add(required("SECOND", false, ""));
        let blocked = found.blocked.as_ref().expect("a required rung is missing");
        assert_eq!(blocked.to_string(), "FIRST is missing (not offered); run Linux 6.1 or newer");
        assert!(found.has("THERE") && !found.has("OPTIONAL"));
    }

    #[test]
    fn a_table_beyond_the_limit_is_seen_to_fail() {
        let ring = built(&IoUring::builder(), ENTRIES_SMALL, &limits()).expect("io_uring");
        let mut found = Found { rungs: Vec::new(), blocked: None };
        let beyond = Limits { nofile_soft: TABLE_SLOTS_MAX * 2, ..limits() };
        climb_table(&mut found, &ring, &beyond);
        // A host whose limit is a million takes it; any other must say EMFILE.
        let ok = found.has("IORING_REGISTER_FILES2");
        assert_eq!(ok, limits().nofile_soft >= TABLE_SLOTS_MAX, "{:?}", found.rungs);
    }

    #[test]
    fn this_host_carries_the_server() {
        let report = super::super::probe();
        assert_eq!(report.fatal(), None, "{report:#?}");
        assert!(report.rungs.iter().all(|rung| rung.ok || !rung.required));
    }
}
