//! Ends over a Unix socket, where the kernel says less of what the peer does.

use ringwire::{CloseCode, Closing, Error, ListenAddress, WebSocket, WebSocketServer};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use support::raw::{BINARY, CLOSE, FIN, close_payload, frame, upgrade};
use support::{LONG, Server, quick, told};

/// Writes for ever.
struct Told {
    sender: Sender<Closing>,
}

impl WebSocketServer for Told {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        loop {
            ws.write(vec![1; 100_000]).await?;
        }
    }

    async fn on_post_server(&mut self, closing: &Closing) {
        self.sender.send(closing.clone()).unwrap();
    }
}

#[test]
fn who_takes_nothing_is_cut_over_a_unix_socket_as_well() {
    for pings in [true, false] {
        let path = std::env::temp_dir().join(format!("ringwire-stall-{}", std::process::id()));
        let mut settings = quick();
        settings.listen = vec![ListenAddress::Unix(path.clone())];
        settings.timeouts.stall = Duration::from_millis(400);
        if pings {
            settings.timeouts.ping_interval = Duration::from_millis(200);
            settings.timeouts.pong = Duration::from_millis(200);
        }
        let (sender, closings) = channel();
        let server = Server::start(settings, |builder| {
            builder.route("/", move || Told { sender: sender.clone() })
        });
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream.write_all(upgrade("/", "").as_bytes()).expect("it reads");
        assert_eq!(told(&closings).code.0, 1006, "pings: {pings}");
        drop(stream);
        server.finish();
    }
}

/// Reads and says nothing; each message takes it a moment.
struct Listens {
    read: Arc<AtomicU32>,
    sender: Sender<Closing>,
}

impl WebSocketServer for Listens {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        while ws.read(100_000, LONG).await.is_ok() {
            self.read.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    async fn on_post_server(&mut self, closing: &Closing) {
        self.sender.send(closing.clone()).unwrap();
    }
}

/// What it has said lies in the kernel, whichever end of the socket is still there.
#[test]
fn who_has_gone_from_a_unix_socket_is_heard_to_its_close() {
    const SAID: usize = 150;
    let path = std::env::temp_dir().join(format!("ringwire-gone-{}", std::process::id()));
    let mut settings = quick();
    settings.listen = vec![ListenAddress::Unix(path.clone())];
    settings.limits.inbox_bytes_max = 4_096;
    settings.ring.buffer_pool_bytes = 32 * 1024;
    let read = Arc::new(AtomicU32::new(0));
    let (sender, closings) = channel();
    let counted = Arc::clone(&read);
    let server = Server::start(settings, |builder| {
        builder.route("/", move || Listens { read: Arc::clone(&counted), sender: sender.clone() })
    });
    let mut stream = UnixStream::connect(&path).expect("it listens");
    let said = frame(FIN | BINARY, &[9; 1_000]).repeat(SAID);
    let close = frame(FIN | CLOSE, &close_payload(1000, b""));
    let all = [upgrade("/", "").as_bytes(), &said, &close].concat();
    stream.write_all(&all).expect("it reads");
    // Its answer is taken, so that nothing is thrown away at the close.
    let mut answer = [0; 4_096];
    assert!(stream.read(&mut answer).expect("an answer") > 0);
    drop(stream);
    let closing = told(&closings);
    assert_eq!(read.load(Ordering::SeqCst), SAID as u32);
    assert_eq!(closing.code, CloseCode::NORMAL);
    server.finish();
}
