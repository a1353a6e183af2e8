//! How conversations go on and end where time is all that happens: one peer, and a clock that leaps.

use crate::frames::{frame, server_frame};
use crate::wire::{BINARY, CLOSE, FIN, PING, PONG, TEXT};
use ringwire::clock::Moment;
use ringwire::engine::SimulatedEngine;
use ringwire::ring::Ring;
use ringwire::ring::sim::{PeerId, PeerRate, SimNet, SimOptions, SimRing};
use ringwire::{Engine, Error, Opening, ReadError, Refusal, Settings, WebSocket, WebSocketServer};
use std::time::Duration;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: sim.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const LONG: Duration = Duration::from_secs(86_400);

const TENTH: Duration = Duration::from_millis(100);

/// What a handler does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Reads so many messages and leaves the socket to others.
    Leaves(u32),
    /// Never decides about the request.
    Hesitates,
    /// Says so many bytes, and reads until the end.
    Says(usize),
    /// Says so many bytes, reads nothing and waits for ever.
    Idles(usize),
    /// Says so many bytes, and reads for a tenth of a second at a time until the end.
    Polls(usize),
    /// Reads one message, says so many bytes in pieces of 20,000, and reads on.
    Answers(usize),
}

impl WebSocketServer for Part {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        opening.set_shared_connection(matches!(self, Self::Leaves(_)));
        if *self == Self::Hesitates {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        match *self {
            Self::Leaves(messages) => {
                for _ in 0..messages {
                    ws.read(usize::MAX, LONG).await?;
                }
            }
            Self::Hesitates => {}
            Self::Says(bytes) => {
                ws.write(vec![7; bytes]).await?;
                while ws.read(usize::MAX, LONG).await.is_ok() {}
            }
            Self::Idles(bytes) => {
                if bytes > 0 {
                    ws.write(vec![7; bytes]).await?;
                }
                std::future::pending::<()>().await;
            }
            Self::Polls(bytes) => {
                ws.write(vec![7; bytes]).await?;
                while !matches!(ws.read(usize::MAX, TENTH).await, Err(ReadError::Closed { .. })) {}
            }
            Self::Answers(bytes) => {
                ws.read(usize::MAX, LONG).await?;
                for _ in 0..bytes / 20_000 {
                    ws.write(vec![7; 20_000]).await?;
                }
                while ws.read(usize::MAX, LONG).await.is_ok() {}
            }
        }
        Ok(())
    }
}

pub(crate) struct Bench {
    pub(crate) engine: SimulatedEngine,
    pub(crate) net: SimNet,
    pub(crate) peer: PeerId,
    pub(crate) said: Vec<u8>,
    turns: u64,
}

impl Bench {
    /// The peer asks for an upgrade and says `more`.
    fn new(part: Part, more: &[u8]) -> Self {
        Self::with(part, Settings::default(), SimOptions::default(), more)
    }

    pub(crate) fn with(part: Part, settings: Settings, options: SimOptions, more: &[u8]) -> Self {
        let mut ring = SimRing::new(1, options);
        // The bell rings every second, so that an engine that sleeps comes back.
        let (bell, mut next_ms) = (ring.doorbell(), 0);
        ring.set_driver(move |net| {
            if net.now().as_millis() >= next_ms {
                next_ms = net.now().as_millis() + 1_000;
                bell.ring();
            }
            Some(Moment::from_millis(next_ms))
        });
        let net = ring.net();
        let engine = Engine::builder().settings(settings).route("/", move || part).simulate(ring);
        let peer = net.connect(0);
        net.peer_write(peer, &[UPGRADE.as_bytes(), more].concat());
        Self { engine, net, peer, said: Vec::new(), turns: 0 }
    }

    pub(crate) fn run_to_ms(&mut self, until_ms: u64) {
        while self.net.now().as_millis() < until_ms {
            self.engine.turn().unwrap();
            self.turns += 1;
            assert!(self.turns < 100_000, "it spins at {:?}", self.net.now());
            self.said.extend(self.net.peer_read(self.peer));
        }
    }

    /// Frames behind the 101.
    pub(crate) fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let head = self.said.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let mut rest = &self.said[head + 4..];
        let mut frames = Vec::new();
        while let Some((first, payload, end)) = server_frame(rest) {
            frames.push((first, payload.to_vec()));
            rest = &rest[end..];
        }
        frames
    }
}

#[test]
fn what_a_handler_had_in_hands_is_given_back_when_it_leaves_the_socket() {
    let long = frame(FIN | BINARY, &[7; 300_000]);
    let mut bench = Bench::new(Part::Leaves(1), &long);
    bench.run_to_ms(2_000);
    assert_eq!(bench.engine.growth_bytes(), (0, 0), "nobody has it in hands");
    bench.net.peer_reset(bench.peer);
    bench.run_to_ms(4_000);
    assert_eq!(bench.engine.population(), (0, 0));
    assert_eq!(bench.engine.growth_bytes(), (0, 0));
}

#[test]
fn the_close_of_a_peer_whose_socket_nobody_holds_is_answered_at_once() {
    let said = [frame(FIN | TEXT, b"a last word"), frame(FIN | CLOSE, b"")].concat();
    let mut bench = Bench::new(Part::Leaves(0), &said);
    bench.run_to_ms(2_000);
    assert_eq!(bench.frames(), [(FIN | CLOSE, vec![])]);
}

#[test]
fn who_has_hung_up_before_it_is_answered_costs_nothing_meanwhile() {
    let early = frame(FIN | TEXT, &[b'x'; 1_000]).repeat(300);
    let mut bench = Bench::new(Part::Hesitates, &early);
    bench.run_to_ms(1_000);
    bench.net.peer_shutdown(bench.peer);
    bench.run_to_ms(30_000);
    let before = bench.turns;
    bench.run_to_ms(130_000);
    // One a second is the test's.
    assert!(bench.turns - before < 300, "{} batches", bench.turns - before);
}

/// As over a Unix socket, where the kernel cannot say what is acknowledged; and as over TCP.
fn kernels() -> [SimOptions; 2] {
    [1_000, 0].map(|permille| {
        let mut options = SimOptions::default();
        options.faults.unacknowledged_unknown = permille;
        options
    })
}

fn without_pings() -> Settings {
    let mut settings = Settings::default();
    settings.timeouts.ping_interval = Duration::ZERO;
    settings
}

/// The peer says something every three seconds, reads nothing, and is cut for that.
fn talks_and_takes_nothing(mut bench: Bench) {
    bench.net.peer_set_rate(bench.peer, PeerRate::Stalled);
    for second in (0..200).step_by(3) {
        bench.net.peer_write(bench.peer, &frame(FIN | TEXT, b"and so on"));
        bench.run_to_ms(second * 1_000);
    }
    assert_eq!(bench.engine.population(), (0, 0), "it is still there");
    assert_eq!(bench.engine.totals().truncated, 1);
}

/// What it says moves nothing that it is sent.
#[test]
fn a_peer_that_talks_and_takes_nothing_is_cut() {
    for (options, settings) in kernels().into_iter().flat_map(|options| {
        [Settings::default(), without_pings()].map(|settings| (options.clone(), settings))
    }) {
        let bench = Bench::with(Part::Says(1_000_000), settings, options, b"");
        talks_and_takes_nothing(bench);
    }
}

/// What is with the kernel alone counts as well where the kernel can tell.
#[test]
fn a_peer_that_talks_and_takes_nothing_of_what_the_kernel_has_is_cut() {
    let options = SimOptions { send_buffer_bytes: 1 << 20, ..SimOptions::default() };
    let bench = Bench::with(Part::Says(300_000), Settings::default(), options, b"");
    talks_and_takes_nothing(bench);
}

/// Slower than any buffer of the way, for an hour.
#[test]
fn a_peer_that_takes_little_by_little_is_not_cut_whether_it_talks_or_not() {
    for (pongs, options) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
        let options = kernels()[options].clone();
        let mut bench = Bench::with(Part::Says(7_000_000), Settings::default(), options, b"");
        bench.net.peer_set_rate(bench.peer, PeerRate::BytesPerMs(2));
        for second in (0..3_400).step_by(9) {
            if pongs {
                bench.net.peer_write(bench.peer, &frame(FIN | PONG, b""));
            }
            bench.run_to_ms(second * 1_000);
        }
        assert!(bench.said.len() > 6_000_000, "{} bytes", bench.said.len());
        assert_eq!(bench.engine.population().0, 1, "it was cut");
    }
}

/// Asked without a Ping, a peer that has taken all of it since owes nothing.
#[test]
fn a_quiet_peer_that_was_slow_once_is_not_cut_where_there_are_no_pings() {
    for options in kernels() {
        for slow_ms in [18_000, 20_000, 30_000, 34_000] {
            let part = Part::Says(300_000);
            let mut bench = Bench::with(part, without_pings(), options.clone(), b"");
            bench.net.peer_set_rate(bench.peer, PeerRate::Stalled);
            bench.run_to_ms(slow_ms);
            bench.net.peer_set_rate(bench.peer, PeerRate::Instant);
            bench.run_to_ms(10_000_000);
            assert_eq!(bench.engine.population().0, 1, "cut after {slow_ms} ms");
            assert!(bench.said.len() > 300_000);
        }
    }
}

/// It can answer no Ping any more, and is slow; what it said may be read or not.
#[test]
fn a_peer_that_takes_slowly_behind_its_fin_gets_all_of_it() {
    for unread in [0, 300] {
        let said =
            [frame(FIN | TEXT, b"tell me"), frame(FIN | TEXT, &[b'x'; 1_000]).repeat(unread)];
        let options = SimOptions { send_buffer_bytes: 1 << 20, ..SimOptions::default() };
        let part = Part::Answers(400_000);
        let mut bench = Bench::with(part, Settings::default(), options, &said.concat());
        bench.net.peer_set_rate(bench.peer, PeerRate::BytesPerMs(4));
        bench.run_to_ms(10);
        bench.net.peer_shutdown(bench.peer);
        bench.run_to_ms(115_000);
        let frames = bench.frames();
        let answers = frames.iter().filter(|(first, _)| *first == FIN | BINARY).count();
        assert_eq!(answers, 20, "{unread} unread");
        assert!(frames.iter().all(|(first, _)| *first != FIN | PING), "it was asked");
        assert_eq!(bench.engine.population(), (0, 0), "{unread} unread");
        assert_eq!(bench.engine.totals().truncated, 0);
    }
}

/// All of it is in the kernel when the peer has said that it is done.
#[test]
fn a_connection_is_closed_when_the_peer_has_what_it_was_sent_or_it_is_told() {
    for (end, known) in [("fin", true), ("close", true), ("fin", false)] {
        for resets in [false, true] {
            let mut options = SimOptions { send_buffer_bytes: 1 << 20, ..SimOptions::default() };
            options.faults.unacknowledged_unknown = if known { 0 } else { 1_000 };
            let part = Part::Says(500_000);
            let mut bench = Bench::with(part, Settings::default(), options, b"");
            bench.net.peer_set_rate(bench.peer, PeerRate::BytesPerMs(10));
            bench.run_to_ms(1_000);
            match end {
                "fin" => bench.net.peer_shutdown(bench.peer),
                _ => drop(bench.net.peer_write(bench.peer, &frame(FIN | CLOSE, b""))),
            }
            bench.run_to_ms(20_000);
            assert!(bench.said.len() < 300_000, "it was to be slow");
            assert_eq!(bench.engine.population().0, u32::from(known), "closed too soon");
            if resets {
                bench.net.peer_reset(bench.peer);
            }
            bench.run_to_ms(80_000);
            assert_eq!(bench.engine.population(), (0, 0), "{end}: it stays");
            let cut = u64::from(known && resets);
            assert_eq!(bench.engine.totals().truncated, cut, "{end} {known} {resets}");
            assert!(resets || bench.said.len() > 500_000);
        }
    }
}

/// A Close behind what nobody reads is not seen; the connection ends all the same.
#[test]
fn a_full_inbox_that_nobody_reads_does_not_outlive_its_peer() {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Then {
        Fin,
        Reset,
        Vanishes,
    }
    for then in [Then::Fin, Then::Reset, Then::Vanishes] {
        let said = [frame(FIN | TEXT, &[b'x'; 1_000]).repeat(300), frame(FIN | CLOSE, b"")];
        let mut bench = Bench::new(Part::Idles(0), &said.concat());
        bench.run_to_ms(40_000);
        assert_eq!(bench.engine.population(), (1, 1));
        match then {
            Then::Fin => bench.net.peer_shutdown(bench.peer),
            Then::Reset => bench.net.peer_reset(bench.peer),
            Then::Vanishes => bench.net.peer_set_rate(bench.peer, PeerRate::Stalled),
        }
        bench.run_to_ms(160_000);
        assert_eq!(bench.engine.population().0, 0, "{then:?}");
    }
}

#[test]
fn a_conversation_is_truncated_if_a_message_is_not_sent_and_not_for_want_of_a_close() {
    // What fits into the send buffer beside the 101 and a header.
    let fits = 64 * 1024 - 129 - 4;
    let close = frame(FIN | CLOSE, &1000_u16.to_be_bytes());
    for (bytes, closes, truncated) in
        [(100, false, 0), (fits, false, 0), (fits, true, 0), (fits + 1, true, 1)]
    {
        let mut bench = Bench::new(Part::Says(bytes), b"");
        bench.net.peer_set_rate(bench.peer, PeerRate::Stalled);
        bench.run_to_ms(500);
        if closes {
            bench.net.peer_write(bench.peer, &close);
        }
        bench.run_to_ms(600);
        bench.net.peer_reset(bench.peer);
        bench.run_to_ms(20_000);
        let totals = bench.engine.totals();
        assert_eq!((totals.closed, totals.truncated), (1, truncated), "{bytes} B, {closes}");
    }
}
