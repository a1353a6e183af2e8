//! The verbs on one WebSocket, as a program in another language sees them.

use super::http::{Answer, Connection};
use super::stand::Stand;
use super::support::{Client, close_of, eventually, quick, text};
use ringwire::RouteOptions;
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::Message;

fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).expect("the socket is open");
}

fn fence_of(answer: &Answer) -> u64 {
    let fence = answer.header("ringwire-fence").map(|fence| fence.parse().expect("a number"));
    fence.unwrap_or_else(|| answer.json()["fence"].as_u64().expect("a fence"))
}

fn sequence_of(answer: &Answer) -> u64 {
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
fn a_dedicated_socket_is_closed_or_cut_and_nothing_else() {
    let stand = Stand::new();
    let mut operator = stand.operator();
    let (mut client, id) = stand.client("/echo");
    let socket = format!("/v1/websockets/{id}");
    for verb in ["open", "open?steal=true", "read?timeout=0", "renew?fence=1", "release?fence=1"] {
        assert_eq!(operator.post(&format!("{socket}/{verb}")).error(409), "not_shared", "{verb}");
    }
    let written = operator.write(&format!("{socket}/write"), "text/plain", b"x");
    assert_eq!(written.error(409), "not_shared");
    say(&mut client, "untouched");
    assert_eq!(text(&mut client), "untouched");
    assert_eq!(operator.ask("DELETE", &socket, &[], b"").status, 204);
    assert_eq!(close_of(&mut client), (1000, String::new()));
    let (mut client, id) = stand.client("/echo");
    assert_eq!(operator.post(&format!("/v1/websockets/{id}/interrupt")).status, 204);
    let cut = client.read().expect_err("no Close frame");
    assert!(!matches!(cut, tungstenite::Error::ConnectionClosed), "{cut}");
    stand.finish();
}

#[test]
fn bad_input_is_told_and_changes_nothing() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    let mut operator = stand.operator();
    let socket = format!("/v1/websockets/{id}");
    for target in [
        "open?steal=yes",
        "open?steal=",
        "read?len=0",
        "read?len=16777217",
        "read?len=-1",
        "read?timeout=1.5",
        "read?timeout=86400001",
        "read?fence=x",
        "read?ack=1",
        "read?fence=18446744073709551616",
        "renew",
        "release",
        "release?fence=",
        "interrupt?force=true",
    ] {
        assert_eq!(
            operator.post(&format!("{socket}/{target}")).error(400),
            "bad_request",
            "{target}"
        );
    }
    for query in
        ["code=999", "code=1005", "code=1006", "code=2999", "code=5000", "code=x", "reason="]
    {
        let answer = operator.ask("DELETE", &format!("{socket}?{query}"), &[], b"");
        assert_eq!(answer.error(400), "bad_request", "{query}");
    }
    let long = format!("{socket}?reason={}", "x".repeat(124));
    assert_eq!(operator.ask("DELETE", &long, &[], b"").error(400), "bad_request");
    let write = format!("{socket}/write");
    assert_eq!(operator.write(&write, "text/plain", b"\xff\xfe").error(400), "bad_request");
    assert_eq!(
        operator.write(&format!("{write}?wait_ms=60001"), "text/plain", b"x").error(400),
        "bad_request"
    );
    for media in ["application/json", "text/plain; charset=latin1", ""] {
        let mut operator = stand.operator();
        assert_eq!(operator.write(&write, media, b"x").error(415), "unsupported_media_type");
    }
    let mut big = stand.operator();
    big.send(
        "POST",
        &write,
        &[
            ("Content-Type", "text/plain"),
            ("Expect", "100-continue"),
            ("Content-Length", "16777217"),
        ],
        b"",
    );
    assert_eq!(big.answer(false).status / 100, 4);
    for verb in ["open", "read", "renew?fence=1", "release?fence=1", "interrupt"] {
        let mut operator = stand.operator();
        let answer = operator.ask("POST", &format!("{socket}/{verb}"), &[], b"surprise");
        assert_eq!(answer.error(400), "bad_request", "{verb}");
    }
    let info = operator.get(&socket).json();
    assert_eq!((&info["status"], &info["messages_out"]), (&"unattended".into(), &0.into()));
    say(&mut client, "unharmed");
    assert_eq!(operator.post(&format!("{socket}/read?timeout=5000")).text(), "unharmed");
    stand.finish();
}

#[test]
fn a_message_beyond_the_limit_is_refused_from_its_announcement() {
    let stand = Stand::new();
    let (_client, id) = stand.shared();
    let mut operator = stand.operator();
    let head = format!(
        "POST /v1/websockets/{id}/write HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
         Authorization: Bearer {}\r\nContent-Length: 16777217\r\n\r\n",
        super::stand::OPERATOR
    );
    operator.raw(head.as_bytes());
    assert_eq!(operator.answer(false).error(413), "too_long");
    // In pieces that do not say how many there will be.
    let mut operator = stand.operator();
    let head = head.replace("Content-Length: 16777217", "Transfer-Encoding: chunked");
    operator.raw(head.as_bytes());
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..17 {
        operator.raw(&[b"100000\r\n", &piece[..], b"\r\n"].concat());
    }
    assert_eq!(operator.answer(false).error(413), "too_long");
    stand.finish();
}

#[test]
fn a_slow_peer_is_waited_for_or_told() {
    let mut settings = quick();
    settings.limits.socket_send_buffer_bytes = 4_096;
    let stand = Stand::with(settings, RouteOptions::default());
    let (mut client, id) = stand.shared();
    let mut operator = stand.operator();
    let target = format!("/v1/websockets/{id}/write?wait_ms=");
    let message = vec![b'x'; 100_000];
    let mut written = 0;
    let refused = loop {
        let answer = operator.write(&format!("{target}0"), "application/octet-stream", &message);
        if answer.status != 204 {
            break answer;
        }
        written += 1;
        assert!(written < 1_000, "the peer reads nothing");
    };
    assert_eq!(refused.error(503), "full");
    assert!(refused.header("retry-after").is_some());
    let started = Instant::now();
    let answer = operator.write(&format!("{target}300"), "application/octet-stream", &message);
    assert_eq!(answer.error(503), "full");
    assert!(started.elapsed() >= Duration::from_millis(300));
    for _ in 0..written {
        assert_eq!(client.read().expect("a message").len(), message.len());
    }
    // What was refused is not among it.
    let last = operator.write(&format!("{target}10000"), "text/plain", b"last");
    assert_eq!(last.status, 204);
    assert_eq!(text(&mut client), "last");
    stand.finish();
}

#[test]
fn ids_that_are_guessed_are_all_unknown_alike() {
    let stand = Stand::new();
    let (_client, id) = stand.shared();
    let mut operator = Connection::unix(&stand.socket);
    let unknown = operator.post("/v1/websockets/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/open");
    assert_eq!(unknown.error(404), "unknown_id");
    let mut guesses: Vec<String> = Vec::new();
    for (at, letter) in id.char_indices() {
        for other in ["A", "B", "z", "-", "_", "7"] {
            if !other.contains(letter) {
                guesses.push(format!("{}{other}{}", &id[..at], &id[at + 1..]));
            }
        }
    }
    guesses.extend((0..5_000_u32).map(|n| format!("{}{n:08}", &id[..24])));
    guesses.extend(["x", "..", "%00", "%ff", "a%2Fb", &id[..31]].map(str::to_owned));
    guesses.push(format!("{id}A"));
    for guess in &guesses {
        let answer = operator.post(&format!("/v1/websockets/{guess}/open?steal=true"));
        assert_eq!((answer.status, &answer.body), (404, &unknown.body), "{guess}");
    }
    assert_eq!(operator.post(&format!("/v1/websockets/{id}/open")).status, 200);
    stand.finish();
}

#[test]
fn an_expired_socket_is_told_apart_from_an_unknown_one() {
    let options =
        RouteOptions { session_timeout: Duration::from_millis(500), ..Default::default() };
    let stand = Stand::with(quick(), options);
    let (mut client, id) = stand.shared();
    let mut operator = stand.operator();
    assert_eq!(close_of(&mut client).0, 1001);
    let socket = format!("/v1/websockets/{id}");
    eventually("it has expired", || operator.post(&format!("{socket}/open")).status != 200);
    assert_eq!(operator.post(&format!("{socket}/open")).error(410), "expired");
    let written = operator.write(&format!("{socket}/write"), "text/plain", b"x");
    assert_eq!(written.error(410), "expired");
    stand.finish();
}
