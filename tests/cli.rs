//! The program from outside: flags, files, exit codes, and one line for every failure.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
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
fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [
        &["serve", "--lisen", "127.0.0.1:0"][..],
        &["serve", "--listen", "localhost"],
        &["serve", "--shards", "two"],
        &["serve", "--log-format", "xml"],
        &["serve", "--set", "shards"],
        &["config"],
        &["dance"],
        &[],
    ] {
        let output = output_of(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
    let output = output_of(&["serve", "--listen", "localhost"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("IP:PORT"));
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
    assert!(failure(&output, 78).starts_with("ringwire: --origin: "));
    let output = output_of(&["serve", "--set", "limits.mesage_bytes_max=1"]);
    assert!(failure(&output, 78).contains("did you mean `limits.message_bytes_max`?"));
    // What somebody put into a value must not reach the terminal as it is.
    let output = output_of(&["serve", "--log", "\u{1b}[2J\n"]);
    assert!(!failure(&output, 78).contains('\u{1b}'));
    let output = output_of(&["serve", "--listen", "unix:/nonexistent/\u{1b}[2J\n"]);
    assert!(failure(&output, 69).contains("\\u{1b}[2J\\n"));
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
    failure(&output_of(&["serve", "--listen", &format!("unix:{}", file.text())]), 78);
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

#[test]
fn the_doctor_finds_this_host_fit() {
    let output = output_of(&["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        text.contains("✓ io_uring_setup") && text.contains("The server can run here."),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "colours in a pipe");
    let output = output_of(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], true);
}

/// A server on a Unix socket, ended at the latest with the test.
struct Served {
    child: Child,
    socket: Scratch,
}

impl Served {
    fn start(name: &str, mut command: Command) -> Self {
        let socket = Scratch::new(name);
        command.args(["serve", "--shards=1", "--listen", &format!("unix:{}", socket.text())]);
        command.env_clear().env("RINGWIRE_ADMIN_LISTEN", "off").stderr(Stdio::null());
        let served = Self { child: command.spawn().expect("it runs"), socket };
        let started = Instant::now();
        while UnixStream::connect(&served.socket.0).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "it does not listen");
            sleep(Duration::from_millis(10));
        }
        served
    }

    /// A WebSocket that is open.
    fn peer(&self) -> UnixStream {
        let mut peer = UnixStream::connect(&self.socket.0).expect("it accepts");
        peer.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        let request = "GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\n\r\n";
        peer.write_all(request.as_bytes()).expect("it is read");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            peer.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        peer
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    fn code(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code();
            }
            sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with no signal ignored, whatever those who started the tests have ignored.
fn with_usual_signals() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,QUIT,TERM", env!("CARGO_BIN_EXE_ringwire")]);
    command
}

/// That the peer hears that the server is going away.
#[track_caller]
fn hears_going_away(peer: &mut UnixStream) {
    let mut close = [0; 4];
    peer.read_exact(&mut close).expect("a Close frame");
    assert_eq!((close[0], &close[2..]), (0x88, &1001_u16.to_be_bytes()[..]));
}

#[test]
fn every_signal_that_asks_for_the_end_drains() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP] {
        let mut served = Served::start("signal.sock", Command::new(env!("CARGO_BIN_EXE_ringwire")));
        let mut peer = served.peer();
        served.signal(signal);
        hears_going_away(&mut peer);
        drop(peer);
        assert_eq!(served.code(), Some(0), "{signal:?}");
    }
}

#[test]
fn a_terminal_that_hangs_up_twice_cuts_nobody_and_a_second_signal_does() {
    let mut served = Served::start("twice.sock", with_usual_signals());
    let mut peer = served.peer();
    served.signal(Signal::HUP);
    hears_going_away(&mut peer);
    served.signal(Signal::HUP);
    // The rest of the Close frame, and then silence.
    peer.read_exact(&mut [0; 20]).expect("the reason");
    peer.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    let more = peer.read(&mut [0; 1]).expect_err("it was cut");
    assert_eq!(more.kind(), ErrorKind::WouldBlock);
    served.signal(Signal::QUIT);
    assert_eq!(served.code(), Some(3));
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP QUIT; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ringwire")]);
    let mut served = Served::start("ignored.sock", shell);
    let mut peer = served.peer();
    for signal in [Signal::HUP, Signal::QUIT] {
        served.signal(signal);
        for _ in 0..20 {
            drop(served.peer());
            sleep(Duration::from_millis(10));
        }
    }
    served.signal(Signal::TERM);
    hears_going_away(&mut peer);
    drop(peer);
    assert_eq!(served.code(), Some(0));
}
