//! Malformed heads and what each is answered, and heads that look wrong and are right.

use super::*;

/// Malformed heads with the status each must get.
fn corpus() -> Vec<(Vec<u8>, u16)> {
    let mut rows = corpus_of_bytes();
    rows.extend(corpus_of_request_lines());
    rows.extend(corpus_of_headers());
    rows
}

/// One bad byte somewhere.
fn corpus_of_bytes() -> Vec<(Vec<u8>, u16)> {
    let mut rows = Vec::new();
    for byte in (0..0x20u8).chain([0x7F]).filter(|byte| *byte != b'\t') {
        for before in [&b"GET /a"[..], b"GET / HTTP/1.1\r\nX", b"GET / HTTP/1.1\r\nX: a"] {
            rows.push(([before, &[byte], b"b\r\n\r\n"].concat(), 400));
        }
    }
    for byte in (0..0x21u8).chain(0x7F..=0xFF).chain(*b"\"(),/:;<=>?@[\\]{}") {
        rows.push(([&[byte][..], b"GET / HTTP/1.1\r\n\r\n"].concat(), 400));
    }
    for name in ["Host", "Origin", "Upgrade", "Connection", "Sec-WebSocket-Protocol"] {
        for byte in [0x80u8, 0xA0, 0xC3, 0xFF] {
            let input = upgrade_but(name, &format!("{name}: a@b"));
            let input = input.iter().map(|b| if *b == b'@' { byte } else { *b }).collect();
            rows.push((input, 400));
        }
    }
    rows
}

/// Request lines before the headers of a right handshake.
const REQUEST_LINES: &[(&str, u16)] = &[
    ("GET", 400),
    ("GET ", 400),
    ("GET /", 400),
    ("GET / ", 400),
    ("GET / HTTP", 400),
    ("GET / HTTP/", 400),
    ("GET / HTTP/1", 400),
    ("GET / HTTP/1.", 400),
    ("GET / HTTP/1.1 ", 400),
    ("GET / HTTP/1.11", 400),
    ("GET / http/1.1", 400),
    ("GET / HTTP/x.y", 400),
    ("GET / HTTP/1,1", 400),
    ("GET / XTTP/1.1", 400),
    ("GET  / HTTP/1.1", 400),
    ("GET /  HTTP/1.1", 400),
    ("GET\t/\tHTTP/1.1", 400),
    ("GET /a b HTTP/1.1", 400),
    ("GET HTTP/1.1", 400),
    ("GET * HTTP/1.1", 400),
    ("GET chat HTTP/1.1", 400),
    ("GET ?x HTTP/1.1", 400),
    ("GET ftp://example.com/ HTTP/1.1", 400),
    ("GET http:///x HTTP/1.1", 400),
    ("GET http:/x HTTP/1.1", 400),
    ("GET http://u@example.com/ HTTP/1.1", 400),
    ("GET http://example.com:x/ HTTP/1.1", 400),
    ("GET http://a,b/ HTTP/1.1", 400),
    ("GET example.com:80 HTTP/1.1", 400),
    ("CONNECT example.com:80 HTTP/1.1", 501),
    ("CONNECT example.com HTTP/1.1", 501),
    ("CONNECT * HTTP/1.1", 400),
    ("CONNECT / HTTP/1.1", 405),
    ("OPTIONS ** HTTP/1.1", 400),
    ("OPTIONS *?x HTTP/1.1", 400),
    ("OPTIONS * HTTP/1.2", 505),
    ("HEAD * HTTP/1.1", 400),
    ("GET /a#b HTTP/1.1", 400),
    ("GET /\u{e9} HTTP/1.1", 400),
    ("G@T / HTTP/1.1", 400),
    ("G(T / HTTP/1.1", 400),
    ("G\u{e9}T / HTTP/1.1", 400),
    ("PRI * HTTP/2.0", 400),
    ("GET / HTTP/0.9", 505),
    ("GET / HTTP/1.0", 426),
    ("POST / HTTP/1.0", 405),
    ("GET /a#b HTTP/1.0", 400),
    ("GET / HTTP/1.2", 505),
    ("GET / HTTP/2.0", 505),
    ("GET / HTTP/3.0", 505),
    ("GET / HTTP/9.9", 505),
    ("POST / HTTP/1.1", 405),
    ("HEAD / HTTP/1.1", 405),
    ("PUT / HTTP/1.1", 405),
    ("DELETE / HTTP/1.1", 405),
    ("OPTIONS / HTTP/1.1", 405),
    ("PATCH / HTTP/1.1", 405),
    ("TRACE / HTTP/1.1", 405),
    ("get / HTTP/1.1", 405),
    ("GETT / HTTP/1.1", 405),
];

fn corpus_of_request_lines() -> Vec<(Vec<u8>, u16)> {
    REQUEST_LINES.iter().map(|(line, status)| (head(line, &UPGRADE_HEADERS), *status)).collect()
}

/// A header that takes the place of the one named first, or is added if none is named.
const HEADERS: &[(&str, u16, &str)] = &[
    ("", 400, " folded"),
    ("", 400, "\tfolded"),
    ("", 400, ": no name"),
    ("", 400, "no colon"),
    ("", 400, "space : before the colon"),
    ("", 400, "sp ace: x"),
    ("", 400, "na(me: x"),
    ("", 400, "na\u{e9}: x"),
    ("", 400, "X: a\nY: b"),
    ("", 400, "X: a\rY: b"),
    ("", 400, "X: a\0"),
    ("", 400, "Host: example.com"),
    ("", 400, "Content-Length: 5"),
    ("", 400, "Content-Length: 00001"),
    ("", 400, "Content-Length: 0, 5"),
    ("", 400, "Content-Length: 0\r\nContent-Length: 5"),
    ("", 400, "Content-Length: 0,"),
    ("", 400, "Content-Length:"),
    ("", 400, "Content-Length: +0"),
    ("", 400, "Content-Length: 0x0"),
    ("", 400, "Content-Length: 0 0"),
    ("", 400, "Content-Length: 0\r\nTransfer-Encoding: chunked"),
    ("", 400, "content-length: -1"),
    ("", 400, "Transfer-Encoding: chunked"),
    ("", 400, "Transfer-Encoding: identity"),
    ("", 400, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    ("", 426, "Sec-WebSocket-Version: 13"),
    ("", 403, "Origin: http://evil.example"),
    ("", 403, "Origin:"),
    ("", 400, "Sec-WebSocket-Protocol: a b"),
    ("", 400, "Sec-WebSocket-Protocol: a, a"),
    ("", 400, "Sec-WebSocket-Protocol: a,,a"),
    ("", 400, "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a"),
    ("", 400, "Sec-WebSocket-Protocol: \"a\""),
    ("", 400, "Sec-WebSocket-Protocol: a/b"),
    ("Host", 400, ""),
    ("Host", 400, "Host:"),
    ("Host", 400, "Host: a b"),
    ("Host", 400, "Host: a/b"),
    ("Host", 400, "Host: u@a"),
    ("Host", 400, "Host: a:b"),
    ("Host", 400, "Host: a:99999"),
    ("Host", 400, "Host: a:0"),
    ("Host", 400, "Host: a::"),
    ("Host", 400, "Host: :80"),
    ("Host", 400, "Host: ::1"),
    ("Host", 400, "Host: a\r\nHost: b"),
    ("Host", 400, "Host: a\r\nHost:"),
    ("Host", 400, "Host: a, b"),
    ("Host", 400, "Host: [::1"),
    ("Upgrade", 426, ""),
    ("Upgrade", 426, "Upgrade:"),
    ("Upgrade", 426, "Upgrade: h2c"),
    ("Upgrade", 426, "Upgrade: websockets"),
    ("Upgrade", 426, "Upgrade: web socket"),
    ("Upgrade", 426, "Upgrade: websocket/13"),
    ("Connection", 400, ""),
    ("Connection", 400, "Connection:"),
    ("Connection", 400, "Connection: keep-alive"),
    ("Connection", 400, "Connection: close"),
    ("Connection", 400, "Connection: Upgraded"),
    ("Connection", 400, "Connection: keep-alive Upgrade"),
    ("Sec-WebSocket-Key", 400, ""),
    ("Sec-WebSocket-Key", 400, "Sec-WebSocket-Key:"),
    ("Sec-WebSocket-Key", 400, "Sec-WebSocket-Key: x"),
    ("Sec-WebSocket-Key", 400, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
    ("Sec-WebSocket-Key", 400, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="),
    ("Sec-WebSocket-Key", 400, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, x"),
    ("Sec-WebSocket-Key", 400, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"),
    ("Sec-WebSocket-Key", 400, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="),
    ("Sec-WebSocket-Key", 400, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA"),
    ("Sec-WebSocket-Version", 426, ""),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version:"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: ,"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: 13, 13"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: 0"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: 7"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: 8"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: 12"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: 013"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: +13"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: 14"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: 13,8"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: 13 13"),
    ("Sec-WebSocket-Version", 426, "Sec-WebSocket-Version: thirteen"),
];

fn corpus_of_headers() -> Vec<(Vec<u8>, u16)> {
    let mut rows: Vec<(Vec<u8>, u16)> = HEADERS
        .iter()
        .map(|(name, status, header)| match *name {
            "" => (upgrade_with(&[header]), *status),
            name => (upgrade_but(name, header), *status),
        })
        .collect();
    let whole = upgrade_with(&[]);
    let text = String::from_utf8(whole).unwrap();
    rows.push((text.replace("\r\n", "\n").into_bytes(), 400));
    rows.push((text.replace("\r\n", "\r").into_bytes(), 400));
    rows.push((text.replace("\r\n", "\n\r").into_bytes(), 400));
    rows.push((format!("\r{text}").into_bytes(), 400));
    rows.push((format!("\r\r\n{text}").into_bytes(), 400));
    rows.push((format!(" \r\n{text}").into_bytes(), 400));
    rows.push((format!("{}\n", &text[..text.len() - 2]).into_bytes(), 400));
    rows.push((b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03".to_vec(), 400));
    rows.push((upgrade_with(&["a:"; 60]), 431));
    rows.push((upgrade_with(&[&format!("X: {}", "a".repeat(8_192))]), 431));
    rows.push((head(&format!("GET /{} HTTP/1.1", "a".repeat(8_192)), &[]), 431));
    rows
}

#[test]
fn malformed_heads_get_their_status() {
    let rows = corpus();
    assert!(rows.len() >= 150, "{}", rows.len());
    for (input, expected) in &rows {
        assert_eq!(status(input), *expected, "{}", input.escape_ascii());
    }
}

#[test]
fn an_error_names_its_cause_with_the_byte_that_shows_it() {
    // The last byte is the one that decides.
    for (input, error) in [
        (&b"\x16"[..], RequestError::Tls),
        (b"\r\n\n\x16", RequestError::NotHttp),
        (b"\0", RequestError::NotHttp),
        (b"\r\n\0", RequestError::NotHttp),
        (b"\r\n\r\n\0", RequestError::ProxyProtocol),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\r\n", RequestError::ProxyProtocol),
        (
            b"PROXY TCP6 ::1 ::1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            RequestError::ProxyProtocol,
        ),
        (b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::ProxyProtocol),
        (b"PROXY x\r\n\r\n", RequestError::RequestLine),
        (b"PRI * HTTP/2.0\r\n\r\n", RequestError::Http2),
        (b"\rG", RequestError::LineEnd),
        (b"\r\n\r\r", RequestError::LineEnd),
        (b"GET / HTTP/1.1\n", RequestError::LineEnd),
        (b"GET / HTTP/1.1\rx", RequestError::LineEnd),
        (b"GET / HTTP/1.1\r\n\n", RequestError::LineEnd),
        (b"GET / HTTP/1.1\r\n\rx", RequestError::LineEnd),
        (b"GET /\0", RequestError::ControlByte),
        (b"GET / HTTP/1.1\r\nX: \x7F", RequestError::ControlByte),
        (b"GET / HTTP/1.1\r\n ", RequestError::FoldedHeader),
        (b"GET / HTTP/1.1\r\nX: a\r\n\t", RequestError::FoldedHeader),
        (b"GET / HTTP/1.1\r\n:", RequestError::HeaderLine),
        (b"GET / HTTP/1.1\r\nX\r\n\r\n", RequestError::HeaderLine),
        (b"GET a HTTP/1.1\r\n\r\n", RequestError::Target),
        (b"GET / HTTP/1.2\r\n\r\n", RequestError::Version),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", RequestError::Connect),
        (b"GET / HTTPS/1\r\n\r\n", RequestError::RequestLine),
        (b"GET / HTTP/1.1\r\nOrigin: \xFF\r\n\r\n", RequestError::HighByte),
        (b"GET / HTTP/1.1\r\n\r\n", RequestError::Host),
    ] {
        assert_eq!(read_pieces(input, &[]), Err(error), "{}", input.escape_ascii());
        let before = &input[..input.len() - 1];
        assert_eq!(read_pieces(before, &[]), Ok(None), "{}", before.escape_ascii());
    }
}

#[test]
fn unusual_but_right_heads_are_let_in() {
    for input in [
        upgrade_with(&[]),
        upgrade_but("Upgrade", "UPGRADE: WebSocket"),
        upgrade_but("Upgrade", "Upgrade: h2c, websocket"),
        upgrade_but("Connection", "connection: keep-alive, Upgrade"),
        upgrade_but("Connection", "Connection: keep-alive\r\nConnection: upgrade"),
        upgrade_but("Host", "Host: EXAMPLE.com:8080"),
        upgrade_but("Host", "Host: [::1]:80"),
        upgrade_with(&["Cookie: name=\u{e9}\u{20ac}", "X-Empty:"]),
        upgrade_with(&["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]),
        upgrade_with(&["Sec-WebSocket-Extensions: ,,;;\"\"==,x; y=08; y=\"a\\\"b\", constructor"]),
        upgrade_with(&["X: a\tb"]),
        upgrade_but("Host", "Host: example.com:"),
        upgrade_but("Host", "Host: [::1]:"),
        upgrade_but("Host", "Host: [2001:DB8::A]"),
        upgrade_but("Host", "Host: example.com.:080"),
        upgrade_with(&["Content-Length: 0"]),
        upgrade_with(&["Content-Length: 000"]),
        upgrade_with(&["content-length: 0,\t0"]),
        upgrade_with(&["Content-Length: 0", "Content-Length: 0"]),
        upgrade_but("Upgrade", "Upgrade: ,websocket,"),
        upgrade_but("Upgrade", "Upgrade:\r\nUpgrade: websocket"),
        upgrade_but("Connection", "Connection: ,, keep-alive ,\t, upgrade,"),
        upgrade_but("Sec-WebSocket-Version", "Sec-WebSocket-Version: , 13 ,"),
        upgrade_but("Sec-WebSocket-Version", "Sec-WebSocket-Version:\r\nSec-WebSocket-Version: 13"),
        upgrade_with(&["Sec-WebSocket-Protocol:"]),
        upgrade_with(&["Sec-WebSocket-Protocol: , ,"]),
        upgrade_with(&["Sec-WebSocket-Extensions:", "Sec-WebSocket-Extensions: , a,, b"]),
        head("GET http://example.com/chat?x HTTP/1.1", &UPGRADE_HEADERS),
        head("GET WSS://example.com:443 HTTP/1.1", &UPGRADE_HEADERS),
    ] {
        assert_eq!(status(&input), 101, "{}", input.escape_ascii());
    }
    let plain = ["GET / HTTP/1.1", "HEAD /status HTTP/1.1", "POST /x HTTP/1.1"];
    for line in plain {
        assert_eq!(status(&head(line, &["Host: a"])), 200);
    }
    for line in ["GET / HTTP/1.0", "HEAD / HTTP/1.0", "OPTIONS / HTTP/1.0", "GET http://a HTTP/1.0"]
    {
        for headers in [&[][..], &["Host: a"], &["Upgrade: h2c", "Connection: keep-alive"]] {
            assert_eq!(status(&head(line, headers)), 200, "{line} {headers:?}");
        }
        for headers in [&["Host: a", "Host: a"][..], &["Host:"], &["Host: u@a"]] {
            assert_eq!(status(&head(line, headers)), 400, "{line} {headers:?}");
        }
    }
    assert_eq!(status(&head("GET / HTTP/1.1", &["Host: a", "Upgrade: h2c"])), 200);
    for line in ["OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.0"] {
        for headers in [&[][..], &["Host: a"]] {
            assert_eq!(status(&head(line, headers)), 200, "{line} {headers:?}");
        }
        assert_eq!(status(&head(line, &["Host: a", "Host: a"])), 400, "{line}");
        assert_eq!(status(&head(line, &["Host: u@a"])), 400, "{line}");
    }
    let all = read(&head("OPTIONS * HTTP/1.1", &["Host: a"])).unwrap();
    assert_eq!((all.target(), all.path(), all.query()), ("*", "*", None));
}
