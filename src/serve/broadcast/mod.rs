//! `/broadcast`: what one says goes to all, the sender included, as it is: text or binary.
//!
//! The handler of one member. Who hears what is kept by the `audience` of its shard, and what goes
//! from shard to shard by the `room`; a message is copied once for each member, into its outbox.
//! Who does not take what the others say cannot speak either, and is closed when it has fallen too
//! far behind: nobody else waits for it.

mod audience;
mod room;

use crate::{CloseCode, Data, Error, READ_TIMEOUT_DEFAULT, ReadError, WebSocket, WebSocketServer};
use audience::Seat;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

pub(super) use room::Room;

/// Bytes of a message. A member whose peer reads nothing holds one beyond the high-water mark of
/// its outbox, and there may be many of them.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Somebody on the route.
pub(super) struct Member {
    room: Arc<Room>,
}

impl Member {
    pub(super) fn of(room: &Arc<Room>) -> Self {
        Self { room: Arc::clone(room) }
    }
}

/// Why a member leaves.
enum Leave {
    /// The conversation is over.
    Gone,
    TooSlow,
    TooLong,
}

impl WebSocketServer for Member {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        let leave = {
            let seat = poll_fn(|context| Poll::Ready(Seat::take(&self.room, context))).await;
            talk(ws, &seat).await?
        };
        match leave {
            Leave::Gone => Ok(()),
            Leave::TooSlow => ws.close(CloseCode::POLICY, "too far behind what is said here").await,
            Leave::TooLong => ws.close(CloseCode::TOO_BIG, "messages end at 64 KiB here").await,
        }
    }
}

/// Writes what was said. `works`: the member has something to do for what it has said, whatever it
/// writes meanwhile.
async fn deliver(ws: &mut WebSocket, seat: &Seat, works: bool) -> Result<Option<Leave>, Error> {
    let delivered = poll_fn(|context| {
        let delivered = seat.poll_deliver(ws, context);
        if works {
            ws.port().is_at_work();
        }
        delivered
    });
    Ok(delivered.await?)
}

/// Says something to all, also if the speaker is gone by then. While there is no room for it, what
/// others say is heard, or they would wait too.
async fn say(ws: &mut WebSocket, seat: &Seat, message: Arc<Data>) -> Result<Option<Leave>, Error> {
    let (mut call, mut left) = (0, None);
    while !poll_fn(|context| seat.poll_say(&message, &mut call, context)).await {
        left = deliver(ws, seat, true).await?;
        if matches!(left, Some(Leave::TooSlow)) {
            break;
        }
    }
    Ok(left)
}

async fn talk(ws: &mut WebSocket, seat: &Seat) -> Result<Leave, Error> {
    loop {
        if let Some(leave) = deliver(ws, seat, seat.has_unheard()).await? {
            return Ok(leave);
        }
        // Who waits to read is done with what it has said, and may be taken leave of.
        let patience = if seat.has_unheard() { Duration::ZERO } else { READ_TIMEOUT_DEFAULT };
        let said = tokio::select! {
            biased;
            () = poll_fn(|_| seat.poll_heard()) => continue,
            said = ws.read(MESSAGE_BYTES_MAX + 1, patience) => said,
        };
        match said {
            Err(ReadError::Timeout) if seat.has_unheard() => {
                poll_fn(|_| seat.poll_heard()).await;
            }
            Ok(message) if ws.at_end() && message.len() <= MESSAGE_BYTES_MAX => {
                if let Some(leave) = say(ws, seat, Arc::new(message)).await? {
                    return Ok(leave);
                }
            }
            Ok(_) => return Ok(Leave::TooLong),
            // To listen is enough.
            Err(ReadError::Timeout) => {}
            Err(ReadError::Closed { .. } | ReadError::Fenced) => return Ok(Leave::Gone),
        }
    }
}
