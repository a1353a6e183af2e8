//! Building, running and ending an engine.

use super::handle::EngineHandle;
use super::handler::{self, WebSocketServer};
use crate::engine::shard::Shard;
use crate::engine::{
    ListenAddress, RouteOptions, Routes, Running, Settings, SimulatedEngine, StartError, Target,
    Totals, bench, launch,
};
use crate::ring::Ring;
use crate::ring::sim::SimRing;
use std::sync::Arc;

/// A running server: shards that accept and serve until they are drained.
///
/// ```
/// use ringwire::{Engine, Error, WebSocket, WebSocketServer};
///
/// #[derive(Default)]
/// struct Hello;
///
/// impl WebSocketServer for Hello {
///     async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
///         ws.write("hello").await?;
///         ws.end_server().await
///     }
/// }
///
/// let engine = Engine::builder()
///     .listen("127.0.0.1:0".parse()?)
///     .shards(1)
///     .route("/hello", Hello::default)
///     .start()?;
/// println!("listening on {}", engine.addresses()[0]);
/// engine.handle().drain(); // A program of its own has `.drain_on_signal()` above instead.
/// engine.join();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Engine {
    running: Running,
    handle: EngineHandle,
}

impl Engine {
    /// An engine to be configured.
    pub fn builder() -> EngineBuilder {
        EngineBuilder {
            settings: Settings::default(),
            listen: Vec::new(),
            routes: Routes::default(),
            drain_on_signal: false,
        }
    }

    /// Where it listens, with the ports that the system chose.
    pub fn addresses(&self) -> &[ListenAddress] {
        self.running.addresses()
    }

    /// A handle for other threads.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// The tokio runtime that handlers' libraries run on.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        self.running.runtime()
    }

    /// Waits until the engine was drained.
    pub fn join(self) -> Drained {
        let totals = self.running.join();
        Drained { totals }
    }
}

/// How an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// What it has counted; `totals.cut` connections did not close in time.
    pub totals: Totals,
}

/// Configures an [`Engine`].
pub struct EngineBuilder {
    settings: Settings,
    listen: Vec<ListenAddress>,
    routes: Routes,
    drain_on_signal: bool,
}

impl EngineBuilder {
    /// Replaces all settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Listens here instead of where the settings say; may be called more than once.
    pub fn listen(mut self, address: ListenAddress) -> Self {
        self.listen.push(address);
        self
    }

    /// Sets the number of shards. Default: one per core.
    pub fn shards(mut self, shards: usize) -> Self {
        self.settings.shards = shards;
        self
    }

    /// Drains at SIGINT or SIGTERM, after which [`Engine::join`] returns; a second signal ends the
    /// process at once with exit code 3. The signals are caught before anything is bound, and stay
    /// caught. Default: they are left alone.
    pub fn drain_on_signal(mut self) -> Self {
        self.drain_on_signal = true;
        self
    }

    /// Serves WebSockets at `path`: an exact path, or `/prefix/*`. Exact paths go before
    /// prefixes, longer prefixes before shorter ones. `factory` makes one handler per connection,
    /// on the thread of its shard.
    pub fn route<H, F>(self, path: &str, factory: F) -> Self
    where
        H: WebSocketServer,
        F: Fn() -> H + Send + Sync + 'static,
    {
        self.route_with(path, RouteOptions::default(), factory)
    }

    /// The same, with options.
    pub fn route_with<H, F>(mut self, path: &str, options: RouteOptions, factory: F) -> Self
    where
        H: WebSocketServer,
        F: Fn() -> H + Send + Sync + 'static,
    {
        let factory = Arc::new(factory);
        let other = Arc::clone(&factory);
        let make = Box::new(move |arrival| handler::task(factory(), arrival));
        let farewell = Box::new(move |farewell| handler::farewell(other(), farewell));
        self.routes.add(path, options, Target::Handler { make, farewell });
        self
    }

    /// Serves a page at `path`, to plain GET and HEAD.
    pub fn page(mut self, path: &str, content_type: &'static str, body: &'static [u8]) -> Self {
        let page = Target::Page { content_type, body };
        self.routes.add(path, RouteOptions::default(), page);
        self
    }

    /// One shard on a simulated ring, to be turned by hand; for tests.
    #[doc(hidden)]
    pub fn simulate(self, ring: SimRing) -> SimulatedEngine {
        SimulatedEngine::new(self.settings, self.routes, ring)
    }

    /// One shard on any ring, to be turned by hand; for `benches`.
    #[doc(hidden)]
    pub fn shard_on<R: Ring>(self, ring: R) -> Shard<R> {
        bench::shard(ring, self.settings, self.routes)
    }

    /// Binds, starts the shards, and returns when all of them accept.
    ///
    /// Raises the soft limit of descriptors of this process to the hard one.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is in the way and what to do about it; nothing runs then.
    pub fn start(mut self) -> Result<Engine, StartError> {
        if !self.listen.is_empty() {
            self.settings.listen = self.listen;
        }
        let signals = self.drain_on_signal.then(super::signals::Signals::catch).transpose();
        let signals = signals.map_err(StartError::Thread)?;
        let running = launch(self.settings, self.routes)?;
        let handle = EngineHandle::new(running.reach());
        if let Some(signals) = signals {
            running.runtime().spawn(signals.drain(handle.clone()));
        }
        Ok(Engine { running, handle })
    }
}
