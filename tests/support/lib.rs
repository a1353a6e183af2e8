//! What the tests on a real ring share: an engine on a port of its own, the built program as a
//! child, and clients that know nothing of this crate.

pub mod frames;
pub mod http;
pub mod load;
pub mod program;
pub mod raw;
pub mod stores;
pub mod visitor;

use ringwire::{
    Engine, EngineBuilder, EngineHandle, Error, ListenAddress, Opening, Refusal, Settings, Totals,
    WebSocket, WebSocketServer,
};
use std::net::{SocketAddr, TcpStream};
use std::sync::Once;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;

/// Longer than anything here takes; only a test that hangs gets there.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A read timeout that no test waits for.
pub const LONG: Duration = Duration::from_secs(600);

/// The handler of a shared route: its socket stays open by itself.
pub struct Shared;

impl WebSocketServer for Shared {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        opening.set_shared_connection(true);
        Ok(())
    }

    async fn server(&mut self, _ws: &mut WebSocket) -> Result<(), Error> {
        Ok(())
    }
}

/// One shard with a small ring, no pings, short times.
pub fn quick() -> Settings {
    let mut settings = Settings {
        listen: vec![ListenAddress::Tcp(([127, 0, 0, 1], 0).into())],
        shards: 1,
        connections_max: Some(1_000),
        ..Settings::default()
    };
    settings.ring.submission_entries = 256;
    settings.ring.completion_entries = 4_096;
    settings.ring.buffer_pool_bytes = 1 << 20;
    settings.timeouts.ping_interval = Duration::ZERO;
    settings.timeouts.drain_spread = Duration::ZERO;
    settings.timeouts.drain = Duration::from_millis(200);
    settings
}

/// An engine under test.
pub struct Server {
    engine: Engine,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(settings: Settings, routes: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        silence_handlers();
        let engine = routes(Engine::builder().settings(settings)).start().expect("it starts");
        let address = match &engine.addresses()[0] {
            ListenAddress::Tcp(address) => *address,
            ListenAddress::Unix(_) => ([0, 0, 0, 0], 0).into(),
        };
        Self { engine, address }
    }

    /// An engine with one handler at `/`.
    pub fn with<F>(settings: Settings, handler: F) -> Self
    where
        F: AsyncFn(&mut WebSocket) -> Result<(), Error> + Clone + Send + Sync + 'static,
    {
        Self::start(settings, |builder| builder.route("/", on(handler)))
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn handle(&self) -> EngineHandle {
        self.engine.handle()
    }

    /// Drains it, and checks that nothing is left: not a connection, not a thread.
    pub fn finish(self) -> Totals {
        self.engine.handle().drain();
        self.join()
    }

    /// Waits for its end, which something else has brought about.
    pub fn join(self) -> Totals {
        let (sender, ended) = channel();
        let engine = self.engine;
        thread::spawn(move || sender.send(Box::new(engine.join().totals)));
        let totals = *ended.recv_timeout(PATIENCE).expect("the engine ends");
        assert_eq!(totals.accepted, totals.closed, "every connection is gone: {totals:?}");
        totals
    }
}

/// A handler made of a closure.
pub struct On<F>(F);

impl<F: AsyncFn(&mut WebSocket) -> Result<(), Error> + 'static> WebSocketServer for On<F> {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        (self.0)(ws).await
    }
}

/// A factory for a route.
pub fn on<F>(handler: F) -> impl Fn() -> On<F> + Send + Sync + 'static
where
    F: AsyncFn(&mut WebSocket) -> Result<(), Error> + Clone + Send + Sync + 'static,
{
    move || On(handler.clone())
}

/// Sends back what comes.
pub async fn echo(ws: &mut WebSocket) -> Result<(), Error> {
    while let Ok(data) = ws.read(usize::MAX, LONG).await {
        ws.write(data).await?;
    }
    Ok(())
}

/// Tells about the threads of engines only what the tests ask: they panic on purpose.
pub fn silence_handlers() {
    static SILENCED: Once = Once::new();
    SILENCED.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref() != Some(&ON_PURPOSE) {
                usual(panic);
            }
        }));
    });
}

/// What a handler says that panics because the test is about that.
pub const ON_PURPOSE: &str = "on purpose";

pub type Client = tungstenite::WebSocket<TcpStream>;

/// A client of the tungstenite crate, connected.
pub fn connect(address: SocketAddr, path: &str) -> Client {
    connect_with(address, path, &[]).0
}

/// The same with header fields, and with the answer.
pub fn connect_with(
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> (Client, tungstenite::handshake::client::Response) {
    let stream = TcpStream::connect(address).expect("it accepts");
    connect_over(stream, address, path, headers)
}

/// The same from this address of loopback.
pub fn connect_from(ip: &str, address: SocketAddr, path: &str) -> Client {
    connect_over(stream_from(ip, address), address, path, &[]).0
}

fn connect_over(
    stream: TcpStream,
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> (Client, tungstenite::handshake::client::Response) {
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a TCP socket");
    let mut request = format!("ws://{address}{path}").into_client_request().expect("a URL");
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a header value"));
    }
    tungstenite::client(request, stream).expect("the handshake succeeds")
}

/// A TCP connection from this address of loopback.
pub fn stream_from(ip: &str, server: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a socket");
    let own: SocketAddr = format!("{ip}:0").parse().expect("an address");
    bind(&socket, &own).expect("all of 127/8 is ours");
    connect(&socket, &server).expect("it accepts");
    TcpStream::from(socket)
}

/// The next text.
pub fn text(client: &mut Client) -> String {
    loop {
        match client.read().expect("a message") {
            tungstenite::Message::Text(text) => return text.as_str().to_owned(),
            tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_) => {}
            other => panic!("not a text: {other:?}"),
        }
    }
}

/// The code and the reason of the Close frame that comes next, and that it is the end.
pub fn close_of(client: &mut Client) -> (u16, String) {
    texts_and_close(client).1
}

/// The same, and the texts in front of it.
pub fn texts_and_close(client: &mut Client) -> (Vec<String>, (u16, String)) {
    let mut texts = Vec::new();
    loop {
        match client.read() {
            Ok(tungstenite::Message::Close(None)) => return (texts, (1005, String::new())),
            Ok(tungstenite::Message::Close(Some(frame))) => {
                let said = (frame.code.into(), frame.reason.as_str().to_owned());
                // Flushes the answer and waits for the end of the stream.
                assert!(client.read().is_err());
                return (texts, said);
            }
            Ok(tungstenite::Message::Text(text)) => texts.push(text.as_str().to_owned()),
            Ok(_) => {}
            Err(error) => panic!("no Close frame: {error}"),
        }
    }
}

/// What a handler has to tell the test.
pub fn told<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("the handler tells")
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
