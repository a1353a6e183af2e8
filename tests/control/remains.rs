//! What sockets that are gone have left to be read.

use super::stand::Stand;
use super::verbs::{fence_of, say, sequence_of};
use std::time::Duration;
use support::eventually;

#[test]
fn last_words_are_opened_and_described_before_they_are_read() {
    let stand = Stand::new();
    let mut operator = stand.operator();
    for verb in ["open", "open?steal=true"] {
        let (mut client, id) = stand.shared();
        let target = format!("/v1/websockets/{id}");
        say(&mut client, "last");
        say(&mut client, "words");
        eventually("both wait", || operator.get(&target).json()["inbox_messages"] == 2);
        let linger = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(client.get_ref(), linger).expect("a socket");
        drop(client);
        eventually("it is gone", || operator.get("/v1/websockets").json()["total"] == 0);
        let left = operator.get(&target);
        assert_eq!(left.status, 200, "{}", left.text());
        let left = left.json();
        assert_eq!((&left["id"], &left["route"]), (&id.as_str().into(), &"/shared".into()));
        assert_eq!((&left["status"], &left["inbox_messages"]), (&"closing".into(), &2.into()));
        assert_eq!((&left["messages_in"], left["lease"].is_null()), (&2.into(), true));
        let opened = operator.post(&format!("{target}/{verb}"));
        assert_eq!(opened.status, 200, "{}", opened.text());
        let fence = fence_of(&opened);
        assert_eq!(opened.json()["websocket"]["lease"]["fence"], fence);
        let reading = format!("{target}/read?timeout=5000&fence={fence}");
        let first = operator.post(&reading);
        assert_eq!((first.status, first.text()), (200, "last"));
        let held = operator.get(&target).json();
        assert_eq!(held["lease"]["fence"], fence);
        let ack = sequence_of(&first);
        let second = operator.post(&format!("{reading}&ack={ack}"));
        assert_eq!((second.status, second.text()), (200, "words"));
        let ack = sequence_of(&second);
        assert_eq!(operator.post(&format!("{reading}&ack={ack}")).error(410), "closed");
        assert_eq!(operator.post(&format!("{target}/release?fence={fence}")).status, 204);
        assert_eq!(operator.get(&target).error(404), "unknown_id");
    }
    stand.finish();
}
