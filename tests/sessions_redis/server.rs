//! A Redis of one's own, the web application of the documentation, and its pages.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::PATIENCE;
use support::visitor::Browser;

const DOCUMENTATION: &str = include_str!("../../docs/sessions.md");

/// `redis-server` (Debian package `redis-server`) on a free port of the loopback interface.
pub struct Redis {
    child: Child,
    pub port: u16,
    folder: PathBuf,
}

impl Redis {
    pub fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let name = format!("ringwire-redis-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for it");
        let redis = Self { child: Self::spawn(port, &folder), port, folder };
        redis.await_it();
        redis
    }

    fn spawn(port: u16, folder: &PathBuf) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "3600 1"])
            .arg("--dir")
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed")
    }

    fn await_it(&self) {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() || self.cli(&["PING"]) != "PONG"
        {
            assert!(started.elapsed() < PATIENCE, "redis-server does not answer");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// What `redis-cli` prints for a command.
    pub fn cli(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let output = command.args(["-p", &self.port.to_string()]).args(words).output();
        let output = output.expect("redis-cli is installed").stdout;
        String::from_utf8(output).expect("UTF-8").trim_end().to_owned()
    }

    /// The same for a line as one types it, with quotes and escapes.
    pub fn cli_of(&self, line: &str) {
        let mut command = Command::new("redis-cli");
        let child = command.args(["-p", &self.port.to_string()]);
        let child = child.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut child = child.expect("redis-cli is installed");
        let mut stdin = child.stdin.take().expect("a pipe");
        writeln!(stdin, "{line}").expect("it reads");
        drop(stdin);
        child.wait().expect("our child");
    }

    /// Saves, and ends.
    pub fn stop(&mut self) {
        self.cli(&["SHUTDOWN", "SAVE"]);
        self.child.wait().expect("our child");
    }

    pub fn restart(&mut self) {
        self.child = Self::spawn(self.port, &self.folder);
        self.await_it();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A child that ends with the test.
pub struct Application(Child);

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The web application of the documentation, and the port where it listens.
pub fn python(redis_port: u16) -> (Application, u16) {
    let program = DOCUMENTATION.split("```python\n").nth(1).expect("a program in Python");
    let program = program.split("```").next().unwrap_or(program);
    let mut child = Command::new("python3")
        .args(["-c", program, &redis_port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    let application = Application(child);
    BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
    (application, line.trim().parse().expect("a port"))
}

/// Gets a page with the browser's cookie, and keeps the cookie that comes.
pub fn page(port: u16, path: &str, browser: &mut Browser) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    let cookie = browser.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n"));
    let cookie = cookie.unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.0\r\n{cookie}\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let set = head.lines().find_map(|line| line.strip_prefix("Set-Cookie: "));
    if let Some(pair) = set.and_then(|cookie| cookie.split(';').next()) {
        browser.cookie = Some(pair.to_owned());
    }
    body.to_owned()
}
