//! Sends: whole and short, of many pieces, to peers that read late or not at all.

use super::super::{Buffer, Completion, Errno, Operation, Outcome, Ring, SendData, Submission};
use super::stage::{LONG, Stage, send_of, stream};
use super::{End, Link, Sizes, World};

fn long() -> Submission {
    send_of(&[&stream(LONG)])
}

/// What a send has come to: bytes sent, and what comes back.
fn ended(completion: Completion) -> (Result<usize, Errno>, SendData) {
    assert!(!completion.more);
    match completion.outcome {
        Outcome::Sent(sent, data) => (Ok(sent), data),
        Outcome::SendFailed(errno, data) => (Err(errno), data),
        other => panic!("{other:?}"),
    }
}

pub(super) fn a_send_is_told_when_all_is_sent_and_its_data_comes_back<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        let piece = Buffer::copy_of(b"hello");
        let address = piece.as_ptr();
        let mut data = SendData::new();
        data.push(piece);
        stage.push(owner, Submission::Send(data));
        let (sent, data) = ended(stage.take(1).remove(0));
        assert_eq!((sent, data.len(), data.pieces()), (Ok(5), 5, 1));
        assert_eq!(data.iter().next().map(|piece| piece.as_ptr()), Some(address));
        assert_eq!(stage.peer_reads(&mut peer, 5), b"hello");
    }
}

pub(super) fn the_pieces_of_a_send_arrive_in_order<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, send_of(&[b"first ", b"", b"second ", b"third"]));
        stage.expect(&["send: 18 of 18"]);
        assert_eq!(stage.peer_reads(&mut peer, 18), b"first second third");
    }
}

pub(super) fn of_more_pieces_than_one_send_takes_the_rest_is_sent_next<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        let sent = stream(3 * (SendData::PIECES_MAX + 500));
        let mut data = SendData::new();
        sent.chunks(3).for_each(|piece| data.push(Buffer::copy_of(piece)));
        let mut rest = sent.len();
        while rest > 0 {
            assert_eq!(data.len(), rest);
            stage.push(owner, Submission::Send(data));
            let (count, back) = ended(stage.take(1).remove(0));
            data = back;
            data.advance(count.expect("a peer that is there"));
            rest = data.len();
        }
        assert!(stage.peer_reads(&mut peer, sent.len()) == sent, "{link:?}");
    }
}

pub(super) fn a_send_waits_for_a_peer_that_reads_late<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, long());
        stage.expect_quiet();
        // Meanwhile the other direction works.
        stage.push(owner, Submission::Receive);
        stage.peer_writes(&mut peer, b"hello");
        stage.expect(&["receive: hello …"]);
        assert!(stage.peer_reads(&mut peer, LONG) == stream(LONG), "{link:?}");
        stage.expect(&["send: 1048576 of 1048576"]);
        assert_eq!(stage.world.ring().counters().short_sends, 0);
    }
}

pub(super) fn a_short_send_gives_back_what_goes_on_where_it_stopped<W: World>() {
    for link in W::links() {
        let sizes = Sizes { send_waitall: false, ..Sizes::default() };
        let (mut stage, owner, mut peer) = Stage::<W>::sized(sizes, link);
        stage.push(owner, long());
        let mut got = Vec::new();
        let mut in_flight = true;
        stage.until("all of it", |stage| {
            got.extend(stage.world.look(&mut peer).bytes);
            if let Some(completion) = stage.told().pop() {
                let (sent, mut data) = ended(completion);
                data.advance(sent.expect("a peer that is there"));
                in_flight = !data.is_empty();
                if in_flight {
                    stage.push(owner, Submission::Send(data));
                }
            }
            (!in_flight && got.len() >= LONG).then_some(())
        });
        assert!(got == stream(LONG), "{link:?}");
    }
}

pub(super) fn a_cancelled_send_tells_what_was_sent_and_nothing_is_sent_twice<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, long());
        stage.expect_quiet();
        let mut total = 0;
        let mut data = SendData::new();
        // The second finds no room, and sends nothing.
        for round in 0..2 {
            if round > 0 {
                stage.push(owner, Submission::Send(data));
                stage.expect_quiet();
            }
            stage.push(owner, Submission::Cancel(Operation::Send));
            let mut told = stage.take(2);
            told.sort_by_key(|done| done.token.operation == Operation::Cancel);
            assert!(matches!(told[1].outcome, Outcome::Done), "{told:?}");
            let (sent, back) = ended(told.remove(0));
            assert_eq!(back.len(), LONG - total, "the data comes back whole");
            let sent = match sent {
                Ok(sent) if sent > 0 => sent,
                Err(Errno::CANCELED) if round > 0 => 0,
                other => panic!("{other:?}"),
            };
            total += sent;
            data = back;
            data.advance(sent);
        }
        assert!(total > 0 && total < LONG);
        stage.push(owner, Submission::Send(data));
        assert!(stage.peer_reads(&mut peer, LONG) == stream(LONG), "{link:?}");
        let rest = LONG - total;
        stage.expect(&[&format!("send: {rest} of {rest}")]);
    }
}

pub(super) fn a_reset_ends_a_send_and_fails_the_next<W: World>() {
    let (mut stage, owner, peer) = Stage::<W>::connected(Link::V4);
    stage.push(owner, long());
    stage.expect_quiet();
    stage.world.reset(peer);
    let (sent, data) = ended(stage.take(1).remove(0));
    assert!(sent.is_ok_and(|sent| sent > 0 && sent < LONG), "a part was sent: {sent:?}");
    assert_eq!(data.len(), LONG);
    stage.push(owner, send_of(&[b"more"]));
    stage.expect(&["send: broken pipe, 4 back"]);
}

pub(super) fn a_send_to_a_peer_that_has_reset_fails<W: World>() {
    let (mut stage, owner, peer) = Stage::<W>::connected(Link::V4);
    stage.world.reset(peer);
    stage.expect_quiet();
    stage.push(owner, send_of(&[b"hello"]));
    stage.expect(&["send: reset, 5 back"]);
    stage.push(owner, send_of(&[b"hello"]));
    stage.expect(&["send: broken pipe, 5 back"]);
}

pub(super) fn behind_a_half_close_nothing_is_sent<W: World>() {
    for link in W::links() {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, send_of(&[b"goodbye"]));
        stage.expect(&["send: 7 of 7"]);
        stage.push(owner, Submission::ShutdownWrite);
        stage.expect(&["shutdown: done"]);
        stage.push(owner, send_of(&[b"late"]));
        stage.expect(&["send: broken pipe, 4 back"]);
        assert_eq!(stage.peer_sees(&mut peer), (b"goodbye".to_vec(), End::Finished));
    }
}

pub(super) fn sends_of_several_slots_do_not_wait_for_each_other<W: World>() {
    let (mut stage, slow, slow_peer) = Stage::<W>::connected(Link::V4);
    let (quick, mut quick_peer) = stage.connect(Link::V4);
    stage.push(slow, long());
    stage.push(quick, send_of(&[b"hello"]));
    stage.expect(&["send: 5 of 5"]);
    assert_eq!(stage.peer_reads(&mut quick_peer, 5), b"hello");
    stage.world.reset(slow_peer);
    let (_, data) = ended(stage.take(1).remove(0));
    assert_eq!(data.len(), LONG);
}
