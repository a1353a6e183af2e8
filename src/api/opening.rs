//! The opening handshake as a handler sees it: what the request says, and what the answer is to
//! say. Made for `on_pre_server` and gone after it; nothing is sent before.

use super::session::Session;
use crate::engine::Identity;
use crate::proto::handshake;
use crate::proto::response::{HeaderError, check_header};
use crate::proto::{Request, Upgrade};
use crate::sessions::SessionKeeper;
use std::net::SocketAddr;
use std::sync::Arc;

/// A request for a WebSocket that has not been answered: what `on_pre_server` looks at and decides
/// about.
pub struct Opening {
    request: Box<Request>,
    upgrade: Box<Upgrade>,
    peer: Option<SocketAddr>,
    identity: Identity,
    subprotocol: Option<String>,
    headers: Vec<(String, String)>,
    shared_connection: bool,
    /// Where the route asks for sessions.
    keeper: Option<Arc<SessionKeeper>>,
    session: Option<Session>,
    rotation_wanted: bool,
}

/// The subprotocol chosen was not among those offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client did not offer this subprotocol")]
pub struct NotOffered;

impl Opening {
    pub(crate) fn new(
        request: Box<Request>,
        upgrade: Box<Upgrade>,
        peer: Option<SocketAddr>,
        identity: Identity,
        shared_connection: bool,
        keeper: Option<Arc<SessionKeeper>>,
    ) -> Self {
        Self {
            request,
            upgrade,
            peer,
            identity,
            subprotocol: None,
            headers: Vec::new(),
            shared_connection,
            keeper,
            session: None,
            rotation_wanted: false,
        }
    }

    /// The path, without the query, as it was sent (percent-encoding is left alone).
    pub fn path(&self) -> &str {
        self.request.path()
    }

    /// What stood behind the `?`.
    pub fn query(&self) -> Option<&str> {
        self.request.query()
    }

    /// The first header field of this name (in any case) that is text; the others are in
    /// [`headers`](Self::headers). `host` is the host that the request was sent to: that of its
    /// target, if it had one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.header_str(name)
    }

    /// All header fields in order, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.request.headers()
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All cookies in order (RFC 6265 §4.2.1), quotes around a value removed. A pair that is not
    /// UTF-8 or has no name is left out, and no other for its sake.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.request.headers_named("cookie");
        let pairs = fields.flat_map(|field| field.split(|byte| *byte == b';'));
        pairs.filter_map(|pair| {
            let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
            let (name, value) = (name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
            let unquoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            (!name.is_empty()).then_some((name, unquoted.unwrap_or(value)))
        })
    }

    /// The origin of the page that connects. It was checked already, against the host and the
    /// allow-list.
    pub fn origin(&self) -> Option<&str> {
        self.header("origin").or_else(|| self.header("sec-websocket-origin"))
    }

    /// Who asks; `None` over a Unix socket, and on kernels before 6.7.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The id that the socket has, and will have when it is open: 32 characters that nobody can
    /// guess (`WebSocketID`).
    pub fn websocket_id(&self) -> String {
        self.identity.websocket_id()
    }

    /// Whether the socket is to be shared. Default: no (`SharedConnection`).
    pub fn shared_connection(&self) -> bool {
        self.shared_connection
    }

    /// Makes the socket a shared one: it stays open when `server` has returned, and whoever knows
    /// its id can open it again with
    /// [`EngineHandle::open_server`](super::EngineHandle::open_server). This can be chosen here
    /// and nowhere later; the route says what is without it
    /// ([`RouteOptions::shared_connection`](crate::RouteOptions::shared_connection)).
    pub fn set_shared_connection(&mut self, shared_connection: bool) {
        self.shared_connection = shared_connection;
    }

    /// The subprotocols offered, the most wanted first.
    pub fn subprotocols(&self) -> &[String] {
        &self.upgrade.subprotocols
    }

    /// The subprotocol chosen so far.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Chooses a subprotocol. Without a choice none is agreed on (RFC 6455 §4.2.2).
    ///
    /// # Errors
    ///
    /// If it was not offered.
    pub fn set_subprotocol(&mut self, name: &str) -> Result<(), NotOffered> {
        if !self.upgrade.subprotocols.iter().any(|offered| offered == name) {
            return Err(NotOffered);
        }
        self.subprotocol = Some(name.to_owned());
        Ok(())
    }

    /// Adds a header field to the 101, for example `Set-Cookie`.
    ///
    /// # Errors
    ///
    /// If the name is not a token or the value has control characters.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        check_header(name, value)?;
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The session of the browser that asks, on routes that
    /// [ask for one](crate::RouteOptions::session): the one its cookie is for, or a new one. The
    /// cookie itself says nothing here; ask this.
    pub fn session(&self) -> Option<Session> {
        self.session.clone()
    }

    /// Gives the session a new cookie and a new id with this answer: to be called whenever what the
    /// session may do changes, above all at a login, so that a cookie that somebody has planted or
    /// seen before is worthless afterwards. The values stay. The other WebSockets of the session,
    /// which were opened with the old cookie, are closed with 1008.
    ///
    /// Happens after `on_pre_server` has returned `Ok`, and not if it refuses; a session that was
    /// made by this very request has a new cookie anyway. Without a session it does nothing.
    pub fn rotate_session(&mut self) {
        self.rotation_wanted = true;
    }

    pub(super) fn keeper(&self) -> Option<Arc<SessionKeeper>> {
        self.keeper.clone()
    }

    pub(super) fn set_session(&mut self, session: Session) {
        self.session = Some(session);
    }

    pub(super) fn rotation_wanted(&self) -> bool {
        self.rotation_wanted
    }

    /// The 101.
    pub(crate) fn answer(&self) -> Vec<u8> {
        handshake::response(&self.upgrade, self.subprotocol(), &self.headers)
    }
}
