//! Building, running and ending an engine. Programs begin here; what an application gives is
//! checked and handed to the launch, which does the rest.

use super::handle::EngineHandle;
use super::handler::{self, WebSocketServer};
use crate::engine::shard::Shard;
use crate::engine::{
    ListenAddress, RouteOptions, Routes, Running, Settings, SimulatedEngine, StartError, Target,
    Totals, bench, launch, try_resources,
};
use crate::ring::Ring;
use crate::ring::sim::SimRing;
use crate::sessions::{SessionKeeper, SessionSettings, SessionStore};
use std::sync::{Arc, OnceLock};

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
            sessions: Sessions::default(),
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

/// What the builder knows of sessions. Routes are told of the keeper before there is one.
#[derive(Default)]
struct Sessions {
    settings: SessionSettings,
    store: Option<Arc<dyn SessionStore>>,
    keeper: Arc<OnceLock<Arc<SessionKeeper>>>,
}

impl Sessions {
    fn keeper(&mut self) -> Arc<SessionKeeper> {
        let Self { settings, store, keeper } = self;
        let new = || Arc::new(SessionKeeper::new(settings.clone(), store.take()));
        Arc::clone(keeper.get_or_init(new))
    }
}

/// Configures an [`Engine`].
pub struct EngineBuilder {
    settings: Settings,
    listen: Vec<ListenAddress>,
    routes: Routes,
    drain_on_signal: bool,
    sessions: Sessions,
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

    /// Drains at SIGINT, SIGTERM, SIGQUIT or SIGHUP, after which [`Engine::join`] returns; a second
    /// signal, unless it is SIGHUP or within 250 ms, ends the process at once with exit code 3. With a
    /// [`Timeouts::drain_delay`](crate::Timeouts::drain_delay) the first one only makes the engine not
    /// ready, and the drain begins after that time, or at the second; then a third cuts. The
    /// signals are caught before anything is bound, and stay caught; SIGQUIT and SIGHUP are not where they were ignored
    /// before, as under nohup(1). Default: they are left alone.
    pub fn drain_on_signal(mut self) -> Self {
        self.drain_on_signal = true;
        self
    }

    /// Serves WebSockets at `path`: an exact path, or `/prefix/*`. Exact paths go before
    /// prefixes, longer prefixes before shorter ones. `factory` makes one handler per connection,
    /// on the thread of its shard; if it panics the handshake is refused with 500.
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
        let shared = options.shared_connection;
        let keeper = options.session.then(|| Arc::clone(&self.sessions.keeper));
        let make = Box::new(move |arrival| {
            let keeper = keeper.as_ref().and_then(|keeper| keeper.get().cloned());
            handler::task(factory(), arrival, shared, keeper)
        });
        let farewell = Box::new(move |farewell| handler::farewell(other(), farewell));
        self.routes.add(path, options, Target::Handler { make, farewell });
        self
    }

    /// How sessions are made and kept, for the routes that [ask for one](RouteOptions::session).
    /// Default: [`SessionSettings::default`].
    pub fn sessions(mut self, settings: SessionSettings) -> Self {
        self.sessions.settings = settings;
        self
    }

    /// Where sessions are kept. Default: in memory, for as long as the engine runs.
    pub fn session_store(mut self, store: impl SessionStore) -> Self {
        self.sessions.store = Some(Arc::new(store));
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
    pub fn simulate(mut self, ring: SimRing) -> SimulatedEngine {
        self.sessions.keeper();
        SimulatedEngine::new(self.settings, self.routes, ring)
    }

    /// One shard on any ring, to be turned by hand; for `benches`.
    #[doc(hidden)]
    pub fn shard_on<R: Ring>(mut self, ring: R) -> Shard<R> {
        self.sessions.keeper();
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
        self.sessions.settings.check()?;
        try_resources(&self.settings)?;
        let signals = self.drain_on_signal.then(super::signals::Signals::catch).transpose();
        let signals = signals.map_err(StartError::Descriptors)?;
        let delay = self.settings.timeouts.drain_delay;
        let sessions = self.sessions.keeper();
        let keeper = Arc::clone(&sessions);
        let running = launch(self.settings, self.routes, |runtime, closer| {
            keeper.start(runtime, move |socket, reason| closer.close(socket, reason));
        })?;
        let handle = EngineHandle::new(running.reach(), sessions);
        if let Some(signals) = signals {
            running.runtime().spawn(signals.drain(handle.clone(), delay));
        }
        Ok(Engine { running, handle })
    }
}
