//! Hosts that allow few descriptors or few threads: the program says so on one line, or it serves.

use super::{Scratch, failure};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ended by itself, within the patience of a test; what it said on standard error.
#[track_caller]
fn ended(mut command: Command) -> (Option<i32>, String) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let started = Instant::now();
    while child.try_wait().expect("our child").is_none() {
        if started.elapsed() > Duration::from_secs(60) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it does not end");
        }
        sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("our child");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

/// A shell that sets a limit, as a user whom limits hold, and becomes the program.
fn limited(limit: &str, arguments: &[&str]) -> Command {
    let script = format!("{limit} || exit 99; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_ringwire")]).args(arguments);
    command.env_clear().env("RINGWIRE_ADMIN_LISTEN", "off");
    command
}

/// A server that is told to end as soon as it serves; its exit code, 0 if it did serve.
fn serves_or_says_why(limit: &str, arguments: &[&str], codes: &[i32]) -> i32 {
    let socket = Scratch::new("limited.sock");
    let listen = format!("unix:{}", socket.text());
    let mut command = limited(limit, &[&["serve", "--listen", &listen], arguments].concat());
    command.stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let started = Instant::now();
    let mut serves = false;
    while child.try_wait().expect("our child").is_none() {
        if !serves && UnixStream::connect(&socket.0).is_ok() {
            serves = true;
            kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
        }
        if started.elapsed() > Duration::from_secs(60) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{limit}: it neither serves nor ends");
        }
        sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("our child");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("panicked"), "{limit}: {text}");
    let code = output.status.code().expect("it exits");
    if serves {
        // It may have been about to say why it cannot go on.
        assert!(code == 0 || codes.contains(&code), "{text}");
        return code;
    }
    assert!(codes.contains(&code), "{limit}: {code}: {text}");
    failure(&output, code);
    assert!(text.contains("ulimit -"), "{limit}: {text}");
    code
}

#[test]
fn too_few_descriptors_are_one_line() {
    let (control, socket) = (Scratch::new("few.control"), Scratch::new("few.sock"));
    let listen = format!("unix:{}", socket.text());
    let mut last = None;
    for descriptors in (6..=40).chain([64]) {
        let limit = format!("ulimit -n {descriptors}");
        for arguments in [&["--shards=2"][..], &["--shards=2", "--control", control.text()]] {
            let code = serves_or_says_why(&limit, arguments, &[71, 78]);
            let arguments = [&["doctor", "--listen", &listen], arguments].concat();
            let (said, text) = ended(limited(&limit, &arguments));
            assert_eq!(said, Some(code), "{limit}: serve ends with {code}, the doctor: {text}");
            assert!(code == 0 || text.lines().count() == 1, "{limit}: {text}");
            last = said;
        }
        let (code, text) = ended(limited(&limit, &["ls", "--control", "/nonexistent"]));
        assert!(matches!(code, Some(69 | 71)), "{limit}: {text}");
        assert!(text.starts_with("ringwire: ") && text.lines().count() == 1, "{limit}: {text}");
    }
    assert_eq!(last, Some(0), "64 descriptors are enough");
}

#[test]
fn too_few_threads_are_one_line() {
    // Nobody else runs under this number, so that its limit counts our threads alone.
    let user = 60_000 + std::process::id() % 5_000;
    let is_root = rustix::process::getuid().is_root();
    let program = Scratch::new("few-threads");
    std::fs::copy(env!("CARGO_BIN_EXE_ringwire"), &program.0).expect("the program is readable");
    let socket_folder = std::env::temp_dir();
    let mut served = 0;
    for threads in 1..=8 {
        let socket = socket_folder.join(format!("ringwire-few-{user}-{threads}.sock"));
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={threads}:{threads}"));
        if is_root {
            command.args(["setpriv", "--reuid", &user.to_string(), "--clear-groups"]);
            command.args(["--inh-caps=-all", "--bounding-set=-all"]);
        }
        command.args([program.text(), "serve", "--shards=3", "--listen"]);
        command.arg(format!("unix:{}", socket.display())).env("RINGWIRE_ADMIN_LISTEN", "off");
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let started = Instant::now();
        while child.try_wait().expect("our child").is_none() {
            if UnixStream::connect(&socket).is_ok() {
                served += 1;
                kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "it neither serves nor ends");
            sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().expect("our child");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("panicked"), "{threads}: {text}");
        if output.status.code() != Some(0) {
            let line = failure(&output, 71);
            assert!(line.contains("no thread can be started: "), "{text}");
            assert!(line.contains("os error"), "the cause is told: {text}");
            assert_eq!(served, 0, "more threads are not fewer: {text}");
        }
        let _ = std::fs::remove_file(&socket);
    }
    // Of another user the threads of everything else count as well.
    assert!(served < 8 && (served > 0 || !is_root), "some are too few, some enough: {served}");
}
