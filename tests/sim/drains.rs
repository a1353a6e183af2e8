//! How a drain goes where nobody hears of it: its steps, its end, and what it costs meanwhile.

use crate::wire::CLOSE;
use ringwire::ring::sim::{PeerId, SimNet, SimOptions, SimRing};
use ringwire::{Engine, Error, Settings, WebSocket, WebSocketServer};
use std::time::Duration;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: sim.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const PEERS: usize = 50;

/// The time between two steps of a drain, and the grain of a deadline.
const STEP_MS: u64 = 20 + 4;

struct Waits;

impl WebSocketServer for Waits {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        ws.read(usize::MAX, Duration::from_secs(86_400)).await?;
        Ok(())
    }
}

/// Connected peers that say nothing, not even at the end.
fn connect(net: &SimNet) -> Vec<PeerId> {
    (0..PEERS)
        .map(|_| {
            let peer = net.connect(0);
            net.peer_write(peer, UPGRADE.as_bytes());
            peer
        })
        .collect()
}

#[test]
fn a_drain_closes_step_by_step_and_ends_when_the_last_one_is_cut() {
    let (spread, drain) = (Duration::from_secs(1), Duration::from_secs(3));
    let mut settings = Settings::default();
    settings.timeouts.drain_spread = spread;
    settings.timeouts.drain = drain;
    let ring = SimRing::new(7, SimOptions { slots: 128, ..SimOptions::default() });
    let net = ring.net();
    let mut engine = Engine::builder().settings(settings).route("/", || Waits).simulate(ring);
    let peers = connect(&net);
    while peers.iter().any(|peer| net.peer_read(*peer).is_empty()) {
        for _ in 0..4 {
            engine.turn().unwrap();
        }
    }
    engine.drain();
    let now = || net.now().as_millis();
    let started = now();
    let (mut told, mut last, mut turns) = (0, started, 0);
    while engine.turn().unwrap() {
        turns += 1;
        let heard =
            peers.iter().filter(|peer| net.peer_read(**peer).first() == Some(&(0x80 | CLOSE)));
        let more = heard.count();
        if more > 0 && told < PEERS {
            // 50 in a second: one with each step.
            assert!(now() - last <= 2 * STEP_MS && more <= 3, "{more} after {} ms", now() - last);
            (told, last) = (told + more, now());
        }
        assert!(turns < 1_000, "it spins");
    }
    assert_eq!(told, PEERS);
    assert!(last - started >= 900, "all were told within {} ms", last - started);
    let took = now() - started;
    assert!((3_000..3_000 + 2 * STEP_MS).contains(&took), "{took} ms");
    assert!(turns < 400, "{turns} batches");
}
