//! `/echo`: every message goes back as what it was. Made by `serve` for each connection, as an
//! application would.

use crate::{Error, READ_TIMEOUT_DEFAULT, WebSocket, WebSocketServer};

pub(super) struct Echo;

impl WebSocketServer for Echo {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        loop {
            // A length that no message has: each is read whole. Not in the condition of the loop,
            // where the result, and room for it in the future, would last until the write is over.
            let Ok(data) = ws.read(usize::MAX, READ_TIMEOUT_DEFAULT).await else { break };
            if ws.write(data).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}
