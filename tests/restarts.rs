//! Starts that meet: one right after a server that was killed, and several at once.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every server says when it has all its addresses.
const READY: &str = "control plane on";

/// How a start went.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// It serves.
    Ready,
    /// It has ended, with this exit code and this line.
    Ended(Option<i32>, String),
}

/// A server. Killed when dropped.
struct Server {
    child: Child,
    start: Receiver<Result<(), String>>,
}

impl Server {
    fn new(arguments: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
        command.arg("serve").args(arguments).env_clear().stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let (tell, start) = channel();
        thread::spawn(move || {
            let mut last = String::new();
            // To the end, so that the pipe is never full.
            for line in log.lines().map_while(Result::ok) {
                if line.contains(READY) {
                    let _ = tell.send(Ok(()));
                }
                last = line;
            }
            let _ = tell.send(Err(last));
        });
        Self { child, start }
    }

    /// Waits until it serves or has ended.
    fn started(&mut self) -> Start {
        match self.start.recv_timeout(PATIENCE).expect("it starts or ends") {
            Ok(()) => Start::Ready,
            Err(line) => Start::Ended(self.child.wait().expect("our child").code(), line),
        }
    }

    /// Ends it with SIGTERM; its exit code.
    fn stop(&mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("our child");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the server does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of this test alone, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("ringwire-restarts-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("the temporary directory takes a folder");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("our folder");
        let names = entries.map(|entry| entry.expect("our folder").file_name());
        names.map(|name| name.to_string_lossy().into()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port that nobody has, and that the system gives to nobody while it is free: those come from
/// above 32,767.
fn port_of_its_own() -> u16 {
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..32_000).find(free).expect("a free port")
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

#[test]
fn a_server_that_was_killed_can_be_started_again_at_once() {
    let folder = Folder::new("killed");
    let (data, control) = (folder.path("data.sock"), folder.path("control.sock"));
    let port = port_of_its_own();
    let admin = (port + 1..).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let arguments = [
        flag("shards", 2),
        flag("listen", format_args!("127.0.0.1:{port}")),
        flag("listen", format_args!("unix:{}", data.display())),
        flag("admin", format_args!("127.0.0.1:{}", admin.expect("a free port"))),
        flag("control", control.display()),
    ];
    for round in 0..20 {
        let mut server = Server::new(&arguments);
        assert_eq!(server.started(), Start::Ready, "round {round}");
        // The rings have something to give back.
        let _tcp: Vec<TcpStream> =
            (0..8).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it listens")).collect();
        let _unix = [&data, &control].map(|path| UnixStream::connect(path).expect("it listens"));
        server.child.kill().expect("our child");
        server.child.wait().expect("our child");
    }
}

/// Starts several servers with `arguments` and waits for all of them; the one that serves. The
/// others must say that the address is in use.
fn the_one_of_many(arguments: &[String]) -> Server {
    let mut servers: Vec<Server> = (0..8).map(|_| Server::new(arguments)).collect();
    let starts: Vec<Start> = servers.iter_mut().map(Server::started).collect();
    let ready: Vec<usize> = (0..8).filter(|index| starts[*index] == Start::Ready).collect();
    assert_eq!(ready.len(), 1, "{starts:?}");
    for start in starts {
        if let Start::Ended(code, line) = start {
            assert!(code == Some(69) && line.contains(" is in use; "), "{code:?} {line}");
        }
    }
    servers.swap_remove(ready[0])
}

fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).expect("a free path"));
}

#[test]
fn of_many_starts_over_a_stale_control_socket_one_runs() {
    let folder = Folder::new("control");
    let control = folder.path("control.sock");
    let arguments = [
        flag("shards", 1),
        flag("listen", "127.0.0.1:0"),
        flag("admin", "off"),
        flag("control", control.display()),
    ];
    for _ in 0..4 {
        leave_stale(&control);
        let mut server = the_one_of_many(&arguments);
        UnixStream::connect(&control).expect("it listens");
        assert_eq!(server.stop(), Some(0));
        assert_eq!(folder.names(), Vec::<String>::new(), "something is left behind");
    }
}

#[test]
fn of_many_starts_over_a_stale_data_socket_one_runs() {
    let folder = Folder::new("data");
    let data = folder.path("data.sock");
    let arguments = [
        flag("shards", 2),
        flag("listen", format_args!("unix:{}", data.display())),
        flag("admin", "127.0.0.1:0"),
    ];
    for _ in 0..4 {
        leave_stale(&data);
        let mut server = the_one_of_many(&arguments);
        UnixStream::connect(&data).expect("it listens");
        assert_eq!(server.stop(), Some(0));
        assert_eq!(folder.names(), Vec::<String>::new(), "something is left behind");
    }
}

#[test]
fn of_many_starts_on_one_port_one_runs() {
    let port = port_of_its_own() + 500;
    for shards in [2, 2, 2, 1] {
        let arguments = [
            flag("shards", shards),
            flag("listen", format_args!("127.0.0.1:{port}")),
            flag("admin", "127.0.0.1:0"),
        ];
        let mut server = the_one_of_many(&arguments);
        TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        assert_eq!(server.stop(), Some(0));
    }
}
