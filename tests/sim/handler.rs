//! The application: an echo that reads in the way the query asks for, and keeps a ledger.

use ringwire::{
    Closing, Data, Error, MessageKind, Opening, ReadError, Refusal, WebSocket, WebSocketServer,
    WriteError,
};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

/// The panic of a handler that was asked to panic; the panic hook keeps quiet about it.
pub struct Asked;

/// What the handlers of one run have done, and what holds them up.
#[derive(Default)]
pub struct Ledger {
    pub opened: AtomicU32,
    pub panicked: AtomicU32,
    pub ended: AtomicU32,
    gates: Mutex<HashMap<usize, Arc<Gate>>>,
    /// Sockets that were left to the control peer.
    left: Mutex<Vec<String>>,
}

impl Ledger {
    /// The sockets that were left since the last time.
    pub fn take_left(&self) -> Vec<String> {
        std::mem::take(&mut *self.left.lock().unwrap())
    }

    /// The gate of a client; closed until it is opened.
    pub fn gate(&self, client: usize) -> Arc<Gate> {
        Arc::clone(self.gates.lock().unwrap().entry(client).or_default())
    }
}

/// Holds a handler up that does something else than its socket's work. Wakes it as any thread
/// would: through a clone of its waker.
#[derive(Default)]
pub struct Gate(Mutex<(bool, Vec<Waker>)>);

impl Gate {
    pub fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        state.1.drain(..).for_each(Waker::wake);
    }

    async fn passed(&self) {
        poll_fn(|context| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A message as it was read: in one part, or in several.
enum Message {
    Whole(Data),
    Text(String),
    Binary(Vec<u8>),
}

impl Message {
    fn command(&self) -> Option<&str> {
        match self {
            Self::Whole(data) if data.len() <= 5 => data.as_text(),
            Self::Text(text) => Some(text),
            Self::Whole(_) | Self::Binary(_) => None,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(data) => data,
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    async fn write(self, ws: &mut WebSocket) -> Result<(), WriteError> {
        match self {
            Self::Whole(data) => ws.write(data).await,
            Self::Text(text) => ws.write(text).await,
            Self::Binary(bytes) => ws.write(bytes).await,
        }
    }
}

/// Reads by the query: `len`, `timeout` in ms, and what the fields say.
pub struct Echo {
    ledger: Arc<Ledger>,
    len: usize,
    timeout: Duration,
    /// Drops futures half way.
    fickle: bool,
    /// Writes `nag` whenever a read times out.
    nag: bool,
    /// Does nothing until its gate is open.
    gate: Option<Arc<Gate>>,
    /// Makes its socket a shared one, and leaves it to others after so many messages.
    shared: Option<u32>,
    /// Echoes nothing; tells the count and hash of the bytes when asked for the tally.
    sink: Option<Tally>,
}

/// Messages and a hash of their bytes, so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally(u64, u64);

impl Tally {
    pub fn add(&mut self, message: &[u8]) {
        self.0 += 1;
        for byte in message {
            self.1 = (self.1 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub fn text(self) -> String {
        format!("{} {:x}", self.0, self.1)
    }
}

impl Echo {
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            len: 32_656,
            timeout: Duration::from_secs(86_400),
            fickle: false,
            nag: false,
            gate: None,
            shared: None,
            sink: None,
        }
    }

    /// A message or its next part, however often that times out.
    async fn read(&self, ws: &mut WebSocket) -> Result<Data, ReadError> {
        loop {
            if self.fickle {
                let mut read = pin!(ws.read(self.len, self.timeout));
                // Looks once, and drops the read if that is too early.
                let looked = poll_fn(|context| match read.as_mut().poll(context) {
                    Poll::Ready(result) => Poll::Ready(Some(result)),
                    Poll::Pending => Poll::Ready(None),
                });
                if let Some(result) = looked.await {
                    return result;
                }
            }
            match ws.read(self.len, self.timeout).await {
                // Closed, or nearly so: the next read will tell.
                Err(ReadError::Timeout) if self.nag => drop(ws.write("nag").await),
                Err(ReadError::Timeout) => {}
                result => return result,
            }
        }
    }

    /// Puts the parts of a message together, unless it came whole.
    async fn read_all(&self, ws: &mut WebSocket) -> Result<Message, ReadError> {
        let data = self.read(ws).await?;
        self.check(&data);
        if ws.at_end() {
            return Ok(Message::Whole(data));
        }
        let kind = data.kind();
        let mut all = data.as_bytes().to_vec();
        while !ws.at_end() {
            let part = self.read(ws).await?;
            assert_eq!(part.kind(), kind);
            self.check(&part);
            all.extend_from_slice(&part);
        }
        Ok(match kind {
            MessageKind::Text => Message::Text(String::from_utf8(all).expect("whole characters")),
            MessageKind::Binary => Message::Binary(all),
        })
    }

    fn check(&self, part: &Data) {
        let count = match part.kind() {
            MessageKind::Text => part.as_text().expect("whole characters").chars().count(),
            MessageKind::Binary => part.len(),
        };
        assert!(count <= self.len, "a read of {count} where {} were asked for", self.len);
    }
}

impl WebSocketServer for Echo {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        for pair in opening.query().unwrap_or_default().split('&') {
            match pair.split_once('=') {
                Some(("len", len)) => self.len = len.parse().unwrap(),
                Some(("timeout", ms)) => self.timeout = Duration::from_millis(ms.parse().unwrap()),
                Some(("fickle", _)) => self.fickle = true,
                Some(("nag", _)) => self.nag = true,
                Some(("gate", client)) => {
                    self.gate = Some(self.ledger.gate(client.parse().unwrap()));
                }
                Some(("shared", messages)) => self.shared = Some(messages.parse().unwrap()),
                Some(("sink", _)) => self.sink = Some(Tally::default()),
                Some(("refuse", _)) => return Err(Refusal::new(403, "as you wish")),
                _ => {}
            }
        }
        opening.set_shared_connection(self.shared.is_some());
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        self.ledger.opened.fetch_add(1, Ordering::Relaxed);
        if let Some(gate) = &self.gate {
            gate.passed().await;
        }
        loop {
            if let Some(messages) = &mut self.shared {
                if *messages == 0 {
                    self.ledger.left.lock().unwrap().push(ws.websocket_id());
                    return Ok(());
                }
                *messages -= 1;
            }
            let message = match self.read_all(ws).await {
                Ok(message) => message,
                Err(ReadError::Closed { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            match message.command() {
                Some("exit") => return ws.end_server().await,
                Some("fail") => return Err(Error::new("asked to fail")),
                Some("panic") => {
                    self.ledger.panicked.fetch_add(1, Ordering::Relaxed);
                    std::panic::panic_any(Asked);
                }
                command => match &mut self.sink {
                    Some(tally) if command == Some("tally") => ws.write(tally.text()).await?,
                    Some(tally) => tally.add(message.bytes()),
                    None => message.write(ws).await?,
                },
            }
        }
    }

    async fn on_post_server(&mut self, _: &Closing) {
        self.ledger.ended.fetch_add(1, Ordering::Relaxed);
    }
}
