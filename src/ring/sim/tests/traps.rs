//! Each trap of a ring, shown once.

use super::*;
use crate::clock::Moment;
use crate::ring::ReceiveMode;
use crate::ring::sim::PeerRate;
use std::collections::BTreeSet;

fn lenient() -> SimOptions {
    SimOptions { strict: false, ..SimOptions::default() }
}

fn receive(ring: &mut SimRing) {
    ring.push(token(Operation::Receive, 0, 1), Submission::Receive);
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

#[test]
fn a_close_does_not_end_an_armed_receive() {
    let (mut ring, net, peer) = connected(1, lenient());
    receive(&mut ring);
    push(&mut ring, Operation::Close, Submission::Close);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Close).outcome, Outcome::Done));
    assert_eq!(net.violations(), [Violation::CloseInFlight]);
    assert!(!net.peer_state(peer).finished, "no FIN while the receive holds the socket");
    assert!(net.peer_write(peer, b"late"));
    let done = turn(&mut ring);
    assert_eq!(bytes(&done), b"late");
    assert_eq!(done[0].token, token(Operation::Receive, 0, 1));
    drop(done);
    push(&mut ring, Operation::Cancel, Submission::CancelReceive);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Receive).outcome, Outcome::Failed(Errno::CANCELED)));
    assert!(net.peer_state(peer).finished);
    assert_eq!(net.quiescent().operations_in_flight, 1, "the accept");
}

#[test]
fn a_receive_without_a_buffer_ends_and_is_not_restarted() {
    let options = SimOptions {
        buffer_count: 1,
        buffer_bytes: 512,
        receive: ReceiveMode::Classic,
        ..SimOptions::default()
    };
    let (mut ring, net, peer) = connected(2, options);
    receive(&mut ring);
    net.peer_write(peer, &[7; 700]);
    let done = turn(&mut ring);
    assert!(matches!(&done[0].outcome, Outcome::Received(lease) if lease.len() == 512));
    assert!(done[0].more);
    assert!(matches!(done[1].outcome, Outcome::Failed(Errno::NOBUFS)) && !done[1].more);
    assert_eq!((net.quiescent().buffers_lent, ring.free_buffer_eighths()), (1, 0));
    drop(done);
    assert_eq!(net.quiescent().buffers_lent, 0);
    assert!(turn(&mut ring).is_empty(), "a free buffer restarts nothing");
    receive(&mut ring);
    assert_eq!(bytes(&turn(&mut ring)).len(), 188);
}

#[test]
fn incremental_buffers_hold_many_receives() {
    let options = SimOptions { buffer_count: 2, buffer_bytes: 512, ..SimOptions::default() };
    let (mut ring, net, peer) = connected(3, options);
    receive(&mut ring);
    let mut kept = Vec::new();
    for round in 0..10 {
        net.peer_write(peer, &[round; 50]);
        kept.extend(turn(&mut ring));
    }
    assert_eq!((net.quiescent().buffers_lent, ring.free_buffer_eighths()), (0, 8));
    let expected: Vec<u8> = (0..10).flat_map(|round| [round; 50]).collect();
    assert_eq!(bytes(&kept), expected);
    net.peer_write(peer, &[10; 50]);
    assert_eq!(turn(&mut ring).len(), 2, "the rest of one buffer and the start of the next");
    assert_eq!(net.quiescent().buffers_lent, 1);
}

#[test]
fn a_full_completion_queue_ends_the_receive() {
    let options = SimOptions {
        completion_entries: 4,
        buffer_count: 16,
        buffer_bytes: 512,
        receive: ReceiveMode::Classic,
        ..SimOptions::default()
    };
    let mut ended = 0;
    for seed in 0..20 {
        let (mut ring, net, peer) = connected(seed, options.clone());
        receive(&mut ring);
        let sent: Vec<u8> = (0..16 * 512).map(|at| (at / 100) as u8).collect();
        net.peer_write(peer, &sent);
        let mut done = turn(&mut ring);
        assert!(done.len() <= 4);
        done.extend(turn(&mut ring));
        if !done.last().unwrap().more {
            // Data, and no more of it without a new receive.
            assert!(matches!(done.last().unwrap().outcome, Outcome::Received(_)));
            assert!(turn(&mut ring).is_empty());
            assert_eq!(ring.counters().overflows, 1);
            receive(&mut ring);
            ended += 1;
        }
        while bytes(&done).len() < sent.len() {
            let more = turn(&mut ring);
            let again = more.last().is_some_and(|last| !last.more);
            done.extend(more);
            if again && bytes(&done).len() < sent.len() {
                receive(&mut ring);
            }
        }
        assert_eq!(bytes(&done), sent);
    }
    assert!(ended > 5);
}

#[test]
fn a_full_table_ends_the_accept_and_costs_a_connection() {
    let options = SimOptions { slots: 1, ..SimOptions::default() };
    let (mut ring, net, first) = connected(4, options);
    let (second, third) = (net.connect(0), net.connect(0));
    let done = turn(&mut ring);
    let accept = of(&done, Operation::Accept);
    assert!(matches!(accept.outcome, Outcome::Failed(Errno::NFILE)) && !accept.more);
    assert!(net.peer_state(second).reset);
    assert!(!net.peer_state(third).reset && !net.peer_state(third).accepted);
    push(&mut ring, Operation::Close, Submission::Close);
    ring.push(token(Operation::Accept, 0, 0), Submission::Accept);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Accept).outcome, Outcome::Accepted(0)));
    assert!(net.peer_state(first).finished && net.peer_state(third).accepted);
}

#[test]
fn a_slot_may_have_a_new_owner_before_its_close_completes() {
    let faults = Faults { late_close: 1_000, ..Faults::none() };
    let options = SimOptions { slots: 1, faults, ..SimOptions::default() };
    let mut overtaken = 0;
    for seed in 0..20 {
        let (mut ring, net, _) = connected(seed, options.clone());
        push(&mut ring, Operation::Close, Submission::Close);
        net.connect(0);
        let mut done = turn(&mut ring);
        // The connection may also have come before the Close was carried out.
        if matches!(done[0].outcome, Outcome::Accepted(0)) {
            assert_eq!(done[0].token.operation, Operation::Accept);
            overtaken += u32::from(done.len() == 1);
            done.extend(turn(&mut ring));
            of(&done, Operation::Close);
        }
    }
    assert!(overtaken > 0);
}

#[test]
fn a_cancel_is_a_request() {
    let mut seen = BTreeSet::new();
    let faults = Faults { cancel_race: 500, delay: 200, ..Faults::none() };
    for seed in 0..300 {
        let options = SimOptions { faults: faults.clone(), ..SimOptions::default() };
        let (mut ring, net, peer) = connected(seed, options);
        receive(&mut ring);
        assert!(turn(&mut ring).is_empty());
        net.peer_write(peer, b"data");
        if seed % 3 == 0 {
            net.peer_shutdown(peer);
        }
        push(&mut ring, Operation::Cancel, Submission::CancelReceive);
        let mut done = Vec::new();
        for _ in 0..5 {
            done.extend(turn(&mut ring));
        }
        let at = |wanted: Operation| {
            let end = |done: &Completion| done.token.operation == wanted && !done.more;
            done.iter().position(end).unwrap()
        };
        let answer = match done[at(Operation::Cancel)].outcome {
            Outcome::Done => "done",
            Outcome::Failed(Errno::NOENT) => "none",
            Outcome::Failed(Errno::ALREADY) => "already",
            ref other => panic!("{other:?}"),
        };
        let order = at(Operation::Cancel) < at(Operation::Receive);
        seen.insert((answer, order, bytes(&done).is_empty()));
        assert_eq!(net.quiescent().operations_in_flight, 1, "the accept");
    }
    let answers: BTreeSet<_> = seen.iter().map(|(answer, ..)| *answer).collect();
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), ["already", "done", "none"]);
    for answer in ["done", "already"] {
        for order in [false, true] {
            assert!(seen.iter().any(|(a, o, _)| (*a, *o) == (answer, order)), "{answer} {order}");
        }
    }
    assert!(seen.contains(&("done", true, false)), "data behind the cancel's answer");
}

#[test]
fn a_cancelled_send_tells_what_was_sent() {
    let options = SimOptions { send_buffer_bytes: 1_000, ..SimOptions::default() };
    let (mut ring, net, peer) = connected(5, options);
    net.peer_set_rate(peer, PeerRate::Stalled);
    for (expected, unsent) in [(Some(1_000), 4_000), (None, 4_000)] {
        send(&mut ring, &[9; 5_000]);
        assert!(turn(&mut ring).is_empty());
        push(&mut ring, Operation::Cancel, Submission::CancelAll);
        let done = turn(&mut ring);
        match (&of(&done, Operation::Send).outcome, expected) {
            (Outcome::Sent(sent, data), Some(count)) => {
                assert_eq!((*sent, data.len() - *sent), (count, unsent));
            }
            (Outcome::SendFailed(Errno::CANCELED, data), None) => assert_eq!(data.len(), 5_000),
            (other, _) => panic!("{other:?}"),
        }
    }
    net.peer_set_rate(peer, PeerRate::BytesPerMs(10));
    turn(&mut ring);
    assert_eq!(net.peer_read(peer), [9; 1_000]);
}

#[test]
fn a_send_goes_on_when_the_peer_takes_again() {
    for rate in [PeerRate::Instant, PeerRate::BytesPerMs(100)] {
        let options = SimOptions { send_buffer_bytes: 1_000, ..SimOptions::default() };
        let (mut ring, net, peer) = connected(22, options);
        net.peer_set_rate(peer, PeerRate::Stalled);
        send(&mut ring, &[1; 5_000]);
        assert!(turn(&mut ring).is_empty());
        net.peer_set_rate(peer, rate);
        let done = turn(&mut ring);
        assert!(matches!(of(&done, Operation::Send).outcome, Outcome::Sent(5_000, _)));
    }
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let options = SimOptions { send_buffer_bytes: 1_000, ..SimOptions::default() };
    let (mut ring, net, peer) = connected(23, options);
    send(&mut ring, &[1; 5_000]);
    net.peer_set_rate(peer, PeerRate::BytesPerMs(1));
    let until = ring.now() + std::time::Duration::from_millis(3_000);
    ring.submit_and_wait(Some(until)).unwrap();
    assert!(ring.next_completion().is_none(), "slow is not dead");
    net.peer_set_rate(peer, PeerRate::Stalled);
    ring.submit_and_wait(None).unwrap();
    let waited = ring.now().since(until);
    assert_eq!(waited.as_millis(), 30_000);
    assert!(matches!(ring.next_completion().unwrap().outcome, Outcome::Sent(1_000..5_000, _)));
    assert_eq!(net.peer_state(peer).broken, Some(Errno::TIMEDOUT));
}

#[test]
fn a_send_without_waitall_is_short() {
    let options =
        SimOptions { send_buffer_bytes: 1_000, send_waitall: false, ..SimOptions::default() };
    let (mut ring, net, peer) = connected(6, options);
    net.peer_set_rate(peer, PeerRate::Stalled);
    send(&mut ring, &[1; 5_000]);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Send).outcome, Outcome::Sent(1_000, _)));
    assert_eq!(ring.counters().short_sends, 1);
}

#[test]
fn a_shutdown_of_both_ends_everything_but_the_hangup_needs_no_peer() {
    let options = SimOptions { send_buffer_bytes: 1_000, ..SimOptions::default() };
    let (mut ring, net, peer) = connected(7, options);
    net.peer_set_rate(peer, PeerRate::Stalled);
    receive(&mut ring);
    send(&mut ring, &[1; 5_000]);
    push(&mut ring, Operation::Hangup, Submission::AwaitHangup);
    assert!(turn(&mut ring).is_empty());
    push(&mut ring, Operation::Shutdown, Submission::ShutdownBoth);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Shutdown).outcome, Outcome::Done));
    assert!(matches!(of(&done, Operation::Receive).outcome, Outcome::EndOfStream));
    assert!(matches!(of(&done, Operation::Send).outcome, Outcome::Sent(1_000, _)));
    assert!(matches!(of(&done, Operation::Hangup).outcome, Outcome::HungUp { reset: true }));
    assert!(!net.peer_state(peer).finished, "a FIN comes behind what was sent");
    net.peer_set_rate(peer, PeerRate::Instant);
    assert!(net.peer_state(peer).finished);
    assert!(!net.peer_write(peer, b"x") && net.peer_state(peer).reset, "nobody reads this");
}

#[test]
fn a_hangup_tells_a_fin_from_a_reset() {
    for reset in [false, true] {
        let (mut ring, net, peer) = connected(21, SimOptions::default());
        push(&mut ring, Operation::Hangup, Submission::AwaitHangup);
        net.peer_write(peer, b"unread");
        assert!(turn(&mut ring).is_empty());
        if reset {
            net.peer_reset(peer);
        } else {
            net.peer_shutdown(peer);
        }
        let done = turn(&mut ring);
        let hangup = &of(&done, Operation::Hangup).outcome;
        assert!(matches!(hangup, Outcome::HungUp { reset: told } if *told == reset));
    }
}

#[test]
fn half_closed_both_ways() {
    let (mut ring, net, peer) = connected(8, SimOptions::default());
    push(&mut ring, Operation::Shutdown, Submission::ShutdownWrite);
    receive(&mut ring);
    push(&mut ring, Operation::Hangup, Submission::AwaitHangup);
    turn(&mut ring);
    assert!(net.peer_state(peer).finished);
    net.peer_write(peer, b"after the FIN");
    assert_eq!(bytes(&turn(&mut ring)), b"after the FIN");
    net.peer_shutdown(peer);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Receive).outcome, Outcome::EndOfStream));
    assert!(matches!(of(&done, Operation::Hangup).outcome, Outcome::HungUp { reset: true }));
    send(&mut ring, b"x");
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Send).outcome, Outcome::SendFailed(Errno::PIPE, _)));
}

#[test]
fn unread_bytes_turn_a_close_into_a_reset() {
    let (mut ring, net, peer) = connected(9, SimOptions::default());
    net.peer_set_rate(peer, PeerRate::Stalled);
    send(&mut ring, b"goodbye");
    turn(&mut ring);
    net.peer_write(peer, b"unread");
    push(&mut ring, Operation::Close, Submission::Close);
    turn(&mut ring);
    net.peer_set_rate(peer, PeerRate::Instant);
    let state = net.peer_state(peer);
    assert!(state.reset && !state.finished);
    assert_eq!(net.peer_read(peer), b"", "what was under way is lost");
}

#[test]
fn a_reset_is_told_once() {
    let (mut ring, net, peer) = connected(10, SimOptions::default());
    receive(&mut ring);
    turn(&mut ring);
    net.peer_reset(peer);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Receive).outcome, Outcome::Failed(Errno::CONNRESET)));
    send(&mut ring, b"x");
    push(&mut ring, Operation::Shutdown, Submission::ShutdownBoth);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Send).outcome, Outcome::SendFailed(Errno::PIPE, _)));
    assert!(matches!(of(&done, Operation::Shutdown).outcome, Outcome::Failed(Errno::NOTCONN)));
    receive(&mut ring);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Receive).outcome, Outcome::EndOfStream));
}

#[test]
fn a_doorbell_ends_one_wait() {
    let mut ring = SimRing::new(11, SimOptions::default());
    ring.doorbell().ring();
    ring.doorbell().ring();
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Doorbell).outcome, Outcome::Rang));
    assert_eq!(ring.now(), Moment::default());
    assert!(turn(&mut ring).is_empty());
    assert_eq!(ring.now(), Moment::from_millis(1_000));
}

#[test]
fn time_stalls_and_waits_end_for_nothing() {
    let faults = Faults { stall: 500, spurious_return: 500, ..Faults::none() };
    let mut ring = SimRing::new(12, SimOptions { faults, ..SimOptions::default() });
    let (mut early, mut late) = (0, 0);
    for _ in 0..100 {
        let until = ring.now() + std::time::Duration::from_millis(100);
        ring.submit_and_wait(Some(until)).unwrap();
        early += u32::from(ring.now() < until);
        late += u32::from(ring.now() > until);
    }
    assert!(early > 10 && late > 10, "{early} {late}");
}

#[test]
fn a_driver_acts_while_the_ring_waits() {
    let mut ring = SimRing::new(13, SimOptions::default());
    ring.set_driver(|net| {
        let due = Moment::from_millis(5_000);
        if net.now() == due {
            net.connect(0);
        }
        (net.now() < due).then_some(due)
    });
    ring.push(token(Operation::Accept, 0, 0), Submission::Accept);
    ring.submit_and_wait(None).unwrap();
    assert!(matches!(ring.next_completion().unwrap().outcome, Outcome::Accepted(0)));
    assert_eq!(ring.now(), Moment::from_millis(5_000));
}

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
    push(&mut ring, Operation::Cancel, Submission::CancelAll);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Cancel).outcome, Outcome::Failed(Errno::BADF)));
    receive(&mut ring);
}

/// Slot 0 with its second owner, which has a receive armed under generation 2.
fn reused(seed: u64, options: SimOptions) -> (SimRing, SimNet, PeerId) {
    let (mut ring, net, _) = connected(seed, options);
    receive(&mut ring);
    push(&mut ring, Operation::Cancel, Submission::CancelReceive);
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
    push(&mut ring, Operation::Cancel, Submission::CancelReceive);
    turn(&mut ring);
    push(&mut ring, Operation::Close, Submission::Close);
    net.connect(0);
    turn(&mut ring);
    receive(&mut ring);
}

#[test]
fn a_stale_cancel_of_all_ends_what_belongs_to_a_stranger() {
    let (mut ring, net, _) = reused(20, lenient());
    push(&mut ring, Operation::Cancel, Submission::CancelReceive);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Cancel).outcome, Outcome::Failed(Errno::NOENT)));
    assert_eq!(done.len(), 1);
    push(&mut ring, Operation::Cancel, Submission::CancelAll);
    let done = turn(&mut ring);
    assert_eq!(of(&done, Operation::Receive).token, token(Operation::Receive, 0, 2));
    assert_eq!(net.violations(), [Violation::GenerationStale]);
}
