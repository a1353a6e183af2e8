use super::*;
use crate::EngineHandle;
use crate::control::guard::Guard;
use crate::control::tokens::Tokens;
use crate::engine::SimulatedEngine;
use axum::body::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use std::future::ready;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{DuplexStream, duplex};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

/// Never over in a test.
const LONG: Duration = Duration::from_secs(600);
/// Soon over, and longer than what is to be done before.
const SHORT: Duration = Duration::from_secs(3);
const NEVER: Times = Times { first_request: LONG, idle: LONG, answer: LONG };

struct Served {
    plane: Arc<Plane>,
    client: DuplexStream,
    serving: JoinHandle<()>,
    _engine: SimulatedEngine,
}

/// A connection over TCP, as far as it can tell, with so many bytes under way at most.
fn serve(times: Times, bytes: usize) -> Served {
    let (engine, handle) = EngineHandle::of_idle();
    let tokens = Tokens::new("operator-token-0".into(), None);
    let plane = Plane::new(handle, Guard::new(tokens, vec![]));
    let plane = Arc::new(Plane { times, ..plane });
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let visit = Visits::over_tcp().arrive(here.into(), Rank::Stranger, Line::new(times));
    let (client, server) = duplex(bytes);
    let visit = visit.expect("there is room");
    let serving = tokio::spawn(converse(server, Door::Tcp(here), Arc::clone(&plane), visit));
    Served { plane, client, serving, _engine: engine }
}

impl Served {
    /// Waits until the connection is over.
    async fn end(self) -> Arc<Plane> {
        timeout(10 * SHORT, self.serving).await.expect("it ends").expect("it does not panic");
        self.plane
    }
}

/// Speaks HTTP/2, with so many bytes that each answer may send.
async fn http2(served: &mut Served, window: u32) -> SendRequest<Bytes> {
    let (mine, _) = duplex(1);
    let stream = std::mem::replace(&mut served.client, mine);
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_window_size(window).handshake(stream);
    let (sender, connection) = handshake.await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    sender
}

fn ask(sender: &mut SendRequest<Bytes>, path: &str, token: bool) -> ResponseFuture {
    let mut request = Request::get(format!("http://localhost{path}"));
    if token {
        request = request.header("authorization", "Bearer operator-token-0");
    }
    let request = request.body(()).expect("a request");
    sender.send_request(request, true).expect("it is open").0
}

fn listening(socket: Socket, visits: Arc<Visits>) -> Listening {
    Listening { socket, visits, refusals: Arc::new(Semaphore::new(REFUSALS_MAX)) }
}

/// What a client that says `request` hears until the connection is closed.
async fn heard(mut client: UnixStream, request: &[u8]) -> String {
    client.write_all(request).await.expect("it takes a request");
    let mut text = String::new();
    timeout(LONG, client.read_to_string(&mut text)).await.expect("an end").expect("no reset");
    text
}

#[tokio::test]
async fn who_finds_a_door_full_is_told_so() {
    let (_engine, handle) = EngineHandle::of_idle();
    let tokens = Tokens::new("operator-token-0".into(), None);
    let plane = Arc::new(Plane::new(handle, Guard::new(tokens, vec![])));
    let visits = Visits::over_unix();
    // All of them work, so that nobody makes room.
    let line = Line::new(NEVER);
    let _turn = line.begin(1).expect("the first");
    let arrive = || visits.arrive(Network::Local, Rank::Operator, Arc::clone(&line));
    let guests: Vec<Visit> = (0..).map_while(|_| arrive()).collect();
    let path = std::env::temp_dir().join(format!("ringwire-full-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = UnixListener::bind(&path).expect("a free path");
    let serving =
        tokio::spawn(listening(Socket::Unix(socket), visits.clone()).serve(Arc::clone(&plane)));
    let connect = async || UnixStream::connect(&path).await.expect("it listens");
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for said in [&b""[..], request] {
        let text = heard(connect().await, said).await;
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("Retry-After: 1"), "{text}");
        assert!(text.contains("\"busy\""), "{text}");
    }
    // Those who stay after that are not heard for ever, and so many at once.
    let mut crowd = Vec::new();
    for _ in 0..2 * REFUSALS_MAX {
        crowd.push(connect().await);
    }
    let mut told = 0;
    for mut client in crowd {
        let mut text = String::new();
        timeout(LONG, client.read_to_string(&mut text)).await.expect("an end").expect("no reset");
        told += usize::from(text.starts_with("HTTP/1.1 503 "));
    }
    assert!(told >= REFUSALS_MAX, "{told}");
    let refused = plane.counts.connections_refused.load(Ordering::Relaxed);
    assert_eq!(refused as usize, 2 + 2 * REFUSALS_MAX);
    drop(guests);
    let text = heard(connect().await, b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(text.contains(" 200 OK"), "{text}");
    serving.abort();
    let _ = std::fs::remove_file(&path);
}

#[tokio::test]
async fn the_first_who_comes_after_a_long_time_is_heard() {
    let (_engine, handle) = EngineHandle::of_idle();
    let tokens = Tokens::new("operator-token-0".into(), None);
    let plane = Plane::new(handle, Guard::new(tokens, vec![]));
    let plane = Arc::new(Plane { times: Times { first_request: SHORT, ..NEVER }, ..plane });
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("it is bound");
    let listening = listening(Socket::Tcp(socket), Visits::over_tcp());
    let serving = tokio::spawn(listening.serve(plane));
    sleep(SHORT + SHORT / 2).await;
    let mut client = TcpStream::connect(address).await.expect("it listens");
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write_all(request).await.expect("it takes a request");
    let mut head = [0; 12];
    client.read_exact(&mut head).await.expect("an answer");
    assert!(head.starts_with(b"HTTP/1.1 "));
    serving.abort();
}

#[tokio::test]
async fn a_stranger_who_takes_nothing_has_sixteen_streams_and_not_for_long() {
    let mut served = serve(Times { answer: SHORT, ..NEVER }, 1 << 20);
    let mut sender = http2(&mut served, 0).await;
    let mut answers = Vec::new();
    for _ in 0..STRANGER_STREAMS_MAX {
        sender = sender.ready().await.expect("it is open");
        answers.push(ask(&mut sender, "/", false).await.expect("a head").into_body());
    }
    for path in ["/", "/healthz", "/v1/status"] {
        sender = sender.ready().await.expect("it is open");
        let refused = ask(&mut sender, path, false).await.expect_err("one too many");
        assert_eq!(refused.reason(), Some(Reason::REFUSED_STREAM), "{path}");
    }
    let plane = served.end().await;
    assert_eq!(plane.counts.connections_stuck.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_has_shown_a_token_has_more_streams() {
    let mut served = serve(NEVER, 1 << 20);
    let mut sender = http2(&mut served, 0).await;
    let mut answers = Vec::new();
    for number in 0..3 * STRANGER_STREAMS_MAX {
        sender = sender.ready().await.expect("it is open");
        // The token is shown once; a browser's next requests may be without.
        let path = if number == 0 { "/openapi.json" } else { "/" };
        answers.push(ask(&mut sender, path, number == 0).await.expect("a head"));
    }
    assert!(answers.iter().all(|answer| answer.status() == 200));
    served.serving.abort();
}

#[tokio::test]
async fn an_event_stream_that_nobody_reads_ends() {
    let mut served = serve(Times { answer: SHORT, ..NEVER }, 1 << 20);
    let mut sender = http2(&mut served, 0).await;
    let answer = ask(&mut sender, "/v1/events", true).await.expect("a head");
    assert_eq!(answer.status(), 200);
    let plane = served.end().await;
    assert_eq!(plane.counts.connections_stuck.load(Ordering::Relaxed), 1);
    assert_eq!(plane.event_streams.available_permits(), 256);
}

#[tokio::test]
async fn idle_connections_end_in_either_version() {
    let times = Times { idle: SHORT, ..NEVER };
    let mut served = serve(times, 1 << 20);
    let mut sender = http2(&mut served, 1 << 20).await;
    let answer = ask(&mut sender, "/openapi.json", true).await.expect("a head");
    let mut body = answer.into_body();
    while let Some(bytes) = body.data().await {
        let taken = bytes.expect("no error").len();
        body.flow_control().release_capacity(taken).expect("it was taken");
    }
    drop(body);
    // The client answers pings, and is there.
    let plane = served.end().await;
    assert_eq!(plane.counts.connections_stuck.load(Ordering::Relaxed), 0);
    let mut served = serve(times, 1 << 20);
    served.client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("open");
    let mut text = Vec::new();
    served.client.read_to_end(&mut text).await.expect("it is closed in order");
    assert!(text.starts_with(b"HTTP/1.1 200 OK\r\n"));
    served.end().await;
}

#[tokio::test]
async fn who_pipelines_and_reads_nothing_is_answered_once_and_ended() {
    let mut served = serve(Times { answer: SHORT, ..NEVER }, 4_096);
    let ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let asking = async { while served.client.write_all(ask).await.is_ok() {} };
    // It takes no more than fits into its buffers.
    let _ = timeout(SHORT / 2, asking).await;
    let answers = &served.plane.counts.answers;
    let answered: u64 = answers.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    assert!((1..=2).contains(&answered), "{answered} answers");
    let plane = served.end().await;
    assert_eq!(plane.counts.connections_stuck.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_asks_nothing_or_never_comes_to_an_end_is_let_go() {
    for said in [&b""[..], b"GET / HTTP/1.1\r\nHost: loc", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut served = serve(Times { first_request: SHORT, ..NEVER }, 1 << 20);
        served.client.write_all(said).await.expect("it is open");
        let plane = served.end().await;
        let answered: u64 = plane.counts.answers.iter().map(|n| n.load(Ordering::Relaxed)).sum();
        assert_eq!(answered, 0);
    }
}

/// Endless frames of HTTP/2 (RFC 9113 §4.1), the `n`th of them.
fn flood(kind: &str, n: u32) -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // GET http localhost/, out of the static table (RFC 7541 Appendix A).
    let head = b"\x82\x86\x84\x41\x09localhost";
    let stream = 2 * n + 1;
    match kind {
        "ping" => frame(6, 0, 0, &[7; 8]),
        "settings" => frame(4, 0, 0, &[]),
        "continuation" if n == 0 => frame(1, 0, 1, head),
        "continuation" => frame(9, 0, 1, b"\x00\x01a\x01b"),
        "reset" => [frame(1, 5, stream, head), frame(3, 0, stream, &[0, 0, 0, 8])].concat(),
        _ => frame(8, 0, 0, &[0, 0, 0, 1]),
    }
}

#[tokio::test]
async fn floods_of_frames_end_and_hold_nothing() {
    for kind in ["ping", "settings", "continuation", "reset", "window"] {
        let times = Times { first_request: SHORT, idle: SHORT, answer: SHORT };
        let mut served = serve(times, 4_096);
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        served.client.write_all(hello).await.expect("it is open");
        let mut bytes = 0_usize;
        let flooding = async {
            for n in 0.. {
                let frame = flood(kind, n);
                if served.client.write_all(&frame).await.is_err() {
                    break;
                }
                bytes += frame.len();
            }
        };
        // It takes no answers, so that those who want one wait; or it is over.
        let _ = timeout(SHORT / 2, flooding).await;
        if matches!(kind, "ping" | "settings" | "continuation") {
            assert!(bytes < 1 << 20, "{bytes} bytes of {kind}");
        }
        served.end().await;
    }
}

#[test]
fn a_connection_waits_once_while_several_requests_are_under_way() {
    let mut context = Context::from_waker(Waker::noop());
    let polls = |holders: usize, context: &mut Context<'_>| {
        let under_way = Arc::new(());
        let _held: Vec<_> = (0..holders).map(|_| Arc::clone(&under_way)).collect();
        let mut connection = gathering(ready(()), under_way);
        let polls = (1..9).find(|_| Pin::new(&mut connection).poll(context).is_ready());
        polls.expect("it is polled in the end")
    };
    // One is the service's.
    assert_eq!([1, 2, 3, 9].map(|holders| polls(holders, &mut context)), [1, 1, 2, 2]);
}
