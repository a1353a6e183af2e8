//! Hosts that give little: no ring at all, tiny ones, no privileges.

use ringwire::{ReceiveBuffers, WebSocket};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;
use support::load::in_threads;
use support::program::Program;
use support::raw::{FIN, Raw, TEXT, frame, upgrade};
use support::visitor::wait;
use support::{Server, echo, eventually, on, quick};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ringwire");

/// Makes a host that forbids rings, or gives little, of any other.
pub const BLOCKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/blocked.py");

/// A copy of the program that any user can reach.
pub struct Reachable(PathBuf);

impl Reachable {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringwire-{}-{name}", std::process::id()));
        std::fs::copy(PROGRAM, &path).expect("the temporary directory takes a file");
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Reachable {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A user of this run alone, because locked memory is counted per user.
pub fn uid(offset: u32) -> String {
    (2_000_000 + std::process::id() * 8 % 1_000_000 + offset).to_string()
}

/// Rings so small that the queue is full and buffers run out all the time, as the counters prove. A
/// server that is held up by a signal has completions that overflow as well: `.ci/run tiny_ring`.
#[test]
fn bar_32_tiny_rings_carry_every_byte() {
    const SOCKETS: usize = 28;
    const MESSAGES: usize = 200;
    const ROUNDS: usize = 10;
    let mut settings = quick();
    settings.connections_max = Some(SOCKETS as u32);
    settings.ring.submission_entries = 8;
    settings.ring.completion_entries = 64;
    settings.ring.buffers = ReceiveBuffers::Classic;
    settings.ring.buffer_count = 8;
    settings.ring.send_waitall = false;
    settings.limits.socket_send_buffer_bytes = 4_096;
    let server = Server::start(settings, |builder| {
        // Everybody has something for it at once when it comes back.
        let stall = on(async |ws: &mut WebSocket| {
            thread::sleep(Duration::from_millis(200));
            ws.end_server().await
        });
        builder.route("/", on(echo)).route("/stall", stall)
    });
    let mut walked = ringwire::ring::RingCounters::default();
    for round in 0..ROUNDS {
        let address = server.address;
        let mut staller = Raw::connect(address);
        staller.send(upgrade("/stall", "").as_bytes());
        in_threads(SOCKETS - 1, |number| {
            let mut raw = Raw::open(address, "/");
            for message in 0..MESSAGES / 10 {
                let said: Vec<u8> = format!("{round} {number} {message} ").repeat(40).into();
                raw.send(&frame(FIN | TEXT, &said).repeat(10));
                for _ in 0..10 {
                    assert!(raw.read_frame().expect("an echo").payload == said);
                }
            }
        });
        drop(staller);
        // Or those of the next round would find the table full.
        eventually("all are gone", || wait(server.handle().status()).connections == 0);
        walked = wait(server.handle().status()).totals.ring;
    }
    println!("{walked:?}");
    assert!(walked.out_of_buffers > 0 && walked.submission_queue_full > 0, "{walked:?}");
    assert_eq!(server.finish().panics, 0);
}

/// No capability, the usual limit of locked memory: it serves as it always does.
#[test]
fn bar_34_a_user_without_privileges_has_the_same_server() {
    let copy = Reachable::new("bar34");
    let mut command = Command::new("python3");
    command.arg(BLOCKED).args(["memlock", "8388608", &uid(6), copy.path(), "serve", "--shards=1"]);
    let mut program = Program::run(command);
    let mut all: Vec<_> = (0..100).map(|_| Raw::open(program.address, "/echo")).collect();
    for raw in &mut all {
        raw.send(&frame(FIN | TEXT, b"unprivileged"));
        assert_eq!(raw.read_frame().expect("an echo").payload, b"unprivileged");
    }
    drop(all);
    assert_eq!(program.stop().code(), Some(0));
    assert_eq!(program.counter("panics"), 0);
}
