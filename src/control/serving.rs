//! Connections to the control plane: accepted, bounded in number and time, spoken to in HTTP/1.1
//! or HTTP/2, whichever the client begins with.
//!
//! Every request passes the guard here before the routes see it, and every answer leaves with the
//! same headers.

use super::answer::Answer;
use super::error::{ApiError, UnknownId};
use super::guard::{Door, Rate};
use super::limits::{
    ANSWER_TIMEOUT, HEAD_BYTES_MAX, HEADERS_MAX, LEAVE_TIMEOUT, PING_INTERVAL, PING_TIMEOUT,
    REFUSAL_TIMEOUT, REFUSALS_MAX, STRANGER_STREAMS_MAX, STREAMS_MAX, Times,
    UNKNOWN_IDS_PER_SECOND_MAX,
};
use super::line::{Line, Look, Wire};
use super::plane::{Plane, Present};
use super::routes;
use super::tokens::Access;
use super::visits::{Network, Rank, Visit, Visits};
use crate::engine::listener::Listener;
use axum::Router;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, Request, Response, Version};
use axum::response::IntoResponse;
use h2::Reason;
use hyper::body::{Body as _, Incoming};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_tcp_user_timeout;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

/// Time without accepting after an accept has failed, for want of descriptors above all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time between two lines about failing accepts.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A socket of the control plane that listens.
pub(super) struct Listening {
    socket: Socket,
    visits: Arc<Visits>,
    refusals: Arc<Semaphore>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Hands the socket to the runtime that has been entered.
    pub(super) fn new(listener: &Listener) -> io::Result<Self> {
        let socket: OwnedFd = listener.socket.try_clone()?;
        let (socket, visits) = match &listener.address {
            crate::ListenAddress::Tcp(_) => {
                let socket = std::net::TcpListener::from(socket);
                socket.set_nonblocking(true)?;
                (Socket::Tcp(TcpListener::from_std(socket)?), Visits::over_tcp())
            }
            crate::ListenAddress::Unix(_) => {
                let socket = std::os::unix::net::UnixListener::from(socket);
                socket.set_nonblocking(true)?;
                (Socket::Unix(UnixListener::from_std(socket)?), Visits::over_unix())
            }
        };
        Ok(Self { socket, visits, refusals: Arc::new(Semaphore::new(REFUSALS_MAX)) })
    }

    /// Accepts for ever.
    pub(super) async fn serve(self, plane: Arc<Plane>) {
        let mut silent_until = Instant::now();
        loop {
            match self.accept(&plane).await {
                // Who has come is heard before the next one, who may push it out.
                Ok(()) => yield_now().await,
                Err(error) => {
                    if silent_until <= Instant::now() {
                        silent_until = Instant::now() + WARNING_INTERVAL;
                        tracing::warn!(%error, "the control plane cannot accept");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept(&self, plane: &Arc<Plane>) -> io::Result<()> {
        // The time for the first request begins when somebody has come.
        let line = || Line::new(plane.times);
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                // IPv4 comes to `[::]` in the form of IPv6.
                let local = stream.local_addr().map_or(unknown, |at| at.ip().to_canonical());
                // So that a client that has vanished does not hold its stream of events for as long
                // as TCP goes on to send. Where it cannot be set, that is how long.
                let _ = set_tcp_user_timeout(&stream, ANSWER_TIMEOUT.as_millis() as u32);
                match self.visits.arrive(peer.ip().into(), Rank::Stranger, line()) {
                    Some(visit) => start(stream, Door::Tcp(local), plane, visit),
                    None => self.refuse(stream, plane),
                }
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                match self.visits.arrive(Network::Local, Rank::Operator, line()) {
                    Some(visit) => start(stream, Door::Unix, plane, visit),
                    None => self.refuse(stream, plane),
                }
            }
        }
        Ok(())
    }

    /// Says 503 to a connection above the limit, unless there are too many of these as well.
    fn refuse<S>(&self, stream: S, plane: &Plane)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        plane.counts.connections_refused.fetch_add(1, Ordering::Relaxed);
        if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
            tokio::spawn(async move {
                // Who is gone already does not need it.
                let _ = timeout(REFUSAL_TIMEOUT, turn_away(stream)).await;
                drop(place);
            });
        }
    }
}

/// Says 503, and waits for the client to leave: a socket that is closed over an unread request is
/// reset, which can cost the client the answer.
async fn turn_away(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let json = too_many().json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        json.len()
    );
    stream.write_all(&[head.as_bytes(), &json].concat()).await?;
    stream.shutdown().await?;
    copy(&mut stream.take(HEAD_BYTES_MAX as u64), &mut sink()).await.map(drop)
}

fn too_many() -> ApiError {
    let message = "there are as many connections as the control plane takes";
    let remedy = "keep connections alive and share them, or use HTTP/2";
    ApiError::new(503, "busy", message, remedy).retry_after_s(1).closing()
}

/// Serves a connection on the side runtime.
fn start<S>(stream: S, door: Door, plane: &Arc<Plane>, visit: Visit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let plane = Arc::clone(plane);
    tokio::spawn(async move {
        let present = Present::new(&plane);
        converse(stream, door, Arc::clone(&plane), visit).await;
        drop(present);
        plane.tidy_soon();
    });
}

async fn converse<S>(stream: S, door: Door, plane: Arc<Plane>, visit: Visit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let line = Arc::clone(visit.line());
    let conversation = Arc::new(Conversation {
        door,
        routes: TowerToHyperService::new(routes::router(Arc::clone(&plane))),
        visit,
        unknown_ids: Rate::new(),
        plane: Arc::clone(&plane),
    });
    // Whoever serves a request has it, so that it also tells how many are under way.
    let under_way = Arc::clone(&conversation);
    let service = service_fn(move |request| Arc::clone(&conversation).answer(request));
    let builder = builder(plane.times);
    let stream = TokioIo::new(Wire::new(stream, Arc::clone(&line)));
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    // What goes wrong with a connection is its client's business.
    let look = tokio::select! {
        biased;
        _ = gathering(connection.as_mut(), under_way) => return,
        look = line.watch() => look,
    };
    match look {
        Look::Idle => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(LEAVE_TIMEOUT, connection).await;
        }
        Look::Stuck => {
            plane.counts.connections_stuck.fetch_add(1, Ordering::Relaxed);
        }
        Look::Displaced => {
            plane.counts.connections_displaced.fetch_add(1, Ordering::Relaxed);
        }
        Look::Silent | Look::Fine(_) => {}
    }
}

/// What the requests of a connection share.
struct Conversation {
    door: Door,
    routes: TowerToHyperService<Router>,
    visit: Visit,
    unknown_ids: Rate,
    plane: Arc<Plane>,
}

impl Conversation {
    /// Answers a request. An error: nothing of it was done, and it may be sent again elsewhere.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Answer>, h2::Error> {
        let Self { door, visit, plane, .. } = &*self;
        let is_head = request.method() == Method::HEAD;
        let (version, admitted) = (request.version(), admitted(plane, *door, request));
        let access = admitted.as_ref().map_or(None, |(access, _)| *access);
        let turns_max = match access.is_some() || visit.has_shown() {
            true => usize::MAX,
            false => STRANGER_STREAMS_MAX,
        };
        let Some(turn) = visit.line().begin(turns_max) else {
            return Err(Reason::REFUSED_STREAM.into());
        };
        if version < Version::HTTP_2 {
            visit.line().others_are_taken().await;
        }
        let response = match admitted {
            Ok((Some(access), _)) if !visit.shows(access.into()) => too_many().into_response(),
            Ok((_, request)) => self.routed(request).await,
            Err(error) => error.into_response(),
        };
        plane.counts.answered(response.status().as_u16());
        let response = if is_head { without_body(response) } else { response };
        Ok(plane.answers.send(with_headers(response), access, turn))
    }

    /// What the routes say, unless the request names an id and the connection has named too many
    /// that are unknown. Ids of sockets that have left do not count: a crowd that leaves under a
    /// worker's hands is no guessing.
    async fn routed(&self, request: Request<Body>) -> Response<Body> {
        let id = named_id(request.uri().path()).map(str::to_owned);
        if id.is_some() && self.unknown_ids.is_spent(UNKNOWN_IDS_PER_SECOND_MAX) {
            let message = "too many ids in this second that nothing has had";
            let remedy = "take ids from GET /v1/websockets or GET /v1/events of this run";
            let error = ApiError::new(429, "too_many_requests", message, remedy);
            return error.retry_after_s(1).into_response();
        }
        let Ok(response) = self.routes.call(request).await;
        let is_unknown = response.extensions().get::<UnknownId>().is_some();
        if is_unknown && !id.is_some_and(|id| self.plane.engine.has_made(&id)) {
            self.unknown_ids.is_within(UNKNOWN_IDS_PER_SECOND_MAX);
        }
        response
    }
}

/// The id that a path is about.
fn named_id(path: &str) -> Option<&str> {
    let ids = ["/v1/websockets/", "/v1/sessions/"].iter();
    let rest = ids.filter_map(|prefix| path.strip_prefix(prefix)).next()?;
    rest.split('/').next()
}

/// `connection`, which waits for its turn again while several requests are under way, each of which
/// holds `under_way`. Tokio runs a task that was woken by another right after it; so the first answer
/// of many would leave alone, and so would each of the others. This way they leave together, with
/// one call of the kernel, and wake the client once.
fn gathering<F: Future + Unpin, T>(
    mut connection: F,
    under_way: Arc<T>,
) -> impl Future<Output = F::Output> + Unpin {
    let mut has_waited = false;
    poll_fn(move |context| {
        // This and the service have it as well.
        if Arc::strong_count(&under_way) > 3 && !std::mem::replace(&mut has_waited, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        has_waited = false;
        Pin::new(&mut connection).poll(context)
    })
}

fn builder(times: Times) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(times.idle)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX);
    builder
}

/// The request, if the guard lets it in, and what it may do.
fn admitted(
    plane: &Plane,
    door: Door,
    mut request: Request<Incoming>,
) -> Result<(Option<Access>, Request<Body>), ApiError> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let access = plane.guard.admit(door, request.version(), method, uri, headers)?;
    if let Some(access) = access {
        request.extensions_mut().insert(access);
    }
    Ok((access, request.map(Body::new)))
}

/// The answer to HEAD, whoever made it: it declares the length of the body it does not have (RFC
/// 9110 §9.3.2).
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(bytes) = body.size_hint().exact().filter(|bytes| *bytes > 0) {
        head.headers.insert(CONTENT_LENGTH, bytes.into());
    }
    Response::from_parts(head, Body::empty())
}

/// No answer is kept by anybody, unless it says otherwise itself, or taken for something else.
fn with_headers(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
