//! `open`, `read`, `write`, `end`: one WebSocket.

use super::{connect, harmless, show, show_json};
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

/// A piece of a message after the first at most. The first is as long as what makes a socket
/// readable, so that a short look finds the beginning of a message that has not come whole.
const PIECE_BYTES: usize = 1 << 20;

/// For the pieces of a message after the first: they are on their way.
const REST_TIMEOUT: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(86_400);

/// A message as far as it has come.
#[derive(Default)]
struct Incoming {
    kind: Option<MessageKind>,
    bytes: Vec<u8>,
}

impl Incoming {
    /// Reads on; `true` when the message is whole. Keeps what it has when it is dropped.
    async fn read(
        &mut self,
        socket: &mut RemoteSocket,
        timeout: Duration,
    ) -> Result<bool, ReadError> {
        let (len, timeout) = match self.kind {
            None => (READ_LEN_DEFAULT, timeout),
            Some(_) => (PIECE_BYTES, REST_TIMEOUT),
        };
        let data = socket.read(len, timeout).await?;
        self.kind = Some(data.kind());
        self.bytes.extend_from_slice(data.as_bytes());
        Ok(socket.at_end())
    }

    /// Prints the message; `false` when nobody reads that.
    fn show(self, id: &str, is_json: bool, is_line: bool) -> Result<bool, Failure> {
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
    let taking = async {
        while !incoming.read(&mut socket, timeout).await? {}
        Ok::<_, ReadError>(())
    };
    let taken = tokio::select! {
        taken = taking => Some(taken),
        _ = tokio::signal::ctrl_c() => None,
    };
    match taken {
        Some(Ok(())) => incoming.show(&command.id, command.reach.json, false)?,
        Some(Err(error)) => {
            // Whoever comes next is not to wait for the lease to end, and gets what came in part.
            drop(socket.give_back().await);
            return Err(error.into());
        }
        None => {
            socket.give_back().await?;
            return Ok(0);
        }
    };
    // Only now it is acknowledged.
    socket.release().await?;
    Ok(0)
}

pub(super) async fn open(command: &OpenCommand) -> Result<u8, Failure> {
    let client = connect(&command.reach).await?;
    let mut socket = hold(&client, &command.id, command.steal).await?;
    let mut lines = lines_of_input()?;
    let mut incoming = Incoming::default();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => socket.write(line).await?,
                None => break,
            },
            read = incoming.read(&mut socket, DAY) => match read {
                Ok(true) => {
                    let whole = std::mem::take(&mut incoming);
                    if !whole.show(&command.id, command.reach.json, true)? {
                        break;
                    }
                }
                Ok(false) | Err(ReadError::Timeout) => {}
                Err(error) => return Err(error.into()),
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    socket.release().await?;
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
