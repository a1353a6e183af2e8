//! Every example does what its header promises, to a client that nobody here wrote, and ends in
//! order when it is told to.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tungstenite::handshake::client::Response;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{ClientRequestBuilder, Error, Message, WebSocket};

type Client = WebSocket<TcpStream>;

/// Longer than anything here takes; what passes it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// An example that runs on a port of its own.
struct Example {
    child: Child,
    /// Kept open, because a server may go on to print.
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(path_of(name))
            .arg("127.0.0.1:0")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("an example can be run");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on ").map(str::parse);
        let address = address.expect(&line).expect("an address");
        Self { child, stdout, address }
    }

    fn request(&self, path: &str) -> ClientRequestBuilder {
        ClientRequestBuilder::new(format!("ws://{}{path}", self.address).parse().expect("a URI"))
    }

    fn connect(&self, request: ClientRequestBuilder) -> Result<(Client, Response), Error> {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        tungstenite::client(request, stream).map_err(|failure| match failure {
            tungstenite::HandshakeError::Failure(error) => error,
            tungstenite::HandshakeError::Interrupted(_) => panic!("no answer to the handshake"),
        })
    }

    fn client(&self, path: &str) -> Client {
        self.connect(self.request(path)).expect("it accepts").0
    }

    /// Sends `signal`; what the program printed from then on, once it has ended with 0.
    fn stop(mut self, signal: Signal) -> String {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("our child") {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("it did not end"),
                None => sleep(Duration::from_millis(10)),
            }
        };
        let mut printed = String::new();
        self.stdout.read_to_string(&mut printed).expect("UTF-8");
        let mut complaints = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut complaints).expect("UTF-8");
        assert_eq!((status.code(), complaints.as_str()), (Some(0), ""));
        printed
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // A test may have ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where cargo puts an example: `examples/`, beside the `deps/` in which the tests are. `cargo test`
/// builds it, `cargo test --test examples` does not, so that it may be missing or out of date.
fn path_of(example: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test is a file");
    let target = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps");
    let path = target.join("examples").join(example);
    let changed = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
    let built = changed(&path);
    // `binary: source source ...`, spaces in a name escaped.
    let sources = std::fs::read_to_string(path.with_extension("d")).unwrap_or_default();
    let sources = sources.replace("\\ ", "\0");
    let mut sources = sources.split_whitespace().skip(1).map(|name| name.replace('\0', " "));
    let stale = built.is_none() || sources.any(|source| changed(Path::new(&source)) > built);
    assert!(!stale, "{} is not up to date: run `cargo build --examples`", path.display());
    path
}

fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).expect("it listens");
}

/// The next message, which must be text.
fn heard(client: &mut Client) -> String {
    client.read().expect("a message").into_text().expect("text").as_str().to_owned()
}

/// The code of the Close frame that must come next; the client answers it.
fn closed(client: &mut Client) -> CloseCode {
    match client.read() {
        Ok(Message::Close(Some(frame))) => {
            // Reading on sends the answer and waits until the server has gone.
            assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
            frame.code
        }
        other => panic!("not a Close frame: {other:?}"),
    }
}

/// Ends the conversation from this side, and the connection with it.
fn leave(mut client: Client) {
    client.close(None).expect("open");
    while client.read().is_ok() {}
}

#[test]
fn echo_sends_back_what_came_and_drains() {
    let example = Example::start("echo", &[]);
    let mut client = example.client("/any/path");
    // Longer than one read with the default length would give, so that it must come whole.
    let messages =
        [Message::text("héllo"), Message::binary(vec![7; 300_000]), Message::text(String::new())];
    for message in messages {
        client.send(message.clone()).expect("it listens");
        assert_eq!(client.read().expect("an answer"), message);
    }
    let drained = std::thread::spawn(move || closed(&mut client));
    example.stop(Signal::TERM);
    assert_eq!(drained.join().expect("the client saw the end"), CloseCode::Away);
}

#[test]
fn timeout_echo_echoes_times_out_and_exits() {
    let example = Example::start("timeout_echo", &["0.2"]);
    let mut client = example.client("/csp/user/MyApp.MyWebSocketServer.cls");
    say(&mut client, "first");
    assert_eq!(heard(&mut client), "first");
    let text = heard(&mut client);
    let horolog = text.strip_prefix("Server timed-out at ").expect(&text);
    let (days, seconds) = horolog.split_once(',').expect(&text);
    // 1 January 2026 was day 67,571.
    assert!(days.parse::<u32>().expect(&text) >= 67_571, "{text}");
    assert!(seconds.parse::<u32>().expect(&text) < 86_400, "{text}");
    say(&mut client, "exit");
    while let Ok(message) = client.read() {
        match message {
            Message::Close(frame) => assert_eq!(frame.expect("a code").code, CloseCode::Normal),
            Message::Text(text) => assert!(text.starts_with("Server timed-out at "), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(!client.can_read());
    drop(client);
    let printed = example.stop(Signal::INT);
    let lines: Vec<&str> = printed.lines().collect();
    let asked = "a client asks for /csp/user/MyApp.MyWebSocketServer.cls";
    assert_eq!((lines.len(), lines[0]), (2, asked), "{printed}");
    assert!(lines[1].starts_with("the client left: 1000"), "{printed}");
}

#[test]
fn shared_serves_sockets_whose_handlers_are_gone() {
    let example = Example::start("shared", &[]);
    let path = "/csp/user/MyApp.MyWebSocketServer.cls";
    let mut clients: Vec<Client> = (0..3).map(|_| example.client(path)).collect();
    for round in 0..3 {
        for (index, client) in clients.iter_mut().enumerate() {
            say(client, &format!("{round} of {index}"));
        }
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(heard(client), format!("{round} of {index}"));
        }
    }
    say(&mut clients[1], "exit");
    assert_eq!(closed(&mut clients[1]), CloseCode::Normal);
    say(&mut clients[2], "still there");
    assert_eq!(heard(&mut clients[2]), "still there");
    leave(clients.remove(0));
    example.stop(Signal::TERM);
}

#[test]
fn shared_echo_echoes_from_a_worker_and_drains() {
    let example = Example::start("shared_echo", &["1"]);
    for path in ["/", "/dedicated"] {
        let mut client = example.client(path);
        let messages = [Message::text("héllo"), Message::binary(vec![7; 300_000])];
        for message in messages {
            client.send(message.clone()).expect("it listens");
            assert_eq!(client.read().expect("an answer"), message);
        }
        leave(client);
    }
    example.stop(Signal::TERM);
}

#[test]
fn auth_lets_in_whom_it_knows() {
    let example = Example::start("auth", &[]);
    let ada = || example.request("/").with_header("Cookie", "theme=dark; session=1f0c");
    let (mut client, answer) =
        example.connect(ada().with_sub_protocol("notes.v1")).expect("ada is let in");
    let subprotocol = answer.headers().get("sec-websocket-protocol");
    assert_eq!(subprotocol.map(HeaderValue::as_bytes), Some(&b"notes.v1"[..]));
    assert!(answer.headers().contains_key("set-cookie"));
    assert_eq!(heard(&mut client), "welcome, ada");
    say(&mut client, "milk");
    assert_eq!(heard(&mut client), "ada: milk");
    leave(client);

    let admin = || example.request("/").with_header("Cookie", "session=77b2");
    let refused = [
        (401, example.request("/").with_sub_protocol("notes.v1")),
        (401, example.request("/").with_header("Cookie", "session=guess")),
        (403, ada().with_header("Origin", "https://elsewhere.example.net")),
        (403, admin().with_header("Origin", "https://app.example.org")),
        (400, ada().with_header("Origin", "https://app.example.org")),
        (400, admin().with_header("Origin", "https://admin.example.org")),
    ];
    for (index, (status, request)) in refused.into_iter().enumerate() {
        match example.connect(request) {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), status, "request {index}"),
            other => panic!("request {index}: {:?}", other.map(|(_, answer)| answer)),
        }
    }
    let from_there = admin().with_header("Origin", "https://admin.example.org");
    let (mut client, _) =
        example.connect(from_there.with_sub_protocol("notes.v1")).expect("the admin is let in");
    assert_eq!(heard(&mut client), "welcome, admin");
    leave(client);
    example.stop(Signal::TERM);
}

#[test]
fn session_logs_in_over_reconnects_and_out_everywhere() {
    let example = Example::start("session", &[]);
    let connect = |cookie: &str| {
        let request = example.request("/account").with_header("Cookie", cookie);
        let (client, answer) = example.connect(request).expect("it accepts");
        let cookie = answer.headers().get("set-cookie").map(|cookie| {
            let cookie = cookie.to_str().expect("ASCII");
            cookie.split(';').next().unwrap_or(cookie).to_owned()
        });
        (client, cookie)
    };
    let (mut client, cookie) = connect("theme=dark");
    let before = cookie.expect("a cookie");
    assert_eq!(heard(&mut client), "visit 1 of nobody");
    let mut tries = |words: [&str; 2]| words.map(|word| say(&mut client, word));
    tries(["login ada", "byron"]);
    tries(["login ada", "lovelace"]);
    assert_eq!(
        [heard(&mut client), heard(&mut client), heard(&mut client)],
        ["password?", "no", "password?"]
    );
    assert_eq!(closed(&mut client), CloseCode::Restart);

    let (mut client, cookie) = connect(&before);
    let after = cookie.expect("a new cookie");
    assert_ne!(after, before);
    assert_eq!(heard(&mut client), "visit 2 of ada");
    let (mut tab, cookie) = connect(&after);
    assert_eq!((heard(&mut tab).as_str(), cookie), ("visit 3 of ada", None));
    say(&mut tab, "hello");
    assert_eq!(heard(&mut tab), "ada says hello");
    say(&mut client, "logout");
    assert_eq!([closed(&mut client), closed(&mut tab)], [CloseCode::Policy; 2]);
    for stale in [before, after] {
        let (mut client, cookie) = connect(&stale);
        assert!(cookie.is_some() && heard(&mut client) == "visit 1 of nobody");
        leave(client);
    }
    example.stop(Signal::TERM);
}

#[test]
fn tokio_inside_asks_the_service_and_ticks() {
    let example = Example::start("tokio_inside", &["0.1"]);
    let mut client = example.client("/");
    for question in ["ring", "wire"] {
        say(&mut client, question);
        let mut answer = heard(&mut client);
        while answer.starts_with("tick ") {
            answer = heard(&mut client);
        }
        assert_eq!(answer, question.to_uppercase());
    }
    let ticks: Vec<u32> =
        (0..3).map(|_| heard(&mut client)[5..].parse().expect("a count")).collect();
    assert!(ticks.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ticks:?}");
    leave(client);
    example.stop(Signal::INT);
}

#[test]
fn a_second_signal_does_not_wait_for_the_peers() {
    let mut example = Example::start("echo", &[]);
    // A client that never answers the Close frame: a drain alone would wait for its timeouts.
    let mut silent = TcpStream::connect(example.address).expect("it listens");
    silent
        .write_all(
            b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .expect("it listens");
    silent.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    let mut answer = [0; 12];
    silent.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 101");
    let child = Pid::from_child(&example.child);
    kill_process(child, Signal::INT).expect("it runs");
    let deadline = Instant::now() + PATIENCE;
    // Signals of one kind may be merged into one, so the second is sent until it has come.
    let status = loop {
        match example.child.try_wait().expect("our child") {
            Some(status) => break status,
            None if Instant::now() > deadline => panic!("it did not end"),
            None => kill_process(child, Signal::TERM).expect("not waited for yet"),
        }
        sleep(Duration::from_millis(50));
    };
    assert_eq!(status.code(), Some(3));
}
