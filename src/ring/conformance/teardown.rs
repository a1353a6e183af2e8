//! Rings that end with or without something in flight.

use super::super::{Outcome, Submission};
use super::World;
use super::stage::{LONG, Stage, listener, send_of, stream};

pub(super) fn a_ring_may_end_with_everything_in_flight<W: World>() {
    for link in W::links() {
        let (mut stage, owner, peer) = Stage::<W>::connected(link);
        stage.push(listener(link), Submission::Accept);
        stage.push_all(owner, [Submission::Receive, Submission::AwaitHangup]);
        stage.push(owner, send_of(&[&stream(LONG)]));
        stage.expect_quiet();
        // Some of it was not handed to the kernel yet.
        stage.push(owner, Submission::Unacknowledged);
        drop(stage);
        drop(peer);
    }
}

pub(super) fn what_was_received_outlives_its_ring<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, Submission::Receive);
        stage.peer_writes(&mut peer, b"hello");
        let told = stage.take(1).remove(0);
        drop(stage);
        let Outcome::Received(lease) = told.outcome else { panic!("{told:?}") };
        assert_eq!(*lease, *b"hello");
    }
}
