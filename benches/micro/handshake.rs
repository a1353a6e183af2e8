//! The opening handshake, part by part.

use criterion::Criterion;
use ringwire::proto::handshake::{HandshakeRules, accept_value, classify};
use ringwire::proto::limits::REQUEST_HEAD_BYTES_MAX;
use ringwire::proto::{Progress, Request, RequestReader};
use std::hint::black_box;

const SHORT: &[u8] = b"GET /echo HTTP/1.1\r\nHost: localhost:9001\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// What a browser sends.
const LONG: &[u8] = b"GET /csp/user/MyApp.MyWebSocketServer.cls?room=12 HTTP/1.1\r\n\
    Host: example.org\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/140.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://example.org\r\n\
    Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=6f2d0c9a41e84bb1a2f6d1f5ad0e7a55; theme=dark\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\r\n";

fn read(head: &[u8]) -> Request {
    match RequestReader::new().handle_input(head, REQUEST_HEAD_BYTES_MAX) {
        Ok(Progress::Complete { request, .. }) => request,
        other => panic!("the head was not read: {other:?}"),
    }
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request head");
    for (name, head) in [("program", SHORT), ("browser", LONG)] {
        group.bench_function(name, |b| b.iter(|| read(black_box(head))));
        let request = read(head);
        let rules = HandshakeRules::default();
        group.bench_function(format!("{name}, judged"), |b| {
            b.iter(|| classify(black_box(&request), &rules).is_ok());
        });
    }
    group.finish();
    criterion.bench_function("accept key", |b| {
        b.iter(|| accept_value(black_box(b"dGhlIHNhbXBsZSBub25jZQ==")));
    });
}
