//! The program from outside: flags, files, exit codes, and one line for every failure.

#[path = "cli/codes.rs"]
mod codes;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/few.rs"]
mod few;
#[path = "cli/signals.rs"]
mod signals;

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn ringwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
    // Tests run side by side, and there is one default port.
    command.args(arguments).env_clear().env("RINGWIRE_ADMIN_LISTEN", "off");
    command.env("RINGWIRE_LISTEN", "127.0.0.1:0");
    command
}

fn output_of(arguments: &[&str]) -> Output {
    ringwire(arguments).output().expect("the program runs")
}

/// The last line on standard error of a program that ended with `code`. What the log said before
/// it is not looked at.
fn failure(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{text}");
    let line = text.lines().last().expect("a line").to_string();
    assert!(line.starts_with("ringwire: ") && line.contains("; "), "{text}");
    let failures = text.lines().filter(|line| line.starts_with("ringwire: ")).count();
    assert_eq!(failures, 1, "{text}");
    line
}

/// A path of this test alone, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringwire-cli-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn with(name: &str, text: &[u8]) -> Self {
        let scratch = Self::new(name);
        std::fs::write(&scratch.0, text).expect("the temporary directory takes a file");
        scratch
    }

    fn text(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_help_lists_the_exit_codes() {
    let output = output_of(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    for code in ["0", "2", "3", "4", "5", "6", "65", "69", "71", "74", "76", "77", "78"] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))),
            "{code}"
        );
    }
    assert_eq!(output_of(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_bad_file_is_named_with_line_and_key() {
    let file = Scratch::with("bad.toml", b"# ringwire\nshards = 1\nlisen = []\n");
    let expected =
        format!("ringwire: {}:3: unknown key `lisen`; did you mean `listen`?", file.text());
    for arguments in [&["serve", "--config"][..], &["config", "--check"], &["doctor", "--config"]] {
        let output = output_of(&[arguments, &[file.text()]].concat());
        assert_eq!(failure(&output, 78), expected);
    }
    let binary = Scratch::with("binary.toml", b"\xff\xfe\0");
    failure(&output_of(&["config", "--check", binary.text()]), 78);
    failure(&output_of(&["config", "--check", "/nonexistent/ringwire.toml"]), 78);
}

#[test]
fn a_bad_variable_or_flag_is_named() {
    let output = ringwire(&["serve"]).env("RINGWIRE_SHARDS", "-1").output().expect("it runs");
    assert!(failure(&output, 78).starts_with("ringwire: RINGWIRE_SHARDS: `shards` cannot be -1; "));
    let output = ringwire(&["serve"]).env("RINGWIRE_SHARD", "1").output().expect("it runs");
    assert!(failure(&output, 78).contains("did you mean `RINGWIRE_SHARDS`?"));
    let output = output_of(&["serve", "--origin", "example.org"]);
    assert!(failure(&output, 2).starts_with("ringwire: --origin: "));
    let output = output_of(&["serve", "--set", "limits.mesage_bytes_max=1"]);
    assert!(failure(&output, 2).contains("did you mean `limits.message_bytes_max`?"));
    // What somebody put into a value must not reach the terminal as it is.
    let output = output_of(&["serve", "--log", "\u{1b}[2J\n"]);
    assert!(!failure(&output, 2).contains('\u{1b}'));
    let output = output_of(&["serve", "--listen", "unix:/nonexistent/\u{1b}[2J\n"]);
    assert!(failure(&output, 69).contains("\\u{1b}[2J\\n"));
}

#[test]
fn what_kubernetes_sets_for_a_service_is_ignored() {
    let socket = Scratch::new("kubernetes.sock");
    let child = ringwire(&["serve", "--shards=1", "--listen", &format!("unix:{}", socket.text())])
        .env("RINGWIRE_SERVICE_HOST", "10.96.0.7")
        .env("RINGWIRE_SERVICE_PORT", "9001")
        .env("RINGWIRE_PORT", "tcp://10.96.0.7:9001")
        .env("RINGWIRE_PORT_9001_TCP", "tcp://10.96.0.7:9001")
        .env("RINGWIRE_ADMIN_LISTEN_PORT_9002_TCP_ADDR", "10.96.0.8")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let (code, errors) = stopped_when_served(child, &socket.0);
    assert_eq!(code, Some(0), "{errors}");
    let said = errors.lines().filter(|line| line.contains("RINGWIRE_PORT")).count();
    assert_eq!(said, 1, "{errors}");
    let output = ringwire(&["doctor"]).env("RINGWIRE_PORT", "tcp://10.96.0.7:9001").output();
    assert_eq!(output.expect("it runs").status.code(), Some(0));
    let output = ringwire(&["serve"]).env("RINGWIRE_PORT", "9001").output().expect("it runs");
    assert!(failure(&output, 78).starts_with("ringwire: RINGWIRE_PORT: unknown variable; "));
}

#[test]
fn the_default_file_passes_the_check() {
    let printed = output_of(&["config", "--print-default"]);
    assert_eq!(printed.status.code(), Some(0));
    let file = Scratch::with("default.toml", &printed.stdout);
    let checked = output_of(&["config", "--check", file.text()]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(checked.stdout.is_empty() && checked.stderr.is_empty());
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is() {
    for arguments in [&["config", "--print-default"][..], &["doctor"], &["--help"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = ringwire(arguments).stdout(writer).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), text.as_ref()), (Some(0), ""), "{arguments:?}");
        let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        let output = ringwire(arguments).stdout(full).output().expect("it runs");
        failure(&output, 74);
    }
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("bound").to_string();
    for shards in ["1", "2"] {
        let output = output_of(&["serve", "--listen", &address, "--shards", shards]);
        assert!(failure(&output, 69).starts_with(&format!("ringwire: {address} is in use; ")));
    }
    let output = output_of(&["serve", "--listen", "192.0.2.1:9001"]);
    assert!(failure(&output, 69).contains("is not an address of this host"));
    let socket = Scratch::new("live.sock");
    let _live = UnixListener::bind(&socket.0).expect("a free path");
    let output = output_of(&["serve", "--listen", &format!("unix:{}", socket.text())]);
    assert!(failure(&output, 69).contains("is in use"));
    let file = Scratch::with("file.sock", b"precious");
    failure(&output_of(&["serve", "--listen", &format!("unix:{}", file.text())]), 69);
    assert_eq!(std::fs::read(&file.0).expect("left alone"), b"precious");
}

#[test]
fn a_unix_socket_is_served_and_removed() {
    let socket = Scratch::new("served.sock");
    let stale = UnixListener::bind(&socket.0).expect("a free path");
    drop(stale);
    let child = ringwire(&["serve", "--shards=2", "--listen", &format!("unix:{}", socket.text())])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let (code, errors) = stopped_when_served(child, &socket.0);
    assert_eq!(code, Some(0), "{errors}");
    assert!(!socket.0.exists(), "the file is left behind");
}

/// Waits until it says that it listens, and somebody accepts on `path`; then ends the server with
/// SIGTERM.
fn stopped_when_served(mut child: Child, path: &Path) -> (Option<i32>, String) {
    let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut errors = String::new();
    while !errors.contains("listening on") {
        let line = log.read_line(&mut errors).expect("UTF-8");
        assert!(line > 0, "the server has ended: {errors}");
    }
    UnixStream::connect(path).expect("somebody accepts");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("our child") {
            let _ = log.read_to_string(&mut errors);
            return (status.code(), errors);
        }
        sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    (None, "the server did not end".into())
}
