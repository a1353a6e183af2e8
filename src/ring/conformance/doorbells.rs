//! Waits: their deadline, and the bell that ends them.

use super::super::{Outcome, Ring, Submission};
use super::stage::Stage;
use super::{Link, Sizes, World};
use std::time::Duration;

/// That it rang was told, and nothing else.
fn assert_rang<W: World>(stage: &mut Stage<W>) {
    let told = stage.told();
    let rang = |outcome: &Outcome| matches!(outcome, Outcome::Rang);
    assert!(!told.is_empty() && told.iter().all(|done| rang(&done.outcome)), "{told:?}");
}

pub(super) fn a_bell_rung_before_the_wait_ends_it<W: World>() {
    let mut stage = Stage::<W>::new(Sizes::default());
    // Also one that was rung before the ring was entered at all.
    for _ in 0..3 {
        stage.world.ring().doorbell().ring();
        stage.wait();
        assert_rang(&mut stage);
        stage.expect_quiet();
    }
}

pub(super) fn a_bell_rung_during_the_wait_ends_it<W: World>() {
    let mut stage = Stage::<W>::new(Sizes::default());
    stage.expect_quiet();
    stage.world.ring_during_the_wait();
    stage.wait();
    assert_rang(&mut stage);
    stage.expect_quiet();
}

pub(super) fn a_bell_rung_often_is_told_at_least_once_and_then_no_more<W: World>() {
    let mut stage = Stage::<W>::new(Sizes::default());
    let bell = stage.world.ring().doorbell();
    (0..1_000).for_each(|_| bell.ring());
    stage.turn();
    assert_rang(&mut stage);
    stage.expect_quiet();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| (0..100).for_each(|_| bell.ring()));
        }
    });
    stage.turn();
    assert_rang(&mut stage);
    stage.expect_quiet();
}

pub(super) fn a_wait_lasts_until_its_deadline_and_no_longer_than_there_is_something<W: World>() {
    let (mut stage, owner, _peer) = Stage::<W>::connected(Link::V4);
    let ring = stage.world.ring();
    let until = ring.now() + Duration::from_millis(30);
    ring.submit_and_wait(Some(until)).expect("a ring that works");
    assert!(ring.now() >= until && ring.next_completion().is_none());
    // Of a deadline that has passed there is nothing to wait for.
    ring.submit_and_wait(Some(until)).expect("a ring that works");
    // Nor of something that is told.
    stage.push(owner, Submission::Unacknowledged);
    stage.wait();
    stage.expect(&["unacknowledged: 0"]);
}

pub(super) fn a_bell_may_be_rung_when_its_ring_is_gone<W: World>() {
    let mut stage = Stage::<W>::new(Sizes::default());
    let bell = stage.world.ring().doorbell();
    drop(stage);
    bell.ring();
}
