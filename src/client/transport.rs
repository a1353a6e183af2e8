//! Connections to the control plane: a bounded pool of HTTP/1.1, or one of HTTP/2.
//!
//! Owns sockets and permits; called by [`calls`](super::calls) and [`events`](super::events). It
//! sends again only what certainly was not sent, and knows nothing of WebSockets.

use super::address::Address;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest as Http1};
use hyper::client::conn::http2::{self, SendRequest as Http2};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// An answer's body at most: the largest message and the largest list are below it.
const BODY_BYTES_MAX: usize = 64 << 20;

/// How long an unused connection is kept. Shorter than servers and proxies keep theirs, so that a
/// request is seldom written into one that is just being closed.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// How often a request is sent again at once that a connection gave back unsent.
const UNSENT_MAX: usize = 8;

const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
const HTTP2_PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked of the control plane.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Path and query, encoded.
    pub(super) target: String,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    /// For everything after a connection is there.
    pub(super) timeout: Duration,
    /// Whether the server may keep it for long; then it may not take the last connections.
    pub(super) is_poll: bool,
}

/// What the control plane answered, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
pub(super) enum Broken {
    /// Nothing was sent.
    Unreachable { address: String, cause: String },
    /// Something was, perhaps everything.
    Lost(String),
}

/// How to reach the control plane.
pub(super) struct Transport {
    pub(super) address: Address,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) connect_timeout: Duration,
    lines: Lines,
    /// Requests under way, which bounds connections and streams.
    requests: Semaphore,
    /// Those of them that wait for a peer.
    polls: Semaphore,
}

enum Lines {
    Http1(Mutex<Vec<Idle>>),
    Http2(tokio::sync::Mutex<Option<Http2<Full<Bytes>>>>),
}

/// An endless answer, and its connection, which would end if it were dropped.
pub(super) struct Streaming {
    pub(super) body: Incoming,
    _line: Http1<Full<Bytes>>,
}

/// A connection that nobody uses, and since when.
struct Idle(Http1<Full<Bytes>>, Instant);

impl Transport {
    pub(super) fn new(
        address: Address,
        authorization: Option<HeaderValue>,
        connect_timeout: Duration,
        is_http2: bool,
        in_flight_max: usize,
    ) -> Self {
        let lines = match is_http2 {
            true => Lines::Http2(tokio::sync::Mutex::default()),
            false => Lines::Http1(Mutex::default()),
        };
        Self {
            address,
            authorization,
            connect_timeout,
            lines,
            requests: Semaphore::new(in_flight_max),
            polls: Semaphore::new(in_flight_max - in_flight_max.div_ceil(4)),
        }
    }

    /// Whether another poll would have to wait for one of those under way.
    pub(super) fn polls_are_scarce(&self) -> bool {
        self.polls.available_permits() == 0
    }

    /// Connects, or finds that it is connected.
    pub(super) async fn prepare(&self) -> Result<(), Broken> {
        match &self.lines {
            Lines::Http1(idle) => {
                let line = self.dial_http1().await?;
                locked(idle).push(Idle(line, Instant::now()));
            }
            Lines::Http2(_) => drop(self.http2().await?),
        }
        Ok(())
    }

    /// Sends `request` and reads the whole answer.
    pub(super) async fn exchange(&self, request: &Request) -> Result<Answer, Broken> {
        let polls = if request.is_poll { Some(self.polls.acquire().await) } else { None };
        let _permits = (polls, self.requests.acquire().await);
        let mut parcel = self.parcel(request, matches!(self.lines, Lines::Http2(_)));
        for _ in 0..UNSENT_MAX {
            let sent = match &self.lines {
                Lines::Http1(idle) => self.on_http1(idle, parcel, request.timeout).await,
                Lines::Http2(_) => self.on_http2(parcel, request.timeout).await,
            };
            match sent {
                Ok(answer) => return Ok(answer),
                Err(Failed::Broken(broken)) => return Err(broken),
                Err(Failed::Unsent(again)) => parcel = *again,
            }
        }
        Err(self.unreachable("connections end before anything is sent"))
    }

    /// Sends `request` on a connection of its own and leaves the body to be read as it comes.
    pub(super) async fn stream(&self, request: &Request) -> Result<(Parts, Streaming), Broken> {
        let mut line = self.dial_http1().await?;
        let sending = timeout(request.timeout, line.send_request(self.parcel(request, false)));
        let response = sending.await.map_err(|_| no_answer(request.timeout))?.map_err(lost)?;
        let (parts, body) = response.into_parts();
        Ok((parts, Streaming { body, _line: line }))
    }

    fn parcel(&self, request: &Request, is_http2: bool) -> hyper::Request<Full<Bytes>> {
        let mut parcel = hyper::Request::new(Full::new(request.body.clone()));
        *parcel.method_mut() = request.method.clone();
        let authority = self.address.authority();
        // HTTP/2 has the authority in the target, HTTP/1.1 in a header.
        let target = match is_http2 {
            true => format!("http://{authority}{}", request.target).parse(),
            false => request.target.parse(),
        };
        // A target is made of encoded parts, and an authority was checked when it was read.
        *parcel.uri_mut() = target.unwrap_or_default();
        let headers = parcel.headers_mut();
        if let (false, Ok(host)) = (is_http2, HeaderValue::from_str(authority)) {
            headers.insert(HOST, host);
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some((name, value)) = &request.header {
            headers.insert(name, value.clone());
        }
        parcel
    }

    async fn on_http1(
        &self,
        idle: &Mutex<Vec<Idle>>,
        parcel: hyper::Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Answer, Failed> {
        let mut line = match take_idle(idle).await {
            Some(line) => line,
            None => self.dial_http1().await?,
        };
        let whole = async {
            let response = line.try_send_request(parcel).await.map_err(failed)?;
            collect(response).await.map_err(Failed::Broken)
        };
        let answer = timeout(limit, whole).await.map_err(|_| no_answer(limit))??;
        locked(idle).push(Idle(line, Instant::now()));
        Ok(answer)
    }

    async fn on_http2(
        &self,
        parcel: hyper::Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Answer, Failed> {
        let mut line = self.http2().await?;
        let whole = async {
            let response = line.try_send_request(parcel).await.map_err(failed)?;
            collect(response).await.map_err(Failed::Broken)
        };
        timeout(limit, whole).await.map_err(|_| no_answer(limit))?
    }

    /// The one connection, made anew where it has gone.
    async fn http2(&self) -> Result<Http2<Full<Bytes>>, Broken> {
        let Lines::Http2(shared) = &self.lines else {
            return Err(self.unreachable("not a connection of HTTP/2"));
        };
        let mut shared = shared.lock().await;
        if let Some(line) = shared.as_ref().filter(|line| !line.is_closed()) {
            return Ok(line.clone());
        }
        let line = self.within_connect_timeout(self.dial_http2()).await?;
        *shared = Some(line.clone());
        Ok(line)
    }

    async fn dial_http1(&self) -> Result<Http1<Full<Bytes>>, Broken> {
        let dialing = async {
            match &self.address {
                Address::Tcp(authority) => start_http1(tcp(authority).await?).await,
                Address::Unix(path) => start_http1(UnixStream::connect(path).await?).await,
            }
        };
        self.within_connect_timeout(dialing).await
    }

    async fn dial_http2(&self) -> std::io::Result<Http2<Full<Bytes>>> {
        match &self.address {
            Address::Tcp(authority) => start_http2(tcp(authority).await?).await,
            Address::Unix(path) => start_http2(UnixStream::connect(path).await?).await,
        }
    }

    async fn within_connect_timeout<T>(
        &self,
        dialing: impl Future<Output = std::io::Result<T>>,
    ) -> Result<T, Broken> {
        match timeout(self.connect_timeout, dialing).await {
            Ok(dialed) => dialed.map_err(|error| self.unreachable(error)),
            Err(_) => Err(self.unreachable(format_args!("{:?} have passed", self.connect_timeout))),
        }
    }

    fn unreachable(&self, cause: impl Display) -> Broken {
        Broken::Unreachable { address: self.address.to_string(), cause: cause.to_string() }
    }
}

async fn tcp(authority: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn start_http1<S>(stream: S) -> std::io::Result<Http1<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let started = http1::handshake(TokioIo::new(stream)).await;
    let (line, connection) = started.map_err(std::io::Error::other)?;
    // Its end is seen by whoever uses the line next.
    tokio::spawn(async move { drop(connection.await) });
    Ok(line)
}

async fn start_http2<S>(stream: S) -> std::io::Result<Http2<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let started = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PONG_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await;
    let (line, connection) = started.map_err(std::io::Error::other)?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(line)
}

/// A connection that is still open and not too old.
async fn take_idle(idle: &Mutex<Vec<Idle>>) -> Option<Http1<Full<Bytes>>> {
    loop {
        let Idle(mut line, since) = locked(idle).pop()?;
        if since.elapsed() > IDLE_MAX {
            // The newest is too old, so all are.
            locked(idle).clear();
            return None;
        }
        if !line.is_closed() && line.ready().await.is_ok() {
            return Some(line);
        }
    }
}

async fn collect(response: Response<Incoming>) -> Result<Answer, Broken> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(lost)?.to_bytes();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// A request that failed on one connection.
enum Failed {
    Unsent(Box<hyper::Request<Full<Bytes>>>),
    Broken(Broken),
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

fn failed(mut error: hyper::client::conn::TrySendError<hyper::Request<Full<Bytes>>>) -> Failed {
    match error.take_message() {
        Some(parcel) => Failed::Unsent(Box::new(parcel)),
        None => Failed::Broken(lost(error.into_error())),
    }
}

fn lost(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Broken {
    let error = error.into();
    let mut cause = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        cause = format!("{cause}: {inner}");
        source = inner.source();
    }
    Broken::Lost(cause)
}

fn no_answer(limit: Duration) -> Broken {
    Broken::Lost(format!("no answer within {limit:?}"))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is in it is whole at any moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The header that says what kind of message a body is.
pub(super) fn content_type(kind: &'static str) -> (HeaderName, HeaderValue) {
    (CONTENT_TYPE, HeaderValue::from_static(kind))
}
