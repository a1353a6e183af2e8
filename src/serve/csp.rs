//! `/csp/user/MyApp.MyWebSocketServer.cls`: the example of the `%CSP.WebSocket` documentation.
//! Written against the public API alone.

use crate::{Error, ReadError, WebSocket, WebSocketServer};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) struct MyWebSocketServer;

impl WebSocketServer for MyWebSocketServer {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        loop {
            match ws.read(32_656, Duration::from_secs(10)).await {
                Ok(data) if data == "exit" => break,
                Ok(data) => ws.write(data).await?,
                Err(ReadError::Timeout) => {
                    ws.write(format!("Server timed-out at {}", now())).await?;
                }
                Err(_) => return Ok(()),
            }
        }
        ws.end_server().await
    }
}

/// The time of day in UTC.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
}
