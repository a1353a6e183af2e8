//! Why io_uring_setup(2) was refused, and what to do about it.
//!
//! Called by the climb when there is no ring at all. Reads what the system says about itself; it
//! tries nothing.

use super::Blocked;
use super::limits::Limits;
use rustix::io::Errno;

pub(super) const REMEDY_KERNEL: &str = "run Linux 6.1 or newer";
const REMEDY_SECCOMP: &str = "allow io_uring_setup, io_uring_enter and io_uring_register in the \
    seccomp profile, see docs/containers.md";

/// A host that cannot carry the server: exit code 78, configuration (sysexits.h).
pub(super) fn blocked(cause: String, remedy: String) -> Blocked {
    Blocked { cause, remedy, exit_code: 78 }
}

/// What the system says about io_uring beside the error.
pub(super) struct System {
    /// `kernel.io_uring_disabled` (kernel 6.6).
    disabled: Option<String>,
    /// Whether a seccomp filter is on this process.
    filtered: bool,
}

impl System {
    /// Asks the system.
    pub(super) fn read() -> Self {
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
pub(super) fn of_setup(errno: Errno, system: &System, limits: &Limits) -> Blocked {
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
        Errno::MFILE => blocked(
            format!("no descriptor is left for a ring: RLIMIT_NOFILE is {}", limits.nofile_soft),
            "raise it (LimitNOFILE=, ulimit -n)".into(),
        ),
        Errno::NFILE => blocked(
            "no descriptor is left on this host for a ring".into(),
            "raise fs.file-max with sysctl".into(),
        ),
        errno => blocked(format!("io_uring_setup failed: {errno}"), REMEDY_KERNEL.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (Errno::MFILE, system(None, false), "RLIMIT_NOFILE"),
            (Errno::NFILE, system(None, false), "on this host"),
            (Errno::INVAL, system(None, false), "failed"),
        ];
        for (errno, system, word) in cases {
            let blocked = of_setup(errno, &system, &Limits::of_this_process());
            assert!(blocked.to_string().contains(word), "{errno}: {blocked}");
            assert_eq!(blocked.exit_code, 78);
            assert!(!blocked.remedy.is_empty());
        }
    }
}
