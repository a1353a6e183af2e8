//! The climb: one rung after the other, each by asking the kernel for it.
//!
//! Owns the small rings of the probe for as long as it runs. Called by the probe alone. Nothing
//! is submitted here, so the kernel never owns memory of an operation.

use super::limits::{Limits, memlock_needed_bytes};
use super::{Blocked, Plan, Rung};
use io_uring::{Builder, IoUring, Probe, cqueue, opcode, squeue};
use rustix::io::Errno;
use std::thread::sleep;
use std::time::Duration;

/// The largest table of direct descriptors a kernel takes (`IORING_MAX_FIXED_FILES`).
const TABLE_SLOTS_MAX: u64 = 1 << 20;

/// Entries of the rings that only try flags.
const ENTRIES_SMALL: u32 = 8;

/// A ring just closed may be charged for some milliseconds more, so ENOMEM is asked again.
const NO_MEMORY_RETRIES: u32 = 20;
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(10);

/// Flag of a buffer ring whose buffers are consumed bit by bit (`IOU_PBUF_RING_INC`, kernel 6.12).
const PBUF_RING_INC: u16 = 2;

const BUFFER_GROUP: u16 = 0;
const BUFFER_ENTRY_BYTES: usize = 16;
const PAGE_BYTES: usize = 4_096;

const REMEDY_KERNEL: &str = "run Linux 6.1 or newer";
const REMEDY_SECCOMP: &str = "allow io_uring_setup, io_uring_enter and io_uring_register in the \
    seccomp profile, see docs/containers.md";

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
            self.blocked = Some(blocked(cause, rung.remedy.clone()));
        }
        self.rungs.push(rung);
        ok
    }
}

fn blocked(cause: String, remedy: String) -> Blocked {
    Blocked { cause, remedy, exit_code: 78 }
}

/// Climbs the whole ladder. Stops early only where there is no io_uring at all.
pub(super) fn climb(plan: &Plan, limits: &Limits) -> Found {
    let mut found = Found { rungs: Vec::new(), blocked: None };
    let setup = built(&IoUring::builder(), ENTRIES_SMALL, limits).map(drop);
    if let Err(errno) = setup {
        let reason = refusal(errno, &System::read(), limits);
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
            climb_buffers(&mut found, ring);
        }
        Err(errno) => {
            let cause = format!("a ring with all flags cannot be made ({errno})");
            found.blocked.get_or_insert(blocked(cause, REMEDY_KERNEL.into()));
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

/// Builds a ring; where memory is limited, with patience.
fn built(builder: &Builder, entries: u32, limits: &Limits) -> Result<IoUring, Errno> {
    let mut retries = if limits.memlock_counts() { NO_MEMORY_RETRIES } else { 0 };
    loop {
        match builder.build(entries) {
            Ok(ring) => return Ok(ring),
            Err(error) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                if errno != Errno::NOMEM || retries == 0 {
                    return Err(errno);
                }
            }
        }
        retries -= 1;
        sleep(NO_MEMORY_PAUSE);
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
    let result = match ring.submitter().register_files_sparse(slots as u32) {
        Ok(()) => Ok(()),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    };
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

fn climb_buffers(found: &mut Found, ring: IoUring) {
    let mut buffers = BufferRing { ring, memory: pages_for(ENTRIES_SMALL as usize) };
    let classic = buffers.register(ENTRIES_SMALL as u16, 0);
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
    let incremental = buffers.register(ENTRIES_SMALL as u16, PBUF_RING_INC);
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
    let result = loop {
        let result = hold(builder, plan, completion_entries, rings);
        let smaller = completion_entries / 2;
        if result != Err(Errno::NOMEM) || smaller < plan.submission_entries {
            break result;
        }
        completion_entries = smaller;
    };
    let needed_kib = shards_kib(plan, plan.submission_entries);
    let wanted_kib = shards_kib(plan, plan.completion_entries);
    let limit_kib = limits.memlock_bytes / 1_024;
    found.add(Rung {
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
            Ok(()) => format!("{rings} rings at once, {completion_entries} completions each"),
            Err(Errno::NOMEM) if limits.memlock_counts() => format!(
                "{} shards need {needed_kib} KiB, the limit is {limit_kib} KiB for all processes \
                 of this user",
                plan.shards
            ),
            Err(errno) => errno.to_string(),
        },
    });
    if result.is_err()
        && let Some(blocked) = &mut found.blocked
    {
        blocked.cause =
            blocked.cause.replace("RLIMIT_MEMLOCK is missing", "RLIMIT_MEMLOCK is too small");
    }
}

fn shards_kib(plan: &Plan, completion_entries: u32) -> u64 {
    let shard =
        memlock_needed_bytes(plan.submission_entries, completion_entries, plan.buffer_entries);
    shard * plan.shards as u64 / 1_024
}

fn hold(
    builder: &Builder,
    plan: &Plan,
    completion_entries: u32,
    rings: usize,
) -> Result<(), Errno> {
    let mut builder = builder.clone();
    builder.setup_cqsize(completion_entries);
    let mut held = Vec::new();
    for _ in 0..rings {
        // Nothing but the small rings is being released, so a single pause is enough patience.
        let ring = builder.build(plan.submission_entries).or_else(|_| {
            sleep(NO_MEMORY_PAUSE);
            builder.build(plan.submission_entries)
        });
        let ring = ring.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let entries = plan.buffer_entries.next_power_of_two();
        let mut buffers = BufferRing { ring, memory: pages_for(entries.into()) };
        buffers.register(entries, 0)?;
        held.push(buffers);
    }
    Ok(())
}

/// A ring with memory for a ring of buffers, which stays until it is unregistered.
struct BufferRing {
    ring: IoUring,
    memory: Box<[Page]>,
}

/// Memory as the kernel wants it for a ring of buffers: whole pages.
#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Page([u8; PAGE_BYTES]);

fn pages_for(entries: usize) -> Box<[Page]> {
    vec![Page([0; PAGE_BYTES]); (entries * BUFFER_ENTRY_BYTES).div_ceil(PAGE_BYTES)].into()
}

impl BufferRing {
    fn register(&mut self, entries: u16, flags: u16) -> Result<(), Errno> {
        let address = self.memory.as_mut_ptr() as u64;
        let submitter = self.ring.submitter();
        // SAFETY: the kernel may read the pages of `self.memory`, which hold `entries` entries of
        // 16 bytes (`pages_for`), until `unregister`, which `drop` calls before they are freed.
        // No operation is ever submitted to this ring, so no completion is waited for.
        let result = unsafe {
            submitter.register_buf_ring_with_flags(address, entries, BUFFER_GROUP, flags)
        };
        result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn unregister(&mut self) {
        // An error means that nothing is registered.
        let _ = self.ring.submitter().unregister_buf_ring(BUFFER_GROUP);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// What the system says about io_uring beside the error.
struct System {
    /// `kernel.io_uring_disabled` (kernel 6.6).
    disabled: Option<String>,
    /// Whether a seccomp filter is on this process.
    filtered: bool,
}

impl System {
    fn read() -> Self {
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        Self {
            disabled: disabled.map(|text| text.trim().to_string()),
            filtered: seccomp.is_some_and(|mode| mode.trim() == "2"),
        }
    }
}

/// Why io_uring_setup(2) was refused.
fn refusal(errno: Errno, system: &System, limits: &Limits) -> Blocked {
    match errno {
        Errno::PERM | Errno::ACCESS => match system.disabled.as_deref() {
            Some("1") => blocked(
                "kernel.io_uring_disabled is 1 and this user is not in kernel.io_uring_group"
                    .into(),
                "add the group of this user with sysctl kernel.io_uring_group=GID, or set \
                 kernel.io_uring_disabled=0"
                    .into(),
            ),
            Some("2") => blocked(
                "kernel.io_uring_disabled is 2".into(),
                "set it to 0 with sysctl kernel.io_uring_disabled=0".into(),
            ),
            _ if system.filtered => blocked(
                "a seccomp filter forbids io_uring (EPERM), as the default profile of Docker and \
                 containerd does"
                    .into(),
                REMEDY_SECCOMP.into(),
            ),
            _ => blocked(
                format!("io_uring is forbidden ({errno}), perhaps by a security module"),
                "allow it in the SELinux, AppArmor or BPF policy".into(),
            ),
        },
        Errno::NOSYS if system.filtered => blocked(
            "a seccomp filter hides io_uring (ENOSYS), as the default profile of Podman does"
                .into(),
            REMEDY_SECCOMP.into(),
        ),
        Errno::NOSYS => {
            blocked("this kernel has no io_uring (ENOSYS)".into(), REMEDY_KERNEL.into())
        }
        Errno::NOMEM => blocked(
            format!(
                "no memory for a ring: RLIMIT_MEMLOCK is {} KiB for all processes of this user",
                limits.memlock_bytes / 1_024
            ),
            "raise it (LimitMEMLOCK=, ulimit -l)".into(),
        ),
        errno => blocked(format!("io_uring_setup failed: {errno}"), REMEDY_KERNEL.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::of_this_process()
    }

    fn system(disabled: Option<&str>, filtered: bool) -> System {
        System { disabled: disabled.map(Into::into), filtered }
    }

    #[test]
    fn each_refusal_has_its_own_cause() {
        let cases = [
            (Errno::PERM, system(Some("0"), true), "seccomp"),
            (Errno::PERM, system(Some("1"), false), "io_uring_group"),
            (Errno::PERM, system(Some("2"), true), "io_uring_disabled is 2"),
            (Errno::PERM, system(None, false), "security module"),
            (Errno::NOSYS, system(None, true), "Podman"),
            (Errno::NOSYS, system(None, false), "no io_uring"),
            (Errno::NOMEM, system(None, false), "RLIMIT_MEMLOCK"),
            (Errno::INVAL, system(None, false), "failed"),
        ];
        for (errno, system, word) in cases {
            let blocked = refusal(errno, &system, &limits());
            assert!(blocked.to_string().contains(word), "{errno}: {blocked}");
            assert_eq!(blocked.exit_code, 78);
            assert!(!blocked.remedy.is_empty());
        }
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
    fn an_unknown_flag_of_a_buffer_ring_is_refused() {
        let ring = built(&IoUring::builder(), ENTRIES_SMALL, &limits()).expect("io_uring");
        let mut buffers = BufferRing { ring, memory: pages_for(ENTRIES_SMALL as usize) };
        assert_eq!(buffers.register(ENTRIES_SMALL as u16, 1 << 15), Err(Errno::INVAL));
        assert_eq!(buffers.register(ENTRIES_SMALL as u16, 0), Ok(()));
        assert_eq!(buffers.register(ENTRIES_SMALL as u16, 0), Err(Errno::EXIST));
    }

    #[test]
    fn this_host_carries_the_server() {
        let report = super::super::probe();
        assert_eq!(report.fatal(), None, "{report:#?}");
        assert!(report.rungs.iter().all(|rung| rung.ok || !rung.required));
    }
}
