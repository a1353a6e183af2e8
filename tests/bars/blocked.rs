//! The program on hosts that do not let it have a ring: it must say so at once, in one line that
//! names cause and remedy, with exit code 78. `blocked.py` makes such a host of any other.

use crate::hosts::{BLOCKED, PROGRAM, Reachable, uid};
use ringwire::ring::probe::memlock_needed_bytes;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::eventually;

/// Entries of a default ring of buffers: classic ones, of which there are most.
const BUFFERS: u16 = 512;

/// Runs `blocked.py` with `arguments`.
fn blocked(arguments: &[&str]) -> Output {
    let started = Instant::now();
    let output = Command::new("python3")
        .arg(BLOCKED)
        .args(arguments)
        .env("RINGWIRE_LISTEN", "127.0.0.1:0")
        .env("RINGWIRE_ADMIN_LISTEN", "off")
        .output()
        .expect("this test needs python3 in PATH");
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    output
}

/// The only line on standard error, of a program that ended with 78.
fn refusal(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(78), "{text}");
    let line = text.strip_suffix('\n').expect("a whole line");
    assert!(!line.contains('\n'), "more than one line: {text}");
    let (cause, remedy) = line.split_once("; ").expect("a cause and a remedy");
    assert!(cause.starts_with("ringwire: ") && !remedy.is_empty(), "{line}");
    line.into()
}

#[test]
fn bar_33_a_seccomp_filter_is_named() {
    for (error, runtime) in [("EPERM", "Docker"), ("ENOSYS", "Podman")] {
        for command in ["serve", "doctor"] {
            let line = refusal(&blocked(&["seccomp", error, PROGRAM, command]));
            assert!(line.contains("seccomp") && line.contains(error), "{line}");
            assert!(line.contains(runtime) && line.contains("docs/containers.md"), "{line}");
        }
    }
}

#[test]
fn bar_33_the_doctor_still_reports_where_io_uring_is_blocked() {
    let output = blocked(&["seccomp", "EPERM", PROGRAM, "doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], false);
    assert_eq!(report["rungs"][0]["name"], "io_uring_setup");
    assert_eq!(report["rungs"][0]["ok"], false);
}

#[test]
fn bar_33_a_small_memlock_limit_is_named_with_what_is_needed() {
    let program = Reachable::new("small");
    let needed_kib = 2 * memlock_needed_bytes(4_096, 4_096, BUFFERS) / 1_024;
    for verb in ["serve", "doctor"] {
        let said = |limit: &str, uid: &str| {
            refusal(&blocked(&["memlock", limit, uid, program.path(), verb, "--shards=2"]))
        };
        let line = said("65536", &uid(0));
        assert!(line.contains("RLIMIT_MEMLOCK is too small"), "{line}");
        assert!(
            line.contains(&format!("2 shards need {needed_kib} KiB, the limit is 64 KiB")),
            "{line}"
        );
        assert!(line.contains("LimitMEMLOCK="), "{line}");
        // Too little even for the rings that only try: still the limit is named, not the kernel.
        for (limit, limit_kib) in [("4096", 4), ("8192", 8)] {
            let line = said(limit, &uid(1));
            assert!(line.contains(&format!("RLIMIT_MEMLOCK is {limit_kib} KiB")), "{line}");
        }
    }
}

#[test]
fn bar_33_a_directory_of_somebody_else_is_a_matter_of_permission() {
    let program = Reachable::new("denied");
    let listen = "--listen=unix:/usr/ringwire-test.sock";
    for verb in ["serve", "doctor"] {
        let output = blocked(&["memlock", "8388608", &uid(4), program.path(), verb, listen]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(77), "{text}");
        assert!(
            text.contains("is not permitted; use a directory that this user may write"),
            "{text}"
        );
    }
}

/// What a ring was charged comes back some time after its process was killed.
#[test]
fn bar_33_a_server_that_was_killed_finds_its_memory_again() {
    let program = Reachable::new("again");
    let uid = uid(5);
    let limit = (memlock_needed_bytes(4_096, 65_536, BUFFERS) + 8 * 4_096).to_string();
    for round in 0..8 {
        let mut child = Command::new("python3")
            .arg(BLOCKED)
            .args(["memlock", &limit, &uid, program.path(), "serve", "--admin=off", "--shards=1"])
            .env("RINGWIRE_LISTEN", "127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs python3 in PATH");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let lines: Vec<String> = log
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.contains("listening on"))
            .collect();
        let is_whole = is_whole(child.id());
        let ended = child.try_wait().expect("our child");
        assert_eq!(ended, None, "round {round}: {lines:?}");
        child.kill().expect("our child");
        child.wait().expect("our child");
        assert!(is_whole, "round {round}: a smaller queue");
    }
}

/// Whether a ring of the process has a completion queue of 65,536 entries. The kernel says nothing of
/// a ring whose lock is taken at the moment it is asked.
fn is_whole(process: u32) -> bool {
    let mut mask = None;
    eventually("the kernel tells of the ring", || {
        mask = completion_mask(process);
        mask.is_some()
    });
    mask == Some(0xffff)
}

fn completion_mask(process: u32) -> Option<u32> {
    let entries = std::fs::read_dir(format!("/proc/{process}/fdinfo")).into_iter().flatten();
    let infos = entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let masks = infos.filter_map(|info| {
        let line = info.lines().find_map(|line| line.strip_prefix("CqMask:"))?.trim().to_owned();
        u32::from_str_radix(line.trim_start_matches("0x"), 16).ok()
    });
    masks.max()
}

/// On kernels that charge rings (6.18 does), and exactly: one page less does not do.
#[test]
fn bar_33_the_arithmetic_of_memlock_is_right_to_the_page() {
    let program = Reachable::new("exact");
    let needed = memlock_needed_bytes(4_096, 4_096, BUFFERS);
    let config = std::env::temp_dir().join(format!("ringwire-{}-one.toml", std::process::id()));
    std::fs::write(&config, "shards = 1\n").expect("the temporary directory takes a file");
    let one_shard = |limit: u64, uid: &str| {
        let (limit, config) = (limit.to_string(), config.to_str().expect("UTF-8"));
        blocked(&["memlock", &limit, uid, program.path(), "doctor", "--config", config])
    };
    let (enough, too_little) = (one_shard(needed, &uid(2)), one_shard(needed - 4_096, &uid(3)));
    let _ = std::fs::remove_file(&config);
    assert_eq!(enough.status.code(), Some(0));
    let line = refusal(&too_little);
    let limit_kib = needed / 1_024 - 4;
    assert!(line.contains(&format!("the limit is {limit_kib} KiB")), "{line}");
}
