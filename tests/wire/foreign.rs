//! Code of the application wherever the engine calls it: it panics, and costs one socket at most.

use ringwire::{EngineHandle, Error, EventFilter, EventKind, WebSocket, WebSocketServer};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use support::raw::{FIN, Raw, TEXT, frame, http, upgrade};
use support::visitor::wait;
use support::{
    LONG, ON_PURPOSE, Server, Shared, close_of, connect, echo, eventually, on, quick, text, told,
};
use tungstenite::Message;

/// What a panic carries that panics when it is dropped, and so does what that panic carries.
struct Grenade(usize);

impl Drop for Grenade {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::panic::panic_any(Grenade(self.0 - 1));
        }
    }
}

/// A waker of a strange executor.
enum Strange {
    Panics,
    PanicsWhenDropped,
    /// Calls back into the engine.
    Asks(Option<EngineHandle>),
}

impl Wake for Strange {
    fn wake(self: Arc<Self>) {
        match &*self {
            Self::Panics => std::panic::panic_any(ON_PURPOSE),
            Self::Asks(Some(handle)) => {
                // Starts what can be started: nothing it needs may be locked or borrowed now.
                let mut asked = pin!(handle.status());
                let _ = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            }
            Self::PanicsWhenDropped | Self::Asks(None) => {}
        }
    }
}

impl Drop for Strange {
    fn drop(&mut self) {
        if matches!(self, Self::PanicsWhenDropped) && !thread::panicking() {
            std::panic::panic_any(ON_PURPOSE);
        }
    }
}

/// Polls a future under wakers of somebody else, one for each poll, as combinators may.
async fn under<F: Future>(waker: impl Fn() -> Strange, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|_| {
        let waker = Waker::from(Arc::new(waker()));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

fn assert_serves(witness: &mut support::Client) {
    witness.send(Message::text("still here")).unwrap();
    assert_eq!(text(witness), "still here");
}

#[test]
fn a_factory_that_panics_is_500_and_costs_one_socket() {
    let server = Server::start(quick(), |builder| {
        builder.route("/factory", panicking_factory).route("/echo", on(echo))
    });
    let mut witness = connect(server.address, "/echo");
    for _ in 0..3 {
        assert_eq!(http(server.address, upgrade("/factory", "").as_bytes()).status, 500);
    }
    assert_serves(&mut witness);
    drop(witness);
    assert_eq!(server.finish().panics, 3);
}

fn panicking_factory() -> Shared {
    std::panic::panic_any(ON_PURPOSE)
}

#[test]
fn a_factory_that_panics_at_the_farewell_costs_nobody_anything() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let server = Server::start(quick(), move |builder| {
        let factory = move || match count.fetch_add(1, Ordering::SeqCst) {
            0 => Shared,
            _ => std::panic::panic_any(ON_PURPOSE),
        };
        builder.route("/shared", factory).route("/echo", on(echo))
    });
    let mut witness = connect(server.address, "/echo");
    let mut shared = connect(server.address, "/shared");
    eventually("its handler has left it", || {
        wait(server.handle().status()).shards[0].handlers == 1
    });
    shared.close(None).unwrap();
    while shared.read().is_ok() {}
    eventually("it was told", || made.load(Ordering::SeqCst) == 2);
    assert_serves(&mut witness);
    drop(witness);
    assert_eq!(server.finish().panics, 1);
}

#[test]
fn what_a_panic_carries_may_panic_as_well() {
    let server = Server::start(quick(), |builder| {
        let panics = on(async |ws: &mut WebSocket| -> Result<(), Error> {
            let depth = ws.read(10, LONG).await?;
            std::panic::panic_any(Grenade(depth.len()))
        });
        builder.route("/grenade", panics).route("/echo", on(echo))
    });
    let mut witness = connect(server.address, "/echo");
    for depth in 1..5 {
        let mut raw = Raw::open(server.address, "/grenade");
        raw.send(&frame(FIN | TEXT, &b"xxxxx"[..depth]));
        assert_eq!(raw.close_code(), Some(1011));
    }
    assert_serves(&mut witness);
    drop(witness);
    assert_eq!(server.finish().panics, 4);
}

/// Inside a handler: the socket it waits for is closed with 1011.
#[test]
fn a_foreign_waker_that_panics_costs_its_handlers_socket() {
    let server = Server::start(quick(), |builder| {
        let wakes = on(async |ws: &mut WebSocket| -> Result<(), Error> {
            let data = under(|| Strange::Panics, ws.read(10, LONG)).await?;
            Ok(ws.write(data).await?)
        });
        let drops = on(async |ws: &mut WebSocket| -> Result<(), Error> {
            let data = under(|| Strange::PanicsWhenDropped, ws.read(10, LONG)).await?;
            Ok(ws.write(data).await?)
        });
        builder.route("/wake", wakes).route("/drop", drops).route("/echo", on(echo))
    });
    let mut witness = connect(server.address, "/echo");
    for path in ["/wake", "/drop"] {
        let mut raw = Raw::open(server.address, path);
        raw.send(&frame(FIN | TEXT, b"now"));
        assert_eq!(raw.close_code(), Some(1011), "{path}");
    }
    assert_serves(&mut witness);
    drop(witness);
    let totals = server.finish();
    assert_eq!((totals.panics, totals.cut), (2, 0));
}

/// While the engine calls it, it calls the engine: on the same thread, from the middle of a batch.
#[test]
fn a_waker_may_call_the_engine() {
    static HANDLE: OnceLock<EngineHandle> = OnceLock::new();
    let server = Server::start(quick(), |builder| {
        let asks = on(async |ws: &mut WebSocket| -> Result<(), Error> {
            let asking = || Strange::Asks(HANDLE.get().cloned());
            loop {
                let data = under(asking, ws.read(10, LONG)).await?;
                ws.write(data).await?;
            }
        });
        builder.route("/", asks)
    });
    assert!(HANDLE.set(server.handle()).is_ok());
    let mut client = connect(server.address, "/");
    for _ in 0..10 {
        assert_serves(&mut client);
    }
    drop(client);
    assert_eq!(server.finish().panics, 0);
}

/// Who holds a shared socket on another thread, and who waits for an answer of the engine.
#[test]
fn wakers_of_other_threads_may_panic() {
    let (sender, ids) = channel();
    let server = Server::start(quick(), move |builder| {
        let sender = sender.clone();
        builder.route("/shared", move || Leave(sender.clone())).route("/echo", on(echo))
    });
    let handle = server.handle();
    let mut witness = connect(server.address, "/echo");
    for writes in [false, true] {
        let mut client = connect(server.address, "/shared");
        let id = told(&ids);
        if writes {
            // The answer comes, and with it the panic.
            let waker = Waker::from(Arc::new(Strange::Panics));
            for _ in 0..50 {
                let mut write = pin!(handle.write_to(&id, "x"));
                let mut answer = write.as_mut().poll(&mut Context::from_waker(&waker));
                assert_eq!(text(&mut client), "x");
                eventually("it is answered", || {
                    if answer.is_pending() {
                        answer = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    }
                    matches!(answer, Poll::Ready(Ok(())))
                });
            }
            continue;
        }
        let mut held = wait(handle.open_server(&id)).expect("nobody holds it");
        let waker = Waker::from(Arc::new(Strange::Panics));
        let mut read = Box::pin(held.read(10, LONG));
        assert!(read.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        client.send(Message::text("mail")).unwrap();
        assert_eq!(close_of(&mut client).0, 1011);
        assert!(matches!(
            read.as_mut().poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Ok(data)) if data == *"mail"
        ));
    }
    assert_serves(&mut witness);
    drop(witness);
    server.finish();
}

/// Makes its sockets shared, and tells their ids.
struct Leave(std::sync::mpsc::Sender<String>);

impl WebSocketServer for Leave {
    async fn on_pre_server(
        &mut self,
        opening: &mut ringwire::Opening,
    ) -> Result<(), ringwire::Refusal> {
        opening.set_shared_connection(true);
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        self.0.send(ws.websocket_id()).map_err(Error::new)
    }
}

/// One whose waker panics keeps none of the others from being told.
#[test]
fn who_follows_the_events_may_panic() {
    let server = Server::start(quick(), |builder| builder.route("/", || Shared));
    let handle = server.handle();
    let follow = || handle.events(EventFilter::default(), None);
    let mut streams: Vec<_> = (0..5).map(|_| follow()).collect();
    let strange: Vec<_> = streams.iter_mut().map(|stream| Box::pin(stream.next())).collect();
    let waker = Waker::from(Arc::new(Strange::Panics));
    let strange: Vec<_> = strange
        .into_iter()
        .map(|mut next| {
            assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            next
        })
        .collect();
    let others: Vec<_> = (0..5)
        .map(|_| {
            let mut stream = follow();
            thread::spawn(move || wait(stream.next()).map(|event| event.kind))
        })
        .collect();
    // Those that are not waiting yet when it happens get it as well.
    let client = connect(server.address, "/");
    for other in others {
        assert_eq!(other.join().unwrap(), Some(EventKind::Open));
    }
    drop((strange, client));
    server.finish();
}
