//! Receives: until told otherwise and of one shot; buffers that are used up; the end.

use super::super::{Operation, Outcome, ReceiveMode, Ring, Submission};
use super::stage::{Owner, Stage, line, stream};
use super::{Link, Sizes, World};

/// One buffer, which holds less than what comes.
fn one_buffer() -> Sizes {
    Sizes { buffer_count: 1, buffer_bytes: 512, ..Sizes::default() }
}

fn once(bytes_max: u32) -> Submission {
    Submission::ReceiveOnce { bytes_max }
}

pub(super) fn a_receive_stays_armed_until_the_end<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.peer_writes(&mut peer, b"early");
        stage.push(owner, Submission::Receive);
        stage.expect(&["receive: early …"]);
        stage.expect_quiet();
        stage.peer_writes(&mut peer, b"late");
        stage.expect(&["receive: late …"]);
        stage.world.shut_down(&mut peer);
        stage.expect(&["receive: end"]);
        stage.push(owner, Submission::Receive);
        stage.expect(&["receive: end"]);
    }
}

pub(super) fn what_came_before_the_end_is_told_before_it<W: World>() {
    for link in W::links() {
        for mode in W::receive_modes() {
            let sizes = Sizes { receive: mode, ..Sizes::default() };
            let (mut stage, owner, mut peer) = Stage::<W>::sized(sizes, link);
            stage.peer_writes(&mut peer, b"goodbye");
            stage.world.shut_down(&mut peer);
            stage.push(owner, Submission::Receive);
            stage.expect(&["receive: goodbye …", "receive: end"]);
        }
    }
}

pub(super) fn a_reset_is_told_to_the_receive_and_after_it_there_is_nothing<W: World>() {
    let (mut stage, owner, peer) = Stage::<W>::connected(Link::V4);
    stage.push(owner, Submission::Receive);
    stage.expect_quiet();
    stage.world.reset(peer);
    stage.expect(&["receive: reset"]);
    stage.push(owner, once(100));
    stage.expect(&["receive: end"]);
}

pub(super) fn a_stream_comes_whole_through_few_buffers<W: World>() {
    for link in W::links() {
        for receive in W::receive_modes() {
            let sizes = Sizes { buffer_count: 2, buffer_bytes: 512, receive, ..Sizes::default() };
            let (mut stage, owner, mut peer) = Stage::<W>::sized(sizes, link);
            let sent = stream(20_000);
            stage.peer_writes(&mut peer, &sent);
            assert!(stage.receives(owner, sent.len()) == sent, "{link:?} {receive:?}");
        }
    }
}

pub(super) fn a_receive_of_one_shot_takes_no_more_than_it_may_and_ends<W: World>() {
    for link in W::links() {
        for receive in W::receive_modes() {
            let sizes = Sizes { receive, ..Sizes::default() };
            let (mut stage, owner, mut peer) = Stage::<W>::sized(sizes, link);
            stage.push(owner, once(5));
            stage.expect_quiet();
            stage.peer_writes(&mut peer, b"hello world");
            stage.expect(&["receive: hello"]);
            stage.push(owner, once(1));
            stage.expect(&["receive:  "]);
            stage.push(owner, once(100));
            stage.expect(&["receive: world"]);
            stage.world.shut_down(&mut peer);
            stage.expect_quiet();
            stage.push(owner, once(100));
            stage.expect(&["receive: end"]);
        }
    }
}

pub(super) fn a_receive_of_one_shot_takes_no_more_than_its_buffer_holds<W: World>() {
    let (mut stage, owner, mut peer) = Stage::<W>::sized(one_buffer(), Link::V4);
    stage.peer_writes(&mut peer, &stream(600));
    stage.push(owner, once(10_000));
    stage.expect(&["receive: 512 bytes"]);
    stage.push(owner, once(10_000));
    stage.expect(&["receive: 88 bytes"]);
}

pub(super) fn without_a_buffer_a_receive_ends_and_nothing_is_lost<W: World>() {
    let (mut stage, owner, mut peer) = Stage::<W>::sized(one_buffer(), Link::V4);
    stage.peer_writes(&mut peer, &stream(700));
    stage.push(owner, Submission::Receive);
    let mut told = stage.take(2);
    stage.expect_quiet();
    let Outcome::Received(first) = told.remove(0).outcome else { panic!("{told:?}") };
    assert_eq!(first.len(), 512);
    assert_eq!(line(&told[0]), "receive: no buffer");
    assert_eq!(stage.world.ring().free_buffer_eighths(), 0);
    assert_eq!(stage.world.ring().counters().out_of_buffers, 1);
    // Nor has a receive of one shot a buffer.
    stage.push(owner, once(100));
    stage.expect(&["receive: no buffer"]);
    assert!(*first == stream(700)[..512], "what was delivered stays as it was");
    drop(first);
    assert_eq!(stage.world.ring().free_buffer_eighths(), 8);
    stage.expect_quiet();
    assert!(stage.receives(owner, 188) == stream(700)[512..]);
}

pub(super) fn what_is_leased_stays_as_it_is_while_more_comes<W: World>() {
    for receive in W::receive_modes() {
        let sizes = Sizes { buffer_count: 4, buffer_bytes: 512, receive, ..Sizes::default() };
        let (mut stage, owner, mut peer) = Stage::<W>::sized(sizes, Link::V4);
        stage.push(owner, Submission::Receive);
        let mut held = Vec::new();
        for number in 0..3 {
            stage.peer_writes(&mut peer, &[number; 100]);
            held.extend(stage.take(1));
        }
        for (number, completion) in held.iter().enumerate() {
            let Outcome::Received(lease) = &completion.outcome else { panic!("{completion:?}") };
            assert_eq!(**lease, [number as u8; 100], "{receive:?}");
        }
        // Three of them hold three buffers, or parts of one that is still in use.
        let free = if receive == ReceiveMode::Classic { 2 } else { 8 };
        assert_eq!(stage.world.ring().free_buffer_eighths(), free);
        held.clear();
        assert_eq!(stage.world.ring().free_buffer_eighths(), 8);
    }
}

/// Both wait for the only buffer; the one that was armed before has to go without.
pub(super) fn of_the_receives_that_find_something_the_one_pushed_now_is_first<W: World>() {
    let (mut stage, greedy, mut greedy_peer) = Stage::<W>::sized(one_buffer(), Link::V4);
    let (patient, mut patient_peer) = stage.connect(Link::V4);
    let (last, mut last_peer) = stage.connect(Link::V4);
    stage.push(greedy, Submission::Receive);
    stage.expect_quiet();
    stage.peer_writes(&mut last_peer, b"last");
    stage.peer_writes(&mut patient_peer, b"mine");
    stage.peer_writes(&mut greedy_peer, &stream(5_000));
    stage.push(patient, once(512));
    stage.push(last, once(512));
    let told = stage.take(3);
    let of = |owner: Owner| {
        let token = owner.token(Operation::Receive);
        line(told.iter().find(|done| done.token == token).expect("told"))
    };
    assert_eq!(of(patient), "receive: mine");
    assert_eq!(of(last), "receive: no buffer");
    assert_eq!(of(greedy), "receive: no buffer");
}

/// It does not wait for something to receive first.
pub(super) fn a_receive_that_is_pushed_while_no_buffer_is_free_ends_at_once<W: World>() {
    for receive in [Submission::Receive, once(100)] {
        let (mut stage, greedy, mut peer) = Stage::<W>::sized(one_buffer(), Link::V4);
        let (quiet, mut quiet_peer) = stage.connect(Link::V4);
        stage.peer_writes(&mut peer, &stream(512));
        stage.push(greedy, once(512));
        let held = stage.take(1);
        stage.push(quiet, receive);
        stage.expect(&["receive: no buffer"]);
        drop(held);
        stage.peer_writes(&mut quiet_peer, b"hello");
        stage.expect_quiet();
        stage.push(quiet, once(100));
        stage.expect(&["receive: hello"]);
    }
}

/// Some of it may be lost with the connection.
pub(super) fn what_came_before_a_reset_may_be_told_before_it<W: World>() {
    let (mut stage, owner, mut peer) = Stage::<W>::connected(Link::V4);
    stage.peer_writes(&mut peer, &stream(100));
    stage.expect_quiet();
    stage.world.reset(peer);
    stage.expect_quiet();
    stage.push(owner, Submission::Receive);
    let mut told = stage.take(1);
    if told[0].more {
        told.extend(stage.take(1));
    }
    assert_eq!(line(&told.pop().expect("an end")), "receive: reset");
    for completion in told {
        let Outcome::Received(lease) = completion.outcome else { panic!("{completion:?}") };
        assert!(*lease == stream(100)[..lease.len()]);
    }
}

pub(super) fn an_armed_receive_outlasts_a_time_without_buffers<W: World>() {
    let (mut stage, greedy, mut greedy_peer) = Stage::<W>::sized(one_buffer(), Link::V4);
    let (quiet, mut quiet_peer) = stage.connect(Link::V4);
    stage.push(quiet, Submission::Receive);
    stage.expect_quiet();
    stage.peer_writes(&mut greedy_peer, &stream(512));
    stage.push(greedy, once(512));
    let held = stage.take(1);
    stage.expect_quiet();
    drop(held);
    stage.turn();
    stage.peer_writes(&mut quiet_peer, b"hello");
    stage.expect(&["receive: hello …"]);
}
