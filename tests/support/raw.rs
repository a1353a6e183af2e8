//! A client that says exactly what it is told to, bytes on a TCP socket.

use super::PATIENCE;
use super::frames::server_frame;
pub use super::frames::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close_payload, frame, header,
};
use rustix::net::sockopt::set_socket_linger;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// The opening handshake for `path`, with these lines added.
pub fn upgrade(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

/// A frame as the server sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn opcode(&self) -> u8 {
        self.first & 0xf
    }

    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
        (self.first == FIN | CLOSE).then(|| code.unwrap_or(1005))
    }
}

/// An answer in HTTP.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("UTF-8");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status: status.expect("a status"), head, body: bytes[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }
}

/// A connection.
pub struct Raw {
    pub stream: TcpStream,
    inbound: Vec<u8>,
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("it accepts"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a TCP socket");
        Self { stream, inbound: Vec::new() }
    }

    /// Connected and upgraded.
    pub fn open(address: SocketAddr, path: &str) -> Self {
        Self::connect(address).upgraded(path)
    }

    /// The same from this address of loopback.
    pub fn open_from(ip: &str, address: SocketAddr, path: &str) -> Self {
        Self::over(super::stream_from(ip, address)).upgraded(path)
    }

    fn upgraded(mut self, path: &str) -> Self {
        self.send(upgrade(path, "").as_bytes());
        self.expect_101();
        self
    }

    pub fn expect_101(&mut self) -> Reply {
        let reply = self.read_head();
        assert_eq!(reply.status, 101, "{}", reply.head);
        assert_eq!(reply.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        reply
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes it");
    }

    /// Sends as much as the server takes; it may have closed already.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.inbound.extend_from_slice(&bytes[..count]);
                true
            }
            Err(error) if is_timeout(&error) => panic!("the server says nothing"),
            Err(_) => false,
        }
    }

    pub fn read_head(&mut self) -> Reply {
        loop {
            if let Some(at) = self.inbound.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.inbound.drain(..at + 4).collect();
                return Reply::parse(&head);
            }
            assert!(self.fill(), "the connection ended before the head");
        }
    }

    /// The next frame; `None` at the end of the connection.
    pub fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((first, payload, end)) = server_frame(&self.inbound) {
                let frame = Frame { first, payload: payload.to_vec() };
                self.inbound.drain(..end);
                return Some(frame);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The code of the Close frame that comes next, which nothing follows.
    pub fn close_code(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some(frame) = self.read_frame() {
            assert_eq!(code, None, "something follows the Close frame: {frame:?}");
            code = frame.close_code();
        }
        code
    }

    /// Everything until the end of the connection.
    pub fn read_rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.inbound)
    }

    /// The answer, which ends the connection.
    pub fn reply(&mut self) -> Reply {
        Reply::parse(&self.read_rest())
    }

    pub fn say_fin(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("a TCP socket");
    }
}

/// The answer to one request in HTTP.
pub fn http(address: SocketAddr, request: &[u8]) -> Reply {
    let mut raw = Raw::connect(address);
    raw.try_send(request);
    raw.reply()
}

pub fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
