//! `ringwire serve`: the engine with the routes that make it useful unprogrammed.

mod broadcast;
mod chat;
mod csp;
mod echo;

use crate::{Engine, EngineBuilder, Settings, StartError};
use broadcast::Member;
use csp::MyWebSocketServer;
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

/// Serves until SIGINT or SIGTERM, then drains; a second signal ends the process with exit code 3.
///
/// # Errors
///
/// What kept the engine from starting.
pub fn run(settings: Settings) -> Result<Outcome, StartError> {
    let engine = builder(settings).drain_on_signal().start()?;
    for address in engine.addresses() {
        tracing::info!("listening on {address}");
    }
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
