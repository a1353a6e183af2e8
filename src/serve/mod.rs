//! `ringwire serve`: the engine with the routes that make it useful unprogrammed.

mod chat;
mod csp;
mod echo;

use crate::{Engine, EngineBuilder, Settings, StartError};
use chat::Room;
use csp::MyWebSocketServer;
use echo::Echo;
use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// An engine with the built-in routes: `/echo`, [`CSP_PATH`], `/chat`, and the demo page at `/`.
pub fn builder(settings: Settings) -> EngineBuilder {
    let room = Room::new();
    Engine::builder()
        .settings(settings)
        .route("/echo", || Echo)
        .route(CSP_PATH, || MyWebSocketServer)
        .route("/chat", move || room.member())
        .page("/", "text/html; charset=utf-8", include_bytes!("../page/index.html"))
}

/// Serves until SIGINT or SIGTERM, then drains.
///
/// # Errors
///
/// What kept the engine from starting.
pub fn run(settings: Settings) -> Result<Outcome, StartError> {
    let engine = builder(settings).start()?;
    // Before the first line: who has read it may send a signal.
    let mut signals = {
        let _entered = engine.runtime().enter();
        Signals::catch()
    };
    for address in engine.addresses() {
        tracing::info!("listening on {address}");
    }
    let handle = engine.handle();
    engine.runtime().spawn(async move {
        signals.next().await;
        tracing::info!("draining; a second signal cuts");
        handle.drain();
        signals.next().await;
        tracing::warn!("cut by a second signal");
        std::process::exit(3);
    });
    let totals = engine.join().totals;
    let ring = totals.ring;
    tracing::info!(
        accepted = totals.accepted,
        opened = totals.opened,
        refused = totals.refused,
        cut = totals.cut,
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
    Ok(if totals.cut == 0 { Outcome::Drained } else { Outcome::Cut })
}

/// SIGINT and SIGTERM; `None` if they cannot be caught.
struct Signals(Option<(Signal, Signal)>);

impl Signals {
    /// Catches them from now on. Needs a tokio runtime that was entered.
    fn catch() -> Self {
        let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let (Ok(interrupt), Ok(terminate)) = signals else {
            tracing::error!("signals cannot be caught; the default action will end the process");
            return Self(None);
        };
        Self(Some((interrupt, terminate)))
    }

    /// Waits for one of them.
    async fn next(&mut self) {
        let Some((interrupt, terminate)) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
