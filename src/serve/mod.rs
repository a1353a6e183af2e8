//! `ringwire serve`: the engine with the routes that make it useful unprogrammed.
//!
//! Called by the program with its configuration. Owns the order of start and end of the engine and
//! the control plane beside it; the routes use the public API as any application.

mod broadcast;
mod chat;
mod csp;
mod declared;
mod echo;

use crate::config::{Config, TokenError};
use crate::control::{self, Control, ControlError};
use crate::{Engine, EngineBuilder, ListenAddress, LogQueue, Settings, StartError, StoreError};
use broadcast::Member;
use csp::MyWebSocketServer;
use declared::Declared;
use echo::Echo;
use std::sync::Arc;

/// The path of the class in the documentation of `%CSP.WebSocket`.
pub const CSP_PATH: &str = "/csp/user/MyApp.MyWebSocketServer.cls";

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every connection was closed in time.
    Drained,
    /// The drain deadline passed and connections were cut.
    Cut,
}

/// An engine with the built-in routes: `/echo`, [`CSP_PATH`], `/chat`, `/broadcast`, and the demo
/// page at `/`.
pub fn builder(settings: Settings) -> EngineBuilder {
    let chat = chat::Room::new();
    let broadcast = Arc::new(broadcast::Room::default());
    Engine::builder()
        .settings(settings)
        .route("/echo", || Echo)
        .route(CSP_PATH, || MyWebSocketServer)
        .route("/chat", move || chat.member())
        .route("/broadcast", move || Member::of(&broadcast))
        .page("/", "text/html; charset=utf-8", include_bytes!("../page/index.html"))
}

/// What kept the server from starting: cause and remedy on one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// The control plane.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The store of sessions.
    #[error("`sessions.redis`: {0}")]
    Store(#[from] StoreError),
    /// A file that was to have a token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl ServeError {
    /// The exit code for this error (sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Engine(error) => error.exit_code(),
            Self::Control(error) => error.exit_code(),
            Self::Store(_) | Self::Token(_) => 78,
        }
    }
}

/// Serves as `config` says until a signal ends it, see
/// [`EngineBuilder::drain_on_signal`]. What people must be told goes into `log` past the
/// subscriber.
///
/// # Errors
///
/// What kept the engine or the control plane from starting.
pub fn run(config: &Config, log: &LogQueue) -> Result<Outcome, ServeError> {
    let (engine, control) = start(config, log)?;
    for address in engine.addresses() {
        tracing::info!("listening on {address}");
    }
    announce(&control, log);
    Ok(end(engine, control))
}

/// Starts as `config` says, and ends at once: whether [`run`] would serve here and now. Somebody who
/// connects meanwhile is cut.
///
/// # Errors
///
/// As [`run`].
pub fn rehearse(config: &Config, log: &LogQueue) -> Result<(), ServeError> {
    let mut config = config.clone();
    (config.timeouts.drain_ms, config.timeouts.drain_spread_ms) = (0, 0);
    let (engine, control) = start(&config, log)?;
    engine.handle().drain();
    end(engine, control);
    Ok(())
}

fn start(config: &Config, log: &LogQueue) -> Result<(Engine, Control), ServeError> {
    // Before the engine starts, so that a port that is taken costs no client its connection.
    let control = control::bind(config.admin.to_settings()?)?.with_log(log.clone());
    let mut builder =
        builder(config.to_settings()).sessions(config.sessions.to_settings()).drain_on_signal();
    #[cfg(feature = "redis")]
    if let Some(url) = config.sessions.redis.reveal() {
        builder = builder.session_store(crate::RedisStore::new(url)?);
    }
    for route in &config.route {
        let options = declared::options(route, &config.origins.allowed);
        let shared = Arc::new(route.clone());
        builder =
            builder.route_with(&route.path, options, move || Declared::new(Arc::clone(&shared)));
    }
    let engine = builder.start()?;
    match control.serve(&engine) {
        Ok(control) => Ok((engine, control)),
        Err(error) => {
            engine.handle().drain();
            engine.join();
            Err(error.into())
        }
    }
}

/// Waits for the end of the engine.
fn end(engine: Engine, control: Control) -> Outcome {
    let totals = engine.join().totals;
    drop(control);
    let ring = totals.ring;
    tracing::info!(
        accepted = totals.accepted,
        opened = totals.opened,
        refused = totals.refused,
        cut = totals.cut,
        truncated = totals.truncated,
        panics = totals.panics,
        stale_completions = totals.stale_completions,
        rearmed = totals.rearmed,
        enters = ring.enters,
        submissions = ring.submissions,
        completions = ring.completions,
        overflows = ring.overflows,
        submission_queue_full = ring.submission_queue_full,
        out_of_buffers = ring.out_of_buffers,
        short_sends = ring.short_sends,
        "ring_counters"
    );
    if totals.cut == 0 { Outcome::Drained } else { Outcome::Cut }
}

/// Says where the control plane is, and its token if nobody knows it yet. The token goes past the
/// log: a filter must not lose it, and whoever collects logs need not have it twice.
fn announce(control: &Control, log: &LogQueue) {
    for address in control.addresses() {
        match address {
            ListenAddress::Tcp(address) => tracing::info!("control plane on http://{address}/"),
            ListenAddress::Unix(_) => tracing::info!("control plane on {address}"),
        }
    }
    if let Some(token) = control.generated_token() {
        log.push(&format!(
            "ringwire: the control plane's token is {token} (made for this run; set \
             admin.token_file to keep one)"
        ));
    }
}
