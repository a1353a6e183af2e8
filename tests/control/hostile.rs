//! Peers without a token: that take nothing of what they asked for, and that come in crowds.

use super::stand::Stand;
use h2::Reason;
use hyper::Request;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use support::http::Connection;
use support::program::Program;
use support::{PATIENCE, eventually};
use tokio::time::timeout;

/// Streams that a peer opens; the server allows as many.
const STREAMS: usize = 1_000;

#[test]
fn who_takes_no_answer_over_http2_holds_next_to_nothing() {
    let program = Program::serve(&["--shards=1", "--admin=127.0.0.1:0"]);
    eventually("there is a control plane", || program.lines_with("control plane on http://") == 1);
    let url = program.said("control plane on http://").expect("a control plane");
    let address: SocketAddr = url.trim_end_matches('/').parse().expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        // What a first connection costs is not what the others hold.
        let mut peers = vec![open(address, 1).await.0];
        let before = program.rss_bytes();
        for _ in 0..4 {
            let (peer, taken) = open(address, STREAMS).await;
            assert_eq!(taken, 16, "streams that were answered");
            peers.push(peer);
        }
        let grown = program.rss_bytes().saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes held by 4 connections");
    });
}

/// Asks for the page on so many streams, none of which may send a byte. How many are answered; what
/// comes back has to be kept.
async fn open(address: SocketAddr, streams: usize) -> (Vec<h2::RecvStream>, usize) {
    let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_window_size(0).handshake::<_, &'static [u8]>(stream);
    let (mut sender, connection) = handshake.await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let mut asked = Vec::new();
    for _ in 0..streams {
        sender = sender.ready().await.expect("it is open");
        let request = Request::get(format!("http://{address}/")).body(()).expect("a request");
        asked.push(sender.send_request(request, true).expect("it is open").0);
    }
    let mut taken = Vec::new();
    for answer in asked {
        match timeout(PATIENCE, answer).await.expect("it is answered or refused") {
            Ok(answer) => taken.push(answer.into_body()),
            Err(refused) => assert_eq!(refused.reason(), Some(Reason::REFUSED_STREAM)),
        }
    }
    let count = taken.len();
    (taken, count)
}

#[test]
fn strangers_who_stay_keep_nobody_out() {
    let stand = Stand::new();
    // As many as there may be of all, and more; some say nothing, some have begun to say something.
    let mut crowd = Vec::new();
    for number in 0..1_200 {
        let mut stranger = TcpStream::connect(stand.control).expect("it listens");
        if number % 2 == 0 {
            let _ = stranger.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc");
        }
        crowd.push(stranger);
    }
    for _ in 0..20 {
        assert_eq!(stand.stranger().get("/healthz").status, 200);
        assert_eq!(stand.operator().get("/v1/status").status, 200);
    }
    assert_eq!(Connection::unix(&stand.socket).get("/v1/status").status, 200);
    // Those that were there longest have made room.
    let metrics = stand.reader().get("/metrics");
    let name = "\nringwire_control_connections_displaced_total ";
    let displaced = metrics.text().split_once(name).and_then(|(_, rest)| rest.lines().next());
    let displaced: u64 = displaced.and_then(|number| number.parse().ok()).expect("a number");
    assert!(displaced >= 100, "{displaced}");
    stand.finish();
}

#[test]
fn who_has_shown_a_token_stays_whatever_strangers_do() {
    let stand = Stand::new();
    let (mut reader, mut operator) = (stand.reader(), stand.operator());
    assert_eq!((reader.get("/v1/status").status, operator.get("/v1/status").status), (200, 200));
    let _crowd: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(stand.control).expect("it listens")).collect();
    assert_eq!(stand.stranger().get("/readyz").status, 200);
    assert_eq!((reader.get("/v1/status").status, operator.get("/v1/status").status), (200, 200));
    stand.finish();
}

/// A connection from another address of this host.
fn from_address(last: u8, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from(([127, 0, 0, last], 0))).expect("all of 127/8 is ours");
    connect(&socket, &to).expect("it listens");
    TcpStream::from(socket)
}

#[test]
fn a_flood_from_some_addresses_leaves_the_others_alone() {
    let stand = Stand::new();
    let mut check = stand.stranger();
    assert_eq!(check.get("/healthz").status, 200);
    let addresses = [2, 3, 4].iter().cycle().take(900);
    let _crowd: Vec<TcpStream> = addresses.map(|last| from_address(*last, stand.control)).collect();
    // The same connection, which was there before all of them.
    assert_eq!(check.get("/healthz").status, 200);
    stand.finish();
}

#[test]
fn readers_leave_connections_to_operators() {
    let stand = Stand::new();
    let mut polls = Vec::new();
    // Each is busy, so that none can make room: a stream of events is a request without an end.
    let mut refused = 0;
    for number in 0..520 {
        let mut reader = stand.reader();
        reader.send("GET", "/v1/events", &[], b"");
        let (status, _) = reader.head();
        match status {
            200 => polls.push(reader),
            _ => refused += 1,
        }
        assert!(number > 0 || status == 200);
    }
    assert_eq!((polls.len(), refused), (128, 392));
    // Neither a stream nor a connection is wanting to an operator, and other readers look on.
    let mut operator = stand.operator();
    operator.send("GET", "/v1/events", &[], b"");
    assert_eq!(operator.head().0, 200);
    assert_eq!(stand.operator().get("/v1/status").status, 200);
    assert_eq!(stand.reader().get("/v1/status").status, 200);
    drop(polls);
    eventually("there are streams for readers again", || {
        let mut reader = stand.reader();
        reader.send("GET", "/v1/events", &[], b"");
        reader.head().0 == 200
    });
    stand.finish();
}
