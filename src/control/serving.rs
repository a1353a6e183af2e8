//! Connections to the control plane: accepted, bounded in number and time, spoken to in HTTP/1.1
//! or HTTP/2, whichever the client begins with.
//!
//! Every request passes the guard here before the routes see it, and every answer leaves with the
//! same headers.

use super::error::{ApiError, UnknownId};
use super::guard::{Door, Rate};
use super::limits::{
    FIRST_REQUEST_TIMEOUT, HEAD_BYTES_MAX, HEADERS_MAX, IDLE_TIMEOUT, PING_INTERVAL, PING_TIMEOUT,
    STREAMS_MAX, TCP_CONNECTIONS_MAX, UNIX_CONNECTIONS_MAX, UNKNOWN_IDS_PER_SECOND_MAX,
};
use super::plane::Plane;
use super::routes;
use crate::engine::listener::Listener;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Request, Response};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Time without accepting after an accept has failed, for want of descriptors above all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket of the control plane that listens.
pub(super) struct Listening {
    socket: Socket,
    permits: Arc<Semaphore>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Hands the socket to the runtime that has been entered.
    pub(super) fn new(listener: &Listener) -> io::Result<Self> {
        let socket: OwnedFd = listener.socket.try_clone()?;
        let (socket, connections_max) = match &listener.address {
            crate::ListenAddress::Tcp(_) => {
                let socket = std::net::TcpListener::from(socket);
                socket.set_nonblocking(true)?;
                (Socket::Tcp(TcpListener::from_std(socket)?), TCP_CONNECTIONS_MAX)
            }
            crate::ListenAddress::Unix(_) => {
                let socket = std::os::unix::net::UnixListener::from(socket);
                socket.set_nonblocking(true)?;
                (Socket::Unix(UnixListener::from_std(socket)?), UNIX_CONNECTIONS_MAX)
            }
        };
        let permits = Arc::new(Semaphore::new(connections_max));
        Ok(Self { socket, permits })
    }

    /// Accepts for ever.
    pub(super) async fn serve(self, plane: Arc<Plane>) {
        loop {
            if let Err(error) = self.accept(&plane).await {
                tracing::warn!(%error, "the control plane cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    async fn accept(&self, plane: &Arc<Plane>) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                let local = stream.local_addr().map_or(unknown, |address| address.ip());
                match self.permits.clone().try_acquire_owned() {
                    Ok(permit) => start(stream, Door::Tcp(local), plane, permit),
                    Err(_) => refuse(plane, |answer| TcpStream::try_write(&stream, answer)),
                }
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                match self.permits.clone().try_acquire_owned() {
                    Ok(permit) => start(stream, Door::Unix, plane, permit),
                    Err(_) => refuse(plane, |answer| UnixStream::try_write(&stream, answer)),
                }
            }
        }
        Ok(())
    }
}

/// Says 503 to a connection above the limit. A new socket has room for it.
fn refuse(plane: &Plane, write: impl FnOnce(&[u8]) -> io::Result<usize>) {
    plane.counts.connections_refused.fetch_add(1, Ordering::Relaxed);
    let error = ApiError::new(
        503,
        "busy",
        "there are as many connections as the control plane takes",
        "keep connections alive and share them, or use HTTP/2",
    );
    let json = error.json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        json.len()
    );
    // Who is gone already does not need it.
    let _ = write(&[head.as_bytes(), &json].concat());
}

/// Serves a connection on the side runtime.
fn start<S>(stream: S, door: Door, plane: &Arc<Plane>, permit: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let plane = Arc::clone(plane);
    tokio::spawn(async move {
        converse(stream, door, plane).await;
        drop(permit);
    });
}

async fn converse<S>(stream: S, door: Door, plane: Arc<Plane>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = TowerToHyperService::new(routes::router(Arc::clone(&plane)));
    let unknown_ids = Arc::new(Rate::new());
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&has_asked);
    // Whoever serves a request has it, so that it also tells how many are under way.
    let under_way = Arc::clone(&unknown_ids);
    let service = service_fn(move |request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let answer = admitted(&plane, door, request)
            .and_then(|request| with_budget(&unknown_ids, request))
            .map(|request| routes.call(request));
        let (plane, unknown_ids) = (Arc::clone(&plane), Arc::clone(&unknown_ids));
        async move {
            let response = match answer {
                Ok(answer) => answer.await?,
                Err(error) => error.into_response(),
            };
            if response.extensions().get::<UnknownId>().is_some() {
                unknown_ids.is_within(UNKNOWN_IDS_PER_SECOND_MAX);
            }
            plane.counts.answered(response.status().as_u16());
            Ok::<_, Infallible>(with_headers(response))
        }
    });
    let builder = builder();
    let connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut connection = gathering(connection, under_way);
    // What goes wrong with a connection is its client's business.
    if timeout(FIRST_REQUEST_TIMEOUT, &mut connection).await.is_err()
        && has_asked.load(Ordering::Relaxed)
    {
        let _ = connection.await;
    }
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

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
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

/// The request, if the guard lets it in.
fn admitted(
    plane: &Plane,
    door: Door,
    mut request: Request<Incoming>,
) -> Result<Request<Body>, ApiError> {
    let access = plane.guard.admit(door, request.method(), request.uri(), request.headers())?;
    request.extensions_mut().insert(access);
    Ok(request.map(Body::new))
}

/// The request, unless it names an id and the connection has named too many that are unknown.
fn with_budget(unknown_ids: &Rate, request: Request<Body>) -> Result<Request<Body>, ApiError> {
    let path = request.uri().path();
    let names_an_id = path.starts_with("/v1/websockets/") || path.starts_with("/v1/sessions/");
    if names_an_id && unknown_ids.is_spent(UNKNOWN_IDS_PER_SECOND_MAX) {
        let message = "too many ids in this second that nothing has";
        let remedy = "forget the ids of what is closed: GET /v1/events tells";
        let error = ApiError::new(429, "too_many_requests", message, remedy);
        return Err(error.retry_after_s(1));
    }
    Ok(request)
}

/// No answer is kept by anybody or taken for something else.
fn with_headers(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;
    use std::task::{Context, Waker};

    #[test]
    fn a_connection_waits_once_while_several_requests_are_under_way() {
        let mut context = Context::from_waker(Waker::noop());
        let polls = |holders: usize, context: &mut Context<'_>| {
            let under_way = Arc::new(());
            let _held: Vec<_> = (0..holders).map(|_| Arc::clone(&under_way)).collect();
            let mut connection = gathering(ready(()), under_way);
            let polls = (1..9).find(|_| Pin::new(&mut connection).poll(context).is_ready());
            polls.expect("it is polled in the end")
        };
        // One is the service's.
        assert_eq!([1, 2, 3, 9].map(|holders| polls(holders, &mut context)), [1, 1, 2, 2]);
    }
}
