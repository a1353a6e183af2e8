//! The control plane: an HTTP API, metrics and a status page beside the engine.
//!
//! Owns the sockets it listens on, the tokens, and every limit of what they open. The program
//! starts it; it reaches connections through [`EngineHandle`] alone and runs on the engine's side
//! runtime, never on the thread of a shard.
//!
//! ```text
//! serving ── guard ── routes ─┬─ list, verbs, sessions, events   WebSockets
//!  accepts    who may          └─ status, memory, metrics, page   the engine
//! visits, line, answer: who may stay, and for how long
//! ```
#![forbid(unsafe_code)]

mod answer;
mod attempt;
mod body;
mod budget;
mod document;
mod error;
mod events;
mod guard;
mod limits;
mod line;
mod list;
mod memory;
mod metrics;
mod page;
mod plane;
mod query;
mod routes;
mod serving;
mod status;
mod tokens;
mod verbs;
mod visits;

use crate::engine::listener::{self, BindError, Listener};
use crate::{Engine, ListenAddress, LogQueue};
use guard::Guard;
use plane::Plane;
use serving::Listening;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokens::Tokens;
pub(crate) use tokens::is_token;
use tokio::task::AbortHandle;

#[cfg(doc)]
use crate::EngineHandle;

/// What a control plane is told before it starts. The default listens nowhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// A TCP address; port 0 lets the system choose.
    pub listen: Option<SocketAddr>,
    /// The path of a Unix socket, which only this user can open and which needs no token.
    pub socket: Option<PathBuf>,
    /// The token that opens everything over TCP: 16 to 256 letters, digits and `-._~+/=`. `None`: one is made at the start, see
    /// [`Control::generated_token`].
    pub token: Option<String>,
    /// Another token, for what only looks. `None`: there is none.
    pub read_only_token: Option<String>,
    /// Names under which browsers may ask beside loopback ones.
    pub hosts: Vec<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, socket, hosts, .. } = self;
        write!(f, "Settings {{ listen: {listen:?}, socket: {socket:?}, hosts: {hosts:?}, .. }}")
    }
}

/// Why a control plane did not start: cause and remedy on one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The TCP address cannot be listened on.
    #[error(
        "control plane: {0}; --admin IP:PORT gives it another (127.0.0.1:0 takes any), --admin off does without"
    )]
    Tcp(BindError),
    /// The Unix socket cannot be listened on.
    #[error("control plane: {0}; --control PATH gives it another")]
    Unix(BindError),
    /// A token that nobody could send, or that could be guessed.
    #[error("control plane: the {0} token is none; give 16 to 256 letters, digits and -._~+/=")]
    Token(&'static str),
    /// One token for both.
    #[error("control plane: the read-only token is the operator's; give another")]
    SameToken,
    /// There is no randomness for a token.
    #[error("control plane: no token can be made: getrandom(2): {0}; set admin.token_file")]
    Random(io::Error),
    /// The listening socket cannot be used.
    #[error(
        "control plane: its socket cannot be used: {0}; raise the limit of open files (ulimit -n)"
    )]
    Socket(io::Error),
}

impl ControlError {
    /// The exit code for this error, as [`StartError`](crate::StartError) has them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Tcp(error) | Self::Unix(error) => error.exit_code(),
            Self::Token(_) | Self::SameToken => 78,
            Self::Random(_) | Self::Socket(_) => 71,
        }
    }
}

/// A control plane that has its addresses and does not answer yet.
pub struct Bound {
    settings: Settings,
    tcp: Option<Listener>,
    unix: Option<Listener>,
    log: Option<LogQueue>,
}

/// Takes the addresses, so that a conflict is found before the engine starts.
///
/// # Errors
///
/// The address that cannot be had, or a token that is none.
pub fn bind(settings: Settings) -> Result<Bound, ControlError> {
    let Settings { token, read_only_token, .. } = &settings;
    for (whose, token) in [("operator's", token), ("read-only", read_only_token)] {
        if token.as_ref().is_some_and(|token| !is_token(token)) {
            return Err(ControlError::Token(whose));
        }
    }
    if token.is_some() && token == read_only_token {
        return Err(ControlError::SameToken);
    }
    let bind_tcp = |address| {
        let listeners = listener::bind(&[ListenAddress::Tcp(address)], 1, 0);
        listeners.map(|shards| shards.into_iter().flatten().next()).map_err(ControlError::Tcp)
    };
    let tcp = settings.listen.map(bind_tcp).transpose()?.flatten();
    let bind_unix = |path: &PathBuf| listener::bind_private(path).map_err(ControlError::Unix);
    let unix = settings.socket.as_ref().map(bind_unix).transpose()?;
    Ok(Bound { settings, tcp, unix, log: None })
}

impl Bound {
    /// Shows in the status and the metrics what became of the lines of this log.
    pub fn with_log(mut self, log: LogQueue) -> Self {
        self.log = Some(log);
        self
    }

    /// Answers for `engine` from now on, until it ends.
    ///
    /// # Errors
    ///
    /// If there is no randomness for a token, or a socket cannot be used.
    pub fn serve(self, engine: &Engine) -> Result<Control, ControlError> {
        let Self { settings, tcp, unix, log } = self;
        let generated = match (&settings.token, &tcp) {
            (None, Some(_)) => Some(tokens::random().map_err(ControlError::Random)?),
            _ => None,
        };
        // Without TCP nobody asks for a token; an empty one opens nothing.
        let token = settings.token.or_else(|| generated.clone()).unwrap_or_default();
        let tokens = Tokens::new(token, settings.read_only_token);
        let mut plane = Plane::new(engine.handle(), Guard::new(tokens, settings.hosts));
        plane.log = log;
        let plane = Arc::new(plane);
        let _entered = engine.runtime().enter();
        let listeners: Vec<Listener> = tcp.into_iter().chain(unix).collect();
        let addresses = listeners.iter().map(|listener| listener.address.clone()).collect();
        let sockets = listeners.iter().map(Listening::new).collect::<io::Result<Vec<_>>>();
        let spawn = |listening: Listening| {
            engine.runtime().spawn(listening.serve(Arc::clone(&plane))).abort_handle()
        };
        let tasks = sockets.map_err(ControlError::Socket)?.into_iter().map(spawn).collect();
        Ok(Control { addresses, generated, tasks, _listeners: listeners })
    }
}

/// A control plane that answers. Dropping it ends it, apart from the connections it has, and
/// removes the file of its Unix socket.
#[must_use = "dropping it ends the control plane"]
pub struct Control {
    addresses: Vec<ListenAddress>,
    generated: Option<String>,
    /// Those that accept.
    tasks: Vec<AbortHandle>,
    /// Remove the file of a Unix socket in the end.
    _listeners: Vec<Listener>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Control {
    /// Where it listens, with the port that the system chose.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// The token that was made because none was given. Whoever starts a control plane shows it
    /// once, and to nobody but its operator.
    pub fn generated_token(&self) -> Option<&str> {
        self.generated.as_deref()
    }
}
