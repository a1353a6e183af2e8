//! The part of the HTTP interface that the control plane in memory stands for: asked of that one and of
//! the real one alike, so that no test of the client rests on what the real one does not do.

use super::plane::Plane;
use ringwire::control::{self, Control};
use ringwire::{ListenAddress, Settings};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use support::http::{Answer, Connection};
use support::{Client, Server, Shared, close_of, connect, eventually, quick};
use tokio::runtime::Runtime;
use tungstenite::Message;

const TOKEN: &str = super::plane::TOKEN;

/// Text or not, and the bytes.
type Said = (bool, Vec<u8>);

/// A control plane, and the peers of its sockets.
trait Stand {
    fn address(&self) -> SocketAddr;
    /// The id of a new shared socket, which nobody holds.
    fn socket(&mut self) -> String;
    /// Its peer says something.
    fn say(&mut self, id: &str, said: Said);
    /// What its peer hears next.
    fn hear(&mut self, id: &str) -> Said;
    /// Its peer takes nothing, and its holder has written until there is no room.
    fn fill(&mut self, id: &str, fence: u64);
    /// With which Close its peer is told to go.
    fn closed(&mut self, id: &str) -> (u16, String);
}

fn operator(stand: &dyn Stand) -> Connection {
    Connection::tcp(stand.address(), Some(TOKEN))
}

/// The real one, and clients of its engine.
struct Real {
    server: Server,
    control: Control,
    clients: HashMap<String, Client>,
}

impl Real {
    fn new() -> Self {
        let mut settings = Settings { ..quick() };
        settings.limits.socket_send_buffer_bytes = 4_096;
        let server = Server::start(settings, |builder| builder.route("/shared", || Shared));
        let settings = control::Settings {
            listen: Some(([127, 0, 0, 1], 0).into()),
            token: Some(TOKEN.into()),
            ..control::Settings::default()
        };
        let bound = control::bind(settings).expect("a free port");
        let control = bound.serve(server.engine()).expect("it serves");
        Self { server, control, clients: HashMap::new() }
    }

    fn client(&mut self, id: &str) -> &mut Client {
        self.clients.get_mut(id).expect("one of its sockets")
    }
}

impl Stand for Real {
    fn address(&self) -> SocketAddr {
        match self.control.addresses()[0] {
            ListenAddress::Tcp(address) => address,
            ListenAddress::Unix(_) => unreachable!("it listens on TCP"),
        }
    }

    fn socket(&mut self) -> String {
        let client = connect(self.server.address, "/shared");
        let peer = client.get_ref().local_addr().expect("a socket");
        let mut operator = operator(self);
        let mut id = String::new();
        eventually("the socket is left by its handler", || {
            let page = operator.get(&format!("/v1/websockets?q={peer}")).json();
            let found = &page["websockets"][0];
            let unattended = found["status"] == "unattended";
            found["id"].as_str().filter(|_| unattended).map(|found| id = found.into()).is_some()
        });
        self.clients.insert(id.clone(), client);
        id
    }

    fn say(&mut self, id: &str, (is_text, bytes): Said) {
        let message = match is_text {
            true => Message::text(String::from_utf8(bytes).expect("text")),
            false => Message::binary(bytes),
        };
        self.client(id).send(message).expect("it is open");
    }

    fn hear(&mut self, id: &str) -> Said {
        match self.client(id).read().expect("a message") {
            Message::Text(text) => (true, text.as_bytes().to_vec()),
            Message::Binary(bytes) => (false, bytes.to_vec()),
            other => panic!("no message: {other:?}"),
        }
    }

    fn fill(&mut self, id: &str, fence: u64) {
        let mut operator = operator(self);
        let target = format!("/v1/websockets/{id}/write?wait_ms=0&fence={fence}");
        // The kernel takes more for a while after it was full for the first time.
        let mut refused = 0;
        for _ in 0..10_000 {
            let written = operator.write(&target, "text/plain", &[b'x'; 60_000]);
            refused = if written.status == 503 { refused + 1 } else { 0 };
            if refused == 20 {
                return;
            }
        }
        panic!("it takes all");
    }

    fn closed(&mut self, id: &str) -> (u16, String) {
        close_of(self.client(id))
    }
}

/// The one in memory, whose sockets a test fills in.
struct InMemory {
    plane: Plane,
    address: SocketAddr,
    sockets: usize,
    _runtime: Runtime,
}

impl InMemory {
    fn new() -> Self {
        let runtime = Runtime::new().expect("threads");
        let plane = Plane::default();
        let address = runtime.block_on(plane.clone().tcp()).parse().expect("an address");
        Self { plane, address, sockets: 0, _runtime: runtime }
    }
}

impl Stand for InMemory {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn socket(&mut self) -> String {
        self.sockets += 1;
        let id = format!("s{}", self.sockets);
        self.plane.socket(&id, |_| {});
        id
    }

    fn say(&mut self, id: &str, said: Said) {
        self.plane.socket(id, |socket| socket.inbox.push_back(said));
    }

    fn hear(&mut self, id: &str) -> Said {
        self.plane.socket(id, |socket| socket.written.remove(0))
    }

    fn fill(&mut self, id: &str, _fence: u64) {
        self.plane.socket(id, |socket| socket.is_full = true);
    }

    fn closed(&mut self, id: &str) -> (u16, String) {
        self.plane.socket(id, |socket| socket.closed.clone()).expect("it is closed")
    }
}

/// Asks both.
fn both(contract: fn(&mut dyn Stand)) {
    println!("the real one:");
    let mut real = Real::new();
    contract(&mut real);
    drop(real.clients);
    drop(real.control);
    real.server.finish();
    println!("the one in memory:");
    contract(&mut InMemory::new());
}

fn fence_of(opened: &Answer) -> u64 {
    assert_eq!(opened.status, 200, "{opened:?}");
    opened.json()["fence"].as_u64().expect("a fence")
}

fn read(operator: &mut Connection, socket: &str, query: &str) -> Answer {
    operator.post(&format!("{socket}/read?timeout=5000&{query}"))
}

/// What the client reads of a socket.
fn check_info(info: &Value, id: &str) {
    assert_eq!(info["id"], id);
    for number in ["number", "shard", "slot", "opened_ms", "idle_ms"] {
        assert!(info[number].is_u64(), "{number}: {info}");
    }
    for text in ["route", "status", "peer"] {
        assert!(info[text].is_string(), "{text}: {info}");
    }
    for absent in ["session_id", "timeout_ms", "lease"] {
        assert!(info.get(absent).is_some(), "{absent}: {info}");
    }
}

#[test]
fn opening_and_reading_are_the_same() {
    both(|stand| {
        let id = stand.socket();
        let socket = format!("/v1/websockets/{id}");
        let mut operator = operator(stand);
        stand.say(&id, (true, "héllo".into()));
        stand.say(&id, (false, vec![0, 255, 7]));
        let opened = operator.post(&format!("{socket}/open"));
        let fence = fence_of(&opened);
        assert!(opened.json()["lease_ms"].as_u64().is_some_and(|lease_ms| lease_ms > 0));
        check_info(&opened.json()["websocket"], &id);

        let mut last = 0;
        let pieces: [(&[u8], &str, bool); 3] = [
            ("hé".as_bytes(), "text/plain; charset=utf-8", false),
            (b"llo", "text/plain; charset=utf-8", true),
            (&[0, 255, 7], "application/octet-stream", true),
        ];
        for (piece, (bytes, kind, at_end)) in pieces.into_iter().enumerate() {
            let len = if piece == 0 { 2 } else { 99 };
            let query = |ack: u64| format!("fence={fence}&ack={ack}&len={len}");
            let given = read(&mut operator, &socket, &query(last));
            // It has not arrived, and is given again.
            let again = read(&mut operator, &socket, &query(last));
            for answer in [&given, &again] {
                assert_eq!((answer.status, &answer.body[..]), (200, bytes));
                assert_eq!(answer.header("content-type"), Some(kind));
                assert_eq!(
                    answer.header("ringwire-at-end"),
                    Some(if at_end { "true" } else { "false" })
                );
                assert_eq!(answer.header("ringwire-fence"), Some(&*fence.to_string()));
                assert_eq!(answer.header("ringwire-message"), given.header("ringwire-message"));
            }
            let number = given.header("ringwire-message").and_then(|number| number.parse().ok());
            assert!(number > Some(last), "{number:?}");
            last = number.unwrap_or_default();
        }
        // What names nothing has everything.
        stand.say(&id, (true, "next".into()));
        assert_eq!(read(&mut operator, &socket, &format!("fence={fence}")).text(), "next");
        let none = operator.post(&format!("{socket}/read?fence={fence}&timeout=0"));
        assert_eq!(none.error(408), "timeout");
    });
}

#[test]
fn the_other_verbs_are_the_same() {
    both(|stand| {
        let id = stand.socket();
        let socket = format!("/v1/websockets/{id}");
        let mut operator = operator(stand);
        let fence = fence_of(&operator.post(&format!("{socket}/open")));
        for (fenced, kind, said) in [
            (true, "text/plain; charset=utf-8", (true, "gölt".into())),
            (false, "application/octet-stream", (false, vec![1, 2])),
        ] {
            let query = if fenced { format!("?fence={fence}") } else { String::new() };
            let written = operator.write(&format!("{socket}/write{query}"), kind, &said.1);
            assert_eq!((written.status, stand.hear(&id)), (204, said));
        }
        assert_eq!(operator.post(&format!("{socket}/renew?fence={fence}")).status, 204);

        // Given back: once as it was read, once not.
        stand.say(&id, (true, "last".into()));
        assert_eq!(read(&mut operator, &socket, &format!("fence={fence}")).text(), "last");
        let release = format!("{socket}/release?fence={fence}&ack=false");
        assert_eq!(operator.post(&release).status, 204);
        let fence = fence_of(&operator.post(&format!("{socket}/open")));
        assert_eq!(read(&mut operator, &socket, &format!("fence={fence}")).text(), "last");
        assert_eq!(operator.post(&format!("{socket}/release?fence={fence}")).status, 204);
        let fence = fence_of(&operator.post(&format!("{socket}/open")));
        let none = operator.post(&format!("{socket}/read?fence={fence}&timeout=0"));
        assert_eq!(none.error(408), "timeout");

        let target = format!("{socket}?code=4001&reason=that%20is%20%C3%A9");
        assert_eq!(operator.ask("DELETE", &target, &[], b"").status, 204);
        assert_eq!(stand.closed(&id), (4_001, "that is é".into()));
        let other = stand.socket();
        assert_eq!(operator.post(&format!("/v1/websockets/{other}/interrupt")).status, 204);
    });
}

#[test]
fn refusals_are_the_same() {
    both(|stand| {
        let id = stand.socket();
        let socket = format!("/v1/websockets/{id}");
        let mut first = operator(stand);
        let mut second = operator(stand);
        let key = [("Idempotency-Key", "attempt-1")];
        let open = format!("{socket}/open");
        let fence = fence_of(&first.ask("POST", &open, &key, b""));
        // The same attempt once more, and another one.
        assert_eq!(fence_of(&first.ask("POST", &open, &key, b"")), fence);
        assert_eq!(second.ask("POST", &open, &[("Idempotency-Key", "2")], b"").error(409), "busy");
        assert_eq!(second.post(&open).error(409), "busy");
        let stolen = fence_of(&second.post(&format!("{open}?steal=true")));
        assert!(stolen > fence);
        for verb in ["read?timeout=0&", "renew?", "release?"] {
            let late = first.post(&format!("{socket}/{verb}fence={fence}"));
            assert_eq!(late.error(412), "fenced", "{verb}");
        }
        let late = first.write(&format!("{socket}/write?fence={fence}"), "text/plain", b"late");
        assert_eq!(late.error(412), "fenced");
        stand.fill(&id, stolen);
        let write = format!("{socket}/write?wait_ms=0&fence={stolen}");
        assert_eq!(second.write(&write, "text/plain", b"more").error(503), "full");

        let id = stand.socket();
        let socket = format!("/v1/websockets/{id}");
        let fence = fence_of(&first.post(&format!("{socket}/open")));
        let target = format!("{socket}?code=4001&reason=bye");
        assert_eq!(first.ask("DELETE", &target, &[], b"").status, 204);
        assert_eq!(stand.closed(&id), (4_001, "bye".into()));
        let written = first.write(&format!("{socket}/write?fence={fence}"), "text/plain", b"x");
        let read = read(&mut first, &socket, &format!("fence={fence}"));
        for answer in [written, read] {
            assert_eq!(answer.error(410), "closed");
            let error = &answer.json()["error"];
            assert_eq!((&error["close_code"], &error["reason"]), (&4_001.into(), &"bye".into()));
        }

        let nobody = "/v1/websockets/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (method, verb) in [
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/open"),
            ("POST", "/read?fence=1&timeout=0"),
            ("POST", "/renew?fence=1"),
            ("POST", "/release?fence=1"),
            ("POST", "/interrupt"),
        ] {
            let answer = first.ask(method, &format!("{nobody}{verb}"), &[], b"");
            assert_eq!(answer.error(404), "unknown_id", "{method} {verb}");
        }
        let written = first.write(&format!("{nobody}/write"), "text/plain", b"x");
        assert_eq!(written.error(404), "unknown_id");
        assert_eq!(first.get("/v1/nothing").error(404), "not_found");
        let mut stranger = Connection::tcp(stand.address(), Some("a-token-that-nobody-has"));
        assert_eq!(stranger.get("/v1/websockets").error(401), "unauthorized");
    });
}

#[test]
fn lists_are_the_same() {
    both(|stand| {
        let ids: BTreeSet<String> = (0..5).map(|_| stand.socket()).collect();
        let mut operator = operator(stand);
        for id in &ids {
            let info = operator.get(&format!("/v1/websockets/{id}"));
            assert_eq!(info.status, 200);
            check_info(&info.json(), id);
        }
        let all = operator.get("/v1/websockets").json();
        assert_eq!(
            (all["websockets"].as_array().map(Vec::len), &all["total"]),
            (Some(5), &5.into())
        );
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        for page in 0.. {
            let page_of = operator.get(&format!("/v1/websockets?limit=2{cursor}")).json();
            assert_eq!(page_of["total"], 5);
            let infos = page_of["websockets"].as_array().expect("a list").clone();
            assert!(infos.len() <= 2 && page < 5, "{infos:?}");
            for info in infos {
                let id = info["id"].as_str().expect("an id").to_owned();
                check_info(&info, &id);
                listed.push(id);
            }
            match &page_of["next_cursor"] {
                Value::Null => break,
                next => cursor = format!("&cursor={}", next.as_str().expect("a text")),
            }
        }
        assert_eq!(listed.len(), 5);
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), ids);
    });
}
