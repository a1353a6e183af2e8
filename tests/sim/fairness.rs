//! Nobody is silenced by somebody busy: peers that always have something to say share the buffers
//! with one that seldom has.

use crate::frames::{frame, server_frame};
use crate::wire::{BINARY, FIN, PING, PONG, TEXT};
use ringwire::engine::SimulatedEngine;
use ringwire::ring::ReceiveMode;
use ringwire::ring::sim::{Dice, Faults, PeerId, SimNet, SimOptions, SimRing};
use ringwire::{Engine, Error, WebSocket, WebSocketServer};
use std::time::Duration;

/// Batches in which a message of the quiet peer is answered, the one that receives and the one that
/// sends included, where there are more buffers than busy peers. Where there are fewer, it may have to
/// wait until it is its turn.
const BATCHES_MAX: u32 = 12;

/// Messages of the quiet peer.
const MESSAGES: u32 = 14;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: sim.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

struct Echo;

impl WebSocketServer for Echo {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        while let Ok(data) = ws.read(usize::MAX, Duration::from_secs(600)).await {
            ws.write(data).await?;
        }
        Ok(())
    }
}

/// What busy peers say without end.
fn floods() -> [(&'static str, Vec<u8>); 5] {
    [
        ("pongs", frame(FIN | PONG, b"")),
        ("pings", frame(FIN | PING, b"are you there")),
        ("tiny messages", frame(FIN | TEXT, b"")),
        ("large messages", frame(FIN | BINARY, &[7; 100_000])),
        ("requests", UPGRADE.repeat(9).into_bytes()),
    ]
}

/// Pools as they are, from one buffer up.
fn pools() -> [SimOptions; 5] {
    let pool = |buffer_count, buffer_bytes, receive| SimOptions {
        buffer_count,
        buffer_bytes,
        receive,
        slots: 128,
        ..SimOptions::default()
    };
    [
        pool(1, 4_096, ReceiveMode::Classic),
        pool(2, 512, ReceiveMode::Classic),
        pool(1, 16_384, ReceiveMode::Incremental),
        pool(8, 16_384, ReceiveMode::Incremental),
        pool(64, 4_096, ReceiveMode::Classic),
    ]
}

struct Bench {
    engine: SimulatedEngine,
    net: SimNet,
    quiet: PeerId,
    busy: Vec<PeerId>,
}

impl Bench {
    /// The quiet peer is connected; the busy ones begin.
    fn new(seed: u64, options: SimOptions, busy: usize, flood: &[u8]) -> Self {
        let ring = SimRing::new(seed, options);
        let net = ring.net();
        let engine = Engine::builder().route("/", || Echo).simulate(ring);
        let quiet = net.connect(0);
        let mut bench = Self { engine, net, quiet, busy: Vec::new() };
        bench.net.peer_write(quiet, UPGRADE.as_bytes());
        while bench.net.peer_read(quiet).is_empty() {
            bench.engine.turn().unwrap();
        }
        bench.busy = (0..busy).map(|_| bench.net.connect(0)).collect();
        for peer in bench.busy.clone() {
            bench.net.peer_write(peer, UPGRADE.as_bytes());
            bench.net.peer_floods(peer, flood);
        }
        (0..20 + busy).for_each(|_| bench.turn());
        bench
    }

    fn turn(&mut self) {
        self.engine.turn().unwrap();
        assert_eq!(self.engine.forgotten(), None);
        for peer in &self.busy {
            drop(self.net.peer_read(*peer));
        }
    }

    /// Batches until a message is answered; `None` if it is not.
    fn echo(&mut self, payload: &[u8], batches_max: u32) -> Option<u32> {
        self.net.peer_write(self.quiet, &frame(FIN | TEXT, payload));
        let mut said = Vec::new();
        for batches in 1..=batches_max {
            self.turn();
            said.extend(self.net.peer_read(self.quiet));
            if let Some((first, echoed, end)) = server_frame(&said) {
                assert_eq!((first, echoed, end), (FIN | TEXT, payload, said.len()));
                return Some(batches);
            }
        }
        None
    }
}

fn check(name: &str, seed: u64, options: &SimOptions, busy: usize, flood: &[u8], most: u32) {
    let mut bench = Bench::new(seed, options.clone(), busy, flood);
    for message in 0..MESSAGES {
        let batches = bench.echo(format!("message {message}").as_bytes(), most);
        assert!(batches.is_some(), "seed {seed}, {busy} × {name}, message {message}: {options:?}");
        // It is a quiet one.
        (0..message % 7).for_each(|_| bench.turn());
    }
}

#[test]
fn a_quiet_peer_is_answered_beside_busy_ones() {
    for (name, flood) in floods() {
        for options in pools() {
            for busy in [1, 3, 40] {
                let turns = busy as u32 / u32::from(options.buffer_count);
                check(name, 1, &options, busy, &flood, BATCHES_MAX + turns);
            }
        }
    }
}

#[test]
fn a_quiet_peer_is_answered_beside_busy_ones_whatever_goes_wrong() {
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let faults = Faults {
            short_receive: dice.pick(&[0, 100]),
            early_end: dice.pick(&[0, 30, 300]),
            reorder: dice.pick(&[0, 300]),
            cancel_race: dice.pick(&[0, 300]),
            out_of_buffers: dice.pick(&[0, 100]),
            ..Faults::none()
        };
        let (name, flood) = &floods()[dice.below(5)];
        let options = SimOptions { faults, ..pools()[dice.below(5)].clone() };
        let busy = dice.pick(&[1, 2, 10]);
        // A receive that ends without a buffer although there is one, several times in a row.
        check(name, seed, &options, busy, flood, 6 * BATCHES_MAX);
    }
}

#[test]
fn busy_peers_share_what_there_is() {
    let flood = frame(FIN | TEXT, &[b'x'; 200]);
    for options in pools() {
        let mut bench = Bench::new(1, options.clone(), 20, &flood);
        let mut taken = vec![0; 20];
        let mut warm = 0;
        while taken.iter().sum::<usize>() < 20_000 && warm < 20_000 {
            warm += 1;
            bench.engine.turn().unwrap();
            for (peer, bytes) in bench.busy.iter().zip(&mut taken) {
                *bytes += bench.net.peer_read(*peer).len() / flood.len();
            }
        }
        let (least, most) = (taken.iter().min().unwrap(), taken.iter().max().unwrap());
        assert!(*least * 4 > *most, "{options:?}: {taken:?}");
    }
}
