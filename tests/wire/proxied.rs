//! What the log tells whoever put a proxy or a load balancer in front, and what it does not.

use std::net::TcpStream;
use support::eventually;
use support::program::Program;
use support::raw::{Raw, http, upgrade};

#[test]
fn the_log_names_what_a_proxy_speaks_and_the_setting() {
    let program = Program::serve(&["--shards=1"]);
    let whole = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let first = format!("PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n{whole}");
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    let second = [&binary[..], &[192; 12], whole.as_bytes()].concat();
    for (sent, protocol, setting) in [
        (first.as_bytes(), "the PROXY protocol ", "send-proxy"),
        (&second, "the PROXY protocol ", "send-proxy"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "TLS on a plain port", "proxy_pass http://"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 ", "proto h2"),
    ] {
        let lines = program.lines_with(protocol);
        let reply = http(program.address, sent);
        let body = String::from_utf8_lossy(&reply.body);
        assert!(reply.status == 400 && body.contains(protocol), "{body}");
        eventually("the log says so", || program.lines_with(protocol) > lines);
        assert!(program.lines_with(&format!("WARN ringwire::refusal: {protocol}")) > 0);
        let line = program.said(protocol).expect("a line");
        assert!(line.contains(setting) && !line.contains("192"), "{line}");
    }
    assert_eq!(program.lines_with("evil"), 0);
}

#[test]
fn who_only_looks_whether_the_port_is_open_is_told_of_at_debug() {
    for (filter, lines) in [("info", 0), ("info,ringwire::access=debug", 3)] {
        let program = Program::serve(&["--shards=1", "--log", filter]);
        (0..3).for_each(|_| drop(TcpStream::connect(program.address).expect("it listens")));
        // Who begins to ask is told of as before.
        let mut raw = Raw::connect(program.address);
        raw.send(b"GET /");
        drop(raw);
        eventually("the last has gone", || {
            program.lines_with("INFO ringwire::access: closed peer=") == 1
                && program.lines_with("DEBUG ringwire::access: closed unasked") >= lines
        });
        assert_eq!(program.lines_with("closed unasked"), lines);
        assert_eq!(program.lines_with(" status=0 "), lines + 1);
    }
}

#[test]
fn a_server_without_a_place_left_says_so_once_and_names_the_key() {
    let program = Program::serve(&["--shards=1", "--connections-max=32"]);
    let _open = [(); 32].map(|()| Raw::open(program.address, "/echo"));
    for _ in 0..5 {
        assert_eq!(http(program.address, upgrade("/echo", "").as_bytes()).status, 503);
    }
    eventually("the log says so", || program.lines_with("connections_max") > 0);
    assert_eq!(program.lines_with("WARN ringwire::places: there are as many"), 1);
}

#[test]
fn the_control_plane_names_the_setting_when_it_refuses_a_name() {
    let program = Program::serve(&["--shards=1", "--admin=127.0.0.1:0"]);
    let mut address = None;
    eventually("the control plane listens", || {
        let said = program.said("control plane on http://");
        address = said.and_then(|at| at.trim_end_matches('/').parse().ok());
        address.is_some()
    });
    let address = address.expect("told");
    let refused = |rest: &str| {
        let request = format!("GET / HTTP/1.1\r\n{rest}Connection: close\r\n\r\n");
        assert_eq!(http(address, request.as_bytes()).status, 403, "{rest}");
    };
    let host = format!("Host: {address}\r\n");
    for (rest, cause) in [
        ("Host: www.evil.example\r\n".to_owned(), "a request for a name "),
        (format!("{host}Origin: http://evil.example\r\n"), "a page of a foreign origin "),
    ] {
        eventually("it is told of in another second than what was before", || {
            refused(&rest);
            program.lines_with(&format!("WARN ringwire::refusal: {cause}")) > 0
        });
        assert!(program.said(cause).expect("a line").contains("admin.hosts"));
    }
    let lines = program.lines_with("admin.hosts");
    (0..100).for_each(|_| refused("Host: www.evil.example\r\n"));
    assert!(program.lines_with("admin.hosts") < lines + 100, "each is told of");
    assert_eq!(program.lines_with("evil"), 0);
}
