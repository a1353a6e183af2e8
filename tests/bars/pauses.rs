//! A server that was stopped for a while, as by a debugger or a snapshot of its machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::program::Program;
use support::raw::{FIN, PING, PONG, Raw, TEXT, frame};

/// Answers Pings until it is told to end. Says whether it was cut before.
fn answers(mut raw: Raw, end: &AtomicBool) -> bool {
    while !end.load(Ordering::Relaxed) {
        match raw.read_frame() {
            Some(frame) if frame.first == FIN | PING => {
                raw.try_send(&support::raw::frame(FIN | PONG, &frame.payload));
            }
            Some(_) => {}
            None => return true,
        }
    }
    false
}

#[test]
fn bar_24_a_pause_of_the_server_cuts_nobody_who_answers() {
    let settings = "RINGWIRE_TIMEOUTS_PING_INTERVAL_MS=400 RINGWIRE_TIMEOUTS_PONG_MS=600";
    let mut program = Program::limited(&format!("export {settings}"), &["--shards=1"]);
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let peers: Vec<_> = (0..20)
            .map(|_| {
                let raw = Raw::open(program.address, "/echo");
                scope.spawn(|| answers(raw, &end))
            })
            .collect();
        for _ in 0..3 {
            // Longer than Ping and Pong together: every patience has run out meanwhile.
            program.pause(Duration::from_millis(2_500));
            thread::sleep(Duration::from_millis(1_500));
        }
        end.store(true, Ordering::Relaxed);
        let cut = peers.into_iter().filter_map(|peer| peer.join().ok()).filter(|cut| *cut).count();
        assert_eq!(cut, 0, "cut although they answer");
    });
    let mut canary = Raw::open(program.address, "/echo");
    canary.send(&frame(FIN | TEXT, b"still there"));
    while canary.read_frame().expect("an echo").payload != b"still there" {}
    drop(canary);
    assert!(program.stop().success());
}
