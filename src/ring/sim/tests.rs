//! Tests of the simulator itself: that the kernel here does what the real one was seen doing, and
//! that a correct program on the bare ring survives every fault.

mod echo;
mod refusals;
mod sockets;
mod traps;

use super::{Faults, PeerId, SimNet, SimOptions, SimRing, Violation};
use crate::ring::{Buffer, Completion, Errno, Operation, Outcome, Ring, SendData};
use crate::ring::{Submission, Token};

fn token(operation: Operation, slot: u32, generation: u32) -> Token {
    Token::new(operation, slot, generation)
}

fn send_of(bytes: &[u8]) -> SendData {
    let mut data = SendData::new();
    data.push(Buffer::copy_of(bytes));
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

fn lenient() -> SimOptions {
    SimOptions { strict: false, ..SimOptions::default() }
}

fn receive(ring: &mut SimRing) {
    ring.push(token(Operation::Receive, 0, 1), Submission::Receive);
}

fn receive_once(ring: &mut SimRing, bytes_max: u32) {
    ring.push(token(Operation::Receive, 0, 1), Submission::ReceiveOnce { bytes_max });
}

fn send(ring: &mut SimRing, bytes: &[u8]) {
    ring.push(token(Operation::Send, 0, 1), Submission::Send(send_of(bytes)));
}

fn push(ring: &mut SimRing, operation: Operation, submission: Submission) {
    ring.push(token(operation, 0, 1), submission);
}

fn of(completions: &[Completion], operation: Operation) -> &Completion {
    let mut matching = completions.iter().filter(|done| done.token.operation == operation);
    let found = matching.next().unwrap_or_else(|| panic!("{operation:?} not in {completions:?}"));
    assert!(matching.next().is_none(), "{operation:?} twice in {completions:?}");
    found
}

/// The bytes of all receives.
fn bytes(completions: &[Completion]) -> Vec<u8> {
    let parts = completions.iter().filter_map(|done| match &done.outcome {
        Outcome::Received(lease) => Some(lease.to_vec()),
        _ => None,
    });
    parts.flatten().collect()
}
