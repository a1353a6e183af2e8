//! Echo sessions in memory: the real engine on a ring without a kernel.

mod loop_ring;
mod scenario;

pub use loop_ring::LoopRing;
pub use scenario::{SCENARIOS, Scenario};

use ringwire::Settings;
use ringwire::engine::shard::Shard;
use ringwire::ring::{Operation, Outcome, Ring, SendData, Submission, Token};

/// A shard whose peers have upgraded and sent their first rounds.
pub struct Session(Shard<LoopRing>);

impl Session {
    /// Connects, upgrades, and echoes until everything has been used once.
    pub fn new(scenario: &Scenario) -> Self {
        let builder = ringwire::serve::builder(Settings::default());
        let mut session = Self(builder.shard_on(LoopRing::new(scenario)));
        session.run(scenario.rounds_checked());
        session
    }

    /// Turns the shard until every peer has had `rounds` more rounds echoed.
    #[inline(never)]
    pub fn run(&mut self, rounds: u64) {
        let until = self.0.ring().rounds() + rounds * self.0.ring().peers();
        while self.0.ring().rounds() < until {
            assert_eq!(self.0.turn(), Ok(true));
        }
    }
}

/// The ring of a [`Session`] with nothing behind it: what the ring itself costs.
pub struct RingAlone {
    ring: LoopRing,
    peers: Vec<RingPeer>,
}

/// Bytes received of a round, and what answers it.
struct RingPeer {
    received: usize,
    answer: Option<SendData>,
}

impl RingAlone {
    /// Connects and upgrades.
    pub fn new(scenario: &Scenario) -> Self {
        let mut ring = LoopRing::new(scenario);
        ring.open_all();
        let mut peers = Vec::new();
        for slot in 0..scenario.connections {
            ring.push(Token::new(Operation::Receive, slot, 0), Submission::Receive);
            let mut answer = SendData::new();
            answer.push(ringwire::ring::Buffer::copy_of(&scenario.echo()));
            peers.push(RingPeer { received: 0, answer: Some(answer) });
        }
        let mut alone = Self { ring, peers };
        alone.run(scenario.rounds_checked());
        alone
    }

    /// As [`Session::run`].
    #[inline(never)]
    pub fn run(&mut self, rounds: u64) {
        let until = self.ring.rounds() + rounds * self.ring.peers();
        while self.ring.rounds() < until {
            assert_eq!(self.ring.submit_and_wait(None), Ok(()));
            while let Some(completion) = self.ring.next_completion() {
                let slot = completion.token.slot;
                let peer = &mut self.peers[slot as usize];
                match completion.outcome {
                    Outcome::Received(lease) => peer.received += lease.len(),
                    Outcome::Sent(_, data) => peer.answer = Some(data),
                    _ => {}
                }
                if peer.received == self.ring.round_bytes()
                    && let Some(answer) = peer.answer.take()
                {
                    peer.received = 0;
                    let token = Token::new(Operation::Send, slot, 0);
                    self.ring.push(token, Submission::Send(answer));
                }
            }
        }
    }
}
