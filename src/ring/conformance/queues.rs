//! More at once than the queues of a ring hold.

use super::super::{AddressFamily, Operation, Outcome, ReceiveMode, Ring, Submission, Token};
use super::stage::{Stage, listener, operation_of, stream};
use super::{Link, Sizes, World};
use std::collections::BTreeMap;

const SLOTS: u32 = 40;

/// A ring whose queues hold less than one batch of it.
fn small_queues() -> Sizes {
    Sizes {
        submission_entries: 4,
        completion_entries: 8,
        slots: SLOTS,
        buffer_count: 64,
        buffer_bytes: 256,
        receive: ReceiveMode::Classic,
        ..Sizes::default()
    }
}

pub(super) fn more_pushes_than_entries_are_all_told_once<W: World>() {
    let mut stage = Stage::<W>::new(small_queues());
    let connected: Vec<_> = (0..SLOTS).map(|_| stage.connect(Link::V4)).collect();
    let mut pushed = BTreeMap::new();
    for (owner, _) in &connected {
        let family = AddressFamily::V4;
        for submission in [
            Submission::PeerAddress(family),
            Submission::Unacknowledged,
            Submission::ResetOnClose,
            Submission::ShutdownWrite,
        ] {
            let operation = operation_of(&submission);
            *pushed.entry(owner.token(operation).to_bits()).or_insert(0) += 1;
            stage.push(*owner, submission);
        }
    }
    let mut told = BTreeMap::new();
    for completion in stage.take(4 * SLOTS as usize) {
        assert!(!completion.more);
        *told.entry(completion.token.to_bits()).or_insert(0) += 1;
    }
    assert_eq!(told, pushed);
    stage.expect_quiet();
    if W::QUEUES {
        assert!(stage.world.ring().counters().submission_queue_full > 0);
    }
}

/// A multishot operation may end when the queue is full; what it has told is true all the same.
pub(super) fn more_completions_than_entries_lose_nothing<W: World>() {
    let mut stage = Stage::<W>::new(small_queues());
    let mut peers: Vec<_> = (0..SLOTS).map(|_| stage.world.connect(Link::V4)).collect();
    let accept = listener(Link::V4);
    let mut owners = Vec::new();
    stage.push(accept, Submission::Accept);
    stage.until("everyone's slot", |stage| {
        for completion in stage.told() {
            let Outcome::Accepted(slot) = completion.outcome else { panic!("{completion:?}") };
            let owner = stage.owner_of(slot);
            owners.push(owner);
            if !completion.more {
                stage.push(accept, Submission::Accept);
            }
        }
        (owners.len() == peers.len()).then_some(())
    });
    for owner in &owners {
        stage.push(*owner, Submission::Receive);
    }
    stage.turn();
    let sent = stream(2_000);
    peers.iter_mut().for_each(|peer| stage.peer_writes(peer, &sent));
    let mut got: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    stage.until("everything of everyone", |stage| {
        for completion in stage.told() {
            let Token { operation: Operation::Receive, slot, .. } = completion.token else {
                panic!("{completion:?}")
            };
            let bytes = got.entry(slot).or_default();
            if let Outcome::Received(lease) = &completion.outcome {
                bytes.extend_from_slice(lease);
            }
            if !completion.more {
                let owner = owners.iter().find(|owner| owner.index == slot).expect("a slot");
                stage.push(*owner, Submission::Receive);
            }
        }
        (got.values().map(Vec::len).sum::<usize>() >= peers.len() * sent.len()).then_some(())
    });
    assert!(got.len() == peers.len() && got.values().all(|bytes| *bytes == sent));
    if W::QUEUES {
        assert!(stage.world.ring().counters().overflows > 0);
    }
}
