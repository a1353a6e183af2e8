//! The handshake and what else is asked in HTTP.

use ringwire::{Error, ListenAddress, NotOffered, Opening, Refusal, WebSocket, WebSocketServer};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;
use support::raw::{FIN, Raw, Reply, TEXT, close_payload, frame, http, upgrade};
use support::{Server, close_of, connect, connect_with, echo, on, quick, text, told};
use tungstenite::Message;

/// Tells what it sees of a request, decides by its query, and writes its first message.
#[derive(Default)]
struct Doorman(Vec<String>);

impl WebSocketServer for Doorman {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        if opening.query() == Some("no") {
            let refusal = Refusal::new(429, "slow down").header("Retry-After", "7");
            return Err(refusal.expect("a header that may be set"));
        }
        assert_eq!(opening.set_subprotocol("absent"), Err(NotOffered));
        if opening.subprotocols().len() > 1 {
            let second = opening.subprotocols()[1].clone();
            opening.set_subprotocol(&second).expect("it was offered");
        }
        opening.add_header("Set-Cookie", "id=1; HttpOnly").expect("it may be set");
        assert!(opening.add_header("Sec-WebSocket-Accept", "x").is_err());
        assert!(opening.add_header("X", "a\r\nY: b").is_err());
        self.0 = vec![
            opening.path().to_owned(),
            format!("{:?}", opening.query()),
            format!("{:?}", opening.cookies().collect::<Vec<_>>()),
            format!("{:?}", opening.cookie("b")),
            format!("{:?}", opening.header("X-MINE")),
            format!("{:?}", opening.peer_addr()),
        ];
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        assert_eq!(self.0[5], format!("{:?}", ws.peer_addr()));
        Ok(ws.write(self.0.join("|")).await?)
    }
}

fn doorman() -> Server {
    Server::start(quick(), |builder| builder.route("/door", Doorman::default))
}

#[test]
fn a_handler_sees_the_request_and_answers_it() {
    let server = doorman();
    let headers = [
        ("sec-websocket-protocol", "one, two"),
        ("sec-websocket-protocol", "three"),
        ("cookie", "a=1; b=\"two\""),
        ("cookie", "c=3=4"),
        ("x-mine", "yes"),
    ];
    let (mut client, reply) = connect_with(server.address, "/door?x=%20&y", &headers);
    assert_eq!(reply.headers()["sec-websocket-protocol"], "two");
    assert_eq!(reply.headers()["set-cookie"], "id=1; HttpOnly");
    let own: SocketAddr = client.get_ref().local_addr().unwrap();
    let seen = format!(
        "/door|Some(\"x=%20&y\")|[(\"a\", \"1\"), (\"b\", \"two\"), (\"c\", \"3=4\")]|\
         Some(\"two\")|Some(\"yes\")|Some({own})"
    );
    assert_eq!(text(&mut client), seen);
    let (_, reply) = connect_with(server.address, "/door", &[]);
    assert!(!reply.headers().contains_key("sec-websocket-protocol"));
    server.finish();
}

#[test]
fn a_refusal_has_the_status_and_the_headers_that_were_asked_for() {
    let server = doorman();
    let reply = http(server.address, upgrade("/door?no", "").as_bytes());
    assert_eq!((reply.status, reply.header("Retry-After")), (429, Some("7")));
    assert_eq!(reply.header("Connection"), Some("close"));
    assert_eq!(reply.body, b"slow down\n");
    let totals = server.finish();
    assert_eq!((totals.refused, totals.opened), (1, 0));
}

#[test]
fn ids_are_unlike_each_other_and_of_32_characters() {
    let mut settings = quick();
    settings.shards = 2;
    let server = Server::with(settings, async |ws| Ok(ws.write(ws.websocket_id()).await?));
    let mut ids = HashSet::new();
    for _ in 0..100 {
        let mut client = connect(server.address, "/");
        let id = text(&mut client);
        assert_eq!(id.len(), 32);
        let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        assert!(id.chars().all(letter), "{id}");
        assert!(ids.insert(id));
        close_of(&mut client);
    }
    server.finish();
}

#[test]
fn routes_are_exact_or_prefixes() {
    let says = |said: &'static str| on(async move |ws| Ok(ws.write(said).await?));
    let server = Server::start(quick(), |builder| {
        builder
            .route("/a", says("a"))
            .route("/a/*", says("a/*"))
            .route("/a/b/*", says("a/b/*"))
            .route("/a/b/c", says("a/b/c"))
    });
    for (path, said) in [
        ("/a", "a"),
        ("/a/", "a/*"),
        ("/a/x?q", "a/*"),
        ("/a/b", "a/*"),
        ("/a/b/", "a/b/*"),
        ("/a/b/c", "a/b/c"),
        ("/a/b/c/d", "a/b/*"),
    ] {
        assert_eq!(text(&mut connect(server.address, path)), said, "{path}");
    }
    for path in ["/", "/A", "/ab", "/a%2Fb", "//a"] {
        assert_eq!(http(server.address, upgrade(path, "").as_bytes()).status, 404, "{path}");
    }
    server.finish();
}

/// A request in HTTP that asks for no upgrade.
fn plain(server: &Server, method: &str, path: &str) -> Reply {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let reply = http(server.address, request.as_bytes());
    assert_eq!(reply.header("Connection"), Some("close"), "{}", reply.head);
    reply
}

#[test]
fn pages_and_wrong_turns() {
    let server = Server::start(quick(), |builder| {
        builder.route("/ws", on(echo)).page("/page", "text/plain", b"a page")
    });
    let page = plain(&server, "GET", "/page");
    assert_eq!((page.status, &page.body[..]), (200, &b"a page"[..]));
    assert_eq!(page.header("Content-Type"), Some("text/plain"));
    let head = plain(&server, "HEAD", "/page");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("Content-Length"), Some("6"));
    let post = plain(&server, "POST", "/page");
    assert_eq!((post.status, post.header("Allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(plain(&server, "GET", "/nothing").status, 404);
    let upgrade_wanted = plain(&server, "GET", "/ws");
    assert_eq!(upgrade_wanted.status, 426);
    assert_eq!(upgrade_wanted.header("Upgrade"), Some("websocket"));
    assert_eq!(upgrade_wanted.header("Sec-WebSocket-Version"), Some("13"));
    assert_eq!(http(server.address, upgrade("/page", "").as_bytes()).status, 404);
    server.finish();
}

#[test]
fn a_second_request_never_reaches_a_handler() {
    let (sender, canary) = channel();
    let server = Server::start(quick(), |builder| {
        let canary = on(async move |_: &mut WebSocket| {
            sender.send(()).unwrap();
            Ok(())
        });
        let builder = builder.route("/canary", canary).route("/door", Doorman::default);
        let builder = builder.route("/echo", on(echo));
        builder.page("/page", "text/plain", b"a page")
    });
    let second = upgrade("/canary", "");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for first in [get("/page"), get("/nothing"), get("/canary"), upgrade("/door?no", "")] {
        let mut raw = Raw::connect(server.address);
        raw.send(format!("{first}{second}").as_bytes());
        raw.try_send(second.as_bytes());
        let said = raw.read_rest();
        let answers = said.windows(8).filter(|window| *window == b"HTTP/1.1").count();
        assert_eq!(answers, 1, "{}", String::from_utf8_lossy(&said));
    }
    // After a 101 it is a frame, and not a good one.
    let mut raw = Raw::connect(server.address);
    raw.send(format!("{}{second}", upgrade("/echo", "")).as_bytes());
    raw.expect_101();
    let end = std::iter::from_fn(|| raw.read_frame()).last().expect("a Close frame");
    assert_eq!(end.close_code(), Some(1002));
    drop(raw);
    server.finish();
    assert!(canary.try_recv().is_err());
}

#[test]
fn frames_behind_the_request_in_the_same_segment_are_heard() {
    let server = Server::start(quick(), |builder| {
        struct Slow;
        impl WebSocketServer for Slow {
            async fn on_pre_server(&mut self, _: &mut Opening) -> Result<(), Refusal> {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(())
            }

            async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
                echo(ws).await
            }
        }
        builder.route("/", on(echo)).route("/slow", || Slow)
    });
    for path in ["/", "/slow"] {
        let mut raw = Raw::connect(server.address);
        let mut bytes = upgrade(path, "").into_bytes();
        bytes.extend(frame(FIN | TEXT, b"early"));
        bytes.extend(&frame(FIN | TEXT, b"halved")[..8]);
        raw.send(&bytes);
        thread::sleep(Duration::from_millis(20));
        raw.send(&frame(FIN | TEXT, b"halved")[8..]);
        // More than an inbox holds, while the handler decides.
        let large = vec![b'x'; 200_000];
        raw.send(&frame(FIN | TEXT, &large));
        raw.send(&frame(FIN | 8, &close_payload(1000, b"")));
        raw.expect_101();
        for payload in [&b"early"[..], b"halved", &large] {
            assert_eq!(raw.read_frame().expect("an echo").payload, payload, "{path}");
        }
        assert_eq!(raw.close_code(), Some(1000));
    }
    server.finish();
}

#[test]
fn a_unix_socket_serves_and_its_file_goes_away() {
    let path = std::env::temp_dir().join(format!("ringwire-wire-{}.sock", std::process::id()));
    let mut settings = quick();
    settings.listen = vec![ListenAddress::Unix(path.clone())];
    let server = Server::with(settings, async |ws| {
        assert_eq!(ws.peer_addr(), None);
        echo(ws).await
    });
    let stream = UnixStream::connect(&path).expect("it accepts");
    let (mut client, _) = tungstenite::client("ws://localhost/", stream).expect("the handshake");
    client.send(Message::text("over a file")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("over a file"));
    drop(client);
    server.finish();
    assert!(!path.exists());
}

#[test]
fn every_shard_gets_connections() {
    struct Where(Sender<thread::ThreadId>);
    impl WebSocketServer for Where {
        async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
            self.0.send(thread::current().id()).unwrap();
            echo(ws).await
        }
    }
    let mut settings = quick();
    settings.shards = 2;
    let (sender, shards) = channel();
    let sender = Mutex::new(sender);
    let server = Server::start(settings, |builder| {
        builder.route("/", move || Where(sender.lock().unwrap().clone()))
    });
    // By a hash of the addresses; all on one side would be one in 2^39.
    let clients: Vec<_> = (0..40).map(|_| connect(server.address, "/")).collect();
    let seen: HashSet<_> = (0..40).map(|_| told(&shards)).collect();
    assert_eq!(seen.len(), 2);
    drop(clients);
    assert_eq!(server.finish().opened, 40);
}
