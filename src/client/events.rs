//! The stream of events, which goes on where it was after any interruption. Owns its connection and
//! what it has heard last; it tells of a gap, and fills none.

use super::calls::post;
use super::connect::Client;
use super::errors::ClientError;
use super::query::Target;
use super::sse::{Parser, Raw};
use super::transport::{Answer, Request, Streaming};
use crate::proto::CloseCode;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The server says something every 15 s; after three times nothing the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);

const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The longest pause that a server may wish for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Which events to follow. Default: all, from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Of this route only.
    pub route: Option<String>,
    /// Of these types only: `open`, `readable`, `closed`, `lost`. Default: all.
    pub types: Vec<String>,
    /// What came after the event of this id.
    pub after: Option<String>,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A shared WebSocket has opened.
    Open,
    /// Something has come for a WebSocket that had nothing to be read.
    Readable,
    /// A WebSocket has ended.
    Closed {
        /// The code of the Close frame, 1005 without one in it, 1006 without a frame.
        code: CloseCode,
        /// Its reason.
        reason: String,
        /// Who ended it, as the server words it.
        by: String,
    },
    /// It has ended, and what it had said and nobody had read was given up: its minute is over, or
    /// there was too much of that.
    Lost,
    /// Events were missed, because too many happened while nobody listened, or because the server
    /// was started anew: the list of WebSockets must be read again.
    Gap,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// For [`EventQuery::after`].
    pub id: String,
    /// What has happened.
    pub kind: EventKind,
    /// To which WebSocket; empty with [`EventKind::Gap`].
    pub websocket_id: String,
    /// Of which route.
    pub route: String,
    /// Of which session.
    pub session_id: Option<String>,
    /// All of it as the server said it.
    pub data: Value,
}

/// A stream of events, see [`Client::events`].
pub struct Events {
    client: Client,
    query: EventQuery,
    connecting: Option<Connecting>,
    body: Option<Streaming>,
    parser: Parser,
    pause: Duration,
    /// A stream ended before it gave an id to go on from.
    has_gap: bool,
}

/// An attempt that goes on although nobody waits for it, so that a caller in a hurry gets there.
struct Connecting(Pin<Box<dyn Future<Output = Result<Streaming, ClientError>> + Send>>);

impl Client {
    /// Follows what happens to shared WebSockets, on a connection of its own.
    ///
    /// ```no_run
    /// # async fn example(client: ringwire::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use ringwire::client::{EventKind, EventQuery};
    ///
    /// let route = Some("/feed".into());
    /// let mut events = client.events(EventQuery { route, ..EventQuery::default() });
    /// while let Ok(event) = events.next().await {
    ///     match event.kind {
    ///         EventKind::Readable => println!("{} has something to say", event.websocket_id),
    ///         EventKind::Gap => println!("list them all again"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self, query: EventQuery) -> Events {
        Events {
            client: self.clone(),
            query,
            connecting: None,
            body: None,
            parser: Parser::default(),
            pause: PAUSE_MIN,
            has_gap: false,
        }
    }
}

impl Events {
    /// Waits until it is connected: what happens from now on will be told.
    ///
    /// # Errors
    ///
    /// Those of [`next`](Self::next).
    pub async fn ready(&mut self) -> Result<(), ClientError> {
        while self.body.is_none() {
            self.resume().await?;
        }
        Ok(())
    }

    /// The next event. Connects again for as long as it takes, and goes on where it was. Nothing is
    /// lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] and [`ClientError::Strange`]: asking again would not help.
    pub async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            let next = self.parser.next();
            if !self.parser.last_id().is_empty() {
                self.query.after = Some(self.parser.last_id().into());
            }
            if let Some(raw) = next {
                if let Some(event) = self.event_of(raw)? {
                    return Ok(event);
                }
                continue;
            }
            self.ready().await?;
            if std::mem::take(&mut self.has_gap) {
                return Ok(gap());
            }
            match self.chunk().await {
                Some(bytes) if self.parser.push(&bytes) => {}
                Some(_) => return Err(ClientError::Strange("an event without end".into())),
                None => {
                    self.body = None;
                    self.has_gap = self.query.after.is_none();
                }
            }
        }
    }

    /// Bytes of the stream; `None` at its end, and when it is dead.
    async fn chunk(&mut self) -> Option<Bytes> {
        let body = &mut self.body.as_mut()?.body;
        let frame = timeout(SILENCE_MAX, body.frame()).await.ok()??.ok()?;
        Some(frame.into_data().unwrap_or_default())
    }

    async fn resume(&mut self) -> Result<(), ClientError> {
        self.parser = Parser::default();
        let connecting = match self.connecting.take() {
            Some(connecting) => connecting,
            None => self.connect(),
        };
        let connected = self.connecting.insert(connecting).0.as_mut().await;
        self.connecting = None;
        let retry_after = match connected {
            Ok(body) => {
                self.body = Some(body);
                self.pause = PAUSE_MIN;
                return Ok(());
            }
            Err(ClientError::Unreachable { .. } | ClientError::Lost(_)) => Duration::ZERO,
            Err(momentary) if momentary.is_momentary() => momentary.retry_after(),
            Err(lasting) => return Err(lasting),
        };
        sleep(self.pause.max(retry_after.min(RETRY_AFTER_MAX))).await;
        self.pause = (2 * self.pause).min(PAUSE_MAX);
        Ok(())
    }

    fn connect(&self) -> Connecting {
        let types = Some(self.query.types.join(",")).filter(|types| !types.is_empty());
        let target = Target::new("/v1/events")
            .with("route", self.query.route.as_ref())
            .with("types", types)
            .with("after", self.query.after.as_ref());
        let request = Request {
            method: Method::GET,
            header: Some(accept()),
            timeout: ANSWER_TIMEOUT,
            ..post(target)
        };
        let client = self.client.clone();
        Connecting(Box::pin(async move {
            let (parts, streaming) = client.inner.transport.stream(&request).await?;
            if parts.status == StatusCode::OK {
                return Ok(streaming);
            }
            let body =
                timeout(ANSWER_TIMEOUT, streaming.body.collect()).await.ok().and_then(Result::ok);
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            Err(ClientError::of(&Answer { status: parts.status, headers: parts.headers, body }))
        }))
    }

    fn event_of(&self, raw: Raw) -> Result<Option<Event>, ClientError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Told {
            id: Option<String>,
            route: Option<String>,
            session_id: Option<String>,
            code: Option<u16>,
            reason: Option<String>,
            by: Option<String>,
        }
        let strange = |error| ClientError::Strange(format!("event {}: {error}", raw.event));
        let data = match raw.data.as_str() {
            "" => Value::Null,
            text => serde_json::from_str::<Value>(text).map_err(strange)?,
        };
        let told = match &data {
            Value::Object(_) => Told::deserialize(&data).map_err(strange)?,
            _ => Told::default(),
        };
        let kind = match raw.event.as_str() {
            "open" => EventKind::Open,
            "readable" => EventKind::Readable,
            "closed" => EventKind::Closed {
                code: told.code.map_or(CloseCode::ABNORMAL, CloseCode),
                reason: told.reason.unwrap_or_default(),
                by: told.by.unwrap_or_default(),
            },
            "lost" => EventKind::Lost,
            "gap" => EventKind::Gap,
            // A newer server may tell more.
            _ => return Ok(None),
        };
        Ok(Some(Event {
            id: raw.id,
            kind,
            websocket_id: told.id.unwrap_or_default(),
            route: told.route.unwrap_or_default(),
            session_id: told.session_id,
            data,
        }))
    }
}

fn gap() -> Event {
    Event {
        id: String::new(),
        kind: EventKind::Gap,
        websocket_id: String::new(),
        route: String::new(),
        session_id: None,
        data: Value::Null,
    }
}

fn accept() -> (HeaderName, HeaderValue) {
    (ACCEPT, HeaderValue::from_static("text/event-stream"))
}
