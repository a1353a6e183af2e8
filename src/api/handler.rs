//! What an application implements: the callbacks of one connection, and how the engine's task calls
//! them, in their order.

use super::admission;
use super::error::Error;
use super::opening::Opening;
use super::websocket::WebSocket;
use crate::engine::{Arrival, Closer, Counts, Ended, Farewell, Port, SharedBy, Task};
use crate::proto::{CloseCode, Refusal};
use crate::sessions::SessionKeeper;
use std::sync::Arc;

/// A class of WebSockets (`%CSP.WebSocket`): one value per connection, made by the route's
/// factory.
///
/// The callbacks of a connection run one after the other, on the thread of its shard; their
/// futures need not be `Send`. Libraries that need tokio work inside them: the thread has entered
/// a tokio runtime. What blocks the thread blocks every connection of the shard.
///
/// ```
/// use ringwire::{Error, READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT, ReadError, WebSocket, WebSocketServer};
///
/// #[derive(Default)]
/// struct Shout;
///
/// impl WebSocketServer for Shout {
///     async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
///         loop {
///             match ws.read(READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT).await {
///                 Ok(data) => ws.write(data.as_text().unwrap_or("?").to_uppercase()).await?,
///                 Err(ReadError::Closed { .. }) => return Ok(()),
///                 Err(_) => return ws.end_server().await,
///             }
///         }
///     }
/// }
/// ```
#[allow(async_fn_in_trait)] // Handlers stay on one thread, so their futures need no bounds.
pub trait WebSocketServer: 'static {
    /// Runs before the handshake is answered (`OnPreServer`): may look at the request, choose the
    /// subprotocol, add headers, or refuse. Default: accepts without a subprotocol.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] that the client gets instead of the 101.
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        let _ = opening;
        Ok(())
    }

    /// The conversation (`Server`). The socket is closed when this returns: with 1000, or with
    /// 1011 after an error or a panic. A shared one
    /// ([`set_shared_connection`](Opening::set_shared_connection)) stays open when this returns
    /// `Ok`: nobody attends to it then, the handler's memory is freed, and whoever knows its id
    /// can open it.
    ///
    /// # Errors
    ///
    /// Whatever keeps the application from going on.
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error>;

    /// Runs once, after the socket is gone (`OnPostServer`); not after a refusal or a panic. For a
    /// shared socket that [`server`](Self::server) had left open it runs in a new handler, made by
    /// the factory for this one call; [`Closing::websocket_id`] says which socket it was.
    async fn on_post_server(&mut self, closing: &Closing) {
        let _ = closing;
    }
}

/// How a conversation went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closing {
    /// The close code: 1005 if the Close frame carried none, 1006 if there was no Close frame.
    pub code: CloseCode,
    /// The reason in the Close frame.
    pub reason: Box<str>,
    /// Who ended it.
    pub closed_by: Closer,
    /// Bytes received from the socket, the opening handshake included.
    pub bytes_in: u64,
    /// Bytes sent, the opening handshake included.
    pub bytes_out: u64,
    /// Whole messages received.
    pub messages_in: u64,
    /// Messages written.
    pub messages_out: u64,
    /// Bytes that were written and that nobody got, headers of frames included: the conversation
    /// was cut, or the network ended it. 0 if everything has gone out. With
    /// [`bytes_out`](Self::bytes_out) all that was written. What the system had taken and the peer's
    /// had not is among them where a connection was cut, or more than 64 KiB were sent in all; not
    /// over a Unix socket, nor on kernels before 6.7, which cannot tell.
    pub unsent_bytes: u64,
    /// The id of a shared socket that `server` had left open: the handler that hears of its end is
    /// a new one, and knows nothing else about it. `None` otherwise.
    pub websocket_id: Option<String>,
}

impl Closing {
    fn of((ended, counts): (Ended, Counts)) -> Self {
        Self {
            code: ended.code,
            reason: ended.reason,
            closed_by: ended.by,
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
            messages_in: counts.messages_in,
            messages_out: counts.messages_out,
            unsent_bytes: counts.unsent_bytes,
            websocket_id: None,
        }
    }
}

/// The task of one connection: the three callbacks in order. `shared_connection`: what the route
/// says. `keeper`: where its session is kept, if the route asks for one.
pub(crate) fn task<H: WebSocketServer>(
    handler: H,
    arrival: Arrival,
    shared_connection: bool,
    keeper: Option<Arc<SessionKeeper>>,
) -> Task {
    let Arrival { port, request, upgrade } = arrival;
    let (peer, identity) = (port.peer(), port.identity());
    let opening = Opening::new(request, upgrade, peer, identity, shared_connection, keeper);
    port.keep_opening(Box::new(opening));
    Task::new(callbacks(handler, WebSocket::new(port)))
}

#[expect(clippy::manual_async_fn, reason = "its future would have its arguments twice")]
fn callbacks<H: WebSocketServer>(mut handler: H, mut ws: WebSocket) -> impl Future<Output = ()> {
    // What is idle waits in `server`: so what comes before that is boxed, and what comes after it
    // keeps nothing beside.
    async move {
        if !Box::pin(open(&mut handler, ws.port())).await {
            return;
        }
        if leave(handler.server(&mut ws).await, ws.port()) {
            return;
        }
        let closing = Box::new(Closing::of(ws.port().gone().await));
        handler.on_post_server(&closing).await;
    }
}

/// The last callback of a shared socket whose handler had left it open, by a new handler.
pub(crate) fn farewell<H: WebSocketServer>(mut handler: H, farewell: Farewell) -> Task {
    let Farewell { websocket_id, ended, counts } = farewell;
    let mut closing = Box::new(Closing::of((ended, counts)));
    closing.websocket_id = Some(websocket_id);
    Task::new(async move { handler.on_post_server(&closing).await })
}

/// Lets the handler decide about the request, and answers it. `false`: that was all.
async fn open<H: WebSocketServer>(handler: &mut H, port: &Port) -> bool {
    let kept = port.take_opening().and_then(|kept| kept.downcast::<Opening>().ok());
    let Some(mut opening) = kept else { return false };
    if let Some(keeper) = opening.keeper() {
        return admission::open(handler, port, opening, keeper).await;
    }
    match handler.on_pre_server(&mut opening).await {
        Ok(()) => {
            let shared = opening.shared_connection().then_some(SharedBy { session_id: None });
            port.accept(opening.answer(), shared)
        }
        Err(refusal) => {
            port.refuse(&refusal);
            false
        }
    }
}

/// `server` has returned: leaves a shared socket open, said by `true`; closes it otherwise, unless it
/// is closed already.
fn leave(result: Result<(), Error>, port: &Port) -> bool {
    if port.leave_open(result.is_err()) {
        return true;
    }
    match result {
        Ok(()) => port.start_close(CloseCode::NORMAL, ""),
        Err(error) => {
            if port.is_open() {
                port.log_failure(&error);
            }
            port.start_close(CloseCode::INTERNAL_ERROR, "");
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::READ_TIMEOUT_DEFAULT;

    struct Echo;

    impl WebSocketServer for Echo {
        async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
            loop {
                let Ok(data) = ws.read(usize::MAX, READ_TIMEOUT_DEFAULT).await else { break };
                ws.write(data).await?;
            }
            Ok(())
        }
    }

    fn output_bytes<A, B, F>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_an_idle_handler_is_small() {
        let bytes = output_bytes(callbacks::<Echo>);
        // The allocator adds 7 for the alignment, and has a class of 96.
        assert!(bytes <= 88, "{bytes} bytes");
    }
}
