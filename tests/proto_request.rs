//! Request heads and handshakes: what is malformed gets its status, what is split stays the same,
//! and only the right origins, keys and versions are let in.

use proptest::prelude::*;
use ringwire::proto::handshake::{self, accept_value};
use ringwire::proto::limits::{REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX};
use ringwire::proto::{
    HandshakeRules, Intent, Progress, Refusal, Request, RequestError, RequestReader, Upgrade,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The headers of a right handshake, in the order of the subsets below.
const UPGRADE_HEADERS: [&str; 5] = [
    "Host: example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

fn head(request_line: &str, headers: &[&str]) -> Vec<u8> {
    let mut head = format!("{request_line}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A right handshake with more headers.
fn upgrade_with(headers: &[&str]) -> Vec<u8> {
    head("GET /chat?x=1 HTTP/1.1", &[&UPGRADE_HEADERS, headers].concat())
}

/// A right handshake with one header replaced or, by an empty string, left out.
fn upgrade_but(name: &str, header: &str) -> Vec<u8> {
    let kept = UPGRADE_HEADERS.into_iter().filter(|kept| !kept.starts_with(name));
    let headers: Vec<&str> = kept.chain([header]).filter(|header| !header.is_empty()).collect();
    head("GET / HTTP/1.1", &headers)
}

fn read(input: &[u8]) -> Result<Request, RequestError> {
    match RequestReader::new().handle_input(input, REQUEST_HEAD_BYTES_MAX)? {
        Progress::Complete { request, consumed } => {
            assert_eq!(consumed, input.len());
            Ok(request)
        }
        Progress::Incomplete => panic!("incomplete: {}", String::from_utf8_lossy(input)),
    }
}

/// Reads in pieces; the request and all bytes it took.
fn read_pieces(input: &[u8], cuts: &[usize]) -> Result<Option<(Request, usize)>, RequestError> {
    let mut reader = RequestReader::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([input.len()]) {
        let piece = &input[start..end];
        match reader.handle_input(piece, REQUEST_HEAD_BYTES_MAX) {
            Ok(Progress::Incomplete) => start = end,
            Ok(Progress::Complete { request, consumed }) => {
                return Ok(Some((request, start + consumed)));
            }
            Err(error) => {
                assert_eq!(reader.handle_input(b"GET", 100), Err(error));
                return Err(error);
            }
        }
    }
    Ok(None)
}

/// The status that a head is answered with: 101 if it is let in, 200 if it is a plain request.
fn status_of(input: &[u8], rules: &HandshakeRules<'_>) -> u16 {
    let refusal = match read(input).map_err(Refusal::from) {
        Ok(request) => match handshake::classify(&request, rules) {
            Ok(Intent::Upgrade(_)) => return 101,
            Ok(Intent::Plain) => return 200,
            Err(refusal) => refusal,
        },
        Err(refusal) => refusal,
    };
    let response = String::from_utf8(refusal.response()).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status())));
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
    refusal.status()
}

fn status(input: &[u8]) -> u16 {
    status_of(input, &HandshakeRules::default())
}

fn upgrade(input: &[u8]) -> Upgrade {
    match handshake::classify(&read(input).unwrap(), &HandshakeRules::default()) {
        Ok(Intent::Upgrade(upgrade)) => upgrade,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_in_its_parts() {
    let request = read(&upgrade_with(&["X-A:  b \t", "x-a: c", "X-Raw: \u{e9}"])).unwrap();
    assert_eq!((request.method(), request.target()), ("GET", "/chat?x=1"));
    assert_eq!((request.path(), request.query()), ("/chat", Some("x=1")));
    assert_eq!(request.header_str("HOST"), Some("example.com"));
    let values: Vec<&[u8]> = request.headers_named("X-a").collect();
    assert_eq!(values, [b"b", b"c"]);
    assert_eq!(request.header("x-raw"), Some("é".as_bytes()));
    assert_eq!(request.header("x"), None);
    assert_eq!(request.headers().count(), 8);
    assert!(request.headers().all(|(name, _)| name == name.to_lowercase()));
    assert!(!format!("{request:?}").contains("x=1"), "queries must not end in logs");
}

#[test]
fn what_follows_the_head_is_left() {
    let input = [&upgrade_with(&[])[..], b"\x81\x80\0\0\0\0GET /second HTTP/1.1\r\n\r\n"].concat();
    let head_bytes = upgrade_with(&[]).len();
    for cut in 0..=input.len() {
        let (_, taken) = read_pieces(&input, &[cut]).unwrap().unwrap();
        assert_eq!(taken, head_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_split_of_a_damaged_head_reads_the_same(
        index: prop::sample::Index,
        byte in prop_oneof![any::<u8>(), proptest::sample::select(b"\r\n\t \0:,".to_vec())],
        seeds in proptest::collection::vec(any::<usize>(), 0..6),
        damaged: bool,
    ) {
        let mut input = upgrade_with(&["Origin: http://example.com", "Cookie: a=b"]);
        if damaged {
            let at = index.index(input.len());
            input[at] = byte;
        }
        let whole = read_pieces(&input, &[]);
        let mut cuts: Vec<usize> = seeds.iter().map(|seed| seed % input.len()).collect();
        cuts.sort_unstable();
        prop_assert_eq!(&whole, &read_pieces(&input, &cuts));
        let every: Vec<usize> = (0..input.len()).collect();
        prop_assert_eq!(&whole, &read_pieces(&input, &every));
        prop_assert!(damaged || whole.is_ok_and(|read| read.is_some()));
    }

    #[test]
    fn random_heads_never_panic(
        line in "[ -~\\PC\r\n]{0,40}",
        headers in proptest::collection::vec("[A-Za-z-]{1,20}:[ -~,\"]{0,30}", 0..8),
    ) {
        let names: Vec<&str> = headers.iter().map(String::as_str).collect();
        for line in [&line, "GET / HTTP/1.1"] {
            let input = head(line, &[&UPGRADE_HEADERS, &names[..]].concat());
            if let Ok(Some((request, _))) = read_pieces(&input, &[]) {
                let _ = handshake::classify(&request, &HandshakeRules::default());
            }
        }
    }
}

#[test]
fn the_head_limit_is_exact_and_does_not_depend_on_the_split() {
    let padded = |length: usize| {
        let bare = upgrade_with(&["X: "]).len();
        upgrade_with(&[&format!("X: {}", "a".repeat(length - bare))])
    };
    let fits = padded(REQUEST_HEAD_BYTES_MAX);
    assert_eq!(fits.len(), REQUEST_HEAD_BYTES_MAX);
    assert_eq!(status(&fits), 101);
    let over = padded(REQUEST_HEAD_BYTES_MAX + 1);
    for cuts in [vec![], vec![100], (1..over.len()).collect()] {
        assert_eq!(read_pieces(&over, &cuts), Err(RequestError::HeadTooLong));
        assert!(read_pieces(&fits, &cuts[..cuts.len().min(fits.len() - 1)]).unwrap().is_some());
    }
}

#[test]
fn a_dribbled_head_is_refused_at_the_limit() {
    let mut reader = RequestReader::new();
    let endless = b"GET /".iter().chain(std::iter::repeat(&b'a'));
    let mut taken = 0;
    for byte in endless {
        match reader.handle_input(&[*byte], REQUEST_HEAD_BYTES_MAX) {
            Ok(progress) => assert_eq!(progress, Progress::Incomplete),
            Err(error) => {
                assert_eq!((error, error.status()), (RequestError::HeadTooLong, 431));
                break;
            }
        }
        taken += 1;
    }
    assert_eq!(taken, REQUEST_HEAD_BYTES_MAX);
}

#[test]
fn the_65th_header_is_refused_when_it_begins() {
    let fits = "a:\r\n".repeat(REQUEST_HEADERS_MAX - 5);
    let headers: Vec<&str> = fits.split_terminator("\r\n").collect();
    assert_eq!(status(&upgrade_with(&headers)), 101);
    let input = upgrade_with(&[&headers[..], &["b:"]].concat());
    assert_eq!(status(&input), 431);
    let begun = &input[..input.len() - 5];
    assert_eq!(read_pieces(begun, &[]), Err(RequestError::TooManyHeaders));
    assert_eq!(read_pieces(&begun[..begun.len() - 1], &[]), Ok(None));
    let flood = [b"GET / HTTP/1.1\r\n", "a:\r\n".repeat(2_000).as_bytes()].concat();
    assert_eq!(read_pieces(&flood, &[]), Err(RequestError::TooManyHeaders));
}

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
    ("GET http://example.com/ HTTP/1.1", 400),
    ("GET ws://example.com/ HTTP/1.1", 400),
    ("GET example.com:80 HTTP/1.1", 400),
    ("CONNECT example.com:80 HTTP/1.1", 400),
    ("OPTIONS * HTTP/1.1", 400),
    ("GET /a#b HTTP/1.1", 400),
    ("GET /\u{e9} HTTP/1.1", 400),
    ("G@T / HTTP/1.1", 400),
    ("G(T / HTTP/1.1", 400),
    ("G\u{e9}T / HTTP/1.1", 400),
    ("PRI * HTTP/2.0", 400),
    ("GET / HTTP/0.9", 505),
    ("GET / HTTP/1.0", 505),
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
    ("", 400, "Content-Length: 0"),
    ("", 400, "Content-Length: 5"),
    ("", 400, "content-length: -1"),
    ("", 400, "Transfer-Encoding: chunked"),
    ("", 400, "Transfer-Encoding: identity"),
    ("", 400, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    ("", 426, "Sec-WebSocket-Version: 13"),
    ("", 403, "Origin: http://evil.example"),
    ("", 403, "Origin:"),
    ("", 400, "Sec-WebSocket-Protocol:"),
    ("", 400, "Sec-WebSocket-Protocol: ,"),
    ("", 400, "Sec-WebSocket-Protocol: a,"),
    ("", 400, "Sec-WebSocket-Protocol: a,,b"),
    ("", 400, "Sec-WebSocket-Protocol: a b"),
    ("", 400, "Sec-WebSocket-Protocol: a, a"),
    ("", 400, "Sec-WebSocket-Protocol: \"a\""),
    ("", 400, "Sec-WebSocket-Protocol: a/b"),
    ("Host", 400, ""),
    ("Host", 400, "Host:"),
    ("Host", 400, "Host: a b"),
    ("Host", 400, "Host: a/b"),
    ("Host", 400, "Host: u@a"),
    ("Host", 400, "Host: a:b"),
    ("Host", 400, "Host: a:99999"),
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
    rows.push((format!("\r\n{text}").into_bytes(), 400));
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
        (&b"\x16"[..], RequestError::NotHttp),
        (b"\r", RequestError::NotHttp),
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
        (b"GET / HTTP/1.0\r\n\r\n", RequestError::Version),
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
    ] {
        assert_eq!(status(&input), 101, "{}", input.escape_ascii());
    }
    let plain = ["GET / HTTP/1.1", "HEAD /status HTTP/1.1", "POST /x HTTP/1.1"];
    for line in plain {
        assert_eq!(status(&head(line, &["Host: a"])), 200);
    }
    assert_eq!(status(&head("GET / HTTP/1.1", &["Host: a", "Upgrade: h2c"])), 200);
}

#[test]
fn every_subset_of_the_upgrade_headers_has_its_answer() {
    for subset in 0u32..32 {
        let present = |index: usize| subset >> index & 1 == 1;
        let headers: Vec<&str> =
            (0..5).filter(|index| present(*index)).map(|index| UPGRADE_HEADERS[index]).collect();
        let expected = match (present(0), present(1), present(2), present(3), present(4)) {
            (false, ..) => 400,
            (_, false, _, false, false) => 200,
            (_, false, ..) => 426,
            (_, _, false, ..) => 400,
            (.., false) => 426,
            (.., false, true) => 400,
            (true, true, true, true, true) => 101,
        };
        assert_eq!(status(&head("GET / HTTP/1.1", &headers)), expected, "{headers:?}");
    }
}

#[test]
fn the_origin_matrix() {
    // Origin, Host, whether it is let in.
    let rows = [
        ("http://example.com", "example.com", true),
        ("https://example.com", "example.com", true),
        ("http://example.com", "EXAMPLE.com", true),
        ("http://example.com:80", "example.com", true),
        ("http://example.com", "example.com:80", true),
        ("https://example.com", "example.com:443", true),
        ("https://example.com:443", "example.com", true),
        ("http://example.com:8080", "example.com:8080", true),
        ("http://[::1]:8080", "[::1]:8080", true),
        ("http://127.0.0.1", "127.0.0.1", true),
        ("http://xn--bcher-kva.example", "xn--bcher-kva.example", true),
        ("http://example.com:8080", "example.com", false),
        ("http://example.com", "example.com:8080", false),
        ("http://example.com", "example.com:443", false),
        ("https://example.com", "example.com:80", false),
        ("http://evil-example.com", "example.com", false),
        ("http://example.com.evil", "example.com", false),
        ("http://sub.example.com", "example.com", false),
        ("http://com", "example.com", false),
        ("null", "example.com", false),
        ("null", "null", false),
        ("http://EXAMPLE.com", "example.com", false),
        ("HTTP://example.com", "example.com", false),
        ("http://example.com.", "example.com", false),
        ("http://example.com.", "example.com.", false),
        ("http://example.com/", "example.com", false),
        ("http://example.com/path", "example.com", false),
        ("http://user@example.com", "example.com", false),
        ("http://example.com@evil", "example.com", false),
        ("http://example.com:", "example.com", false),
        ("http://example.com:080", "example.com", false),
        ("http://example.com:65616", "example.com", false),
        ("http://example.com, http://example.com", "example.com", false),
        ("ws://example.com", "example.com", false),
        ("ftp://example.com", "example.com", false),
        ("chrome-extension://example.com", "example.com", false),
        ("example.com", "example.com", false),
        ("//example.com", "example.com", false),
        ("http://", "example.com", false),
        ("http:example.com", "example.com", false),
        ("*", "example.com", false),
    ];
    for (origin, host, welcome) in rows {
        let host = format!("Host: {host}\r\nOrigin: {origin}");
        let expected = if welcome { 101 } else { 403 };
        assert_eq!(status(&upgrade_but("Host", &host)), expected, "{host}");
    }
    let two = upgrade_with(&["Origin: http://example.com", "Origin: http://example.com"]);
    assert_eq!(status(&two), 403);
}

#[test]
fn listed_origins_are_compared_exactly() {
    let listed = ["https://app.example".to_owned(), "null".to_owned(), "app://x".to_owned()];
    let rules = HandshakeRules { origins_allowed: &listed, ..HandshakeRules::default() };
    for (origin, expected) in [
        ("https://app.example", 101),
        ("null", 101),
        ("app://x", 101),
        ("http://example.com", 101),
        ("http://app.example", 403),
        ("https://app.example:443", 403),
        ("https://app.example.evil", 403),
        ("https://APP.example", 403),
        ("Null", 403),
    ] {
        let input = upgrade_with(&[&format!("Origin: {origin}")]);
        assert_eq!(status_of(&input, &rules), expected, "{origin}");
    }
}

#[test]
fn an_origin_may_be_required() {
    let rules = HandshakeRules { origin_required: true, ..HandshakeRules::default() };
    assert_eq!(status_of(&upgrade_with(&[]), &rules), 403);
    assert_eq!(status_of(&upgrade_with(&["Origin: http://example.com"]), &rules), 101);
}

#[test]
fn drafts_are_spoken_only_when_asked_for() {
    let rules = HandshakeRules { legacy_drafts: true, ..HandshakeRules::default() };
    let draft = |version: &str, header: &str| {
        upgrade_but("Sec-WebSocket-Version", &format!("Sec-WebSocket-Version: {version}{header}"))
    };
    for (version, header, expected) in [
        ("13", "", 101),
        ("8", "", 101),
        ("7", "", 101),
        ("6", "", 426),
        ("9", "", 426),
        ("8", "\r\nSec-WebSocket-Origin: http://example.com", 101),
        ("8", "\r\nSec-WebSocket-Origin: http://evil.example", 403),
        ("7", "\r\nSec-WebSocket-Origin: http://evil.example", 403),
        ("8", "\r\nOrigin: http://evil.example", 403),
        ("13", "\r\nSec-WebSocket-Origin: http://evil.example", 101),
    ] {
        assert_eq!(status_of(&draft(version, header), &rules), expected, "{version} {header}");
    }
    let refused = |rules: &HandshakeRules<'_>| {
        let request = read(&draft("6", "")).unwrap();
        String::from_utf8(handshake::classify(&request, rules).unwrap_err().response()).unwrap()
    };
    assert!(refused(&rules).contains("\r\nSec-WebSocket-Version: 13, 8, 7\r\n"));
    assert!(refused(&HandshakeRules::default()).contains("\r\nSec-WebSocket-Version: 13\r\n"));
}

#[test]
fn a_wrong_method_is_told_the_right_one() {
    let request = read(&head("POST / HTTP/1.1", &UPGRADE_HEADERS)).unwrap();
    let refusal = handshake::classify(&request, &HandshakeRules::default()).unwrap_err();
    assert_eq!(refusal.headers(), [("Allow".to_owned(), "GET".to_owned())]);
}

#[test]
fn subprotocols_are_read_in_order_and_only_an_offered_one_is_answered() {
    let offers = ["Sec-WebSocket-Protocol: chat.v2 ,chat.v1", "Sec-WebSocket-Protocol: x"];
    let upgrade = upgrade(&upgrade_with(&offers));
    assert_eq!(upgrade.subprotocols, ["chat.v2", "chat.v1", "x"]);
    let answer = |chosen, extra: &[(String, String)]| {
        String::from_utf8(handshake::response(&upgrade, chosen, extra)).unwrap()
    };
    assert!(answer(Some("chat.v1"), &[]).contains("\r\nSec-WebSocket-Protocol: chat.v1\r\n"));
    for wrong in ["chat", "x\r\nSet-Cookie: a", ""] {
        assert!(!answer(Some(wrong), &[]).contains("Sec-WebSocket-Protocol"));
    }
    let extra = [
        ("Set-Cookie".to_owned(), "a=b".to_owned()),
        ("X".to_owned(), "y\r\nZ: z".to_owned()),
        ("Content-Length".to_owned(), "5".to_owned()),
    ];
    let accept = String::from_utf8(accept_value(KEY.as_bytes()).to_vec()).unwrap();
    assert_eq!(
        answer(None, &extra),
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSet-Cookie: a=b\r\n\r\n"
        )
    );
}

#[test]
fn a_foreign_client_accepts_our_answer() {
    let request = tungstenite::client::IntoClientRequest::into_client_request("ws://example.com/x");
    let (bytes, key) = tungstenite::handshake::client::generate_request(request.unwrap()).unwrap();
    let upgrade = upgrade(&bytes);
    assert_eq!(upgrade.accept, accept_value(key.as_bytes()));
    let theirs = tungstenite::handshake::derive_accept_key(key.as_bytes());
    assert_eq!(upgrade.accept, theirs.as_bytes());
}
