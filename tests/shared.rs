//! Shared sockets on a real ring: they outlive their handlers, whoever knows the id reads and
//! writes them, and nothing is lost, doubled or owned twice.

#[path = "shared/holding.rs"]
mod holding;
#[path = "shared/listing.rs"]
mod listing;
#[path = "shared/mailbox.rs"]
mod mailbox;
#[path = "shared/many.rs"]
mod many;
#[path = "shared/timing.rs"]
mod timing;
#[path = "shared/verbs.rs"]
mod verbs;

use ringwire::{
    Closing, Error, MailboxPolicy, Opening, Refusal, RouteOptions, Settings, WebSocket,
    WebSocketServer,
};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use support::{Client, Server, connect, quick};

/// Waits for a future on this thread, without any runtime: nothing may need one.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(support::PATIENCE),
        }
    }
}

/// Tells its id in `on_pre_server` and leaves the socket to whoever hears it.
struct Leave {
    ids: Sender<String>,
    ends: Sender<Closing>,
}

impl WebSocketServer for Leave {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        opening.set_shared_connection(true);
        self.ids.send(opening.websocket_id()).expect("the test listens");
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        assert!(ws.shared_connection());
        Ok(())
    }

    async fn on_post_server(&mut self, closing: &Closing) {
        // Not every test listens to the end.
        let _ = self.ends.send(closing.clone());
    }
}

/// An engine whose route `/` leaves its sockets to others.
struct Shared {
    server: Server,
    ids: Receiver<String>,
    ends: Receiver<Closing>,
}

impl Shared {
    fn start(settings: Settings, options: RouteOptions) -> Self {
        let (id_sender, ids) = channel();
        let (end_sender, ends) = channel();
        let server = Server::start(settings, |builder| {
            builder
                .route_with("/", options, move || Leave {
                    ids: id_sender.clone(),
                    ends: end_sender.clone(),
                })
                .route("/dedicated", support::on(support::echo))
        });
        Self { server, ids, ends }
    }

    fn quick() -> Self {
        Self::start(quick(), options(MailboxPolicy::StopReading))
    }

    /// A client and the id of its socket, when nobody attends to it any more.
    fn client(&self) -> (Client, String) {
        let client = connect(self.server.address, "/");
        let id = support::told(&self.ids);
        support::eventually("it is unattended", || {
            wait(self.server.handle().socket(&id))
                .is_ok_and(|info| info.status == ringwire::SocketStatus::Unattended)
        });
        (client, id)
    }
}

/// Whether the only connection is over. What it has left may be described for a while.
fn is_gone(handle: &ringwire::EngineHandle) -> bool {
    wait(handle.status()).connections == 0
}

fn options(mailbox: MailboxPolicy) -> RouteOptions {
    let session_timeout = Duration::from_secs(600);
    RouteOptions { mailbox, session_timeout, ..RouteOptions::default() }
}
