//! `/echo`: every message goes back as what it was.

use crate::{Error, READ_TIMEOUT_DEFAULT, WebSocket, WebSocketServer};

pub(super) struct Echo;

impl WebSocketServer for Echo {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        // A length that no message has: each is read whole.
        while let Ok(data) = ws.read(usize::MAX, READ_TIMEOUT_DEFAULT).await {
            if ws.write(data).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}
