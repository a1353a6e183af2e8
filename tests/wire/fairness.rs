//! Nobody is silenced by somebody busy, on a real ring with few buffers.

use ringwire::Settings;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use support::raw::{BINARY, FIN, PONG, Raw, TEXT, frame};
use support::{Server, echo, quick};

/// Echoes that the quiet one is to get.
const ECHOES: usize = 50;

fn few_buffers() -> Settings {
    let mut settings = quick();
    settings.ring.buffer_pool_bytes = 256 << 10;
    settings
}

/// Tells the busy ones that it is over.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A quiet client echoes while busy ones do `work` and count what they have done, and is done with
/// it before they have done `most` altogether.
fn quiet_beside(busy: usize, most: usize, work: impl Fn(&mut Raw, &AtomicUsize) + Sync) {
    let server = Server::with(few_buffers(), echo);
    let mut quiet = Raw::open(server.address, "/");
    let (done, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let begun = AtomicUsize::new(0);
    let reached = thread::scope(|scope| {
        for _ in 0..busy {
            scope.spawn(|| {
                let mut raw = Raw::open(server.address, "/");
                begun.fetch_add(1, Ordering::Relaxed);
                while !over.load(Ordering::Relaxed) {
                    work(&mut raw, &done);
                }
                let _ = raw.stream.shutdown(Shutdown::Both);
            });
        }
        while begun.load(Ordering::Relaxed) < busy || done.load(Ordering::Relaxed) < busy {
            thread::yield_now();
        }
        // Also when something here fails.
        let _over = Over(&over);
        let before = done.load(Ordering::Relaxed);
        let mut reached = 0;
        for echo in 0..ECHOES {
            let payload = format!("echo {echo}");
            quiet.send(&frame(FIN | TEXT, payload.as_bytes()));
            assert_eq!(quiet.read_frame().map(|frame| frame.payload), Some(payload.into_bytes()));
            reached = done.load(Ordering::Relaxed) - before;
            if reached > most {
                break;
            }
        }
        reached
    });
    println!("{reached} of {most}");
    assert!(reached <= most, "{reached} while {ECHOES} echoes were wanted, more than {most}");
    drop(quiet);
    server.finish();
}

#[test]
fn a_quiet_client_echoes_beside_four_that_echo_a_mebibyte() {
    let large = frame(FIN | BINARY, &vec![7; 1 << 20]);
    quiet_beside(4, 20 * ECHOES, |raw, done| {
        // The next is under way while the last one comes back.
        thread::scope(|scope| {
            let mut writing = raw.stream.try_clone().expect("a descriptor");
            let large = &large;
            scope.spawn(move || (0..10).for_each(|_| writing.write_all(large).expect("taken")));
            let mut left = 10 * ((1 << 20) + 10);
            let mut bytes = vec![0; 256 << 10];
            while left > 0 {
                let count = raw.stream.read(&mut bytes).expect("an echo");
                assert!(count > 0);
                left -= count;
                done.fetch_add(usize::from(left % ((1 << 20) + 10) < count), Ordering::Relaxed);
            }
        });
    });
}

#[test]
fn a_quiet_client_echoes_beside_three_that_flood() {
    let pongs = frame(FIN | PONG, b"").repeat(10_000);
    // In units of 60,000 bytes.
    quiet_beside(3, 300 * ECHOES, |raw, done| {
        raw.stream.write_all(&pongs).expect("the server takes it");
        done.fetch_add(1, Ordering::Relaxed);
    });
}
