//! The verbs on one WebSocket, as a program in another language sees them.

use super::stand::Stand;
use ringwire::RouteOptions;
use std::thread;
use std::time::{Duration, Instant};
use support::http::{Answer, Connection};
use support::{Client, close_of, eventually, quick, text};
use tungstenite::Message;

pub fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).expect("the socket is open");
}

pub fn fence_of(answer: &Answer) -> u64 {
    let fence = answer.header("ringwire-fence").map(|fence| fence.parse().expect("a number"));
    fence.unwrap_or_else(|| answer.json()["fence"].as_u64().expect("a fence"))
}

pub fn sequence_of(answer: &Answer) -> u64 {
    answer.header("ringwire-message").and_then(|n| n.parse().ok()).expect("a sequence")
}

#[test]
fn a_socket_is_opened_read_written_and_closed() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let mut operator = stand.operator();
    let socket = format!("/v1/websockets/{id}");
    say(&mut client, "grüß dich");
    let opened = operator.post(&format!("{socket}/open"));
    assert_eq!(opened.status, 200, "{opened:?}");
    let json = opened.json();
    assert_eq!((&json["lease_ms"], &json["websocket"]["id"]), (&30_000.into(), &id.clone().into()));
    assert_eq!(json["websocket"]["status"], "shared");
    assert_eq!(json["websocket"]["lease"]["fence"], json["fence"]);
    let fence = fence_of(&opened);
    let read = operator.post(&format!("{socket}/read?fence={fence}&timeout=5000"));
    assert_eq!((read.status, read.text()), (200, "grüß dich"));
    assert_eq!(read.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(read.header("ringwire-at-end"), Some("true"));
    assert_eq!(fence_of(&read), fence);
    client.send(Message::binary(vec![0, 255, 7])).expect("the socket is open");
    let read = operator.post(&format!("{socket}/read?fence={fence}&timeout=5000"));
    assert_eq!((read.status, &read.body[..]), (200, &[0, 255, 7][..]));
    assert_eq!(read.header("content-type"), Some("application/octet-stream"));
    let written = operator.write(&format!("{socket}/write"), "text/plain", "zurück".as_bytes());
    assert_eq!((written.status, written.body.len()), (204, 0));
    assert_eq!(text(&mut client), "zurück");
    let target = format!("{socket}/write?fence={fence}");
    assert_eq!(operator.write(&target, "application/octet-stream", &[1, 2]).status, 204);
    assert_eq!(client.read().expect("a message"), Message::binary(vec![1, 2]));
    assert_eq!(operator.post(&format!("{socket}/renew?fence={fence}")).status, 204);
    assert_eq!(operator.post(&format!("{socket}/release?fence={fence}")).status, 204);
    assert_eq!(operator.get(&socket).json()["status"], "unattended");
    let closed =
        operator.ask("DELETE", &format!("{socket}?code=4001&reason=that%20is+all"), &[], b"");
    assert_eq!(closed.status, 204);
    assert_eq!(close_of(&mut client), (4001, "that is all".into()));
    eventually("its id is forgotten", || operator.get(&socket).status == 404);
    stand.finish();
}

#[test]
fn an_empty_message_is_a_message() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let mut operator = stand.operator();
    say(&mut client, "");
    let read = operator.post(&format!("/v1/websockets/{id}/read?timeout=5000"));
    assert_eq!((read.status, read.text(), read.header("ringwire-at-end")), (200, "", Some("true")));
    let written = operator.write(&format!("/v1/websockets/{id}/write"), "text/plain", b"");
    assert_eq!(written.status, 204);
    assert_eq!(text(&mut client), "");
    stand.finish();
}

#[test]
fn one_reads_and_the_others_are_told_so() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let socket = format!("/v1/websockets/{id}");
    let (mut first, mut second) = (stand.operator(), Connection::unix(&stand.socket));
    say(&mut client, "one");
    let read = first.post(&format!("{socket}/read?timeout=5000"));
    assert_eq!(read.text(), "one");
    let fence = fence_of(&read);
    for target in ["open", "read?timeout=5000"] {
        let busy = second.post(&format!("{socket}/{target}"));
        assert_eq!(busy.error(409), "busy");
        assert!(busy.text().contains("steal=true"), "{}", busy.text());
    }
    let stolen = second.post(&format!("{socket}/open?steal=true"));
    assert!(fence_of(&stolen) > fence);
    for target in ["read", "renew", "release"] {
        let late = first.post(&format!("{socket}/{target}?fence={fence}"));
        assert_eq!(late.error(412), "fenced", "{target}");
    }
    let late = first.write(&format!("{socket}/write?fence={fence}"), "text/plain", b"late");
    assert_eq!(late.error(412), "fenced");
    // What the first had not acknowledged is the second's.
    let again = second.post(&format!("{socket}/read?timeout=5000&fence={}", fence_of(&stolen)));
    assert_eq!(again.text(), "one");
    // A write without a fence needs no lease.
    assert_eq!(first.write(&format!("{socket}/write"), "text/plain", b"early").status, 204);
    assert_eq!(text(&mut client), "early");
    stand.finish();
}

#[test]
fn what_was_lost_on_the_way_is_given_again() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let mut operator = stand.operator();
    for word in ["a", "b", "c"] {
        say(&mut client, word);
    }
    let socket = format!("/v1/websockets/{id}");
    let first = operator.post(&format!("{socket}/read?timeout=5000"));
    let (fence, a) = (fence_of(&first), sequence_of(&first));
    let mut read =
        |ack: u64| operator.post(&format!("{socket}/read?timeout=5000&fence={fence}&ack={ack}"));
    let second = read(a);
    let b = sequence_of(&second);
    // The answer was lost: the client only has the first one.
    let repeated = read(a);
    assert_eq!((second.text(), repeated.text(), sequence_of(&repeated)), ("b", "b", b));
    assert_eq!(read(b).text(), "c");
    stand.finish();
}

#[test]
fn a_release_acknowledges_or_does_not() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let mut operator = stand.operator();
    for word in ["a", "b"] {
        say(&mut client, word);
    }
    let socket = format!("/v1/websockets/{id}");
    for (word, ack) in [("a", "&ack=false"), ("a", "&ack=true"), ("b", "&ack=false"), ("b", "")] {
        let read = operator.post(&format!("{socket}/read?timeout=5000"));
        assert_eq!(read.text(), word);
        let release = format!("{socket}/release?fence={}", fence_of(&read));
        assert_eq!(operator.post(&format!("{release}&ack=perhaps")).error(400), "bad_request");
        assert_eq!(operator.post(&format!("{release}{ack}")).status, 204);
        assert_eq!(operator.post(&format!("{release}{ack}")).error(412), "fenced");
    }
    assert_eq!(operator.post(&format!("{socket}/read?timeout=0")).error(408), "timeout");
    stand.finish();
}

#[test]
fn who_opens_again_because_the_answer_was_lost_has_the_same_lease() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let mut operator = stand.operator();
    say(&mut client, "one");
    let socket = format!("/v1/websockets/{id}");
    let mut open = |query: &str, keys: &[&str]| {
        let headers: Vec<_> = keys.iter().map(|key| ("Idempotency-Key", *key)).collect();
        operator.ask("POST", &format!("{socket}/open{query}"), &headers, b"")
    };
    let fence = fence_of(&open("", &["\"first\""]));
    let mut other = stand.operator();
    let read = |other: &mut Connection, ack: u64| {
        other.post(&format!("{socket}/read?timeout=5000&fence={fence}&ack={ack}"))
    };
    let one = read(&mut other, 0);
    // Nothing is acknowledged or lost by it, and it steals nothing from itself.
    for query in ["", "?steal=true", ""] {
        assert_eq!(fence_of(&open(query, &["\"first\""])), fence);
        let again = read(&mut other, 0);
        assert_eq!((again.text(), sequence_of(&again)), ("one", sequence_of(&one)));
    }
    for keys in [&["\"second\""][..], &[]] {
        assert_eq!(open("", keys).error(409), "busy");
    }
    for wrong in [&[""][..], &["a b"], &["a", "a"], &[&"x".repeat(129)]] {
        assert_eq!(open("", wrong).error(400), "bad_request", "{wrong:?}");
    }
    assert_eq!(read(&mut other, 0).text(), "one", "what was wrong has changed nothing");
    let stolen = fence_of(&open("?steal=true", &["\"second\""]));
    assert!(stolen > fence);
    assert_eq!(open("", &["\"first\""]).error(409), "busy");
    assert_eq!(other.post(&format!("{socket}/release?fence={stolen}")).status, 204);
    // A lease that is over is not had again.
    assert!(fence_of(&open("", &["\"second\""])) > stolen);
    stand.finish();
}

#[test]
fn a_write_to_what_is_closed_is_told_with_its_code() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let socket = format!("/v1/websockets/{id}");
    let mut operator = stand.operator();
    let fence = fence_of(&operator.post(&format!("{socket}/open")));
    let closed = operator.ask("DELETE", &format!("{socket}?code=4000&reason=b%C3%BCe"), &[], b"");
    assert_eq!(closed.status, 204);
    // The client does not answer yet.
    for query in [String::new(), "?wait_ms=0".into(), format!("?fence={fence}")] {
        let late = operator.write(&format!("{socket}/write{query}"), "text/plain", b"late");
        assert_eq!(late.error(410), "closed", "{query}");
        let error = &late.json()["error"];
        assert_eq!((&error["close_code"], &error["reason"]), (&4000.into(), &"büe".into()));
    }
    assert_eq!(close_of(&mut client), (4000, "büe".into()));
    stand.finish();
}

#[test]
fn a_long_message_comes_in_parts() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let mut operator = stand.operator();
    say(&mut client, "äöüß!");
    let target = format!("/v1/websockets/{id}/read?timeout=5000&len=2");
    let first = operator.post(&target);
    let fence = fence_of(&first);
    let mut parts =
        vec![(first.text().to_owned(), first.header("ringwire-at-end") == Some("true"))];
    while !parts.last().is_some_and(|(_, at_end)| *at_end) {
        let part = operator.post(&format!("{target}&fence={fence}"));
        parts.push((part.text().to_owned(), part.header("ringwire-at-end") == Some("true")));
    }
    let expected = [("äö", false), ("üß", false), ("!", true)];
    assert_eq!(parts, expected.map(|(text, at_end)| (text.to_owned(), at_end)));
    stand.finish();
}

#[test]
fn a_poll_waits_for_what_comes() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let target = format!("/v1/websockets/{id}/read");
    let mut operator = stand.operator();
    let started = Instant::now();
    let timeout = operator.post(&format!("{target}?timeout=300"));
    assert_eq!(timeout.error(408), "timeout");
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(timeout.header("ringwire-fence"), None);
    // Nobody has the lease that this poll took: the next one does not meet it.
    assert_eq!(operator.post(&format!("{target}?timeout=0")).error(408), "timeout");
    let waiting = thread::spawn(move || operator.post(&format!("{target}?timeout=20000")));
    thread::sleep(Duration::from_millis(200));
    assert!(!waiting.is_finished());
    say(&mut client, "at last");
    assert_eq!(waiting.join().expect("it ends").text(), "at last");
    stand.finish();
}

#[test]
fn a_poller_that_goes_away_leaves_nothing_behind() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let target = format!("/v1/websockets/{id}/read?timeout=30000");
    let mut leaving = stand.operator();
    leaving.send("POST", &target, &[], b"");
    let mut operator = stand.operator();
    eventually("the poller holds the socket", || {
        operator.get(&format!("/v1/websockets/{id}")).json()["status"] == "shared"
    });
    drop(leaving);
    eventually("the socket is free", || {
        operator.get(&format!("/v1/websockets/{id}")).json()["status"] == "unattended"
    });
    say(&mut client, "still here");
    assert_eq!(operator.post(&target).text(), "still here");
    stand.finish();
}

#[test]
fn the_end_of_a_conversation_is_told_with_its_code() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let target = format!("/v1/websockets/{id}/read");
    let mut operator = stand.operator();
    say(&mut client, "last words");
    let frame = tungstenite::protocol::CloseFrame {
        code: tungstenite::protocol::frame::coding::CloseCode::from(4321),
        reason: "bye".into(),
    };
    let read = operator.post(&format!("{target}?timeout=5000"));
    let fence = fence_of(&read);
    let polling = format!("{target}?timeout=20000&fence={fence}");
    let waiting = thread::spawn(move || operator.post(&polling));
    thread::sleep(Duration::from_millis(100));
    client.close(Some(frame)).expect("the socket is open");
    let end = waiting.join().expect("it ends");
    assert_eq!(end.error(410), "closed");
    let error = &end.json()["error"];
    assert_eq!((&error["close_code"], &error["reason"]), (&4321.into(), &"bye".into()));
    stand.finish();
}

#[test]
fn one_connection_of_http2_carries_many_verbs_at_once() {
    use http_body_util::{BodyExt, Full};
    use hyper::body::Bytes;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let stand = Stand::new();
    let mut sockets: Vec<(Client, String)> = (0..20).map(|_| stand.shared()).collect();
    let (address, path) = (stand.control, stand.socket.clone());
    let ids: Vec<String> = sockets.iter().map(|(_, id)| id.clone()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let unix = tokio::net::UnixStream::connect(path).await.expect("it listens");
        let (mut over_tcp, driver) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp))
                .await
                .expect("HTTP/2");
        tokio::spawn(driver);
        let (mut over_unix, driver) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(unix))
                .await
                .expect("HTTP/2");
        tokio::spawn(driver);
        let request = |verb: &str, body: &str| {
            hyper::Request::post(format!("http://localhost/v1/websockets/{verb}"))
                .header("authorization", format!("Bearer {}", super::stand::OPERATOR))
                .header("content-type", "text/plain")
                .body(Full::new(Bytes::from(body.to_owned())))
                .expect("a request")
        };
        // Polls of all, then writes to all, while the polls wait.
        let mut polls = tokio::task::JoinSet::new();
        for id in &ids {
            polls.spawn(over_tcp.send_request(request(&format!("{id}/read?timeout=20000"), "")));
        }
        for id in &ids {
            let answer = over_unix.send_request(request(&format!("{id}/write"), id)).await;
            assert_eq!(answer.expect("an answer").status(), 204);
        }
        for (client, id) in &mut sockets {
            assert_eq!(text(client), *id);
            say(client, &format!("{id} too"));
        }
        let mut read = Vec::new();
        while let Some(answer) = polls.join_next().await {
            let answer = answer.expect("no panic").expect("an answer");
            assert_eq!(answer.status(), 200);
            let body = answer.into_body().collect().await.expect("a body").to_bytes();
            read.push(String::from_utf8(body.to_vec()).expect("UTF-8"));
        }
        let mut expected: Vec<String> = ids.iter().map(|id| format!("{id} too")).collect();
        expected.sort();
        read.sort();
        assert_eq!(read, expected);
        let foreign = hyper::Request::get("http://evil.example/v1/status")
            .header("authorization", format!("Bearer {}", super::stand::OPERATOR))
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let answer = over_tcp.send_request(foreign).await.expect("an answer");
        assert_eq!(answer.status(), 403);
    });
    stand.finish();
}

#[test]
fn a_revoked_session_loses_its_sockets() {
    let options = RouteOptions { session: true, ..Default::default() };
    let stand = Stand::with(quick(), options);
    let (mut client, id) = stand.shared();
    let mut operator = stand.operator();
    let info = stand.reader().get(&format!("/v1/websockets/{id}")).json();
    let session = info["session_id"].as_str().expect("a session").to_owned();
    let target = format!("/v1/sessions/{session}/revoke");
    assert_eq!(stand.reader().post(&target).error(403), "forbidden");
    for unknown in ["x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "%ff"] {
        let answer = operator.post(&format!("/v1/sessions/{unknown}/revoke"));
        assert_eq!(answer.error(404), "unknown_id", "{unknown}");
    }
    let revoked = operator.post(&target);
    assert_eq!((revoked.status, &revoked.json()["closed"]), (200, &1.into()));
    assert_eq!(close_of(&mut client).0, 1008);
    assert_eq!(operator.post(&target).error(404), "unknown_id");
    stand.finish();
}
