//! Tests of the simulator itself: that the kernel here does what the real one was seen doing, and
//! that a correct program on the bare ring survives every fault.

mod echo;
mod traps;

use super::{Faults, PeerId, SimNet, SimOptions, SimRing, Violation};
use crate::ring::{Buffer, Completion, Errno, Operation, Outcome, Ring, SendData};
use crate::ring::{Submission, Token};

fn token(operation: Operation, slot: u32, generation: u32) -> Token {
    Token::new(operation, slot, generation)
}

fn send_of(bytes: &[u8]) -> SendData {
    let mut data = SendData::new();
    data.push(Buffer::from(bytes.to_vec()));
    data
}

/// Enters once and takes everything.
fn turn(ring: &mut SimRing) -> Vec<Completion> {
    let until = ring.now() + std::time::Duration::from_millis(1_000);
    ring.submit_and_wait(Some(until)).unwrap();
    std::iter::from_fn(|| ring.next_completion()).collect()
}

/// A ring with one accepted connection in slot 0, generation 1.
fn connected(seed: u64, options: SimOptions) -> (SimRing, SimNet, PeerId) {
    let mut ring = SimRing::new(seed, options);
    let net = ring.net();
    ring.push(token(Operation::Accept, 0, 0), Submission::Accept);
    let peer = net.connect(0);
    let mut accepted = Vec::new();
    while accepted.is_empty() {
        accepted = turn(&mut ring);
    }
    assert!(matches!(accepted[0].outcome, Outcome::Accepted(0)));
    (ring, net, peer)
}
