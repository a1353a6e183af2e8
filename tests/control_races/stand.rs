//! An engine with one shared route and its control plane on a Unix socket, and programs beside it.

use ringwire::Settings;
use ringwire::client::{Client, SocketQuery};
use ringwire::control::{self, Control};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use support::{self, Server, Shared, eventually};

pub const ROUTE: &str = "/feed";

pub struct Stand {
    pub server: Server,
    pub socket: PathBuf,
    _control: Control,
}

impl Stand {
    pub fn new(settings: Settings) -> Self {
        let server = Server::start(settings, |builder| {
            builder.route(ROUTE, || Shared).route("/echo", support::on(support::echo))
        });
        let socket = path_of_its_own();
        let settings =
            control::Settings { socket: Some(socket.clone()), ..control::Settings::default() };
        let control = control::bind(settings).expect("a free path");
        let control = control.serve(server.engine()).expect("it serves");
        Self { server, socket, _control: control }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// A client of the control plane with connections of its own.
    pub async fn client(&self) -> Client {
        let address = format!("unix:{}", self.socket.display());
        Client::connect(&address).await.expect("it listens")
    }
}

/// Waits until so many sockets of the route are unattended, and gives their ids.
pub async fn ids_of(client: &Client, count: usize) -> Vec<String> {
    let mut query = SocketQuery {
        route: Some(ROUTE.into()),
        status: Some("unattended".into()),
        limit: Some(1_000),
        ..SocketQuery::default()
    };
    loop {
        let mut ids = Vec::new();
        query.cursor = None;
        loop {
            let page = client.sockets(&query).await.expect("a list");
            ids.extend(page.websockets.into_iter().map(|socket| socket.id));
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        if ids.len() >= count {
            return ids;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

pub fn path_of_its_own() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("ringwire-races-{}-{number}", std::process::id()))
}

/// A program that is killed when it is dropped.
pub struct Running(pub Child);

impl Running {
    /// One of the example workers.
    pub fn worker(language: &str, socket: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut command = match language {
            "python" => {
                let mut command = Command::new("python3");
                command.arg(root.join("python/worker.py")).arg("--control").arg(socket);
                command
            }
            _ => {
                let mut command = Command::new("bash");
                command.arg(root.join("curl/worker.sh")).env("CONTROL", socket);
                command
            }
        };
        command.arg(ROUTE).env_remove("RINGWIRE_TOKEN").stderr(Stdio::null());
        Self(command.spawn().expect("the interpreter is there"))
    }

    /// The same, with a control plane over TCP.
    pub fn worker_over_tcp(language: &str, address: SocketAddr) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let address = address.to_string();
        let mut command = match language {
            "python" => {
                let mut command = Command::new("python3");
                command.arg(root.join("python/worker.py")).args(["--admin", &address]);
                command
            }
            _ => {
                let mut command = Command::new("bash");
                command.arg(root.join("curl/worker.sh")).env("ADMIN", &address);
                command
            }
        };
        command.arg(ROUTE).env("RINGWIRE_TOKEN", "0123456789abcdef").stderr(Stdio::null());
        Self(command.spawn().expect("the interpreter is there"))
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        self.0.kill().expect("our child");
        self.0.wait().expect("our child");
    }

    /// Asks it to end and waits for that.
    pub fn stop(mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.0), Signal::TERM).expect("our child");
        eventually("the program ends", || self.0.try_wait().expect("our child").is_some());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
