//! The stream of events: what is told, and how a client goes on after a break.

use super::stand::Stand;
use serde_json::Value;
use std::collections::VecDeque;
use support::close_of;
use support::http::Connection;
use tungstenite::Message;

/// A client of the stream.
struct Follower {
    connection: Connection,
    lines: VecDeque<String>,
}

/// One event as the stream has it.
#[derive(Debug)]
struct Told {
    id: String,
    event: String,
    data: Value,
}

impl Follower {
    fn new(mut connection: Connection, target: &str, headers: &[(&str, &str)]) -> Self {
        connection.send("GET", target, headers, b"");
        let (status, headers) = connection.head();
        assert_eq!(status, 200);
        let header = |name: &str, value: &str| headers.contains(&(name.into(), value.into()));
        assert!(header("content-type", "text/event-stream"));
        // So that no proxy keeps it until it is long enough, or packs it.
        assert!(
            header("x-accel-buffering", "no") && header("cache-control", "no-cache, no-transform")
        );
        Self { connection, lines: VecDeque::new() }
    }

    fn line(&mut self) -> String {
        while self.lines.is_empty() {
            let chunk = self.connection.chunk();
            self.lines.extend(chunk.lines().map(str::to_owned));
        }
        self.lines.pop_front().expect("a line")
    }

    /// Lines up to the next empty one.
    fn block(&mut self) -> Vec<String> {
        std::iter::repeat_with(|| self.line()).take_while(|line| !line.is_empty()).collect()
    }

    /// The next event.
    fn next(&mut self) -> Told {
        let mut told = Told { id: String::new(), event: String::new(), data: Value::Null };
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some(("id", id)) => told.id = id.to_owned(),
                Some(("event", event)) => told.event = event.to_owned(),
                Some(("data", data)) => told.data = serde_json::from_str(data).expect("JSON"),
                _ if line.is_empty() && !told.event.is_empty() => return told,
                _ => {}
            }
        }
    }
}

#[test]
fn a_worker_learns_of_sockets_without_asking() {
    let stand = Stand::new();
    let mut follower = Follower::new(stand.operator(), "/v1/events?route=/shared", &[]);
    // The head has come, but the stream begins with its first line.
    assert!(follower.line().starts_with("retry: "));
    let (_other, _) = stand.client("/echo");
    let (mut client, id) = stand.shared();
    let open = follower.next();
    assert_eq!((open.event.as_str(), &open.data["id"]), ("open", &id.clone().into()));
    assert_eq!(open.data["route"], "/shared");
    assert!(open.data["ms"].as_u64() > Some(1_700_000_000_000), "{open:?}");
    client.send(Message::text("one")).expect("open");
    client.send(Message::text("two")).expect("open");
    let readable = follower.next();
    assert_eq!((readable.event.as_str(), &readable.data["id"]), ("readable", &id.clone().into()));
    let mut operator = stand.operator();
    let read = operator.post(&format!("/v1/websockets/{id}/read?timeout=5000"));
    assert_eq!(read.text(), "one");
    operator.ask("DELETE", &format!("/v1/websockets/{id}?code=4000&reason=done"), &[], b"");
    assert_eq!(close_of(&mut client), (4000, "done".into()));
    let closed = follower.next();
    assert_eq!((closed.event.as_str(), &closed.data["id"]), ("closed", &id.into()));
    assert_eq!((&closed.data["code"], &closed.data["reason"]), (&4000.into(), &"done".into()));
    assert_eq!(closed.data["by"], "server");
    stand.finish();
}

#[test]
fn a_stream_goes_on_where_it_broke() {
    let stand = Stand::new();
    let mut follower = Follower::new(stand.operator(), "/v1/events?types=open", &[]);
    follower.line();
    let (_first, first_id) = stand.shared();
    let told = follower.next();
    assert_eq!(told.data["id"], first_id.as_str());
    drop(follower);
    let (_second, second_id) = stand.shared();
    let (_third, third_id) = stand.shared();
    let after = format!("/v1/events?types=open&after={}", told.id);
    let header = [("Last-Event-ID", told.id.as_str())];
    // The header is newer than what the query said when the client first came.
    let both = "/v1/events?types=open&after=00000000-1";
    for (target, headers) in
        [("/v1/events?types=open", &header[..]), (after.as_str(), &[]), (both, &header[..])]
    {
        let mut again = Follower::new(stand.reader(), target, headers);
        let next = [again.next(), again.next()].map(|told| told.data["id"].clone());
        assert_eq!(next, [second_id.as_str(), third_id.as_str()], "{target}");
    }
    stand.finish();
}

#[test]
fn a_stream_can_be_resumed_before_its_first_event() {
    let stand = Stand::new();
    let mut follower = Follower::new(stand.operator(), "/v1/events?types=open&route=/shared", &[]);
    let first = follower.block();
    drop(follower);
    let id = first.iter().find_map(|line| line.strip_prefix("id: ")).expect("an id at once");
    assert!(!first.iter().any(|line| line.starts_with("data")), "it is no event: {first:?}");
    let (_client, shared_id) = stand.shared();
    let header = [("Last-Event-ID", id)];
    let mut again = Follower::new(stand.operator(), "/v1/events?route=/shared", &header);
    let told = again.next();
    assert_eq!((told.event.as_str(), &told.data["id"]), ("open", &shared_id.into()));
    stand.finish();
}

#[test]
fn an_idle_stream_moves_on_past_what_is_not_for_it() {
    let stand = Stand::new();
    let mut follower = Follower::new(stand.operator(), "/v1/events?route=/elsewhere", &[]);
    let first = follower.block();
    let (_client, _) = stand.shared();
    // After 15 s in which nothing was for it.
    let alive = follower.block();
    assert_eq!(alive[0], ": alive");
    let id = |block: &[String]| {
        block.iter().find_map(|line| Some(line.strip_prefix("id: ")?.to_owned()))
    };
    assert!(id(&alive).is_some() && id(&alive) != id(&first), "{first:?} {alive:?}");
    stand.finish();
}

#[test]
fn what_is_not_kept_is_a_gap() {
    let stand = Stand::new();
    let (_client, id) = stand.shared();
    // The id of another run of the program.
    let mut follower = Follower::new(stand.operator(), "/v1/events?after=00000000-7", &[]);
    let gap = follower.next();
    assert_eq!(gap.event, "gap");
    let open = follower.next();
    assert_eq!((open.event.as_str(), &open.data["id"]), ("open", &id.into()));
    stand.finish();
}

#[test]
fn a_wrong_wish_is_told_and_streams_are_limited() {
    let stand = Stand::new();
    let mut operator = stand.operator();
    for wrong in
        ["types=dance", "types=", "types=open,,closed", "after=x", "after=", "route=", "x=1"]
    {
        let answer = operator.get(&format!("/v1/events?{wrong}"));
        assert_eq!(answer.error(400), "bad_request", "{wrong}");
    }
    let answer = operator.ask("GET", "/v1/events", &[("Last-Event-ID", "new\u{1b}s")], b"");
    assert_eq!(answer.status, 400);
    let mut operator = stand.operator();
    let followers: Vec<Follower> =
        (0..256).map(|_| Follower::new(stand.operator(), "/v1/events", &[])).collect();
    let busy = operator.get("/v1/events");
    assert_eq!(busy.error(503), "busy");
    assert!(busy.header("retry-after").is_some());
    drop(followers);
    support::eventually("there is room again", || {
        let mut connection = stand.operator();
        connection.send("GET", "/v1/events", &[], b"");
        connection.head().0 == 200
    });
    stand.finish();
}
