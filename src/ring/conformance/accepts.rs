//! Accepts: of many, of one, without a slot.

use super::super::{Operation, Outcome, Ring, Submission};
use super::stage::{Owner, Stage, listener};
use super::{Link, Sizes, World};

pub(super) fn an_accept_takes_everyone_until_it_is_cancelled<W: World>() {
    for link in W::links() {
        let mut stage = Stage::<W>::new(Sizes::default());
        let early = stage.world.connect(link);
        stage.push(listener(link), Submission::Accept);
        stage.expect(&["accept: a slot …"]);
        let late = [stage.world.connect(link), stage.world.connect(link)];
        stage.expect(&["accept: a slot …", "accept: a slot …"]);
        stage.push(listener(link), Submission::Cancel(Operation::Accept));
        stage.expect_in_any_order(&["cancel: done", "accept: cancelled"]);
        let nobody = stage.world.connect(link);
        stage.expect_quiet();
        drop((early, late, nobody));
    }
}

pub(super) fn an_accept_of_one_takes_one<W: World>() {
    for link in W::links() {
        let mut stage = Stage::<W>::new(Sizes::default());
        let peers = [stage.world.connect(link), stage.world.connect(link)];
        for _ in &peers {
            stage.push(listener(link), Submission::AcceptOne);
            stage.expect(&["accept: a slot"]);
        }
        stage.push(listener(link), Submission::AcceptOne);
        stage.expect_quiet();
        let third = stage.world.connect(link);
        stage.expect(&["accept: a slot"]);
        drop((peers, third));
    }
}

pub(super) fn every_accept_names_its_listener_and_gives_another_slot<W: World>() {
    let mut stage = Stage::<W>::new(Sizes::default());
    let mut slots = Vec::new();
    let mut peers = Vec::new();
    for link in W::links() {
        stage.push(listener(link), Submission::Accept);
    }
    for link in W::links() {
        peers.push(stage.world.connect(link));
        let accepted = stage.take(1).remove(0);
        assert_eq!(accepted.token, listener(link).token(Operation::Accept));
        let Outcome::Accepted(slot) = accepted.outcome else { panic!("{accepted:?}") };
        assert!(slot < stage.world.ring().slots());
        slots.push(slot);
    }
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), peers.len());
}

/// Whether the connection for which there was none is lost, or waits, is the ring's affair.
pub(super) fn without_a_slot_an_accept_ends<W: World>() {
    for accept in [|| Submission::Accept, || Submission::AcceptOne] {
        let sizes = Sizes { slots: 1, ..Sizes::default() };
        let (mut stage, owner, first) = Stage::<W>::sized(sizes, Link::V4);
        stage.push(listener(Link::V4), accept());
        let second = stage.world.connect(Link::V4);
        stage.expect(&["accept: no slot"]);
        stage.push(owner, Submission::Close);
        stage.expect(&["close: done"]);
        stage.push(listener(Link::V4), Submission::AcceptOne);
        let third = stage.world.connect(Link::V4);
        stage.expect(&["accept: a slot"]);
        drop((first, second, third));
    }
}

pub(super) fn a_slot_that_was_given_back_has_another_owner<W: World>() {
    let sizes = Sizes { slots: 1, ..Sizes::default() };
    let (mut stage, first, first_peer) = Stage::<W>::sized(sizes, Link::V4);
    stage.push(first, Submission::Close);
    stage.expect(&["close: done"]);
    let (second, mut second_peer) = stage.connect(Link::V4);
    assert_eq!(second, Owner { generation: first.generation + 1, ..first });
    stage.push(second, Submission::Receive);
    stage.expect_quiet();
    // What the first owner asks for does not reach the second.
    stage.push(first, Submission::Cancel(Operation::Receive));
    stage.expect(&["cancel: not there"]);
    stage.peer_writes(&mut second_peer, b"hello");
    let told = stage.take(1).remove(0);
    assert_eq!((told.token, told.more), (second.token(Operation::Receive), true));
    drop(first_peer);
}
