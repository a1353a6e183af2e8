//! A ring whose peers are in the same memory: what is pushed has happened at the next wait, in
//! order, whole and without fault. Its peers send the next round when the last one has come back.

use super::scenario::Scenario;
use ringwire::clock::Moment;
use ringwire::engine::bench::LeasePool;
use ringwire::ring::{
    Completion, Doorbell, Errno, Operation, Outcome, Ring, RingCounters, SendData, Submission,
    Token,
};
use std::collections::VecDeque;
use std::sync::Arc;

/// Sizes of the receive pool, as the kernel's ring has them by default.
const BUFFERS: u16 = 16;
const BUFFER_BYTES: u32 = 128 * 1024;

/// Bytes of one receive, and receives of one peer between two waits, at most.
const RECEIVE_BYTES_MAX: usize = 64 * 1024;
const RECEIVES_MAX: usize = 4;

/// Waits per millisecond of invented time: about what one core does with the real kernel.
const WAITS_PER_MS: u64 = 128;

const REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

pub struct LoopRing {
    pool: LeasePool,
    completions: VecDeque<Completion>,
    peers: Vec<Peer>,
    /// What each peer sends in a round, and what comes back.
    frames: Vec<u8>,
    echo: Vec<u8>,
    rounds: u64,
    rounds_checked: u64,
    waits: u64,
}

struct Peer {
    receive: Option<Token>,
    /// Its receive ends with its first shot, which has so many bytes at most.
    once: Option<usize>,
    open: bool,
    /// Bytes of this round that were sent to the server, and that have come back.
    sent: usize,
    echoed: usize,
}

impl Peer {
    /// The server receives what it sends.
    fn listen(&mut self, token: Token, once: Option<usize>) {
        (self.receive, self.once) = (Some(token), once);
    }
}

impl LoopRing {
    pub fn new(scenario: &Scenario) -> Self {
        let peer = |_| Peer { receive: None, once: None, open: false, sent: 0, echoed: 0 };
        let peers: Vec<Peer> = (0..scenario.connections).map(peer).collect();
        Self {
            pool: LeasePool::new(BUFFERS, BUFFER_BYTES),
            completions: VecDeque::new(),
            rounds_checked: scenario.rounds_checked() * peers.len() as u64,
            peers,
            frames: scenario.frames(),
            echo: scenario.echo(),
            rounds: 0,
            waits: 0,
        }
    }

    /// Rounds that have come back, of all peers together.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    pub fn peers(&self) -> u64 {
        self.peers.len() as u64
    }

    /// Bytes that a peer sends in a round.
    pub fn round_bytes(&self) -> usize {
        self.frames.len()
    }

    /// Leaves out the opening handshakes.
    pub fn open_all(&mut self) {
        self.peers.iter_mut().for_each(|peer| peer.open = true);
    }

    fn complete(&mut self, token: Token, outcome: Outcome, more: bool) {
        self.completions.push_back(Completion { token, outcome, more });
    }

    /// Lets a peer send, if it has something to send and is listened to.
    fn send_of(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some(token) = peer.receive else { return };
        let bytes = if peer.open { &self.frames[..] } else { REQUEST };
        let once = peer.once;
        let shot_bytes = once.map_or(RECEIVE_BYTES_MAX, |most| most.min(RECEIVE_BYTES_MAX));
        let shots = if once.is_some() { 1 } else { RECEIVES_MAX };
        for part in bytes[peer.sent..].chunks(shot_bytes).take(shots) {
            let Some(lease) = self.pool.fill(part) else { return };
            peer.sent += part.len();
            if once.is_some() {
                peer.receive = None;
            }
            let (outcome, more) = (Outcome::Received(lease), once.is_none());
            self.completions.push_back(Completion { token, outcome, more });
        }
    }

    /// A peer gets what the server has sent.
    fn echo_to(&mut self, index: usize, data: &SendData) {
        let peer = &mut self.peers[index];
        if !peer.open {
            let answer = data.iter().next().expect("a send of something");
            assert!(answer.starts_with(b"HTTP/1.1 101 "), "the upgrade was refused");
            (peer.open, peer.sent) = (true, 0);
            return;
        }
        let before = peer.echoed;
        peer.echoed += data.len();
        if self.rounds < self.rounds_checked {
            let bytes: Vec<u8> = data.iter().flat_map(|piece| piece.iter().copied()).collect();
            assert!(self.echo[before..peer.echoed] == bytes, "a wrong echo");
        }
        assert!(peer.echoed <= self.echo.len(), "more came back than was sent");
        if peer.echoed == self.echo.len() {
            (peer.sent, peer.echoed) = (0, 0);
            self.rounds += 1;
        }
    }
}

impl Ring for LoopRing {
    fn now(&self) -> Moment {
        Moment::from_millis(self.waits / WAITS_PER_MS)
    }

    fn slots(&self) -> u32 {
        self.peers.len() as u32
    }

    fn doorbell(&self) -> Arc<dyn Doorbell> {
        Arc::new(NobodySleeps)
    }

    fn push(&mut self, token: Token, submission: Submission) {
        let index = token.slot as usize;
        match submission {
            Submission::Accept | Submission::AcceptOne => {
                for slot in 0..self.slots() {
                    self.complete(token, Outcome::Accepted(slot), true);
                }
            }
            Submission::Receive => self.peers[index].listen(token, None),
            Submission::ReceiveOnce { bytes_max } => {
                self.peers[index].listen(token, Some(bytes_max as usize));
            }
            Submission::Cancel(Operation::Receive) => {
                if let Some(receive) = self.peers[index].receive.take() {
                    self.complete(receive, Outcome::Failed(Errno::CANCELED), false);
                }
                self.complete(token, Outcome::Done, false);
            }
            Submission::Send(data) => {
                self.echo_to(index, &data);
                self.complete(token, Outcome::Sent(data.len(), data), false);
            }
            Submission::PeerAddress(_) => self.complete(token, Outcome::PeerAddress(None), false),
            Submission::Unacknowledged => {
                self.complete(token, Outcome::Unacknowledged(Some(0)), false);
            }
            Submission::AwaitHangup => {}
            other => panic!("an echo does not end: {other:?}"),
        }
    }

    fn submit_and_wait(&mut self, _until: Option<Moment>) -> Result<(), Errno> {
        self.waits += 1;
        (0..self.peers.len()).for_each(|index| self.send_of(index));
        Ok(())
    }

    fn next_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    fn free_buffer_eighths(&self) -> u32 {
        8
    }

    fn counters(&self) -> RingCounters {
        RingCounters::default()
    }
}

/// No wait of this ring lasts, so there is nobody to wake.
struct NobodySleeps;

impl Doorbell for NobodySleeps {
    fn ring(&self) {}
}
