//! Half-closes and closes, and what the peer sees of them.

use super::super::{Operation, Submission};
use super::stage::{LONG, Stage, send_of, stream};
use super::{End, Link, World};

pub(super) fn after_a_half_close_the_peer_can_still_speak<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, Submission::Receive);
        stage.push(owner, Submission::ShutdownWrite);
        stage.expect(&["shutdown: done"]);
        assert_eq!(stage.peer_sees(&mut peer), (Vec::new(), End::Finished));
        stage.peer_writes(&mut peer, b"more");
        stage.expect(&["receive: more …"]);
        stage.world.shut_down(&mut peer);
        stage.expect(&["receive: end"]);
        stage.push(owner, Submission::Close);
        stage.expect(&["close: done"]);
    }
}

pub(super) fn a_half_close_of_what_is_broken_fails<W: World>() {
    let (mut stage, owner, peer) = Stage::<W>::connected(Link::V4);
    stage.world.reset(peer);
    stage.expect_quiet();
    stage.push(owner, Submission::ShutdownWrite);
    stage.expect(&["shutdown: not connected"]);
}

pub(super) fn a_close_says_goodbye_behind_what_was_sent<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, send_of(&[b"goodbye"]));
        stage.expect(&["send: 7 of 7"]);
        stage.push(owner, Submission::Close);
        stage.expect(&["close: done"]);
        assert_eq!(stage.peer_sees(&mut peer), (b"goodbye".to_vec(), End::Finished));
    }
}

pub(super) fn a_close_delivers_what_the_peer_has_not_taken_yet<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, send_of(&[&stream(LONG)]));
        stage.expect_quiet();
        stage.push(owner, Submission::Cancel(Operation::Send));
        stage.take(2);
        stage.push(owner, Submission::Close);
        stage.expect(&["close: done"]);
        let (bytes, end) = stage.peer_sees(&mut peer);
        assert_eq!(end, End::Finished, "{link:?}");
        assert!(!bytes.is_empty() && bytes == stream(LONG)[..bytes.len()], "{link:?}");
    }
}

pub(super) fn a_close_before_everything_was_read_is_a_reset<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.peer_writes(&mut peer, b"unread");
        stage.expect_quiet();
        stage.push(owner, Submission::Close);
        stage.expect(&["close: done"]);
        assert_eq!(stage.peer_sees(&mut peer), (Vec::new(), End::Reset), "{link:?}");
    }
}

pub(super) fn a_close_is_a_reset_where_that_was_asked_for<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, Submission::ResetOnClose);
        stage.expect(&["reset on close: done"]);
        stage.peer_sees_no_end(&mut peer);
        stage.push(owner, Submission::Close);
        stage.expect(&["close: done"]);
        let end = if link == Link::Unix { End::Finished } else { End::Reset };
        assert_eq!(stage.peer_sees(&mut peer), (Vec::new(), end), "{link:?}");
    }
}

pub(super) fn what_a_peer_says_to_a_closed_slot_reaches_nobody<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, Submission::Close);
        stage.expect(&["close: done"]);
        let (next, mut next_peer) = stage.connect(link);
        stage.push(next, Submission::Receive);
        stage.peer_writes(&mut peer, b"for nobody");
        stage.expect_quiet();
        stage.peer_writes(&mut next_peer, b"hello");
        stage.expect(&["receive: hello …"]);
    }
}

pub(super) fn a_reset_on_close_drops_what_the_peer_has_not_taken<W: World>() {
    let (mut stage, owner, mut peer) = Stage::<W>::connected(Link::V4);
    stage.push(owner, send_of(&[&stream(LONG)]));
    stage.expect_quiet();
    stage.push(owner, Submission::Cancel(Operation::Send));
    stage.take(2);
    stage.push(owner, Submission::ResetOnClose);
    stage.expect(&["reset on close: done"]);
    stage.push(owner, Submission::Close);
    stage.expect(&["close: done"]);
    let (bytes, end) = stage.peer_sees(&mut peer);
    assert_eq!(end, End::Reset);
    assert!(bytes == stream(LONG)[..bytes.len()]);
}

pub(super) fn a_half_close_twice_is_one<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        for _ in 0..2 {
            stage.push(owner, Submission::ShutdownWrite);
            stage.expect(&["shutdown: done"]);
        }
        assert_eq!(stage.peer_sees(&mut peer), (Vec::new(), End::Finished));
    }
}
