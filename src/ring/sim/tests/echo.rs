//! A small and careful echo server on the bare ring, and peers that make its life hard.

use super::*;
use crate::clock::Moment;
use crate::ring::RingCounters;
use crate::ring::sim::{Dice, PeerRate};
use std::time::Duration;

/// Generation of the accept, which no slot reaches: the completion of its cancel could be taken
/// for that of a slot's otherwise.
const ACCEPT: u32 = Token::GENERATION_MASK;

/// What the server knows of a slot.
#[derive(Default)]
struct Connection {
    generation: u32,
    open: bool,
    ending: bool,
    /// Operations in flight.
    in_flight: u32,
    receiving: bool,
    sending: bool,
    starved: bool,
    cancelled: bool,
    finished: bool,
    outgoing: Vec<u8>,
}

struct Echo {
    ring: SimRing,
    connections: Vec<Connection>,
    accepting: bool,
    accept_again: Option<Moment>,
    stopping: bool,
}

impl Echo {
    fn new(ring: SimRing) -> Self {
        let connections = (0..ring.slots()).map(|_| Connection::default()).collect();
        let accept_again = Some(Moment::default());
        Self { ring, connections, accepting: false, accept_again, stopping: false }
    }

    fn push(&mut self, operation: Operation, slot: u32, submission: Submission) {
        let connection = &mut self.connections[slot as usize];
        connection.in_flight += 1;
        let generation = connection.generation;
        self.ring.push(token(operation, slot, generation), submission);
    }

    /// One batch.
    fn turn(&mut self) {
        let now = self.ring.now();
        if self.accept_again.is_some_and(|at| at <= now) && !self.accepting && !self.stopping {
            (self.accept_again, self.accepting) = (None, true);
            self.ring.push(token(Operation::Accept, 0, ACCEPT), Submission::Accept);
        }
        let idle = now + Duration::from_millis(5_000);
        let until = self.accept_again.filter(|_| !self.stopping).map_or(idle, |at| at.min(idle));
        self.ring.submit_and_wait(Some(until)).unwrap();
        while let Some(completion) = self.ring.next_completion() {
            self.handle(completion);
        }
        for slot in 0..self.connections.len() as u32 {
            self.settle(slot);
        }
    }

    fn handle(&mut self, Completion { token, outcome, more }: Completion) {
        if token.operation == Operation::Doorbell {
            return;
        }
        if token.operation == Operation::Accept {
            return self.accepted(outcome, more);
        }
        if token.generation != self.connections[token.slot as usize].generation {
            return;
        }
        let connection = &mut self.connections[token.slot as usize];
        connection.in_flight -= u32::from(!more);
        match (token.operation, outcome) {
            (Operation::Receive, outcome) => {
                connection.receiving = more;
                match outcome {
                    Outcome::Received(lease) => connection.outgoing.extend_from_slice(&lease),
                    Outcome::EndOfStream => connection.finished = true,
                    Outcome::Failed(Errno::NOBUFS) => connection.starved = true,
                    _ => connection.ending = true,
                }
            }
            (Operation::Send, Outcome::Sent(count, mut data)) => {
                connection.sending = false;
                data.advance(count);
                let rest: Vec<u8> = data.iter().flat_map(|piece| piece.to_vec()).collect();
                connection.outgoing.splice(0..0, rest);
            }
            (Operation::Send, _) => (connection.sending, connection.ending) = (false, true),
            _ => {}
        }
    }

    fn accepted(&mut self, outcome: Outcome, more: bool) {
        self.accepting = more;
        match outcome {
            Outcome::Accepted(slot) => {
                let connection = &mut self.connections[slot as usize];
                assert!(!connection.open, "a slot was accepted twice");
                let generation = connection.generation;
                *connection = Connection { generation, open: true, ..Connection::default() };
                self.push(Operation::Hangup, slot, Submission::AwaitHangup);
                if !more {
                    self.accept_again = Some(self.ring.now());
                }
            }
            _ => self.accept_again = Some(self.ring.now() + Duration::from_millis(10)),
        }
    }

    /// Does what a slot needs next.
    fn settle(&mut self, slot: u32) {
        let buffers = self.ring.free_buffer_eighths() > 0;
        let connection = &mut self.connections[slot as usize];
        if !connection.open {
            return;
        }
        connection.starved &= !buffers;
        if !connection.sending && !connection.outgoing.is_empty() && !connection.ending {
            connection.sending = true;
            let data = send_of(&std::mem::take(&mut connection.outgoing));
            return self.push(Operation::Send, slot, Submission::Send(data));
        }
        let idle = !connection.receiving && !connection.starved && !connection.finished;
        if idle && !connection.ending {
            connection.receiving = true;
            // Every other connection receives shot by shot.
            let receive = match slot % 2 {
                0 => Submission::Receive,
                _ => Submission::ReceiveOnce { bytes_max: 1_000 },
            };
            return self.push(Operation::Receive, slot, receive);
        }
        if connection.finished && connection.outgoing.is_empty() && !connection.sending {
            connection.ending = true;
        }
        if connection.ending && connection.in_flight > 0 && !connection.cancelled {
            connection.cancelled = true;
            for operation in [Operation::Receive, Operation::Send] {
                self.push(Operation::Cancel, slot, Submission::Cancel(operation));
            }
        } else if connection.ending && connection.in_flight == 0 {
            self.push(Operation::Close, slot, Submission::Close);
            let connection = &mut self.connections[slot as usize];
            // The slot may be accepted again from here on.
            let generation = connection.generation + 1;
            *connection = Connection { generation, ..Connection::default() };
            if !self.accepting && self.accept_again.is_none() {
                self.accept_again = Some(self.ring.now());
            }
        }
    }
}

/// What one peer does, in steps of its own time.
struct Script {
    peer: Option<PeerId>,
    secret: u64,
    unwritten: usize,
    written: usize,
    read: usize,
    at: u64,
    shut: bool,
    may_reset: bool,
}

impl Script {
    fn byte(&self, offset: usize) -> u8 {
        (Dice::new(self.secret ^ offset as u64).bits() >> 17) as u8
    }

    fn over(&self, net: &SimNet) -> bool {
        let Some(peer) = self.peer else { return false };
        let state = net.peer_state(peer);
        state.finished || state.reset || self.may_reset && self.shut
    }

    fn step(&mut self, net: &SimNet, dice: &mut Dice) {
        let peer = *self.peer.get_or_insert_with(|| {
            let peer = net.connect(0);
            let rates = [PeerRate::Instant, PeerRate::BytesPerMs(7), PeerRate::BytesPerMs(900)];
            net.peer_set_rate(peer, dice.pick(&rates));
            peer
        });
        for byte in net.peer_read(peer) {
            assert_eq!(byte, self.byte(self.read), "byte {} of {peer:?}", self.read);
            self.read += 1;
        }
        assert!(self.read <= self.written);
        self.at = net.now().as_millis() + dice.pick(&[1, 1, 5, 200]);
        if self.shut {
            return;
        }
        let count = dice.part(self.unwritten.max(1)).min(self.unwritten);
        let bytes: Vec<u8> = (self.written..self.written + count).map(|at| self.byte(at)).collect();
        self.shut = !net.peer_write(peer, &bytes);
        self.written += count;
        self.unwritten -= count;
        if self.may_reset && dice.chance(100) {
            net.peer_reset(peer);
            self.shut = true;
        } else if self.unwritten == 0 && !self.shut {
            net.peer_shutdown(peer);
            self.shut = true;
        }
    }
}

fn run(seed: u64, options: SimOptions) -> (u64, RingCounters) {
    let mut echo = Echo::new(SimRing::new(seed, options));
    let net = echo.ring.net();
    let mut dice = net.dice();
    let scripts: Vec<Script> = (0..dice.between(1, 10))
        .map(|_| Script {
            peer: None,
            secret: dice.bits(),
            unwritten: dice.pick(&[0, 1, 100, 5_000, 30_000]),
            written: 0,
            read: 0,
            at: dice.below(50) as u64,
            shut: false,
            may_reset: dice.chance(200),
        })
        .collect();
    let scripts = std::rc::Rc::new(std::cell::RefCell::new(scripts));
    let shared = std::rc::Rc::clone(&scripts);
    echo.ring.set_driver(move |net| {
        let now = net.now().as_millis();
        let mut scripts = shared.borrow_mut();
        scripts.iter_mut().filter(|script| script.at <= now).for_each(|s| s.step(net, &mut dice));
        let waiting = scripts.iter().filter(|script| !script.over(net));
        waiting.map(|script| Moment::from_millis(script.at)).min()
    });
    let mut turns = 0;
    while !scripts.borrow().iter().all(|script| script.over(&net)) {
        echo.turn();
        turns += 1;
        assert!(turns < 200_000, "seed {seed}: does not end");
    }
    finish(seed, &mut echo, &net);
    for script in scripts.borrow_mut().iter_mut() {
        let peer = script.peer.unwrap();
        script.step(&net, &mut Dice::new(seed));
        let state = net.peer_state(peer);
        let whole = state.finished && !state.reset;
        assert!(!whole || script.read == script.written, "seed {seed}: {peer:?} lost bytes");
        let excused = script.may_reset || state.broken.is_some() || !state.accepted;
        assert!(whole || excused, "seed {seed}: {peer:?} was cut: {state:?}");
    }
    (net.trace_hash(), echo.ring.counters())
}

/// Stops accepting and waits until nothing is left.
fn finish(seed: u64, echo: &mut Echo, net: &SimNet) {
    net.stop_faults();
    echo.stopping = true;
    if echo.accepting {
        echo.ring.push(token(Operation::Cancel, 0, ACCEPT), Submission::Cancel(Operation::Accept));
    }
    for _ in 0..20_000 {
        if net.quiescent().is_zero() {
            break;
        }
        echo.turn();
    }
    assert!(net.quiescent().is_zero(), "seed {seed}: {:?}", net.quiescent());
}

#[test]
fn echo_without_faults() {
    for seed in 0..20 {
        run(seed, SimOptions::default());
    }
}

#[test]
fn echo_is_exact_under_faults() {
    let mut met = [0; 4];
    for seed in 0..400 {
        let (_, counters) = run(seed, SimOptions::from_seed(seed));
        met[0] += counters.overflows;
        met[1] += counters.submission_queue_full;
        met[2] += counters.out_of_buffers;
        met[3] += counters.short_sends;
    }
    assert!(met.iter().all(|count| *count > 100), "faults that did not happen: {met:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let hashes = |seeds: std::ops::Range<u64>| {
        seeds.map(|seed| run(seed, SimOptions::from_seed(seed)).0).collect::<Vec<_>>()
    };
    let first = hashes(500..520);
    assert_eq!(first, hashes(500..520));
    let mut different = first.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), first.len(), "seeds that give the same trace");
}
