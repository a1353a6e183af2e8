//! What sockets do under sends, shutdowns, resets and slow peers.

use super::*;
use crate::ring::sim::PeerRate;

#[test]
fn a_cancelled_send_tells_what_was_sent() {
    let options = SimOptions { send_buffer_bytes: 1_000, ..SimOptions::default() };
    let (mut ring, net, peer) = connected(5, options);
    net.peer_set_rate(peer, PeerRate::Stalled);
    for (expected, unsent) in [(Some(1_000), 4_000), (None, 4_000)] {
        send(&mut ring, &[9; 5_000]);
        assert!(turn(&mut ring).is_empty());
        push(&mut ring, Operation::Cancel, Submission::Cancel(Operation::Send));
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
fn a_close_sends_fin_behind_what_was_sent() {
    let options = SimOptions { send_buffer_bytes: 1_000, ..SimOptions::default() };
    let (mut ring, net, peer) = connected(7, options);
    net.peer_set_rate(peer, PeerRate::Stalled);
    receive(&mut ring);
    send(&mut ring, &[1; 5_000]);
    push(&mut ring, Operation::Hangup, Submission::AwaitHangup);
    assert!(turn(&mut ring).is_empty());
    for operation in [Operation::Receive, Operation::Send, Operation::Hangup] {
        push(&mut ring, Operation::Cancel, Submission::Cancel(operation));
        let done = turn(&mut ring);
        assert!(matches!(of(&done, Operation::Cancel).outcome, Outcome::Done));
        match &of(&done, operation).outcome {
            Outcome::Failed(Errno::CANCELED) | Outcome::Sent(1_000, _) => {}
            other => panic!("{other:?}"),
        }
    }
    push(&mut ring, Operation::Close, Submission::Close);
    turn(&mut ring);
    assert!(!net.peer_state(peer).finished);
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
    assert!(matches!(of(&done, Operation::Hangup).outcome, Outcome::HungUp { reset: false }));
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
fn a_close_is_a_reset_where_that_is_wanted() {
    let (mut ring, net, peer) = connected(23, SimOptions::default());
    send(&mut ring, b"goodbye");
    turn(&mut ring);
    push(&mut ring, Operation::ResetOnClose, Submission::ResetOnClose);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::ResetOnClose).outcome, Outcome::Done));
    assert!(!net.peer_state(peer).reset);
    push(&mut ring, Operation::Close, Submission::Close);
    turn(&mut ring);
    let state = net.peer_state(peer);
    assert!(state.reset && !state.finished);
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
    push(&mut ring, Operation::Shutdown, Submission::ShutdownWrite);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Send).outcome, Outcome::SendFailed(Errno::PIPE, _)));
    assert!(matches!(of(&done, Operation::Shutdown).outcome, Outcome::Failed(Errno::NOTCONN)));
    receive(&mut ring);
    let done = turn(&mut ring);
    assert!(matches!(of(&done, Operation::Receive).outcome, Outcome::EndOfStream));
}

#[test]
fn an_accept_of_one_takes_one_and_has_to_be_armed_again() {
    let mut ring = SimRing::new(5, SimOptions::default());
    let net = ring.net();
    for _ in 0..2 {
        net.connect(0);
    }
    for slot in 0..2 {
        ring.push(token(Operation::Accept, 0, 0), Submission::AcceptOne);
        let mut accepted = Vec::new();
        while accepted.is_empty() {
            accepted = turn(&mut ring);
        }
        assert!(matches!(accepted[..], [Completion { more: false, .. }]), "{accepted:?}");
        assert!(matches!(accepted[0].outcome, Outcome::Accepted(taken) if taken == slot));
        assert!(turn(&mut ring).is_empty());
    }
}
