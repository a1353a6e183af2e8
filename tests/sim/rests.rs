//! What the kernel still has of a connection: whether it is waited for, and told when it is cut.

use crate::ends::{Bench, Part};
use crate::frames::frame;
use crate::wire::{BINARY, CLOSE, FIN, PING, PONG, TEXT};
use ringwire::Settings;
use ringwire::ring::sim::{PeerRate, SimOptions};
use std::time::Duration;

const SLOW: PeerRate = PeerRate::BytesPerMs(10);

/// All that is said is with the kernel at once.
fn deep() -> SimOptions {
    SimOptions { send_buffer_bytes: 1 << 20, ..SimOptions::default() }
}

/// A peer to which half a megabyte is on its way.
fn slow_peer(settings: Settings, rate: PeerRate) -> Bench {
    let mut bench = Bench::with(Part::Says(500_000), settings, deep(), b"");
    bench.net.peer_set_rate(bench.peer, rate);
    bench.run_to_ms(1_000);
    bench
}

#[test]
fn a_reset_while_only_the_rest_is_waited_for_is_seen() {
    let mut settings = Settings::default();
    settings.timeouts.close = Duration::from_secs(60);
    let mut bench = slow_peer(settings, SLOW);
    bench.net.peer_shutdown(bench.peer);
    bench.run_to_ms(20_000);
    assert_eq!(bench.engine.population().0, 1, "closed too soon");
    bench.net.peer_reset(bench.peer);
    bench.run_to_ms(22_000);
    assert_eq!(bench.engine.population(), (0, 0), "it stays");
    assert_eq!(bench.engine.totals().truncated, 1);
}

/// After its last question the wait for the next one is a second.
#[test]
fn who_has_all_of_the_rest_and_ends_is_closed_at_once() {
    let mut bench = slow_peer(Settings::default(), SLOW);
    bench.net.peer_write(bench.peer, &frame(FIN | CLOSE, b""));
    let mut until_ms = 20_000;
    bench.run_to_ms(until_ms);
    while bench.engine.population().0 > 0 {
        bench.net.peer_set_rate(bench.peer, PeerRate::Instant);
        bench.net.peer_shutdown(bench.peer);
        until_ms += 100;
        bench.run_to_ms(until_ms);
    }
    assert_eq!(until_ms, 20_100, "it stays");
    assert!(bench.said.len() > 500_000);
    assert_eq!(bench.engine.totals().truncated, 0);
}

#[test]
fn what_the_kernel_has_at_the_deadline_of_a_drain_is_told() {
    for (rate, truncated) in [(PeerRate::Stalled, 1), (PeerRate::Instant, 0)] {
        let mut settings = Settings::default();
        settings.timeouts.drain = Duration::from_secs(3);
        settings.timeouts.drain_spread = Duration::from_secs(1);
        let mut bench = slow_peer(settings, rate);
        bench.engine.drain();
        let mut turns = 0;
        while bench.engine.turn().unwrap() {
            turns += 1;
            assert!(turns < 1_000, "it spins");
        }
        let totals = bench.engine.totals();
        assert_eq!((totals.cut, totals.truncated), (1, truncated), "{rate:?}");
        // With the Close, which is two bytes and a reason.
        let sent = totals.bytes_out;
        assert!(sent > 500_000, "{sent}");
    }
}

/// Whoever resets a connection may have had everything.
#[test]
fn what_a_reset_leaves_is_told() {
    for (rate, truncated) in [(SLOW, 1), (PeerRate::Instant, 0)] {
        let mut bench = slow_peer(Settings::default(), rate);
        bench.net.peer_reset(bench.peer);
        bench.run_to_ms(2_000);
        assert_eq!(bench.engine.population(), (0, 0));
        assert_eq!(bench.engine.totals().truncated, truncated, "{rate:?}");
    }
}

/// Nobody reads what it said before its FIN, and all that it was sent is with the kernel.
#[test]
fn who_takes_the_rest_behind_a_full_inbox_and_fin_gets_it_or_that_is_told() {
    let unread = frame(FIN | TEXT, &[b'x'; 1_000]).repeat(300);
    for (rate, truncated) in [(PeerRate::BytesPerMs(4), 0), (PeerRate::Stalled, 1)] {
        let settings = Settings::default();
        let mut bench = Bench::with(Part::Idles(500_000), settings, deep(), &unread);
        bench.net.peer_set_rate(bench.peer, rate);
        bench.run_to_ms(1_000);
        bench.net.peer_shutdown(bench.peer);
        bench.run_to_ms(250_000);
        assert_eq!(bench.engine.population().0, 0, "{rate:?}: it stays");
        assert_eq!(bench.said.len() > 500_000, truncated == 0, "{} bytes", bench.said.len());
        assert_eq!(bench.engine.totals().truncated, truncated, "{rate:?}");
    }
}

/// The end of a send is all that there is over a Unix socket, however little it is.
#[test]
fn who_takes_the_last_bytes_of_a_send_is_asked_before_it_is_cut() {
    let mut options = SimOptions::default();
    options.faults.unacknowledged_unknown = 1_000;
    // The answer to the request is with the kernel as well.
    let part = Part::Says(options.send_buffer_bytes - 50);
    let mut bench = Bench::with(part, Settings::default(), options, b"");
    bench.net.peer_set_rate(bench.peer, PeerRate::Stalled);
    bench.run_to_ms(28_000);
    bench.net.peer_set_rate(bench.peer, PeerRate::Instant);
    let mut pings = 0;
    for second in 29..200 {
        bench.run_to_ms(second * 1_000);
        let asked = bench.frames().iter().filter(|(first, _)| *first == FIN | PING).count();
        if asked > pings {
            pings = asked;
            bench.net.peer_write(bench.peer, &frame(FIN | PONG, b""));
        }
    }
    assert!(bench.frames().iter().any(|(first, _)| *first == FIN | BINARY));
    assert!(pings > 0, "it was not asked");
    assert_eq!(bench.engine.population().0, 1, "it was cut");
}

/// Its handler looks ten times a second, and so does the wheel.
#[test]
fn who_has_taken_everything_is_asked_about_it_now_and_then() {
    let said = Part::Polls(500_000);
    let mut bench = Bench::with(said, Settings::default(), SimOptions::default(), b"");
    bench.run_to_ms(1_000);
    let before = bench.engine.totals().ring.submissions;
    for second in 1..100 {
        bench.net.peer_write(bench.peer, &frame(FIN | PONG, b""));
        bench.run_to_ms(second * 1_000);
    }
    let submissions = bench.engine.totals().ring.submissions - before;
    assert!(submissions < 20, "{submissions} submissions");
}
