//! What peers say stays out of the log, the metrics and the status.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use support::frames::{CLOSE, FIN, TEXT, close_payload, frame};
use support::raw::{Raw, upgrade};
use support::{eventually, program::Program};

const SECRET: &str = "5ec2e7-0f-a-pee2";

fn get(control: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(control).expect("it accepts");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("UTF-8");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer
}

#[test]
fn bar_52_what_peers_say_is_in_no_log_and_no_metric() {
    let control =
        std::env::temp_dir().join(format!("ringwire-hygiene-{}.sock", std::process::id()));
    let argument = format!("--control={}", control.display());
    let mut program = Program::serve(&["--shards=1", &argument]);
    let lines = format!(
        "Cookie: session={SECRET}\r\nAuthorization: Bearer {SECRET}\r\nUser-Agent: {SECRET}\r\n\
         Origin: http://localhost\r\nSec-WebSocket-Protocol: {SECRET}\r\n"
    );
    let mut raw = Raw::connect(program.address);
    raw.send(upgrade(&format!("/echo?token={SECRET}"), &lines).as_bytes());
    raw.expect_101();
    raw.send(&frame(FIN | TEXT, SECRET.as_bytes()));
    assert_eq!(raw.read_frame().expect("an echo").payload, SECRET.as_bytes());
    raw.send(&frame(FIN | CLOSE, &close_payload(4000, SECRET.as_bytes())));
    raw.read_rest();
    // Refused in several ways.
    for request in [
        upgrade(&format!("/{SECRET}"), &lines),
        upgrade("/echo", &format!("Origin: http://{SECRET}.example\r\n")),
        upgrade("/echo", &format!("X: {}\r\n", SECRET.repeat(1_000))),
        format!("{SECRET} /{SECRET} HTTP/1.1\r\nHost: {SECRET}\r\n\r\n"),
        format!("{SECRET}\r\n\r\n"),
    ] {
        let mut raw = Raw::connect(program.address);
        raw.try_send(request.as_bytes());
        raw.read_rest();
    }
    // Ends of the protocol's own.
    for bytes in [frame(FIN | TEXT | 0x40, SECRET.as_bytes()), frame(FIN | TEXT, b"\xff\xfe")] {
        let mut raw = Raw::open(program.address, "/echo");
        raw.send(&bytes);
        raw.read_rest();
    }
    eventually("all are gone", || program.lines_with(" ms=") >= 8);
    for path in ["/metrics", "/v1/status"] {
        assert!(!get(&control, path).contains(SECRET), "{path}");
    }
    assert_eq!(program.stop().code(), Some(0));
    assert_eq!(program.lines_with(SECRET), 0);
    assert_eq!(program.lines_with("token"), 0);
}
