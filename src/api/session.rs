//! The session in the hands of a handler. Every verb goes to the visit that `sessions` keeps; it
//! works on any thread and outlives its WebSocket.

use super::error::Error;
use crate::sessions::{SessionValues, StoreError, Visit, VisitError};
use std::fmt;
use std::sync::Arc;

/// The cookie session that a WebSocket belongs to (`%session`), on routes that
/// [ask for one](crate::RouteOptions::session). Clones are the same session.
///
/// Nothing is locked while handlers run: [`with`](Self::with) has the values for the time of its
/// closure.
///
/// ```
/// use ringwire::{Error, READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT, WebSocket, WebSocketServer};
///
/// #[derive(Default)]
/// struct Counter;
///
/// impl WebSocketServer for Counter {
///     async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
///         let session = ws.session().ok_or_else(|| Error::new("a route without session"))?;
///         while ws.read(READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT).await.is_ok() {
///             let count = session
///                 .with(|values| {
///                     let count = values.get("count").and_then(|n| n.parse().ok()).unwrap_or(0) + 1;
///                     values.set("count", count.to_string());
///                     count
///                 })
///                 .await?;
///             ws.write(format!("message {count} of this session")).await?;
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Session {
    visit: Arc<Visit>,
}

impl Session {
    pub(super) fn new(visit: Arc<Visit>) -> Self {
        Self { visit }
    }

    /// The id: 32 characters that name the session in logs, lists and stores. It is no secret: the
    /// cookie cannot be made from it.
    pub fn id(&self) -> String {
        self.visit.id().to_string()
    }

    /// Lets `change` look at the values and change them. All who do this for one session, in
    /// whatever process, do it one after the other: what `change` sees is what its changes are
    /// put in the place of. It runs again if another process was faster, so it should do nothing
    /// but that. If it panics, or an error is returned, nothing has changed.
    ///
    /// Ready at once with the store in memory. What is dropped before it is ready may or may not
    /// have happened.
    ///
    /// # Errors
    ///
    /// [`SessionError`]
    pub async fn with<R>(
        &self,
        change: impl FnMut(&mut SessionValues) -> R,
    ) -> Result<R, SessionError> {
        Ok(self.visit.with(change).await?)
    }

    /// Has the next handshake with this session's cookie answer with a new one, as
    /// [`Opening::rotate_session`](super::Opening::rotate_session) does at once: over a WebSocket
    /// that is open no cookie can be sent. Until then the old cookie is good.
    ///
    /// # Errors
    ///
    /// [`SessionError`]
    pub async fn rotate_at_next_handshake(&self) -> Result<(), SessionError> {
        Ok(self.visit.rotate_later().await?)
    }

    /// Ends the session: its values are gone, its cookie is worthless, and its WebSockets, this one
    /// as well, are closed with 1008; those of other processes within two seconds. How many were
    /// closed in this one.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`]; the WebSockets of this process are closed nevertheless.
    pub async fn revoke(&self) -> Result<usize, SessionError> {
        self.visit.revoke().await.map_err(SessionError::Store)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id()).finish()
    }
}

/// Why a session was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// It has expired, was revoked, or has another id after a rotation.
    #[error("the session has ended")]
    Gone,
    /// It would be larger than the limit (8 KiB and 64 values, unless set otherwise).
    #[error("the values are more than a session may hold")]
    TooLarge,
    /// A key begins with `ringwire.`, which is reserved.
    #[error("keys of values must not begin with `ringwire.`")]
    ReservedKey,
    /// Other processes have changed it again and again in between.
    #[error("the session is being changed by others all the time; try again")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<VisitError> for SessionError {
    fn from(error: VisitError) -> Self {
        match error {
            VisitError::Gone => Self::Gone,
            VisitError::TooLarge => Self::TooLarge,
            VisitError::ReservedKey => Self::ReservedKey,
            VisitError::Contended => Self::Contended,
            VisitError::Store(error) => Self::Store(error),
        }
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        Self::new(error)
    }
}

/// Why a session was not revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// There is no such session, or the text is not the id of one.
    #[error("there is no session with this id")]
    Unknown,
    /// The store failed; WebSockets of this process were closed nevertheless.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ListenAddress;
    use crate::{Closing, Engine, Opening, Refusal, RouteOptions, WebSocket, WebSocketServer};
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::{Mutex, Weak};
    use std::time::{Duration, Instant};

    /// Where a handler of a shared socket ends.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum At {
        Pre,
        Server,
        /// Leaves the socket open.
        Left,
        /// Leaves it open, and panics when it hears that it is gone.
        Farewell,
        /// Still there when the socket is gone.
        Post,
    }

    struct Ends(At, Arc<Mutex<Vec<Weak<Visit>>>>);

    fn panics() {
        std::panic::panic_any("on purpose");
    }

    impl WebSocketServer for Ends {
        async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
            opening.set_shared_connection(true);
            let visit = opening.session().map(|session| Arc::downgrade(&session.visit));
            self.1.lock().expect("no panic").extend(visit);
            if self.0 == At::Pre {
                panics();
            }
            Ok(())
        }

        async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
            match self.0 {
                At::Server => panics(),
                At::Post => while ws.read(100, Duration::from_secs(60)).await.is_ok() {},
                _ => {}
            }
            Ok(())
        }

        async fn on_post_server(&mut self, _: &Closing) {
            if matches!(self.0, At::Farewell | At::Post) {
                panics();
            }
        }
    }

    #[test]
    fn nothing_is_kept_of_a_shared_socket_whose_handler_has_ended_however_it_did() {
        let visits = Arc::new(Mutex::new(Vec::new()));
        let mut builder = Engine::builder().listen("127.0.0.1:0".parse().expect("an address"));
        let all = [At::Pre, At::Server, At::Left, At::Farewell, At::Post];
        for at in all {
            let visits = Arc::clone(&visits);
            let make = move || Ends(at, Arc::clone(&visits));
            let options = RouteOptions { session: true, ..RouteOptions::default() };
            builder = builder.route_with(&format!("/{at:?}"), options, make);
        }
        let engine = builder.shards(1).start().expect("a kernel with io_uring");
        let ListenAddress::Tcp(address) = engine.addresses()[0] else { unreachable!() };
        for at in all {
            let mut client = TcpStream::connect(address).expect("it listens");
            let request = format!(
                "GET /{at:?} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Version: 13\r\n\r\n"
            );
            client.write_all(request.as_bytes()).expect("it reads");
            let status = &mut [0; 12];
            client.read_exact(status).expect("an answer");
            let wanted = if at == At::Pre { "500" } else { "101" };
            assert!(status.ends_with(wanted.as_bytes()), "{at:?}");
        }
        let until = Instant::now() + Duration::from_secs(30);
        let visits = visits.lock().expect("no panic");
        assert_eq!(visits.len(), all.len());
        for (at, visit) in all.iter().zip(visits.iter()) {
            while visit.strong_count() > 0 {
                assert!(Instant::now() < until, "{at:?}: its session is kept for ever");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        engine.handle().drain();
        engine.join();
    }
}
