//! What the kernel still has of a connection when it ends, as the kernel tells it.

use ringwire::{Closing, Error, Settings, WebSocket, WebSocketServer};
use rustix::net::sockopt;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;
use support::raw::{CLOSE, FIN, Raw, close_payload, frame, upgrade};
use support::visitor::wait;
use support::{LONG, Server, quick, told};

/// More than a peer with a small buffer takes, and less than the kernel's.
const BYTES: usize = 200_000;

/// Says so much, and waits for the end.
struct Says {
    ids: Sender<String>,
    closings: Sender<Closing>,
}

impl WebSocketServer for Says {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        ws.write(vec![7; BYTES]).await?;
        while ws.buffered_bytes() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.ids.send(ws.websocket_id()).expect("the test listens");
        while ws.read(usize::MAX, LONG).await.is_ok() {}
        Ok(())
    }

    async fn on_post_server(&mut self, closing: &Closing) {
        self.closings.send(closing.clone()).expect("the test listens");
    }
}

/// How a conversation ends of which the kernel has something left.
fn end(settings: Settings, how: impl FnOnce(&Server, Raw, String)) -> Closing {
    let (ids, id) = channel();
    let (closings, closing) = channel();
    let server = Server::start(settings, |builder| {
        builder.route("/", move || Says { ids: ids.clone(), closings: closings.clone() })
    });
    let mut raw = Raw::connect(server.address);
    sockopt::set_socket_recv_buffer_size(&raw.stream, 16 * 1024).expect("a TCP socket");
    raw.send(upgrade("/", "").as_bytes());
    raw.expect_101();
    how(&server, raw, told(&id));
    let closing = told(&closing);
    assert!(closing.unsent_bytes > BYTES as u64 / 3, "{closing:?}");
    // Four bytes of a header and those of the handshake.
    let written = closing.bytes_out + closing.unsent_bytes;
    assert!((BYTES as u64..BYTES as u64 + 400).contains(&written), "{closing:?}");
    assert_eq!(server.finish().truncated, 1);
    closing
}

fn settings() -> Settings {
    let mut settings = quick();
    settings.limits.socket_send_buffer_bytes = 4 << 20;
    settings
}

#[test]
fn what_the_kernel_has_of_a_connection_that_an_operator_cuts_is_told() {
    end(settings(), |server, raw, id| {
        wait(server.handle().interrupt(&id)).expect("it is there");
        thread::sleep(Duration::from_millis(20));
        drop(raw);
    });
}

#[test]
fn what_the_kernel_has_of_a_connection_that_its_peer_resets_is_told() {
    end(settings(), |_, raw, _| raw.reset());
}

/// It has said that it is done, so nothing is received from it.
#[test]
fn a_reset_behind_fin_is_seen_while_the_rest_is_waited_for() {
    for said in [vec![], frame(FIN | CLOSE, &close_payload(1000, b""))] {
        let mut settings = settings();
        settings.timeouts.close = LONG;
        end(settings, |_, mut raw, _| {
            raw.send(&said);
            raw.say_fin();
            thread::sleep(Duration::from_millis(300));
            raw.reset();
        });
    }
}
