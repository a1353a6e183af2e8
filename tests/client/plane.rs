//! A control plane in memory that loses answers where a test says so. It does what the HTTP
//! interface says of one process without WebSockets: leases, pieces with numbers, events.

pub use super::answers::Fault;
use super::answers::{Body, busy, full, info, plain, query_of, refused};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use ringwire::READ_LEN_DEFAULT;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// What opens it; who sends none is let in as well.
pub const TOKEN: &str = "operator-token-of-tests";

#[derive(Default)]
pub struct Socket {
    pub inbox: VecDeque<(bool, Vec<u8>)>,
    pub written: Vec<(bool, Vec<u8>)>,
    /// Writes are refused while it is set.
    pub is_full: bool,
    pub closed: Option<(u16, String)>,
    pub fence: u64,
    pub is_held: bool,
    /// What the attempt was called that has taken the lease.
    key: Option<Vec<u8>>,
    /// The piece that was handed out: its number, text or not, bytes, end of its message or not.
    handed: Option<(u64, bool, Vec<u8>, bool)>,
    pub renewals: u32,
}

#[derive(Default)]
struct State {
    sockets: HashMap<String, Socket>,
    faults: Vec<(String, Fault)>,
    events: Vec<(String, String)>,
    /// How many events a stream gives before its connection ends.
    events_per_stream: usize,
    /// Whether a stream begins with the id to go on from.
    begins_with_id: bool,
    seen: BTreeMap<String, u32>,
    connections: usize,
    numbers: u64,
}

#[derive(Clone, Default)]
pub struct Plane {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Plane {
    /// Serves on a port of its own.
    pub async fn tcp(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                self.clone().serve(stream);
            }
        });
        address
    }

    pub fn unix(self, path: &std::path::Path) {
        let listener = UnixListener::bind(path).expect("a free path");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                self.clone().serve(stream);
            }
        });
    }

    fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        self.with(|state| state.connections += 1);
        let service = service_fn(move |request| self.clone().answer(request));
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("not poisoned"))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = self.with(change);
        self.changed.notify_waiters();
        result
    }

    /// Looks at a socket or changes it; it is made if there is none.
    pub fn socket<T>(&self, id: &str, change: impl FnOnce(&mut Socket) -> T) -> T {
        self.change(|state| change(state.sockets.entry(id.into()).or_default()))
    }

    pub fn forget(&self, id: &str) {
        self.change(|state| state.sockets.remove(id));
    }

    /// The next request whose path ends so meets this fault.
    pub fn fail(&self, verb: &str, fault: Fault) {
        self.with(|state| state.faults.push((verb.into(), fault)));
    }

    pub fn tell(&self, event: &str, data: Value) {
        self.change(|state| state.events.push((event.into(), data.to_string())));
    }

    pub fn end_streams_after(&self, events: usize, begins_with_id: bool) {
        self.change(|state| {
            state.events_per_stream = events;
            state.begins_with_id = begins_with_id;
        });
    }

    /// How many requests of this verb were served.
    pub fn seen(&self, verb: &str) -> u32 {
        self.with(|state| state.seen.get(verb).copied().unwrap_or(0))
    }

    pub fn connections(&self) -> usize {
        self.with(|state| state.connections)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
        let path = request.uri().path().to_owned();
        let verb = path.rsplit('/').next().unwrap_or("").to_owned();
        let fault = self.with(|state| {
            let at = state.faults.iter().position(|(known, _)| *known == verb)?;
            Some(state.faults.remove(at).1)
        });
        match fault {
            Some(Fault::Before) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(Fault::Busy) => return Ok(busy()),
            Some(Fault::After) | None => {}
        }
        let token = request.headers().get("authorization").map(|value| value.as_bytes().to_vec());
        if token.is_some_and(|token| token != format!("Bearer {TOKEN}").as_bytes()) {
            return Ok(refused(401, "unauthorized", json!({})));
        }
        let answer = self.route(request, &path, &verb).await;
        self.with(|state| *state.seen.entry(verb).or_default() += 1);
        match fault {
            None => Ok(answer),
            Some(_) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    async fn route(&self, request: Request<Incoming>, path: &str, verb: &str) -> Response<Body> {
        let query = query_of(request.uri().query().unwrap_or(""));
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["v1", "events"]) => self.events(&query),
            (&Method::GET, ["v1", "status"]) => plain(200, json!({"version": "0", "extra": 1})),
            (&Method::GET, ["v1", "websockets"]) => self.list(&query),
            (&Method::GET, ["v1", "websockets", id]) => self.on(id, |_| plain(200, info(id))),
            (&Method::DELETE, ["v1", "websockets", id]) => {
                let code = query.get("code").and_then(|code| code.parse().ok()).unwrap_or(1000);
                let reason = query.get("reason").cloned().unwrap_or_default();
                self.on(id, |socket| {
                    socket.closed = Some((code, reason));
                    plain(204, Value::Null)
                })
            }
            (&Method::POST, ["v1", "websockets", id, "read"]) => self.read(id, &query).await,
            (&Method::POST, ["v1", "websockets", id, _]) => {
                let key = request.headers().get("idempotency-key");
                let key = key.map(|key| key.as_bytes().to_vec());
                let is_text = request.headers().get("content-type");
                let is_text = is_text.is_some_and(|kind| kind.as_bytes().starts_with(b"text/"));
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                self.on(id, |socket| match verb {
                    "open" => open(socket, id, &query, key),
                    _ => verb_of(socket, verb, &query, (is_text, body.to_vec())),
                })
            }
            _ => refused(404, "not_found", json!({})),
        }
    }

    fn on(&self, id: &str, verb: impl FnOnce(&mut Socket) -> Response<Body>) -> Response<Body> {
        self.change(|state| match state.sockets.get_mut(id) {
            None => refused(404, "unknown_id", json!({})),
            Some(Socket { closed: Some((code, reason)), .. }) => {
                refused(410, "closed", json!({"close_code": code, "reason": reason}))
            }
            Some(socket) => verb(socket),
        })
    }

    async fn read(&self, id: &str, query: &HashMap<String, String>) -> Response<Body> {
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok());
        let wait = Duration::from_millis(number("timeout").expect("a timeout"));
        let len = number("len").map_or(READ_LEN_DEFAULT, |len| len as usize);
        let looking = async {
            loop {
                // Registered at once by `notify_waiters`, also before it is awaited.
                let changed = self.changed.notified();
                let answer = self.with(|state| {
                    let Some(socket) = state.sockets.get_mut(id) else {
                        return Some(refused(404, "unknown_id", json!({})));
                    };
                    if number("fence") != Some(socket.fence) || !socket.is_held {
                        return Some(refused(412, "fenced", json!({})));
                    }
                    let acknowledged = number("ack");
                    socket.handed.take_if(|h| acknowledged.is_none_or(|number| number == h.0));
                    let numbers = &mut state.numbers;
                    socket.hand_out(len, numbers).or_else(|| {
                        let (code, reason) = socket.closed.as_ref()?;
                        let closed = json!({"close_code": code, "reason": reason});
                        Some(refused(410, "closed", closed))
                    })
                });
                match answer {
                    Some(answer) => return answer,
                    None => changed.await,
                }
            }
        };
        let answer = tokio::time::timeout(wait, looking).await;
        answer.unwrap_or_else(|_| refused(408, "timeout", json!({})))
    }

    fn list(&self, query: &HashMap<String, String>) -> Response<Body> {
        let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
        let after = query.get("cursor").cloned().unwrap_or_default();
        self.with(|state| {
            let mut ids: Vec<&String> = state.sockets.keys().filter(|id| **id > after).collect();
            ids.sort();
            let more = ids.len() > limit;
            ids.truncate(limit);
            let next = ids.last().filter(|_| more);
            let page = json!({
                "websockets": ids.iter().map(|id| info(id)).collect::<Vec<_>>(),
                "next_cursor": next, "total": state.sockets.len(),
            });
            plain(200, page)
        })
    }

    fn events(&self, query: &HashMap<String, String>) -> Response<Body> {
        let after = query.get("after").and_then(|id| id.strip_prefix("7-")?.parse().ok());
        let (next, left, begins_with_id) = self.with(|state| {
            let next = after.unwrap_or(state.events.len());
            (next, state.events_per_stream, state.begins_with_id)
        });
        let waiting = Box::pin(Arc::clone(&self.changed).notified_owned());
        let body = Telling { plane: self.clone(), next, left, begins_with_id, waiting }.boxed();
        Response::builder().header("content-type", "text/event-stream").body(body).expect("valid")
    }
}

impl Socket {
    fn hand_out(&mut self, len: usize, numbers: &mut u64) -> Option<Response<Body>> {
        if self.handed.is_none() {
            let (is_text, mut bytes) = self.inbox.pop_front()?;
            let mut end = len.min(bytes.len());
            if let (true, Ok(text)) = (is_text, std::str::from_utf8(&bytes)) {
                end = text.char_indices().nth(len).map_or(bytes.len(), |(at, _)| at);
            }
            let rest = bytes.split_off(end);
            let is_end = rest.is_empty();
            if !is_end {
                self.inbox.push_front((is_text, rest));
            }
            *numbers += 1;
            self.handed = Some((*numbers, is_text, bytes, is_end));
        }
        let (number, is_text, bytes, is_end) = self.handed.clone()?;
        let kind = if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
        let answer = Response::builder()
            .header("content-type", kind)
            .header("ringwire-at-end", is_end.to_string())
            .header("ringwire-fence", self.fence.to_string())
            .header("ringwire-message", number.to_string());
        Some(answer.body(full(bytes)).expect("valid"))
    }

    /// The lease is over; what was not acknowledged goes back.
    pub fn drop_lease(&mut self) {
        self.is_held = false;
        if let Some((_, is_text, mut bytes, is_end)) = self.handed.take() {
            if !is_end && let Some((_, rest)) = self.inbox.pop_front() {
                bytes.extend(rest);
            }
            self.inbox.push_front((is_text, bytes));
        }
    }
}

fn open(
    socket: &mut Socket,
    id: &str,
    query: &HashMap<String, String>,
    key: Option<Vec<u8>>,
) -> Response<Body> {
    let is_known = socket.is_held && key.is_some() && socket.key == key;
    if socket.is_held && !is_known && !query.contains_key("steal") {
        return refused(409, "busy", json!({}));
    }
    if !is_known {
        socket.drop_lease();
        socket.is_held = true;
        socket.fence += 1;
        socket.key = key;
    }
    plain(200, json!({"fence": socket.fence, "lease_ms": 200, "websocket": info(id)}))
}

fn verb_of(
    socket: &mut Socket,
    verb: &str,
    query: &HashMap<String, String>,
    message: (bool, Vec<u8>),
) -> Response<Body> {
    let is_fenced = query
        .get("fence")
        .is_some_and(|fence| !socket.is_held || *fence != socket.fence.to_string());
    match verb {
        _ if is_fenced => refused(412, "fenced", json!({})),
        "renew" => {
            socket.renewals += 1;
            plain(204, Value::Null)
        }
        "release" => {
            socket.handed.take_if(|_| query.get("ack").is_none_or(|ack| ack != "false"));
            socket.drop_lease();
            plain(204, Value::Null)
        }
        "write" if socket.is_full => refused(503, "full", json!({})),
        "write" => {
            socket.written.push(message);
            plain(204, Value::Null)
        }
        "interrupt" => {
            socket.closed = Some((1006, String::new()));
            plain(204, Value::Null)
        }
        _ => refused(404, "not_found", json!({})),
    }
}

/// Events from `next` on, as many as are left.
struct Telling {
    plane: Plane,
    next: usize,
    left: usize,
    begins_with_id: bool,
    waiting: Pin<Box<OwnedNotified>>,
}

impl hyper::body::Body for Telling {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if std::mem::take(&mut self.begins_with_id) {
            let text = format!("id: 7-{}\n\n", self.next);
            return Poll::Ready(Some(Ok(Frame::data(text.into()))));
        }
        loop {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            let state = self.plane.state.lock().expect("not poisoned");
            if let Some((event, data)) = state.events.get(self.next) {
                let id = self.next + 1;
                let text = format!(": alive\n\nid: 7-{id}\nevent: {event}\ndata: {data}\n\n");
                drop(state);
                self.next += 1;
                self.left -= 1;
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
            drop(state);
            ready!(self.waiting.as_mut().poll(context));
            self.waiting = Box::pin(Arc::clone(&self.plane.changed).notified_owned());
        }
    }
}
