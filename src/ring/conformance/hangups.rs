//! Waiting for the peer's end without reading.

use super::super::Submission;
use super::stage::{Stage, line, send_of};
use super::{End, Link, World};

pub(super) fn the_end_of_the_peer_is_told_though_nothing_was_read<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, Submission::AwaitHangup);
        stage.peer_writes(&mut peer, b"unread");
        stage.expect_quiet();
        stage.world.shut_down(&mut peer);
        stage.expect(&["hangup: closed"]);
        stage.push(owner, Submission::Receive);
        stage.expect(&["receive: unread …", "receive: end"]);
    }
}

pub(super) fn an_end_that_has_come_is_told_at_once_and_again<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.world.shut_down(&mut peer);
        stage.expect_quiet();
        for _ in 0..2 {
            stage.push(owner, Submission::AwaitHangup);
            stage.expect(&["hangup: closed"]);
        }
    }
}

pub(super) fn a_reset_is_told_as_one<W: World>() {
    for armed_before in [true, false] {
        let (mut stage, owner, peer) = Stage::<W>::connected(Link::V4);
        if armed_before {
            stage.push(owner, Submission::AwaitHangup);
            stage.expect_quiet();
        }
        stage.world.reset(peer);
        if !armed_before {
            stage.expect_quiet();
            stage.push(owner, Submission::AwaitHangup);
        }
        stage.expect(&["hangup: reset"]);
        // It was not used up by that.
        stage.push(owner, Submission::Receive);
        stage.expect(&["receive: reset"]);
    }
}

/// Both directions are shut, but nothing is broken.
pub(super) fn an_end_of_both_sides_is_no_reset<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, Submission::AwaitHangup);
        stage.push(owner, Submission::ShutdownWrite);
        stage.expect(&["shutdown: done"]);
        assert_eq!(stage.peer_sees(&mut peer), (Vec::new(), End::Finished));
        stage.world.shut_down(&mut peer);
        stage.expect(&["hangup: closed"]);
    }
}

pub(super) fn a_wait_for_the_end_does_not_hinder_the_others<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push_all(owner, [Submission::AwaitHangup, Submission::Receive]);
        stage.peer_writes(&mut peer, b"hello");
        stage.expect(&["receive: hello …"]);
        stage.push(owner, send_of(&[b"world"]));
        stage.expect(&["send: 5 of 5"]);
        assert_eq!(stage.peer_reads(&mut peer, 5), b"world");
        stage.world.shut_down(&mut peer);
        stage.expect_in_any_order(&["receive: end", "hangup: closed"]);
    }
}

/// To the hang-up as a mere end, if the receive came first; and as that to who asks later.
pub(super) fn a_reset_is_told_to_the_receive_and_the_hangup<W: World>() {
    let (mut stage, owner, peer) = Stage::<W>::connected(Link::V4);
    stage.push_all(owner, [Submission::Receive, Submission::AwaitHangup]);
    stage.expect_quiet();
    stage.world.reset(peer);
    let mut told: Vec<String> = stage.take(2).iter().map(line).collect();
    told.sort_unstable();
    assert!(["hangup: closed", "hangup: reset"].contains(&&*told[0]), "{told:?}");
    assert_eq!(told[1], "receive: reset");
    stage.push(owner, Submission::AwaitHangup);
    stage.expect(&["hangup: closed"]);
}
