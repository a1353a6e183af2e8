//! How conversations go on and end where time is all that happens: one peer, and a clock that leaps.

use crate::frames::{frame, server_frame};
use crate::wire::{BINARY, CLOSE, FIN, TEXT};
use ringwire::clock::Moment;
use ringwire::engine::SimulatedEngine;
use ringwire::ring::sim::{PeerId, SimNet, SimOptions, SimRing};
use ringwire::{Engine, Error, Opening, Refusal, WebSocket, WebSocketServer};
use std::time::Duration;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: sim.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const LONG: Duration = Duration::from_secs(86_400);

/// What a handler does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Reads so many messages and leaves the socket to others.
    Leaves(u32),
    /// Never decides about the request.
    Hesitates,
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
        }
        Ok(())
    }
}

struct Bench {
    engine: SimulatedEngine,
    net: SimNet,
    peer: PeerId,
    said: Vec<u8>,
    turns: u64,
}

impl Bench {
    /// The peer asks for an upgrade and says `more`.
    fn new(part: Part, more: &[u8]) -> Self {
        let mut ring = SimRing::new(1, SimOptions::default());
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
        let engine = Engine::builder().route("/", move || part).simulate(ring);
        let peer = net.connect(0);
        net.peer_write(peer, &[UPGRADE.as_bytes(), more].concat());
        Self { engine, net, peer, said: Vec::new(), turns: 0 }
    }

    fn run_to_ms(&mut self, until_ms: u64) {
        while self.net.now().as_millis() < until_ms {
            self.engine.turn().unwrap();
            self.turns += 1;
            assert!(self.turns < 100_000, "it spins at {:?}", self.net.now());
            self.said.extend(self.net.peer_read(self.peer));
        }
    }

    /// Frames behind the 101.
    fn frames(&self) -> Vec<(u8, Vec<u8>)> {
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
