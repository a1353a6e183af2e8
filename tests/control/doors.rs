//! Who may ask, and what a request must look like.

use super::stand::Stand;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::Duration;
use support::PATIENCE;
use support::http::Connection;

/// Every path that needs a token, with a method it has.
const CLOSED: [(&str, &str); 14] = [
    ("GET", "/openapi.json"),
    ("GET", "/metrics"),
    ("GET", "/v1/status"),
    ("GET", "/v1/events"),
    ("GET", "/v1/websockets"),
    ("GET", "/v1/websockets/x"),
    ("DELETE", "/v1/websockets/x"),
    ("POST", "/v1/websockets/x/open"),
    ("POST", "/v1/websockets/x/renew?fence=1"),
    ("POST", "/v1/websockets/x/release?fence=1"),
    ("POST", "/v1/websockets/x/read"),
    ("POST", "/v1/websockets/x/write"),
    ("POST", "/v1/websockets/x/interrupt"),
    ("POST", "/v1/sessions/x/revoke"),
];

#[test]
fn a_fin_behind_a_request_costs_no_answer() {
    let stand = Stand::new();
    for number in 0..50 {
        let mut stream = TcpStream::connect(stand.control).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let version = number % 2;
        let request = format!("GET /healthz HTTP/1.{version}\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is read");
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("UTF-8, and an end");
        assert!(answer.starts_with("HTTP/1."), "{number}: {answer:?}");
        assert!(answer.contains(" 200 OK\r\n"), "{number}: {answer:?}");
    }
    stand.finish();
}

#[test]
fn without_a_token_there_is_nothing_but_the_page_and_the_probes() {
    let stand = Stand::new();
    let mut stranger = stand.stranger();
    for (path, media) in [
        ("/", "text/html; charset=utf-8"),
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = stranger.ask(method, path, &[], b"");
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, Some(media)),
                "{path}"
            );
            assert_eq!(answer.body.is_empty(), method == "HEAD");
        }
    }
    for (method, path) in CLOSED.into_iter().chain([("GET", "/nothing"), ("POST", "/healthz")]) {
        let answer = stranger.ask(method, path, &[], b"");
        assert_eq!(answer.error(401), "unauthorized", "{method} {path}");
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
    }
    for wrong in ["Bearer", "Bearer x", "Basic b3BlcmF0b3I6", "Bearer operator-token-of-test"] {
        let answer = stranger.ask("GET", "/v1/status", &[("Authorization", wrong)], b"");
        assert_eq!(answer.error(401), "unauthorized", "{wrong}");
    }
    let in_the_url = stand.reader().get("/v1/status?token=operator-token-of-tests");
    assert_eq!(in_the_url.error(400), "bad_request");
    assert!(in_the_url.text().contains("Authorization"), "{}", in_the_url.text());
    assert!(!in_the_url.text().contains("operator-token"), "{}", in_the_url.text());
    stand.finish();
}

#[test]
fn a_reader_looks_and_changes_nothing() {
    let stand = Stand::new();
    let mut reader = stand.reader();
    for (method, path) in CLOSED {
        if path == "/v1/events" {
            let mut stream = stand.reader();
            stream.send(method, path, &[], b"");
            assert_eq!(stream.head().0, 200);
            continue;
        }
        let answer = reader.ask(method, path, &[], b"");
        match method {
            "GET" if path.ends_with("/x") => assert_eq!(answer.error(404), "unknown_id"),
            "GET" => assert_eq!(answer.status, 200, "{path}"),
            _ => assert_eq!(answer.error(403), "forbidden", "{method} {path}"),
        }
    }
    stand.finish();
}

#[test]
fn foreign_hosts_and_origins_are_forbidden() {
    let stand = Stand::new();
    let mut operator = stand.operator();
    for host in ["evil.example", "127.0.0.1.evil.example:80", "192.0.2.7"] {
        for path in ["/", "/nothing", "/v1/status"] {
            let answer = operator.ask("GET", path, &[("Host", host)], b"");
            assert_eq!(answer.error(403), "forbidden", "{host}{path}");
        }
    }
    let host = stand.control.to_string();
    for ours in ["localhost:1", "status.example.org", &host] {
        assert_eq!(operator.ask("GET", "/v1/status", &[("Host", ours)], b"").status, 200, "{ours}");
    }
    let own = format!("http://{host}");
    assert_eq!(operator.ask("GET", "/v1/status", &[("Origin", &own)], b"").status, 200);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"] {
        for (method, path) in [("GET", "/v1/status"), ("POST", "/v1/websockets/x/open")] {
            let answer = operator.ask(method, path, &[("Origin", origin)], b"");
            assert_eq!(answer.error(403), "forbidden", "{origin}");
            let cors = answer.headers.iter().any(|(name, _)| name.starts_with("access-control"));
            assert!(!cors, "{answer:?}");
        }
    }
    let preflight = operator.ask("OPTIONS", "/v1/websockets/x/open", &[("Origin", &own)], b"");
    assert_eq!(preflight.error(405), "method_not_allowed");
    let mut unix = Connection::unix(&stand.socket);
    let answer =
        unix.ask("POST", "/v1/websockets/x/open", &[("Origin", "http://evil.example")], b"");
    assert_eq!(answer.error(403), "forbidden");
    stand.finish();
}

#[test]
fn the_unix_socket_is_for_this_user_and_needs_no_token() {
    let stand = Stand::new();
    let metadata = std::fs::symlink_metadata(&stand.socket).expect("the file is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let mut unix = Connection::unix(&stand.socket);
    assert_eq!(unix.get("/v1/status").status, 200);
    assert_eq!(unix.post("/v1/websockets/x/open").error(404), "unknown_id");
    let path = stand.socket.clone();
    drop(unix);
    stand.finish();
    assert!(!path.exists(), "the file is left behind");
}

#[test]
fn what_is_not_there_is_said_and_how_it_is_asked_for() {
    let stand = Stand::new();
    let mut operator = stand.operator();
    for path in ["/nothing", "/v1", "/v1/websockets/", "/v1/websockets/x/dance", "/v2/status", "//"]
    {
        assert_eq!(operator.get(path).error(404), "not_found", "{path}");
    }
    for (method, path) in CLOSED {
        let answer = operator.ask("PATCH", path, &[], b"");
        assert_eq!(answer.error(405), "method_not_allowed", "{path}");
        let allow = answer.header("allow").expect("an Allow header");
        assert!(allow.split(", ").any(|allowed| allowed == method), "{path}: {allow}");
    }
    for (method, path) in CLOSED {
        let path = path.split('?').next().unwrap_or(path);
        let answer = operator.ask(method, &format!("{path}?surprise=1"), &[], b"");
        assert_eq!(answer.error(400), "bad_request", "{method} {path}");
        let answer = operator.ask(method, &format!("{path}?%ff"), &[], b"");
        assert_eq!(answer.error(400), "bad_request", "{method} {path}");
    }
    let headers = operator.get("/v1/status").headers;
    for header in [("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
        assert!(headers.contains(&(header.0.into(), header.1.into())), "{headers:?}");
    }
    stand.finish();
}

#[test]
fn a_page_can_do_nothing_that_it_was_not_written_for() {
    let stand = Stand::new();
    let mut stranger = stand.stranger();
    let first = stranger.get("/");
    let policy = first.header("content-security-policy").expect("a policy").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    // What runs and what styles is known by its hash, and there is one of each.
    assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
    for tag in ["<script", "<style"] {
        assert_eq!(first.text().matches(tag).count(), 1, "{tag}");
    }
    stand.finish();
}

#[test]
fn broken_http_is_answered_or_cut_and_hurts_nobody() {
    let stand = Stand::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\nnot HTTP/2 at all\r\n\r\n",
    ] {
        let mut connection = stand.stranger();
        connection.raw(bytes);
        drop(connection);
        let mut connection = stand.stranger();
        connection.raw(bytes);
        if bytes.starts_with(b"GET / HTTP/1.1") || bytes.starts_with(b"GET /healthz") {
            assert_eq!(connection.answer(false).error(400), "bad_request");
        }
    }
    let long = format!("/{}", "x".repeat(20_000));
    let mut connection = stand.operator();
    connection.send("GET", &long, &[], b"");
    let (status, _) = connection.head();
    assert!([414, 431].contains(&status), "{status}");
    let many: Vec<(String, String)> = (0..100).map(|n| (format!("X-{n}"), "1".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let mut connection = stand.operator();
    connection.send("GET", "/v1/status", &many, b"");
    assert_eq!(connection.head().0, 431);
    assert_eq!(stand.stranger().get("/healthz").status, 200);
    stand.finish();
}

#[test]
fn who_says_nothing_is_let_go() {
    let stand = Stand::new();
    let mut silent = stand.stranger();
    let mut slow = stand.stranger();
    slow.raw(b"GET /healthz HTT");
    // Longer than the time for the first request; the client's own patience is longer still.
    std::thread::sleep(Duration::from_secs(11));
    assert!(PATIENCE > Duration::from_secs(11));
    assert!(silent.is_closed() && slow.is_closed());
    stand.finish();
}

#[test]
fn wrong_tokens_are_limited_and_the_right_one_is_not() {
    let stand = Stand::new();
    let mut guesser = stand.stranger();
    let mut answers = Vec::new();
    for guess in 0..500 {
        let token = format!("Bearer guessed-token-{guess:04}");
        answers.push(guesser.ask("GET", "/v1/status", &[("Authorization", &token)], b"").status);
    }
    assert!(answers.iter().all(|status| [401, 429].contains(status)), "{answers:?}");
    assert!(answers.contains(&401) && answers.contains(&429));
    assert_eq!(stand.operator().get("/v1/status").status, 200);
    stand.finish();
}

/// What comes back for these bytes, until the connection ends.
fn said(stand: &Stand, request: &str) -> String {
    let mut stream = TcpStream::connect(stand.control).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and its end");
    answer
}

#[test]
fn load_balancers_may_speak_http_1_0_and_ask_by_options() {
    let stand = Stand::new();
    for path in ["/", "/healthz", "/readyz"] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            for host in ["", "Host: localhost\r\n"] {
                let answer = said(&stand, &format!("{method} {path} HTTP/1.0\r\n{host}\r\n"));
                assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{method} {path}: {answer}");
                let ends_with_its_head = answer.ends_with("\r\n\r\n");
                assert_eq!(ends_with_its_head, method == "HEAD", "{method} {path}: {answer}");
            }
        }
        let page = format!("GET {path} HTTP/1.0\r\nOrigin: http://evil.example\r\n\r\n");
        assert!(said(&stand, &page).starts_with("HTTP/1.0 403 "));
    }
    let foreign = said(&stand, "GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n");
    assert!(foreign.starts_with("HTTP/1.0 403 "), "{foreign}");
    let nameless = "GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert!(said(&stand, nameless).starts_with("HTTP/1.1 400 "));
    for method in ["GET", "OPTIONS"] {
        let closed = said(&stand, &format!("{method} /v1/status HTTP/1.0\r\n\r\n"));
        assert!(closed.starts_with("HTTP/1.0 401 "), "{closed}");
    }
    stand.finish();
}

#[test]
fn whether_it_lives_and_what_it_takes_is_told_under_any_name() {
    let stand = Stand::new();
    for version in ["1.0", "1.1"] {
        for host in ["", "Host: www\r\n", "Host: www.example.org:8080\r\n", "Host: 192.0.2.7\r\n"] {
            let ask = |line: &str, more: &str| {
                let rest = format!("{host}{more}Connection: close\r\n\r\n");
                said(&stand, &format!("{line} HTTP/{version}\r\n{rest}"))
            };
            let well = format!("HTTP/{version} 200 OK\r\n");
            for line in ["GET /readyz", "HEAD /healthz", "OPTIONS /readyz"] {
                assert!(ask(line, "").starts_with(&well), "{line} {version} {host}");
            }
            let options = ask("OPTIONS *", "").to_ascii_lowercase();
            assert!(options.starts_with(&well.to_ascii_lowercase()), "{options}");
            assert!(options.contains("\r\nallow: ") && options.ends_with("\r\n\r\n"), "{options}");
            assert!(options.contains("\r\ncontent-length: 0\r\n"), "{options}");
            // What is more than a word, and what a foreign page asks.
            assert!(!ask("GET /", "").contains(" 200 ") || host.is_empty());
            assert!(ask("POST /readyz", "").contains(&format!("HTTP/{version} 4")));
            let page = ask("GET /readyz", "Origin: http://evil.example\r\n");
            assert!(page.starts_with(&format!("HTTP/{version} 403 ")), "{page}");
        }
    }
    let twice = "GET /readyz HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(said(&stand, twice).starts_with("HTTP/1.1 400 "));
    stand.finish();
}

#[test]
fn the_host_of_a_whole_url_counts_instead_of_host() {
    let stand = Stand::new();
    let ask = |target: &str, host: &str| {
        let rest = "Connection: close\r\n\r\n";
        said(&stand, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{rest}"))
    };
    assert!(ask("http://localhost:1/", "evil.example").starts_with("HTTP/1.1 200 "));
    assert!(ask("http://evil.example/", "localhost").starts_with("HTTP/1.1 403 "));
    assert!(ask("http://evil@localhost/", "localhost").starts_with("HTTP/1.1 403 "));
    stand.finish();
}

#[test]
fn an_answer_to_head_has_no_body_whatever_it_is() {
    let stand = Stand::new();
    for (path, host, status) in [
        ("/", "localhost", 200),
        ("/healthz", "localhost", 200),
        ("/openapi.json", "evil.example", 403),
        ("/v1/status", "localhost", 401),
        ("/nothing", "localhost", 401),
    ] {
        let ask = |method: &str| {
            let rest = "Connection: close\r\n\r\n";
            let answer =
                said(&stand, &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{rest}"));
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {head}");
            let length = |line: &str| line.strip_prefix("content-length: ").map(str::to_owned);
            let length = head.to_ascii_lowercase().lines().find_map(length).expect("a length");
            (length, body.len())
        };
        let ((length, body), head) = (ask("GET"), ask("HEAD"));
        assert_eq!(length, body.to_string());
        assert_eq!(head, (length, 0), "{path}");
    }
    let mut operator = stand.operator();
    for (path, status) in [("/nothing", 404), ("/v1/websockets/x", 404), ("/v1/sessions/x", 404)] {
        assert_eq!(operator.ask("HEAD", path, &[], b"").status, status, "{path}");
    }
    stand.finish();
}
