//! An engine with a control plane, and clients for both.

use ringwire::control::{self, Control};
use ringwire::{EngineBuilder, ListenAddress, RouteOptions, Settings};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use support::http::Connection;
use support::{self, Client, Server, Shared, connect, connect_with};

pub const OPERATOR: &str = "operator-token-of-tests";
pub const READER: &str = "read-only-token-of-tests";

/// An engine with the routes `/shared` and `/echo`, and its control plane on TCP and a Unix socket.
pub struct Stand {
    pub server: Server,
    pub control: SocketAddr,
    pub socket: PathBuf,
    _serving: Control,
}

impl Stand {
    pub fn new() -> Self {
        Self::with(support::quick(), RouteOptions::default())
    }

    pub fn with(settings: Settings, options: RouteOptions) -> Self {
        Self::start(settings, |builder| {
            builder
                .route_with("/shared", options, || Shared)
                .route("/echo", support::on(support::echo))
        })
    }

    pub fn start(settings: Settings, routes: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let server = Server::start(settings, routes);
        let socket = path_of_its_own();
        let control = serve(&server, &socket);
        let ListenAddress::Tcp(address) = control.addresses()[0].clone() else { panic!("no TCP") };
        Self { server, control: address, socket, _serving: control }
    }

    /// An operator.
    pub fn operator(&self) -> Connection {
        Connection::tcp(self.control, Some(OPERATOR))
    }

    /// Somebody who may look.
    pub fn reader(&self) -> Connection {
        Connection::tcp(self.control, Some(READER))
    }

    /// Somebody without a token.
    pub fn stranger(&self) -> Connection {
        Connection::tcp(self.control, None)
    }

    /// A client on `/shared`, and the id of its socket.
    pub fn shared(&self) -> (Client, String) {
        self.client("/shared")
    }

    /// A client on `path`, and the id of its socket.
    pub fn client(&self, path: &str) -> (Client, String) {
        let client = connect(self.server.address, path);
        let peer = client.get_ref().local_addr().expect("a socket").to_string();
        let mut operator = self.operator();
        let mut id = String::new();
        support::eventually("the socket is in the list", || {
            let page = operator.get(&format!("/v1/websockets?q={peer}")).json();
            let found = page["websockets"][0]["id"].as_str().map(str::to_owned);
            let open = !matches!(page["websockets"][0]["status"].as_str(), Some("handshake"));
            found.filter(|_| open).map(|found| id = found).is_some()
        });
        (client, id)
    }

    /// A client with header fields.
    pub fn client_with(&self, path: &str, headers: &[(&'static str, &str)]) -> Client {
        connect_with(self.server.address, path, headers).0
    }

    pub fn finish(self) {
        self.server.finish();
    }
}

fn serve(server: &Server, socket: &Path) -> Control {
    let settings = control::Settings {
        listen: Some(([127, 0, 0, 1], 0).into()),
        socket: Some(socket.into()),
        token: Some(OPERATOR.into()),
        read_only_token: Some(READER.into()),
        hosts: vec!["status.example.org".into()],
    };
    let bound = control::bind(settings).expect("free addresses");
    let control = bound.serve(server.engine()).expect("it serves");
    assert_eq!(control.generated_token(), None);
    control
}

/// A path in the temporary directory that nobody else has.
pub fn path_of_its_own() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("ringwire-control-{}-{number}", std::process::id()))
}
