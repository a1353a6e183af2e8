//! `open`, `read`, `write`, `end`: one WebSocket.

use super::{connect, harmless, is_output_closed, show, show_json, unseen};
use crate::Failure;
use crate::cli::{EndCommand, OpenCommand, ReadCommand, WriteCommand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ringwire::client::{Client, OpenOptions, ReadError, RemoteSocket};
use ringwire::{CloseCode, MessageKind, READ_LEN_DEFAULT};
use serde_json::{Value, json};
use std::io::{self, BufRead, IsTerminal, Read};
use std::time::Duration;
use tokio::sync::mpsc;

/// A whole message at most, in one piece. The first look is as long as what makes a socket readable,
/// so that it finds the beginning of a message that has not come whole.
const MESSAGE_BYTES: usize = 16 << 20;

/// For the rest of a message: it is on its way.
const REST_TIMEOUT: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(86_400);

/// How far a message has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It is whole.
    Whole,
    /// It is longer than a look: it is to be read again from its beginning, in one piece.
    IsLong,
    /// A piece of one that no single piece holds.
    Piece,
}

/// A message as far as it has come. What is read is acknowledged by the next read, so a message is
/// read in one piece: none of it is gone before it was shown.
#[derive(Default)]
struct Incoming {
    is_long: bool,
    kind: Option<MessageKind>,
    bytes: Vec<u8>,
}

impl Incoming {
    /// Reads on. Keeps what it has when it is dropped.
    async fn read(
        &mut self,
        socket: &mut RemoteSocket,
        timeout: Duration,
    ) -> Result<Progress, ReadError> {
        let (len, timeout) = match self.is_long {
            false => (READ_LEN_DEFAULT, timeout),
            true => (MESSAGE_BYTES, REST_TIMEOUT),
        };
        let data = socket.read(len, timeout).await?;
        if !socket.at_end() && !std::mem::replace(&mut self.is_long, true) {
            return Ok(Progress::IsLong);
        }
        self.kind = Some(data.kind());
        self.bytes.extend_from_slice(data.as_bytes());
        Ok(if socket.at_end() { Progress::Whole } else { Progress::Piece })
    }

    /// Prints the message; a failure if nobody reads it.
    fn show(self, id: &str, is_json: bool, is_line: bool) -> Result<(), Failure> {
        if is_output_closed() {
            return Err(unseen("the standard output is closed"));
        }
        match self.print(id, is_json, is_line)? {
            true => Ok(()),
            false => Err(unseen("nobody reads the standard output")),
        }
    }

    /// Prints the message; `false` when nobody reads that.
    fn print(&self, id: &str, is_json: bool, is_line: bool) -> Result<bool, Failure> {
        let text = match self.kind {
            Some(MessageKind::Text) => std::str::from_utf8(&self.bytes).ok(),
            _ => None,
        };
        if is_json {
            return show_json(&match text {
                Some(text) => json!({"id": id, "kind": "text", "text": text}),
                None => {
                    let encoded = STANDARD.encode(&self.bytes);
                    json!({"id": id, "kind": "binary", "base64": encoded})
                }
            });
        }
        match text {
            Some(text) => show(format!("{}\n", harmless(text)).as_bytes()),
            None if is_line || io::stdout().is_terminal() => {
                let line =
                    format!("({} bytes) {}\n", self.bytes.len(), STANDARD.encode(&self.bytes));
                show(line.as_bytes())
            }
            None => show(&self.bytes),
        }
    }
}

async fn hold(client: &Client, id: &str, steal: bool) -> Result<RemoteSocket, Failure> {
    let options = OpenOptions { steal, ..OpenOptions::default() };
    Ok(client.open_server_with(id, options).await?)
}

pub(super) async fn read(command: &ReadCommand) -> Result<u8, Failure> {
    let client = connect(&command.reach).await?;
    let mut socket = hold(&client, &command.id, command.steal).await?;
    let mut incoming = Incoming::default();
    let timeout = Duration::from_millis(command.timeout_ms);
    let progress = loop {
        let read = tokio::select! {
            read = incoming.read(&mut socket, timeout) => read,
            _ = tokio::signal::ctrl_c() => break Ok(None),
        };
        match read {
            Ok(Progress::Whole) => break Ok(Some(())),
            Ok(Progress::IsLong) => socket = hold_again(&client, socket).await?,
            Ok(Progress::Piece) => {}
            Err(error) => break Err(Failure::from(error)),
        }
    };
    let seen = match progress {
        Ok(Some(())) => incoming.show(&command.id, command.reach.json, false),
        Ok(None) => {
            socket.give_back().await?;
            return Ok(0);
        }
        Err(failure) => Err(failure),
    };
    match seen {
        // Only now it is acknowledged.
        Ok(()) => socket.release().await?,
        // Whoever comes next is not to wait for the lease to end, and gets what nobody saw.
        Err(failure) => {
            drop(socket.give_back().await);
            return Err(failure);
        }
    }
    Ok(0)
}

/// The same socket with a new lease of ours, and what was read from it at its head again.
async fn hold_again(client: &Client, socket: RemoteSocket) -> Result<RemoteSocket, Failure> {
    // Taken over from ourselves, so that nobody comes between.
    let again = hold(client, socket.websocket_id(), true).await;
    drop(socket);
    again
}

pub(super) async fn open(command: &OpenCommand) -> Result<u8, Failure> {
    let client = connect(&command.reach).await?;
    let mut socket = hold(&client, &command.id, command.steal).await?;
    let mut lines = lines_of_input()?;
    let mut incoming = Incoming::default();
    let ended = loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => if let Err(error) = socket.write(line).await {
                    break Err(error.into());
                },
                None => break Ok(()),
            },
            read = incoming.read(&mut socket, DAY) => match read {
                Ok(Progress::Whole) => {
                    let whole = std::mem::take(&mut incoming);
                    if let Err(failure) = whole.show(&command.id, command.reach.json, true) {
                        break Err(failure);
                    }
                }
                Ok(Progress::IsLong) => socket = hold_again(&client, socket).await?,
                Ok(Progress::Piece) | Err(ReadError::Timeout) => {}
                Err(error) => break Err(error.into()),
            },
            _ = tokio::signal::ctrl_c() => break Ok(()),
        }
    };
    // What was shown is acknowledged, and what was not goes to whoever comes next.
    match ended {
        Ok(()) => socket.release().await?,
        Err(failure) => {
            drop(socket.give_back().await);
            return Err(failure);
        }
    }
    Ok(0)
}

/// Lines as they are typed; ends with the input.
fn lines_of_input() -> Result<mpsc::Receiver<String>, Failure> {
    let (sender, lines) = mpsc::channel(1);
    let reading = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    };
    // A thread of its own, because nothing can interrupt it.
    let started = std::thread::Builder::new().name("input".into()).spawn(reading);
    started.map_err(|error| {
        super::failure(super::EXIT_THREADS, &error, "raise the limit of processes")
    })?;
    Ok(lines)
}

pub(super) async fn write(command: &WriteCommand) -> Result<u8, Failure> {
    let client = connect(&command.reach).await?;
    let mut written = Written { client, command, messages: 0, bytes: 0 };
    if let Some(message) = &command.message {
        written.send(message.as_bytes()).await?;
    } else if command.lines {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).map_err(|error| unreadable(&error))? > 0 {
            let end = line.strip_suffix(b"\n").unwrap_or(&line);
            written.send(end).await?;
            line.clear();
        }
    } else {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
        written.send(&bytes).await?;
    }
    if command.reach.json {
        let Written { messages, bytes, .. } = written;
        show_json(&json!({"id": command.id, "messages": messages, "bytes": bytes}))?;
    }
    Ok(0)
}

fn unreadable(error: &io::Error) -> Failure {
    let cause = format!("standard input cannot be read: {error}");
    super::failure(super::EXIT_DATA, &cause, "give the message as an argument")
}

struct Written<'a> {
    client: Client,
    command: &'a WriteCommand,
    messages: u64,
    bytes: usize,
}

impl Written<'_> {
    async fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        let id = &self.command.id;
        if self.command.binary {
            self.client.write_to(id, message).await?;
        } else {
            let text = std::str::from_utf8(message).map_err(|error| {
                super::failure(super::EXIT_DATA, &error, "send it with --binary")
            })?;
            self.client.write_to(id, text).await?;
        }
        self.messages += 1;
        self.bytes += message.len();
        Ok(())
    }
}

pub(super) async fn end(command: &EndCommand) -> Result<u8, Failure> {
    let client = connect(&command.reach).await?;
    let code = if command.interrupt {
        client.interrupt(&command.id).await?;
        Value::Null
    } else {
        client.close_socket(&command.id, CloseCode(command.code), &command.reason).await?;
        command.code.into()
    };
    if command.reach.json {
        show_json(&json!({"id": command.id, "code": code}))?;
    }
    Ok(0)
}
