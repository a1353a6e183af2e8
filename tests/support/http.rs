//! An HTTP/1.1 client of a few lines, which can be as wrong as a test wants.

use super::PATIENCE;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A stream that can be spoken over.
pub trait Wire: Read + Write + Send {}

impl Wire for TcpStream {}
impl Wire for UnixStream {}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The code of an error that names cause and remedy.
    #[track_caller]
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let error = self.json()["error"].clone();
        for key in ["message", "remedy"] {
            assert!(error[key].as_str().is_some_and(|text| text.len() > 5), "{error}");
        }
        error["code"].as_str().expect("a code").to_owned()
    }
}

/// A kept-alive connection.
pub struct Connection {
    wire: BufReader<Box<dyn Wire>>,
    host: String,
    pub token: Option<String>,
}

impl Connection {
    pub fn tcp(address: SocketAddr, token: Option<&str>) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        let wire: Box<dyn Wire> = Box::new(stream);
        let token = token.map(str::to_owned);
        Self { wire: BufReader::new(wire), host: address.to_string(), token }
    }

    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let wire: Box<dyn Wire> = Box::new(stream);
        Self { wire: BufReader::new(wire), host: "localhost".into(), token: None }
    }

    pub fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, &[], b"")
    }

    pub fn post(&mut self, target: &str) -> Answer {
        self.ask("POST", target, &[], b"")
    }

    pub fn write(&mut self, target: &str, media: &str, body: &[u8]) -> Answer {
        self.ask("POST", target, &[("Content-Type", media)], body)
    }

    pub fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send(method, target, headers, body);
        self.answer(method == "HEAD")
    }

    /// Sends a request and does not wait.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        let mut add = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        let has = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !has("host") {
            add("Host", &self.host);
        }
        if let Some(token) = self.token.as_ref().filter(|_| !has("authorization")) {
            add("Authorization", &format!("Bearer {token}"));
        }
        if !body.is_empty() || method == "POST" {
            add("Content-Length", &body.len().to_string());
        }
        headers.iter().for_each(|(name, value)| add(name, value));
        self.raw(&[head.as_bytes(), b"\r\n", body].concat());
    }

    /// Sends bytes as they are. Whoever refuses may have closed already.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _ = self.wire.get_mut().write_all(bytes);
    }

    pub fn answer(&mut self, head_only: bool) -> Answer {
        let (status, headers) = self.head();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if head_only || status == 204 {
            return answer;
        }
        let length = answer.header("content-length").map(|text| text.parse().expect("a number"));
        answer.body = vec![0; length.expect("a length")];
        self.wire.read_exact(&mut answer.body).expect("the whole body");
        answer
    }

    /// The head of an answer whose body may have no end.
    pub fn head(&mut self) -> (u16, Vec<(String, String)>) {
        let line = self.line();
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        (status.unwrap_or_else(|| panic!("no status in `{line}`")), headers)
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.wire.read_until(b'\n', &mut line).expect("a line in time");
        assert!(line.ends_with(b"\n"), "the connection ended after {line:?}");
        String::from_utf8(line).expect("UTF-8").trim_end().to_owned()
    }

    /// Whether nothing comes any more.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.wire.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// The next piece of a chunked body.
    pub fn chunk(&mut self) -> String {
        let length = usize::from_str_radix(&self.line(), 16).expect("the length of a chunk");
        let mut bytes = vec![0; length + 2];
        self.wire.read_exact(&mut bytes).expect("the whole chunk");
        bytes.truncate(length);
        String::from_utf8(bytes).expect("UTF-8")
    }
}
