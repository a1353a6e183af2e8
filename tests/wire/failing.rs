//! Handlers that fail, handlers that use the rest of the world, and the end of the engine.

use ringwire::{Closing, Error, Opening, Refusal, WebSocket, WebSocketServer};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use support::raw::{FIN, Raw, TEXT, frame, http, upgrade};
use support::visitor::wait;
use support::{
    LONG, ON_PURPOSE, PATIENCE, Server, close_of, connect, echo, eventually, on, quick, text, told,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::Message;

/// Panics where its path says.
struct Panicking {
    place: String,
}

impl Panicking {
    fn reach(&self, place: &str) {
        if self.place == place {
            std::panic::panic_any(ON_PURPOSE);
        }
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        self.reach("/drop");
    }
}

impl WebSocketServer for Panicking {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        self.place = opening.path().to_owned();
        self.reach("/pre");
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        self.reach("/server");
        let data = ws.read(100, LONG).await?;
        ws.write(data).await?;
        self.reach("/later");
        Ok(())
    }

    async fn on_post_server(&mut self, _: &Closing) {
        self.reach("/post");
    }
}

#[test]
fn a_panic_in_any_callback_ends_one_socket_and_no_other() {
    let mut settings = quick();
    settings.timeouts.drain = PATIENCE / 2;
    let server = Server::start(settings, |builder| {
        builder.route("/*", || Panicking { place: String::new() }).route("/echo", on(echo))
    });
    let mut witness = connect(server.address, "/echo");
    assert_eq!(http(server.address, upgrade("/pre", "").as_bytes()).status, 500);
    for (path, code) in [("/server", 1011), ("/later", 1011), ("/post", 1000), ("/drop", 1000)] {
        let mut raw = Raw::open(server.address, path);
        raw.try_send(&frame(FIN | TEXT, b"x"));
        let end = std::iter::from_fn(|| raw.read_frame()).find_map(|frame| frame.close_code());
        assert_eq!(end, Some(code), "{path}");
    }
    witness.send(Message::text("still here")).unwrap();
    assert_eq!(text(&mut witness), "still here");
    drop(witness);
    let totals = server.finish();
    assert_eq!((totals.panics, totals.opened, totals.cut), (5, 5, 0), "{totals:?}");
}

#[test]
fn an_error_is_1011_after_what_was_written() {
    let server = Server::with(quick(), async |ws| {
        ws.write("first").await?;
        Err(Error::new("second"))
    });
    let mut client = connect(server.address, "/");
    assert_eq!(text(&mut client), "first");
    assert_eq!(close_of(&mut client).0, 1011);
    server.finish();
}

#[test]
fn tokio_works_inside_a_handler() {
    let outside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = outside.local_addr().unwrap();
    let other = thread::spawn(move || {
        let (mut stream, _) = outside.accept().unwrap();
        let mut bytes = [0; 4];
        std::io::Read::read_exact(&mut stream, &mut bytes).unwrap();
        std::io::Write::write_all(&mut stream, b"pong").unwrap();
        bytes
    });
    let server = Server::with(quick(), async move |ws| {
        let started = Instant::now();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(started.elapsed() >= Duration::from_millis(50));
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        let elsewhere = tokio::spawn(async { thread::current().name().map(str::to_owned) });
        let name = elsewhere.await.map_err(Error::new)?.unwrap_or_default();
        assert_ne!(Some(name.as_str()), thread::current().name());
        let slow = tokio::time::timeout(Duration::from_millis(20), ws.read(1, LONG)).await;
        assert!(slow.is_err());
        Ok(ws.write(&answer).await?)
    });
    let mut client = connect(server.address, "/");
    assert_eq!(client.read().unwrap(), Message::binary(&b"pong"[..]));
    assert_eq!(&other.join().unwrap(), b"ping");
    drop(client);
    server.finish();
}

#[test]
fn wakes_from_other_threads_arrive() {
    const WAKES: u32 = 5_000;
    let server = Server::with(quick(), async |ws| {
        let shared: Arc<Mutex<(u32, Option<Waker>)>> = Arc::default();
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for _ in 0..WAKES {
                let mut shared = other.lock().unwrap();
                shared.0 += 1;
                if let Some(waker) = shared.1.take() {
                    drop(shared);
                    waker.wake();
                    thread::yield_now();
                }
            }
        });
        let mut seen = 0;
        while seen < WAKES {
            seen = std::future::poll_fn(|context| {
                let mut shared = shared.lock().unwrap();
                if shared.0 > seen {
                    return Poll::Ready(shared.0);
                }
                shared.1 = Some(context.waker().clone());
                Poll::Pending
            })
            .await;
        }
        thread.join().expect("no panic");
        Ok(ws.write("all").await?)
    });
    let mut clients: Vec<_> = (0..4).map(|_| connect(server.address, "/")).collect();
    for client in &mut clients {
        assert_eq!(text(client), "all");
    }
    drop(clients);
    server.finish();
}

#[test]
fn a_drain_says_1001_to_everybody_in_the_time_it_may_take() {
    const CLIENTS: usize = 40;
    let mut settings = quick();
    settings.timeouts.drain_spread = Duration::from_millis(800);
    settings.timeouts.drain = Duration::from_secs(10);
    let server = Server::with(settings, echo);
    let mut half = Raw::connect(server.address);
    half.send(b"GET / HTTP/1.1\r\nHo");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(server.address, "/")).collect();
    for client in &mut clients {
        client.send(Message::text("before")).unwrap();
    }
    let (address, handle) = (server.address, server.handle());
    eventually("all are there and answered", || {
        let status = wait(handle.status());
        let there = status.connections as usize == CLIENTS + 1;
        there && status.totals.messages_out == CLIENTS as u64
    });
    let started = Instant::now();
    server.handle().drain();
    let ends: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                assert_eq!(text(&mut client), "before");
                assert_eq!(close_of(&mut client).0, 1001);
                started.elapsed()
            })
        })
        .collect();
    let mut times: Vec<_> = ends.into_iter().map(|end| end.join().unwrap()).collect();
    times.sort();
    assert_eq!(half.reply().status, 503);
    let totals = server.join();
    assert_eq!((totals.cut, totals.opened), (0, CLIENTS as u64));
    // Not all at once: half of them have more than a quarter of the time, at least.
    assert!(times[CLIENTS / 2] > Duration::from_millis(200), "{times:?}");
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_drain_cuts_what_does_not_go() {
    let (sender, started) = channel();
    let mut settings = quick();
    settings.timeouts.drain = Duration::from_secs(2);
    let server = Server::start(settings, |builder| {
        let never = on(async move |ws: &mut WebSocket| {
            sender.send(ws.at_end()).unwrap();
            std::future::pending::<()>().await;
            Ok(())
        });
        builder.route("/", never)
    });
    let mut deaf = Raw::open(server.address, "/");
    let mut polite = connect(server.address, "/");
    assert!(told(&started) && told(&started));
    let began = Instant::now();
    server.handle().drain();
    assert_eq!(close_of(&mut polite).0, 1001);
    drop(polite);
    let totals = server.join();
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(totals.cut, 1);
    assert_eq!(deaf.close_code(), Some(1001));
}

/// Not after the drain, but from its first moment on: who is refused can go elsewhere.
#[test]
fn a_draining_engine_refuses_connections() {
    let mut settings = quick();
    settings.shards = 2;
    settings.timeouts.drain = PATIENCE / 2;
    let server = Server::with(settings, echo);
    let mut client = connect(server.address, "/");
    server.handle().drain();
    eventually("it refuses", || std::net::TcpStream::connect(server.address).is_err());
    // Still draining: the client has not answered.
    assert_eq!(close_of(&mut client).0, 1001);
    drop(client);
    assert_eq!(server.join().cut, 0);
}

#[test]
fn two_engines_in_one_process_are_two() {
    let one = Server::with(quick(), async |ws| Ok(ws.write("one").await?));
    let two = Server::with(quick(), async |ws| Ok(ws.write("two").await?));
    assert_eq!(text(&mut connect(one.address, "/")), "one");
    one.finish();
    assert_eq!(text(&mut connect(two.address, "/")), "two");
    let handle = two.handle();
    handle.drain();
    handle.drain();
    two.join();
    handle.drain();
}
