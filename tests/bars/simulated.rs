//! Bars that need what loopback cannot do: peers whose packets are lost, and a kernel that shows
//! what is under way.

use crate::ends::content;
use ringwire::ring::sim::{Dice, Faults, PeerId, PeerRate, PeerState, SimNet, SimOptions, SimRing};
use ringwire::{Engine, Error, Settings, WebSocket};
use std::collections::VecDeque;
use support::frames::{BINARY, CLOSE, FIN, TEXT, frame, server_frame};
use support::raw::upgrade;
use support::{LONG, echo, on};

/// Batches that nothing here needs.
const TURNS_MAX: u32 = 3_000_000;

/// Whether the server has nothing of it any more, or its kernel had no slot for it.
fn is_given_up(state: PeerState) -> bool {
    if state.accepted { state.slot.is_none() } else { state.reset }
}

/// Wherever they were when their packets began to be lost, with the times as they are.
#[test]
fn bar_24_peers_whose_packets_are_lost_are_all_gone_within_a_minute() {
    const SILENT: usize = 1_000;
    const WITHIN_MS: u64 = 60_000;
    let options = SimOptions { slots: SILENT as u32, ..SimOptions::default() };
    let ring = SimRing::new(24, options);
    let net = ring.net();
    let talks = on(async |ws: &mut WebSocket| -> Result<(), Error> {
        loop {
            ws.write(vec![1; 10_000]).await?;
        }
    });
    let ends = on(async |ws: &mut WebSocket| ws.end_server().await);
    let builder = Engine::builder().settings(Settings::default()).route("/", on(echo));
    let mut engine = builder.route("/talks", talks).route("/ends", ends).simulate(ring);
    let message = frame(FIN | TEXT, b"half of it gets there");
    let opened = |path: &str, more: &[u8]| [upgrade(path, "").as_bytes(), more].concat();
    // What it said before.
    let said = [
        Vec::new(),
        b"GET / HT".to_vec(),
        opened("/", b""),
        opened("/", &message[..message.len() / 2]),
        opened("/", &message),
        opened("/", &frame(FIN | CLOSE, b"")),
        opened("/none", b""),
        opened("/talks", b""),
        opened("/talks", &frame(FIN | CLOSE, b"")),
        opened("/ends", b""),
    ];
    let peers: Vec<PeerId> = (0..SILENT)
        .map(|number| {
            let peer = net.connect(0);
            // Some take the answer, others not even that.
            if number % 3 == 0 {
                net.peer_set_rate(peer, PeerRate::Stalled);
            }
            net.peer_write(peer, &said[number % said.len()]);
            peer
        })
        .collect();
    while !peers.iter().all(|peer| net.peer_state(*peer).accepted) {
        engine.turn().expect("the simulated ring");
    }
    peers.iter().for_each(|peer| net.peer_set_rate(*peer, PeerRate::Stalled));
    let since_ms = net.now().as_millis();
    while !peers.iter().all(|peer| is_given_up(net.peer_state(*peer))) {
        let passed_ms = net.now().as_millis() - since_ms;
        let left = peers.iter().filter(|peer| !is_given_up(net.peer_state(**peer))).count();
        assert!(passed_ms <= WITHIN_MS, "{left} are there after {passed_ms} ms");
        engine.turn().expect("the simulated ring");
    }
    println!("all are gone after {} ms", net.now().as_millis() - since_ms);
    assert_eq!(engine.population(), (0, 0));
    assert_eq!(engine.growth_bytes(), (0, 0));
    let totals = engine.totals();
    assert_eq!((totals.closed, totals.panics), (SILENT as u64, 0), "{totals:?}");
}

/// One of those who come and go.
struct Passing {
    peer: PeerId,
    name: String,
    /// Batches until it ends.
    stays: u32,
    end: Ending,
    heard: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Reset,
    Fin,
    Close,
    /// Nothing of it gets through any more.
    Vanish,
    Done,
}

impl Passing {
    fn come(net: &SimNet, dice: &mut Dice, number: usize) -> Self {
        let (peer, name) = (net.connect(0), format!("peer {number}"));
        net.peer_set_rate(
            peer,
            dice.pick(&[PeerRate::Instant, PeerRate::Stalled, PeerRate::BytesPerMs(900)]),
        );
        let own = frame(FIN | TEXT, name.as_bytes()).repeat(1 + dice.below(3));
        net.peer_write(peer, &[upgrade("/", "").as_bytes(), &own].concat());
        let ends = [Ending::Reset, Ending::Reset, Ending::Fin, Ending::Close, Ending::Vanish];
        let (stays, end) = (dice.below(12) as u32, dice.pick(&ends));
        Self { peer, name, stays, end, heard: Vec::new() }
    }

    /// `false` once it is over.
    fn step(&mut self, net: &SimNet) -> bool {
        self.heard.extend(net.peer_read(self.peer));
        let state = net.peer_state(self.peer);
        if self.stays > 0 {
            self.stays -= 1;
        } else {
            match std::mem::replace(&mut self.end, Ending::Done) {
                Ending::Reset => net.peer_reset(self.peer),
                Ending::Fin => net.peer_shutdown(self.peer),
                Ending::Close => drop(net.peer_write(self.peer, &frame(FIN | CLOSE, b""))),
                Ending::Vanish => net.peer_set_rate(self.peer, PeerRate::Stalled),
                Ending::Done if state.finished => net.peer_shutdown(self.peer),
                Ending::Done => {}
            }
        }
        !is_given_up(state)
    }

    /// What it heard was said to it. How many messages that were.
    fn judge(&self) -> usize {
        let Some(head) = self.heard.windows(4).position(|four| four == b"\r\n\r\n") else {
            return 0;
        };
        if self.heard.starts_with(b"HTTP/1.1 503 ") {
            return 0;
        }
        assert!(self.heard.starts_with(b"HTTP/1.1 101 "), "{}", self.name);
        let (mut rest, mut messages) = (&self.heard[head + 4..], 0);
        while let Some((first, payload, end)) = server_frame(rest) {
            if first == FIN | BINARY {
                let own = content(self.name.as_bytes(), messages);
                assert!(payload == own, "{}: somebody else's message", self.name);
                messages += 1;
            }
            rest = &rest[end..];
        }
        messages
    }
}

/// Few slots, each used again at once, while receives are armed and sends are queued.
fn come_and_go(seed: u64, cycles: usize, faults: Faults) -> u64 {
    const SLOTS: u32 = 8;
    const MESSAGES: usize = 12;
    let options =
        SimOptions { slots: SLOTS, send_buffer_bytes: 4_096, faults, ..SimOptions::default() };
    let ring = SimRing::new(seed, options);
    let (net, mut dice) = (ring.net(), Dice::new(seed));
    let handler = on(async |ws: &mut WebSocket| {
        let name = ws.read(100, LONG).await?;
        for number in 0..MESSAGES {
            ws.write(content(&name, number)).await?;
        }
        while let Ok(data) = ws.read(100, LONG).await {
            assert!(data == *String::from_utf8_lossy(&name), "somebody else's message");
        }
        Ok(())
    });
    let mut engine =
        Engine::builder().settings(Settings::default()).route("/", handler).simulate(ring);
    let (mut there, mut came) = (VecDeque::<Passing>::new(), 0);
    let (mut accepted, mut heard) = (0, 0);
    let mut turns = 0;
    while came < cycles || !there.is_empty() {
        while came < cycles && there.len() < SLOTS as usize {
            there.push_back(Passing::come(&net, &mut dice, came));
            came += 1;
        }
        engine.turn().expect("the simulated ring");
        turns += 1;
        assert!(turns < TURNS_MAX, "seed {seed}: {} do not end", there.len());
        there.retain_mut(|passing| {
            let stays = passing.step(&net);
            if !stays {
                accepted += u64::from(net.peer_state(passing.peer).accepted);
                heard += passing.judge();
            }
            stays
        });
    }
    assert!(heard > cycles / 2, "seed {seed}: {heard} messages were heard");
    net.stop_faults();
    engine.drain();
    while engine.turn().expect("the simulated ring") {
        turns += 1;
        assert!(turns < TURNS_MAX, "seed {seed}: the drain does not end");
    }
    assert!(net.quiescent().is_zero(), "seed {seed}: {:?}", net.quiescent());
    assert_eq!(net.violations(), []);
    let totals = engine.totals();
    assert_eq!((totals.accepted, totals.closed), (accepted, accepted), "seed {seed}");
    assert!(accepted > cycles as u64 / 2, "seed {seed}: {accepted} were accepted");
    assert_eq!(totals.panics, 0, "seed {seed}");
    // Something was queued when they ended.
    assert!(totals.truncated > accepted / 20, "seed {seed}: {totals:?}");
    totals.stale_completions
}

#[test]
fn bar_36_nothing_is_under_way_after_peers_that_came_and_went() {
    let mut stale = come_and_go(36, 4_000, Faults::none());
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let faults = Faults {
            short_receive: dice.pick(&[0, 100]),
            short_send: dice.pick(&[0, 100]),
            reorder: dice.pick(&[0, 300]),
            delay: dice.pick(&[0, 100]),
            early_end: dice.pick(&[0, 100]),
            cancel_race: dice.pick(&[0, 300]),
            late_close: dice.pick(&[0, 300]),
            connection_error: dice.pick(&[0, 30]),
            ..Faults::none()
        };
        stale += come_and_go(seed, 200, faults);
    }
    println!("{stale} stale completions were dropped");
}
