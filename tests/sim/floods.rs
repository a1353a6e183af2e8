//! Peers that say more than anybody reads, take what they are sent in bursts, and leave: nothing that
//! could go on may be forgotten.

use crate::frames::frame;
use crate::wire::{BINARY, FIN, PING, TEXT};
use ringwire::clock::Moment;
use ringwire::ring::sim::{Dice, Faults, PeerId, PeerRate, SimNet, SimOptions, SimRing};
use ringwire::ring::{ReceiveMode, Ring};
use ringwire::{Engine, Error, Settings, WebSocket, WebSocketServer};
use std::time::Duration;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: sim.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// Batches of a run.
const TURNS: u32 = 3_000;

struct Echo;

impl WebSocketServer for Echo {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        while let Ok(data) = ws.read(usize::MAX, Duration::from_secs(600)).await {
            ws.write(data).await?;
        }
        Ok(())
    }
}

fn settings(dice: &mut Dice) -> Settings {
    let mut settings = Settings::default();
    settings.limits.inbox_growth_bytes_max = dice.pick(&[256 << 20, 1 << 20, 1 << 18]);
    settings.limits.outbox_high_water_bytes = dice.pick(&[64 * 1024, 1_024]);
    settings.limits.inbox_messages_max = dice.pick(&[1_024, 1_024, 16]);
    let seconds = |s| Duration::from_secs(s);
    settings.timeouts.ping_interval = dice.pick(&[seconds(25), seconds(2)]);
    settings.timeouts.pong = dice.pick(&[seconds(20), seconds(2)]);
    settings.timeouts.stall = dice.pick(&[seconds(30), seconds(3)]);
    settings
}

fn options(dice: &mut Dice) -> SimOptions {
    let mut faults = Faults::from_dice(dice);
    faults.connection_error = 0;
    faults.accept_error = 0;
    faults.pause = 0;
    faults.stall = dice.pick(&[0, 3, 20]);
    SimOptions {
        buffer_count: dice.pick(&[2, 8, 64]),
        buffer_bytes: dice.pick(&[512, 4_096, 16_384]),
        receive: dice.pick(&[ReceiveMode::Classic, ReceiveMode::Incremental]),
        slots: 32,
        faults,
        ..SimOptions::default()
    }
}

/// What somebody says without end.
fn speech(dice: &mut Dice) -> Vec<u8> {
    let empty = frame(FIN | TEXT, b"");
    match dice.below(8) {
        0 => frame(FIN | BINARY, &[7; 64 * 1024]),
        1 => frame(FIN | BINARY, &[7; 300_000]),
        2 => [empty.repeat(99), frame(FIN | PING, b"there?")].concat(),
        3 => frame(FIN | TEXT, &[b'x'; 30]),
        _ => empty,
    }
}

fn connect(net: &SimNet, dice: &mut Dice) -> PeerId {
    let peer = net.connect(0);
    net.peer_write(peer, UPGRADE.as_bytes());
    net.peer_floods(peer, &speech(dice));
    peer
}

fn run(seed: u64) {
    let mut dice = Dice::new(seed);
    let (settings, options) = (settings(&mut dice), options(&mut dice));
    let ring = SimRing::new(seed, options);
    let net = ring.net();
    let mut engine = Engine::builder().settings(settings).route("/", || Echo).simulate(ring);
    let count = dice.pick(&[1, 3, 10]);
    let mut peers: Vec<PeerId> = (0..count).map(|_| connect(&net, &mut dice)).collect();
    for turn in 0..TURNS {
        engine.turn().unwrap();
        let forgotten = engine.forgotten();
        assert_eq!(forgotten, None, "seed {seed}, turn {turn}");
        for peer in &mut peers {
            drop(net.peer_read(*peer));
            match dice.below(200) {
                0..=3 => net.peer_set_rate(*peer, PeerRate::Instant),
                4..=5 => net.peer_set_rate(*peer, PeerRate::BytesPerMs(dice.pick(&[1, 100]))),
                6..=7 => net.peer_set_rate(*peer, PeerRate::Stalled),
                8 if dice.chance(200) => {
                    net.peer_shutdown(*peer);
                    *peer = connect(&net, &mut dice);
                }
                _ => {}
            }
        }
        peers.iter_mut().filter(|peer| net.peer_state(**peer).reset).for_each(|peer| {
            *peer = connect(&net, &mut dice);
        });
    }
}

/// Both ways are full, and the peer takes everything again; but its system's word of that does not
/// get past what waits to be received.
#[test]
fn a_peer_that_takes_everything_is_not_cut_because_its_system_is_not_heard() {
    const MESSAGES: usize = 200_000;
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
    let mut engine = Engine::builder().route("/", || Echo).simulate(ring);
    let peer = net.connect(0);
    net.peer_set_rate(peer, PeerRate::Stalled);
    net.peer_write(peer, UPGRADE.as_bytes());
    net.peer_write(peer, &frame(FIN | TEXT, b"").repeat(MESSAGES));
    while net.now().as_millis() < 2_000 {
        engine.turn().unwrap();
    }
    net.peer_goes_unheard(peer);
    net.peer_set_rate(peer, PeerRate::Instant);
    let mut heard_bytes = 0;
    while heard_bytes < 2 * MESSAGES && net.now().as_millis() < 300_000 {
        engine.turn().unwrap();
        assert_eq!(engine.forgotten(), None);
        heard_bytes += net.peer_read(peer).len();
        assert!(!net.peer_state(peer).reset, "cut at {:?}, {heard_bytes} B", net.now());
    }
    assert!(heard_bytes > 2 * MESSAGES, "{heard_bytes} B");
}

#[test]
fn nothing_is_forgotten_while_peers_flood() {
    let seeds = std::env::var("FLOODS").ok().map_or(100, |seeds| seeds.parse().unwrap());
    (0..seeds).for_each(run);
}
