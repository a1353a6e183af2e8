//! `ringwire::client` against a control plane in memory that loses answers on purpose: what is
//! repeated, what is not, and that nothing is lost or doubled by it.

mod answers;
mod contract;
mod events;
mod plane;
mod trouble;

use plane::{Fault, Plane};
use ringwire::CloseCode;
use ringwire::client::{
    Client, ClientError, OpenError, OpenOptions, ReadError, SocketQuery, WriteError,
};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(30);

/// Both ways to speak.
const WAYS: [bool; 2] = [false, true];

async fn client_of(plane: &Plane, is_http2: bool) -> Client {
    let address = plane.clone().tcp().await;
    Client::builder(&address).http2(is_http2).connect().await.expect("it listens")
}

fn put(plane: &Plane, id: &str, texts: &[&str]) {
    plane.socket(id, |socket| {
        socket.inbox.extend(texts.iter().map(|text| (true, text.as_bytes().to_vec())));
    });
}

fn written(plane: &Plane, id: &str) -> Vec<(bool, Vec<u8>)> {
    plane.socket(id, |socket| socket.written.clone())
}

#[tokio::test]
async fn the_verbs_do_what_they_say() {
    for is_http2 in WAYS {
        let plane = Plane::default();
        put(&plane, "a", &["héllo", "twö"]);
        plane.socket("a", |socket| socket.inbox.push_back((false, vec![0, 255])));
        let client = client_of(&plane, is_http2).await;
        let mut socket = client.open_server("a").await.expect("it is free");
        assert_eq!((socket.websocket_id(), socket.shared_connection()), ("a", true));
        assert_eq!(socket.peer_addr(), Some(([127, 0, 0, 1], 5).into()));
        assert!(socket.at_end());
        assert_eq!(socket.read(2, LONG).await.expect("text"), "hé");
        assert!(!socket.at_end());
        assert_eq!(socket.read(99, LONG).await.expect("text"), "llo");
        assert!(socket.at_end());
        socket.set_binary_data(true);
        assert_eq!(
            socket.read(3, LONG).await.expect("bytes").as_bytes(),
            "tw\u{f6}".as_bytes()[..3].to_vec()
        );
        assert!(!socket.at_end());
        assert_eq!(socket.read(3, LONG).await.expect("bytes").as_bytes(), [0xb6]);
        socket.set_binary_data(false);
        let data = socket.read(99, LONG).await.expect("bytes");
        assert_eq!((data.as_text(), data.as_bytes()), (None, &[0, 255][..]));
        assert!(matches!(socket.read(99, SOON).await, Err(ReadError::Timeout)));
        socket.write("text").await.expect("room");
        socket.write(data).await.expect("room");
        client.write_to("a", "beside").await.expect("room");
        let expected = [(true, &b"text"[..]), (false, &[0, 255]), (true, b"beside")];
        assert_eq!(
            written(&plane, "a"),
            expected.map(|(is_text, bytes)| (is_text, bytes.to_vec()))
        );
        socket.close(CloseCode(4_000), &"é".repeat(100)).await.expect("open");
        let closed = plane.socket("a", |socket| socket.closed.clone());
        assert_eq!(closed, Some((4_000, "é".repeat(61))));
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let plane = Plane::default();
    let client = client_of(&plane, false).await;
    assert!(matches!(client.open_server("nobody").await, Err(OpenError::Unknown)));
    assert!(matches!(client.open_server("").await, Err(OpenError::Unknown)));
    assert!(matches!(client.write_to("nobody", "x").await, Err(WriteError::Unknown)));
    put(&plane, "a", &[]);
    let mut first = client.open_server("a").await.expect("free");
    assert!(matches!(client.open_server("a").await, Err(OpenError::Busy)));
    let options = OpenOptions { steal: true, ..OpenOptions::default() };
    let mut second = client.open_server_with("a", options).await.expect("taken");
    assert!(second.fence() > first.fence());
    assert!(matches!(first.read(1, LONG).await, Err(ReadError::Fenced)));
    assert!(matches!(first.write("x").await, Err(WriteError::Fenced)));
    plane.socket("a", |socket| socket.is_full = true);
    assert!(matches!(second.try_write("x").await, Err(WriteError::Full)));
    plane.socket("a", |socket| socket.closed = Some((4_001, "bye".into())));
    match second.write("x").await {
        Err(WriteError::Closed { code, reason }) => {
            assert_eq!((code, &*reason), (CloseCode(4_001), "bye"));
        }
        other => panic!("{other:?}"),
    }
    match second.read(1, LONG).await {
        Err(ReadError::Closed { code, reason }) => {
            assert_eq!((code, &*reason), (CloseCode(4_001), "bye"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.open_server("a").await, Err(OpenError::Expired)));
    plane.forget("a");
    let lost = second.read(1, LONG).await;
    assert!(matches!(lost, Err(ReadError::Closed { code: CloseCode::ABNORMAL, .. })));
    second.end_server().await.expect("ended already is ended");
    let address = plane.tcp().await;
    let wrong = Client::builder(&address)
        .token("a-token-that-nobody-has")
        .connect()
        .await
        .expect("it listens");
    match wrong.status().await {
        Err(ClientError::Refused(refused)) => assert_eq!(refused.status, 401),
        other => panic!("{other:?}"),
    }
    let right = Client::builder(&address).token(plane::TOKEN).connect().await.expect("it listens");
    assert_eq!(right.status().await.expect("the state").other["extra"], 1);
}

#[tokio::test]
async fn a_lost_read_is_asked_again_and_gives_the_same_piece() {
    for is_http2 in WAYS {
        let plane = Plane::default();
        put(&plane, "a", &["one", "two", "three"]);
        let client = client_of(&plane, is_http2).await;
        let mut socket = client.open_server("a").await.expect("free");
        for (text, fault) in
            [("one", Fault::After), ("two", Fault::Before), ("three", Fault::After)]
        {
            plane.fail("read", fault);
            assert_eq!(socket.read(99, LONG).await.expect("a piece"), text);
        }
        assert!(matches!(socket.read(99, SOON).await, Err(ReadError::Timeout)));
    }
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    for is_http2 in WAYS {
        let plane = Plane::default();
        put(&plane, "a", &[]);
        let client = client_of(&plane, is_http2).await;
        let mut socket = client.open_server("a").await.expect("free");
        for round in 0..20 {
            assert!(timeout(SOON / 10, socket.read(99, LONG)).await.is_err());
            put(&plane, "a", &[&round.to_string()]);
            // Perhaps it is handed out to the connection that is gone.
            if round % 2 == 0 {
                sleep(SOON / 10).await;
            }
            let text = round.to_string();
            assert_eq!(socket.read(99, LONG).await.expect("a piece"), text.as_str());
        }
    }
}

#[tokio::test]
async fn a_lost_write_is_never_repeated() {
    for is_http2 in WAYS {
        let plane = Plane::default();
        put(&plane, "a", &[]);
        let client = client_of(&plane, is_http2).await;
        let mut socket = client.open_server("a").await.expect("free");
        for fault in [Fault::After, Fault::Before] {
            plane.fail("write", fault);
            let result = socket.write("once").await;
            assert!(matches!(result, Err(WriteError::Client(ClientError::Lost(_)))), "{result:?}");
        }
        socket.write("twice").await.expect("the next connection is whole");
        let texts: Vec<_> = written(&plane, "a").into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, [b"once".to_vec(), b"twice".to_vec()]);
    }
}

#[tokio::test]
async fn what_may_be_done_twice_is_asked_again() {
    for fault in [Fault::Before, Fault::After] {
        let plane = Plane::default();
        put(&plane, "a", &["one"]);
        let client = client_of(&plane, false).await;
        let mut socket = client.open_server("a").await.expect("free");
        assert_eq!(socket.read(99, LONG).await.expect("a piece"), "one");
        plane.fail("release", fault);
        socket.release().await.expect("released once or twice");
        plane.fail("websockets", fault);
        assert_eq!(client.sockets(&SocketQuery::default()).await.expect("a list").total, 1);
        plane.fail("a", fault);
        client.close_socket("a", CloseCode::NORMAL, "").await.assert_done();
        put(&plane, "b", &["one"]);
        plane.fail("open", fault);
        let mut socket = client.open_server("b").await.expect("the lease of the first attempt");
        assert_eq!(socket.fence(), 1);
        assert_eq!(socket.read(9, LONG).await.expect("a piece"), "one");
        assert!(matches!(client.open_server("b").await, Err(OpenError::Busy)));
    }
}

#[tokio::test]
async fn a_dropped_socket_is_given_back_at_once() {
    for is_http2 in WAYS {
        let plane = Plane::default();
        put(&plane, "a", &["one", "two", "three"]);
        let client = client_of(&plane, is_http2).await;
        for expected in ["one", "two"] {
            let mut socket = client.open_server("a").await.expect("free");
            assert_eq!(socket.read(9, LONG).await.expect("a piece"), expected);
            // The first was acknowledged by the second read, the second by nothing.
            if expected == "one" {
                assert_eq!(socket.read(9, LONG).await.expect("a piece"), "two");
            }
            drop(socket);
            let free = async {
                while plane.socket("a", |socket| socket.is_held) {
                    sleep(SOON / 10).await;
                }
            };
            timeout(LONG, free).await.expect("it is given back");
        }
        let mut last = client.open_server("a").await.expect("free");
        assert_eq!(last.read(9, LONG).await.expect("a piece"), "two");
        last.give_back().await.expect("ours");
        let mut last = client.open_server("a").await.expect("free");
        assert_eq!(last.read(9, LONG).await.expect("a piece"), "two");
        last.release().await.expect("ours");
        let mut last = client.open_server("a").await.expect("free");
        assert_eq!(last.read(9, LONG).await.expect("a piece"), "three");
    }
}

trait Ended {
    fn assert_done(self);
}

impl Ended for Result<(), OpenError> {
    /// The second of two is told that it is closed already.
    fn assert_done(self) {
        assert!(matches!(self, Ok(()) | Err(OpenError::Expired)), "{self:?}");
    }
}

#[tokio::test]
async fn write_waits_for_a_slow_peer() {
    let plane = Plane::default();
    plane.socket("a", |socket| socket.is_full = true);
    let client = client_of(&plane, false).await;
    let mut socket = client.open_server("a").await.expect("free");
    let writing = tokio::spawn(async move { socket.write("late").await });
    while plane.seen("write") < 2 {
        sleep(SOON / 10).await;
    }
    assert!(!writing.is_finished());
    plane.socket("a", |socket| socket.is_full = false);
    timeout(LONG, writing).await.expect("it ends").expect("no panic").expect("room");
    assert_eq!(written(&plane, "a").len(), 1);
}

#[tokio::test]
async fn a_lease_is_kept_until_the_socket_is_dropped() {
    let plane = Plane::default();
    put(&plane, "a", &["one"]);
    let client = client_of(&plane, false).await;
    let mut socket = client.open_server("a").await.expect("free");
    assert_eq!(socket.read(99, LONG).await.expect("a piece"), "one");
    let renewals = || plane.socket("a", |socket| socket.renewals);
    timeout(LONG, async {
        while renewals() < 3 {
            sleep(SOON).await;
        }
    })
    .await
    .expect("it is renewed");
    drop(socket);
    let last = renewals();
    sleep(Duration::from_millis(300)).await;
    // One may have been under way.
    assert!(renewals() <= last + 1);
    // What was read and not acknowledged is for the next one.
    plane.socket("a", plane::Socket::drop_lease);
    let mut next = client.open_server("a").await.expect("free");
    assert_eq!(next.read(99, LONG).await.expect("the same piece"), "one");
}

#[tokio::test]
async fn more_reads_than_connections_take_turns_and_let_verbs_pass() {
    let plane = Plane::default();
    let address = plane.clone().tcp().await;
    let client = Client::builder(&address).in_flight_max(4).connect().await.expect("it listens");
    let mut readers = Vec::new();
    for number in 0..12 {
        let id = format!("s{number}");
        put(&plane, &id, &[]);
        let mut socket = client.open_server(&id).await.expect("free");
        readers.push(tokio::spawn(async move { socket.read(99, LONG).await }));
    }
    sleep(SOON).await;
    timeout(LONG, client.status()).await.expect("a connection is left").expect("the state");
    for number in 0..12 {
        put(&plane, &format!("s{number}"), &["x"]);
    }
    for reader in readers {
        let read = timeout(2 * LONG, reader).await.expect("its turn comes");
        assert_eq!(read.expect("no panic").expect("a piece"), "x");
    }
    assert!(plane.connections() <= 4, "{}", plane.connections());
}

#[tokio::test]
async fn one_connection_of_http2_carries_all() {
    let plane = Plane::default();
    let client = client_of(&plane, true).await;
    let mut tasks = Vec::new();
    for number in 0..300 {
        let (client, id) = (client.clone(), format!("s{}", number % 7));
        put(&plane, &id, &[]);
        tasks.push(tokio::spawn(async move { client.write_to(&id, "x").await }));
    }
    for task in tasks {
        task.await.expect("no panic").expect("room");
    }
    assert_eq!((plane.seen("write"), plane.connections()), (300, 1));
}

#[tokio::test]
async fn a_unix_socket_is_spoken_to() {
    let path = std::env::temp_dir().join(format!("ringwire-client-{}.sock", std::process::id()));
    drop(std::fs::remove_file(&path));
    let plane = Plane::default();
    plane.clone().unix(&path);
    let client = Client::connect(&format!("unix:{}", path.display())).await.expect("it listens");
    put(&plane, "a", &["one"]);
    let mut socket = client.open_server("a").await.expect("free");
    assert_eq!(socket.read(99, LONG).await.expect("a piece"), "one");
    std::fs::remove_file(&path).expect("it was there");
}

#[tokio::test]
async fn who_is_not_there_is_named() {
    for address in ["127.0.0.1:1", "unix:/nonexistent/control.sock", "https://a:1", "nonsense"] {
        match Client::connect(address).await {
            Err(ClientError::Unreachable { address: named, .. }) => assert_eq!(named, address),
            other => panic!("{address}: {:?}", other.map(drop)),
        }
    }
    let error = Client::builder("127.0.0.1:1").token("se\ncret").connect().await;
    let error = error.map(drop).expect_err("no token").to_string();
    assert!(!error.contains("cret") && error.contains("token"), "{error}");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let plane = Plane::default();
    for number in 0..25 {
        put(&plane, &format!("s{number:02}"), &[]);
    }
    let client = client_of(&plane, false).await;
    let mut query = SocketQuery { limit: Some(10), ..SocketQuery::default() };
    let mut ids = Vec::new();
    loop {
        let page = client.sockets(&query).await.expect("a page");
        assert_eq!(page.total, 25);
        assert_eq!(page.websockets[0].other["novelty"], true);
        ids.extend(page.websockets.into_iter().map(|socket| socket.id));
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!(ids, (0..25).map(|number| format!("s{number:02}")).collect::<Vec<_>>());
}
