//! What no engine may do, and that it is noticed.

use super::*;

#[test]
#[should_panic(expected = "seed 14: SecondInFlight")]
fn a_second_receive_is_refused() {
    let (mut ring, ..) = connected(14, SimOptions::default());
    receive(&mut ring);
    receive(&mut ring);
}

#[test]
#[should_panic(expected = "a second send")]
fn a_second_send_is_refused() {
    let (mut ring, ..) = connected(15, lenient());
    send(&mut ring, b"a");
    send(&mut ring, b"b");
}

#[test]
#[should_panic(expected = "seed 16: CloseInFlight")]
fn a_close_beside_a_receive_is_refused() {
    let (mut ring, ..) = connected(16, SimOptions::default());
    receive(&mut ring);
    push(&mut ring, Operation::Close, Submission::Close);
}

#[test]
#[should_panic(expected = "seed 17: SlotClosed")]
fn an_operation_behind_a_close_is_refused() {
    let (mut ring, ..) = connected(17, SimOptions::default());
    push(&mut ring, Operation::Close, Submission::Close);
    // A cancel that comes too late hurts nobody.
    push(&mut ring, Operation::Cancel, Submission::Cancel(Operation::Receive));
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Cancel).outcome, Outcome::Failed(Errno::NOENT)));
    receive(&mut ring);
}

/// Slot 0 with its second owner, which has a receive armed under generation 2.
fn reused(seed: u64, options: SimOptions) -> (SimRing, SimNet, PeerId) {
    let (mut ring, net, _) = connected(seed, options);
    receive(&mut ring);
    push(&mut ring, Operation::Cancel, Submission::Cancel(Operation::Receive));
    turn(&mut ring);
    push(&mut ring, Operation::Close, Submission::Close);
    turn(&mut ring);
    let peer = net.connect(0);
    assert!(matches!(turn(&mut ring)[0].outcome, Outcome::Accepted(0)));
    ring.push(token(Operation::Receive, 0, 2), Submission::Receive);
    turn(&mut ring);
    (ring, net, peer)
}

#[test]
#[should_panic(expected = "seed 18: GenerationStale")]
fn a_stale_operation_is_refused() {
    let (mut ring, ..) = reused(18, SimOptions::default());
    push(&mut ring, Operation::Shutdown, Submission::ShutdownWrite);
}

#[test]
#[should_panic(expected = "seed 19: GenerationRepeated")]
fn a_generation_that_repeats_is_refused() {
    let (mut ring, net, _) = connected(19, SimOptions::default());
    receive(&mut ring);
    push(&mut ring, Operation::Cancel, Submission::Cancel(Operation::Receive));
    turn(&mut ring);
    push(&mut ring, Operation::Close, Submission::Close);
    net.connect(0);
    turn(&mut ring);
    receive(&mut ring);
}

#[test]
fn a_stale_cancel_ends_nothing() {
    let (mut ring, ..) = reused(20, SimOptions::default());
    push(&mut ring, Operation::Cancel, Submission::Cancel(Operation::Receive));
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Cancel).outcome, Outcome::Failed(Errno::NOENT)));
    assert_eq!(done.len(), 1);
}
