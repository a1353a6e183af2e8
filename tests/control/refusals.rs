//! What is refused: wrong input, foreign ids, sockets that do not take it. Nothing is changed by it.

use super::stand::Stand;
use super::verbs::say;
use ringwire::RouteOptions;
use std::time::{Duration, Instant};
use support::http::Connection;
use support::{close_of, eventually, quick, text};

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
    let (mut written, mut refused) = (0, Vec::new());
    // The kernel takes more for a while after it was full for the first time.
    while refused.len() < 2 {
        let wait_ms = [300, 0][refused.len()];
        let started = Instant::now();
        let target = format!("{target}{wait_ms}");
        let answer = operator.write(&target, "application/octet-stream", &message);
        if answer.status == 204 {
            written += 1;
            refused.clear();
            assert!(written < 1_000, "the peer reads nothing");
        } else {
            assert!(started.elapsed() >= Duration::from_millis(wait_ms));
            refused.push(answer);
        }
    }
    assert!(written > 0, "there was room at first");
    for answer in refused {
        assert_eq!(answer.error(503), "full");
        assert!(answer.header("retry-after").is_some());
    }
    let fence = operator.post(&format!("/v1/websockets/{id}/open")).json()["fence"].clone();
    for wait_ms in [0, 300] {
        let answer = operator.write(
            &format!("{target}{wait_ms}&fence={fence}"),
            "application/octet-stream",
            &message,
        );
        if answer.status == 204 {
            // What a holder has written waits at its side for the shard, apart from the outbox.
            written += 1;
        } else {
            assert_eq!(answer.error(503), "full");
        }
    }
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
    let (mut refusals, began) = (0, Instant::now());
    for guess in &guesses {
        let target = format!("/v1/websockets/{guess}/open?steal=true");
        let mut answer = operator.post(&target);
        if answer.status == 429 {
            refusals += 1;
            // Every id is refused, so that whoever goes on learns nothing; other connections go on.
            assert_eq!(answer.error(429), "too_many_requests");
            assert!(answer.header("retry-after").is_some());
            let right = operator.get(&format!("/v1/websockets/{id}"));
            assert_eq!(right.body, answer.body);
            assert_eq!(operator.get("/v1/status").status, 200);
            operator = Connection::unix(&stand.socket);
            answer = operator.post(&target);
        }
        assert_eq!((answer.status, &answer.body), (404, &unknown.body), "{guess}");
    }
    assert!(refusals <= guesses.len() / 1_000, "{refusals} refusals");
    // On a slow machine there may not be 1,000 in any second.
    assert!(refusals > 0 || began.elapsed() > Duration::from_millis(2_500), "never refused");
    assert_eq!(operator.post(&format!("/v1/websockets/{id}/open")).status, 200);
    stand.finish();
}

#[test]
fn a_crowd_that_has_left_is_no_guessing() {
    let stand = Stand::new();
    let mut gone: Vec<String> = Vec::new();
    for _ in 0..20 {
        let (mut client, id) = stand.shared();
        client.close(None).expect("open");
        while client.read().is_ok() {}
        gone.push(id);
    }
    let mut worker = Connection::unix(&stand.socket);
    let socket = |id: &String| format!("/v1/websockets/{id}");
    let forgotten = |worker: &mut Connection, id: &String| worker.get(&socket(id)).status == 404;
    eventually("they are forgotten", || gone.iter().all(|id| forgotten(&mut worker, id)));
    // Many at once, so that there are more in a second than anybody may guess.
    for _ in 0..25 {
        let asked: Vec<String> = (0..200).map(|n| socket(&gone[n % gone.len()])).collect();
        asked.iter().for_each(|target| worker.send("GET", target, &[], b""));
        for _ in &asked {
            assert_eq!(worker.answer(false).error(404), "unknown_id");
        }
    }
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
    // Until its Close is answered it is closed.
    // Until its Close is answered it is closed.
    eventually("it has expired for a writer", || {
        let answer = operator.write(&format!("{socket}/write"), "text/plain", b"x");
        answer.error(410) == "expired"
    });
    assert_eq!(operator.post(&format!("{socket}/open")).error(410), "expired");
    assert_eq!(operator.get(&socket).error(410), "expired");
    stand.finish();
}
