//! Peers without a token that take nothing of what they asked for.

use super::support::program::Program;
use super::support::{PATIENCE, eventually};
use h2::Reason;
use hyper::Request;
use std::net::SocketAddr;
use tokio::net::TcpStream;
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
    let stream = TcpStream::connect(address).await.expect("it listens");
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
