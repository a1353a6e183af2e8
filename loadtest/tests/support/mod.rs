//! Starts the generator, floors and small servers of their own for the tests.

#![allow(dead_code, reason = "every test crate uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use base64::Engine;
use sha1::{Digest, Sha1};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ringwire-loadtest");

/// A floor that ends with the test.
pub struct Floor {
    pub child: Child,
    pub address: SocketAddr,
}

impl Floor {
    pub fn start(driver: &str) -> Floor {
        let mut child = Command::new(PROGRAM)
            .args(["floor", "--listen", "127.0.0.1:0", "--driver", driver])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floor starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on ").expect(&line);
        Floor { child, address: address.parse().expect("an address") }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // A test may have ended it.
        let _ = self.child.kill();
        self.child.wait().expect("the floor ends");
    }
}

pub fn load(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("the generator runs")
}

pub fn echo(url: &str, extra: &[&str]) -> Output {
    let arguments = ["echo", url, "--seconds", "0.2", "--warmup", "0.05", "--json"];
    load(&[&arguments, extra].concat())
}

pub fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "it should have failed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    text
}

/// Serves connections one by one with `serve`, on a thread that ends with the process.
pub fn server(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

/// The report of a run that went well.
pub fn report(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Answers the opening handshake; returns the path that was asked for.
pub fn upgrade(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))?;
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let answer = format!(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).ok()?;
    head.split_whitespace().nth(1).map(str::to_owned)
}
