//! The signals that ask a server to end.

use super::Scratch;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A server on a Unix socket, ended at the latest with the test.
struct Served {
    child: Child,
    socket: Scratch,
}

impl Served {
    fn start(name: &str, command: Command) -> Self {
        Self::with(name, command, &[])
    }

    fn with(name: &str, mut command: Command, arguments: &[&str]) -> Self {
        let socket = Scratch::new(name);
        command.args(["serve", "--shards=1", "--listen", &format!("unix:{}", socket.text())]);
        command.args(arguments);
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
        let mut served = Served::start("signal.sock", with_usual_signals());
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

/// What the control plane on this socket answers to `/readyz`.
fn readiness(control: &Scratch) -> String {
    let mut stream = UnixStream::connect(&control.0).expect("it accepts");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("UTF-8");
    answer
}

#[test]
fn a_drain_with_a_delay_serves_and_lets_in_until_a_second_signal() {
    let control = Scratch::new("delay.control");
    let arguments = ["--drain-delay-ms=600000", "--control", control.text()];
    let mut served = Served::with("delay.sock", with_usual_signals(), &arguments);
    let mut peer = served.peer();
    assert!(readiness(&control).contains(" 200 "));
    // Twice at once is still one.
    served.signal(Signal::TERM);
    served.signal(Signal::TERM);
    let started = Instant::now();
    while readiness(&control).contains(" 200 ") {
        assert!(started.elapsed() < Duration::from_secs(60), "it stays ready");
    }
    assert!(readiness(&control).contains(" 503 "));
    // Not right behind the first, which would be taken for the same.
    sleep(Duration::from_millis(500));
    // Who came before is served, and so is who is sent here by a balancer that has not looked.
    for stream in [&mut peer, &mut served.peer()] {
        stream.write_all(b"\x81\x82\0\0\0\0hi").expect("it is read");
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).expect("an echo");
        assert_eq!(&echo, b"\x81\x02hi");
    }
    served.signal(Signal::TERM);
    hears_going_away(&mut peer);
    drop(peer);
    assert_eq!(served.code(), Some(0));
}

#[test]
fn a_delay_of_a_drain_ends_by_itself() {
    let arguments = ["--drain-delay-ms=700"];
    let mut served = Served::with("delayed.sock", with_usual_signals(), &arguments);
    let mut peer = served.peer();
    served.signal(Signal::TERM);
    hears_going_away(&mut peer);
    drop(peer);
    assert_eq!(served.code(), Some(0));
}

/// As timeout(1) does, which signals a process and then the group that it is in.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    for _ in 0..10 {
        let mut served = Served::start("echo.sock", with_usual_signals());
        let mut peer = served.peer();
        served.signal(Signal::TERM);
        served.signal(Signal::TERM);
        hears_going_away(&mut peer);
        drop(peer);
        assert_eq!(served.code(), Some(0));
    }
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
