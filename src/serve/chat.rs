//! `/chat`: everybody hears everybody, by name.
//!
//! The first message is the name; everything after it goes to all. What is said is kept for the
//! slowest member up to a limit; who falls behind is told how much was missed. Written against the
//! public API alone.

use crate::{CloseCode, Error, READ_TIMEOUT_DEFAULT, WebSocket, WebSocketServer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// Lines kept for members that are slow. With the length of a line: 4 MiB at most.
const LINES_MAX: usize = 1_024;

/// Characters of a line, and of a name.
const LINE_CHARS_MAX: usize = 1_000;
const NAME_CHARS_MAX: usize = 32;

/// Time to say a name.
const NAME_TIMEOUT: Duration = Duration::from_secs(60);

/// The one room.
pub(super) struct Room {
    lines: Sender<Arc<str>>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { lines: channel(LINES_MAX).0 }
    }

    /// Somebody who has not said a name.
    pub(super) fn member(&self) -> Member {
        Member { lines: self.lines.clone() }
    }
}

pub(super) struct Member {
    lines: Sender<Arc<str>>,
}

impl WebSocketServer for Member {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        let Ok(first) = ws.read(NAME_CHARS_MAX, NAME_TIMEOUT).await else { return Ok(()) };
        let Some(name) = first.as_text().filter(|_| ws.at_end()).and_then(name) else {
            let reason = "say a name first: 1 to 32 characters, none of them control characters";
            return ws.close(CloseCode::POLICY, reason).await;
        };
        let mut heard = self.lines.subscribe();
        self.say(format!("* {name} has joined"));
        let result = self.talk(ws, name, &mut heard).await;
        self.say(format!("* {name} has left"));
        result
    }
}

impl Member {
    async fn talk(
        &self,
        ws: &mut WebSocket,
        name: &str,
        heard: &mut Receiver<Arc<str>>,
    ) -> Result<(), Error> {
        loop {
            tokio::select! {
                said = ws.read(LINE_CHARS_MAX, READ_TIMEOUT_DEFAULT) => match said {
                    Ok(data) => match data.as_text() {
                        Some(text) => self.say(format!("{name}: {text}")),
                        None => return ws.close(CloseCode::UNSUPPORTED, "say it in text").await,
                    },
                    Err(_) => return Ok(()),
                },
                line = heard.recv() => match line {
                    Ok(line) => ws.write(&*line).await?,
                    Err(RecvError::Lagged(count)) => {
                        ws.write(format!("* {count} lines missed")).await?;
                    }
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
        }
    }

    fn say(&self, line: String) {
        // Nobody listens: then nobody misses it.
        let _ = self.lines.send(line.into());
    }
}

fn name(text: &str) -> Option<&str> {
    let name = text.trim();
    (!name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}
