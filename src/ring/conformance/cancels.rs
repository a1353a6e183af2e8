//! Cancels: of what is armed, of what is done, of what was never there.

use super::super::{Operation, Outcome, Submission};
use super::stage::{LONG, Owner, Stage, line, listener, send_of, stream};
use super::{Link, World};

/// What can be armed on a slot.
fn armed() -> [(Operation, Submission, &'static str); 3] {
    [
        (Operation::Receive, Submission::Receive, "receive: cancelled"),
        (Operation::Receive, Submission::ReceiveOnce { bytes_max: 10 }, "receive: cancelled"),
        (Operation::Hangup, Submission::AwaitHangup, "hangup: cancelled"),
    ]
}

pub(super) fn what_is_armed_ends_as_cancelled<W: World>() {
    for link in W::links() {
        let (mut stage, owner, _peer) = Stage::<W>::connected(link);
        for (operation, submission, ended) in armed() {
            stage.push(owner, submission);
            stage.expect_quiet();
            stage.push(owner, Submission::Cancel(operation));
            stage.expect_in_any_order(&["cancel: done", ended]);
        }
    }
}

pub(super) fn what_is_cancelled_in_the_batch_of_its_push_ends_as_well<W: World>() {
    let (mut stage, owner, _peer) = Stage::<W>::connected(Link::V4);
    for (operation, submission, ended) in armed() {
        stage.push(owner, submission);
        stage.push(owner, Submission::Cancel(operation));
        stage.expect_in_any_order(&["cancel: done", ended]);
    }
    for accept in [Submission::Accept, Submission::AcceptOne] {
        stage.push(listener(Link::V4), accept);
        stage.push(listener(Link::V4), Submission::Cancel(Operation::Accept));
        stage.expect_in_any_order(&["cancel: done", "accept: cancelled"]);
    }
}

pub(super) fn what_was_never_there_or_is_done_is_not_found<W: World>() {
    let (mut stage, owner, mut peer) = Stage::<W>::connected(Link::V4);
    let kinds = [Operation::Receive, Operation::Send, Operation::Hangup];
    for operation in kinds {
        stage.push(owner, Submission::Cancel(operation));
        stage.expect(&["cancel: not there"]);
    }
    stage.push(listener(Link::V4), Submission::Cancel(Operation::Accept));
    stage.expect(&["cancel: not there"]);
    stage.push_all(owner, [Submission::Receive, Submission::AwaitHangup, send_of(&[b"hello"])]);
    stage.world.shut_down(&mut peer);
    stage.expect_in_any_order(&["receive: end", "hangup: closed", "send: 5 of 5"]);
    for operation in kinds {
        stage.push(owner, Submission::Cancel(operation));
        stage.expect(&["cancel: not there"]);
    }
}

pub(super) fn a_cancel_ends_one_kind_of_one_owner<W: World>() {
    let (mut stage, owner, mut peer) = Stage::<W>::connected(Link::V4);
    let (other, mut other_peer) = stage.connect(Link::V4);
    stage.push_all(owner, [Submission::Receive, Submission::AwaitHangup]);
    stage.push(other, Submission::Receive);
    stage.expect_quiet();
    // Of an owner that the slot had before, or will have.
    for generation in [owner.generation - 1, owner.generation + 1] {
        let stale = Owner { generation, ..owner };
        stage.push(stale, Submission::Cancel(Operation::Receive));
        stage.expect(&["cancel: not there"]);
    }
    stage.push(owner, Submission::Cancel(Operation::Receive));
    stage.expect_in_any_order(&["cancel: done", "receive: cancelled"]);
    stage.peer_writes(&mut other_peer, b"hello");
    stage.expect(&["receive: hello …"]);
    stage.world.shut_down(&mut peer);
    stage.expect(&["hangup: closed"]);
}

/// Whether the receive or the cancel is first is open; that no byte is lost is not.
pub(super) fn a_cancel_that_meets_what_comes_loses_nothing<W: World>() {
    for link in W::links() {
        for round in 0..20 {
            let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
            let sent = stream(2_000 + round);
            stage.push(owner, Submission::Receive);
            if round % 2 == 0 {
                stage.turn();
            }
            stage.peer_writes(&mut peer, &sent[..1_000]);
            stage.push(owner, Submission::Cancel(Operation::Receive));
            stage.peer_writes(&mut peer, &sent[1_000..]);
            let (mut got, mut ends) = (Vec::new(), 0);
            while ends < 2 {
                let completion = stage.take(1).remove(0);
                ends += u32::from(!completion.more);
                match completion.outcome {
                    Outcome::Received(lease) => got.extend_from_slice(&lease),
                    Outcome::Done | Outcome::Failed(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            let rest = sent.len() - got.len();
            if rest > 0 {
                got.extend(stage.receives(owner, rest));
            }
            assert!(got == sent, "{link:?}");
        }
    }
}

/// Both may find it; it ends once.
pub(super) fn what_is_cancelled_twice_ends_once<W: World>() {
    let (mut stage, owner, peer) = Stage::<W>::connected(Link::V4);
    stage.push(owner, send_of(&[&stream(LONG)]));
    stage.expect_quiet();
    let cancel = || Submission::Cancel(Operation::Send);
    stage.push_all(owner, [cancel(), cancel()]);
    let mut told: Vec<String> = stage.take(3).iter().map(line).collect();
    stage.expect_quiet();
    told.retain(|line| line.starts_with("cancel"));
    assert!(told[0] == "cancel: done" && told.len() == 2, "{told:?}");
    assert!(["cancel: done", "cancel: not there"].contains(&&*told[1]), "{told:?}");
    drop(peer);
}
