//! The example workers beside a control plane that has trouble: too many requests, sockets that have
//! left, peers that take nothing. Whatever passes ends no worker.

use super::stand::{ROUTE, Running, Stand};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, connect, quick, text};
use tungstenite::Message;

/// Sockets of the fake, by what happens to whoever serves them. The last one is well.
const SOCKETS: [&str; 6] = ["unknown", "held", "closed", "leaves", "slow", "well"];

/// A control plane that answers from a script, and keeps what it was asked.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<Mutex<Vec<String>>>,
    /// How often each verb of each socket was asked for.
    times: Arc<Mutex<HashMap<String, u32>>>,
}

struct Reply(u16, String);

fn refused(status: u16, code: &str) -> Reply {
    let body =
        format!("{{\"error\":{{\"code\":\"{code}\",\"message\":\"it is so\",\"remedy\":\"\"}}}}");
    Reply(status, body)
}

impl Fake {
    fn start() -> (Self, SocketAddr) {
        let fake = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let fake = serving.clone();
                thread::spawn(move || fake.serve(stream));
            }
        });
        (fake, address)
    }

    fn was_asked(&self, what: &str) -> bool {
        self.asked.lock().expect("not poisoned").iter().any(|line| line.contains(what))
    }

    fn serve(self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        while let Some((line, body)) = request(&mut reader) {
            self.asked.lock().expect("not poisoned").push(format!("{line} {body}"));
            if line.contains("/v1/events") {
                let _ = stream.write_all(events(line.contains("after=")).as_bytes());
                // The stream stays open.
                thread::sleep(PATIENCE * 4);
                return;
            }
            let Reply(status, body) = self.answer(&line);
            let kind = if line.contains("/read") { "text/plain" } else { "application/json" };
            let text = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nRetry-After: 1\r\n\
                 Ringwire-Message: 1\r\nRingwire-At-End: true\r\nRingwire-Fence: 7\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, line: &str) -> Reply {
        let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
        let mut parts = path.trim_start_matches("/v1/websockets").trim_matches('/').split('/');
        let (id, verb) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let times = {
            let mut times = self.times.lock().expect("not poisoned");
            let times = times.entry(path.to_owned()).or_default();
            *times += 1;
            *times
        };
        match (id, verb, times) {
            ("", _, 1) => refused(503, "busy"),
            ("", _, _) => Reply(200, "{\"websockets\":[],\"next_cursor\":null,\"total\":0}".into()),
            ("well", "open" | "write", 1) => refused(429, "too_many_requests"),
            ("well", "read", 1) => refused(503, "stuck"),
            ("unknown", "open", 1) => refused(429, "too_many_requests"),
            ("unknown", ..) => refused(404, "unknown_id"),
            ("held", ..) => refused(409, "busy"),
            ("closed", "read", _) => refused(410, "closed"),
            ("leaves", "write", _) => refused(410, "closed"),
            ("slow", "write", _) => refused(503, "full"),
            (_, "open", _) => {
                Reply(200, "{\"fence\":7,\"lease_ms\":30000,\"websocket\":{}}".into())
            }
            ("well", "read", 2) | ("leaves" | "slow", "read", 1) => Reply(200, "word".into()),
            (_, "read", _) => refused(408, "timeout"),
            _ => Reply(204, String::new()),
        }
    }
}

/// The first line and the body of the next request.
fn request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|bytes| *bytes > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first.trim_end().to_owned(), String::from_utf8_lossy(&body).into_owned()))
}

fn events(again: bool) -> String {
    let mut text = String::from(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
         retry: 1000\nid: 0\n\n",
    );
    for (number, id) in SOCKETS.iter().enumerate().filter(|_| !again) {
        text.push_str(&format!(
            "id: {}\nevent: readable\ndata: {{\"id\":\"{id}\",\"route\":\"/feed\"}}\n\n",
            number + 1
        ));
    }
    text
}

fn survives(language: &str) {
    let (fake, address) = Fake::start();
    let mut worker = Running::worker_over_tcp(language, address);
    // Pauses of a second each, of which there are several.
    let began = Instant::now();
    while !fake.was_asked("/v1/websockets/well/release")
        && worker.0.try_wait().expect("our child").is_none()
        && began.elapsed() < PATIENCE * 4
    {
        thread::sleep(Duration::from_millis(20));
    }
    let asked = fake.asked.lock().expect("not poisoned").join("\n");
    assert!(worker.0.try_wait().expect("our child").is_none(), "the worker has ended:\n{asked}");
    for what in [
        "POST /v1/websockets/well/write?fence=7 HTTP/1.1 WORD",
        "POST /v1/websockets/slow/write",
        "POST /v1/websockets/leaves/write",
    ] {
        assert!(fake.was_asked(what), "no {what}:\n{asked}");
    }
    // What the slow one had to hear goes back; what was answered does not.
    let released = |id: &str| {
        let start = format!("POST /v1/websockets/{id}/release?");
        asked.lines().find(|line| line.starts_with(&start)).map(str::to_owned)
    };
    let slow = released("slow").unwrap_or_else(|| panic!("not released:\n{asked}"));
    assert!(slow.contains("ack=false"), "{slow}");
    let well = released("well").expect("it was awaited");
    assert!(!well.contains("ack=false"), "{well}");
    worker.stop();
}

#[test]
fn a_worker_goes_on_when_a_crowd_says_a_word_and_leaves() {
    let stand = Stand::new(quick());
    let mut worker = Running::worker("python", &stand.socket);
    let mut first = connect(stand.address(), ROUTE);
    first.send(Message::text("first")).expect("open");
    assert_eq!(text(&mut first), "FIRST");
    for _ in 0..2 {
        let mut crowd: Vec<_> = (0..100).map(|_| connect(stand.address(), ROUTE)).collect();
        for peer in &mut crowd {
            peer.send(Message::text("word")).expect("open");
        }
    }
    let mut last = connect(stand.address(), ROUTE);
    last.get_ref().set_read_timeout(Some(4 * PATIENCE)).expect("a TCP socket");
    last.send(Message::text("last")).expect("open");
    assert_eq!(text(&mut last), "LAST");
    assert!(worker.0.try_wait().expect("our child").is_none(), "it has ended");
    worker.stop();
    stand.server.finish();
}

#[test]
fn the_python_worker_survives_what_passes() {
    survives("python");
}

#[test]
fn the_shell_worker_survives_what_passes() {
    survives("shell");
}
