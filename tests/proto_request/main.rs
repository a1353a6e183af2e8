//! Request heads and handshakes: what is malformed gets its status, what is split stays the same,
//! and only the right origins, keys and versions are let in.

mod corpus;
mod openings;

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
    let raw = [&b"GET / HTTP/1.0\r\nX: \xFF\r\nX: b\r\n\r\n"[..]].concat();
    let raw = read(&raw).unwrap();
    assert_eq!((raw.header("x"), raw.header_str("x")), (Some(&b"\xFF"[..]), Some("b")));
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
    fn empty_lines_before_the_request_line_are_ignored_however_they_are_split(
        ends in proptest::collection::vec(prop_oneof![Just("\r\n"), Just("\n")], 0..8),
        seeds in proptest::collection::vec(any::<usize>(), 0..6),
        line in proptest::sample::select(vec!["GET / HTTP/1.1", "GET / HTTP/1.2", "OPTIONS * HTTP/1.1"]),
    ) {
        let bare = head(line, &UPGRADE_HEADERS);
        let input = [ends.concat().as_bytes(), &bare, b"\r\n"].concat();
        let (head_bytes, before) = (input.len() - 2, input.len() - 2 - bare.len());
        let wanted = read_pieces(&bare, &[]);
        let wanted = wanted.map(|read| read.map(|(request, taken)| (request, taken + before)));
        let mut cuts: Vec<usize> = seeds.iter().map(|seed| seed % input.len()).collect();
        cuts.sort_unstable();
        prop_assert_eq!(&wanted, &read_pieces(&input, &cuts));
        let every: Vec<usize> = (0..head_bytes).collect();
        prop_assert_eq!(&wanted, &read_pieces(&input, &every));
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
    // Empty lines before it are bytes of the head.
    let fits = [b"\r\n", &padded(REQUEST_HEAD_BYTES_MAX - 2)[..]].concat();
    assert_eq!(status(&fits), 101);
    let over = [b"\r\n\n", &padded(REQUEST_HEAD_BYTES_MAX - 2)[..]].concat();
    assert_eq!(read_pieces(&over, &[]), Err(RequestError::HeadTooLong));
    let endless = b"\r\n".repeat(REQUEST_HEAD_BYTES_MAX);
    for cuts in [vec![], (1..endless.len()).collect()] {
        assert_eq!(read_pieces(&endless, &cuts), Err(RequestError::HeadTooLong));
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
