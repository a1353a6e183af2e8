//! Each trap of submissions and completions, shown once.

use super::*;
use crate::clock::Moment;
use crate::ring::ReceiveMode;
use std::collections::BTreeSet;

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
    push(&mut ring, Operation::Cancel, Submission::Cancel(Operation::Receive));
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
fn a_receive_of_one_shot_takes_one_buffer_and_ends() {
    let options = SimOptions { buffer_count: 2, buffer_bytes: 512, ..SimOptions::default() };
    let (mut ring, net, peer) = connected(2, options);
    net.peer_write(peer, &[7; 1_300]);
    // As many as asked for, the rest of the first buffer, the beginning of the second.
    for expected in [400, 112, 400, 112] {
        receive_once(&mut ring, 400);
        let done = turn(&mut ring);
        assert!(matches!(&done[..], [Completion { more: false, .. }]), "{done:?}");
        assert_eq!(bytes(&done).len(), expected);
        assert!(turn(&mut ring).is_empty(), "it has ended");
    }
    let mut held = Vec::new();
    net.peer_write(peer, &[8; 1_300]);
    while !held.iter().any(|done: &Completion| matches!(done.outcome, Outcome::Failed(_))) {
        receive_once(&mut ring, 512);
        held.extend(turn(&mut ring));
    }
    let last = held.pop().unwrap();
    assert!(matches!(last.outcome, Outcome::Failed(Errno::NOBUFS)) && !last.more);
    let received = bytes(&held).len();
    held.clear();
    let mut left = 0;
    while received + left < 276 + 1_300 {
        receive_once(&mut ring, 512);
        left += bytes(&turn(&mut ring)).len();
    }
    assert!(left > 0, "what found no buffer is still there");
    receive_once(&mut ring, 512);
    assert!(turn(&mut ring).is_empty(), "it waits for something to come");
    net.peer_shutdown(peer);
    assert!(matches!(of(&turn(&mut ring), Operation::Receive).outcome, Outcome::EndOfStream));
}

#[test]
fn a_multishot_receive_takes_every_buffer_of_a_peer_that_floods() {
    let options = SimOptions { buffer_count: 16, buffer_bytes: 4_096, ..SimOptions::default() };
    let (mut ring, net, peer) = connected(3, options);
    net.peer_floods(peer, b"again ");
    receive(&mut ring);
    let done = turn(&mut ring);
    assert_eq!(bytes(&done), b"again ".repeat(11_000)[..16 * 4_096]);
    let last = done.last().unwrap();
    assert!(matches!(last.outcome, Outcome::Failed(Errno::NOBUFS)) && !last.more);
    drop(done);
    receive_once(&mut ring, 100);
    assert_eq!(bytes(&turn(&mut ring)).len(), 100);
    let before = ring.now();
    (0..16).for_each(|_| ring.submit_and_wait(Some(before)).unwrap());
    assert!(ring.now() > before, "time passes though nobody waits");
}

#[test]
fn of_two_receives_the_one_pushed_now_has_the_first_buffer() {
    let options = SimOptions {
        buffer_count: 1,
        buffer_bytes: 512,
        receive: ReceiveMode::Classic,
        ..SimOptions::default()
    };
    let (mut ring, net, greedy) = connected(3, options);
    let patient = net.connect(0);
    turn(&mut ring);
    receive(&mut ring);
    turn(&mut ring);
    net.peer_write(greedy, &[7; 5_000]);
    net.peer_write(patient, b"mine");
    let once = Submission::ReceiveOnce { bytes_max: 512 };
    ring.push(token(Operation::Receive, 1, 1), once);
    assert_eq!(bytes(&turn(&mut ring)), b"mine");
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
        push(&mut ring, Operation::Cancel, Submission::Cancel(Operation::Receive));
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
