//! What a ring can be asked of a connection.

use super::super::{AddressFamily, Outcome, Submission};
use super::stage::{LONG, Owner, Stage, send_of, stream};
use super::{Link, World};

fn unacknowledged<W: World>(stage: &mut Stage<W>, owner: Owner) -> usize {
    stage.push(owner, Submission::Unacknowledged);
    match stage.take(1).remove(0).outcome {
        Outcome::Unacknowledged(Some(bytes)) => bytes as usize,
        other => panic!("{other:?}"),
    }
}

pub(super) fn who_the_peer_is<W: World>() {
    for link in W::links() {
        let (mut stage, owner, peer) = Stage::<W>::connected(link);
        let family = if link == Link::V6 { AddressFamily::V6 } else { AddressFamily::V4 };
        let address = stage.world.address(&peer);
        assert_eq!(address.is_none(), link == Link::Unix);
        let expected = address.map_or("unknown".into(), |address| address.to_string());
        stage.push(owner, Submission::PeerAddress(family));
        stage.expect(&[&format!("address: {expected}")]);
    }
}

pub(super) fn of_several_peers_each_has_its_own_address<W: World>() {
    let (mut stage, first, first_peer) = Stage::<W>::connected(Link::V4);
    let (second, second_peer) = stage.connect(Link::V4);
    let addresses = [&first_peer, &second_peer].map(|peer| stage.world.address(peer));
    assert_ne!(addresses[0], addresses[1]);
    for owner in [first, second] {
        stage.push(owner, Submission::PeerAddress(AddressFamily::V4));
    }
    let lines = addresses.map(|address| format!("address: {}", address.expect("of TCP")));
    stage.expect_in_any_order(&[&lines[0], &lines[1]]);
}

pub(super) fn how_much_the_peer_has_not_acknowledged<W: World>() {
    for link in W::links().into_iter().filter(|link| *link != Link::Unix) {
        let (mut stage, owner, mut peer) = Stage::<W>::connected(link);
        stage.push(owner, Submission::Unacknowledged);
        stage.expect(&["unacknowledged: 0"]);
        stage.push(owner, send_of(&[&stream(LONG)]));
        stage.expect_quiet();
        let bytes = unacknowledged(&mut stage, owner);
        assert!(bytes > 0 && bytes < LONG, "{bytes}");
        stage.peer_reads(&mut peer, LONG);
        stage.expect(&[&format!("send: {LONG} of {LONG}")]);
        // An acknowledgement may take its time.
        stage.until("the last acknowledgement", |stage| {
            (unacknowledged(stage, owner) == 0).then_some(())
        });
    }
}

pub(super) fn of_a_unix_socket_it_is_not_known<W: World>() {
    if W::links().contains(&Link::Unix) {
        let (mut stage, owner, _peer) = Stage::<W>::connected(Link::Unix);
        stage.push(owner, Submission::Unacknowledged);
        stage.expect(&["unacknowledged: unknown"]);
    }
}
