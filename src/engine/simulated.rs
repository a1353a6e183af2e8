//! One shard on the simulator's ring: the engine of `tests/sim`. Called by nobody else.
//!
//! What `launch` does with threads, sockets and the kernel, done without any of
//! them; from the shard down it is the same code.

use super::core::Totals;
use super::ids::Ids;
use super::remote::{Command, Remote};
use super::routes::Routes;
use super::settings::Settings;
use super::shard::{Shard, ShardParts};
use crate::ring::sim::SimRing;
use crate::ring::{AddressFamily, Errno, Ring};
use std::sync::Arc;

/// A shard that a test turns by hand.
pub struct SimulatedEngine {
    shard: Shard<SimRing>,
    remote: Arc<Remote>,
}

impl SimulatedEngine {
    /// Accepts on the first listener of `ring`, at most `settings.connections_max` connections.
    pub(crate) fn new(settings: Settings, routes: Routes, ring: SimRing) -> Self {
        let remote = Arc::new(Remote::new());
        remote.set_doorbell(ring.doorbell());
        let parts = ShardParts {
            connections_max: settings.connections_max.unwrap_or(ring.slots()),
            settings: Arc::new(settings),
            routes: Arc::new(routes),
            remote: Arc::clone(&remote),
            families: vec![Some(AddressFamily::V4)],
            ids: Ids::new(),
        };
        Self { shard: Shard::new(ring, parts), remote }
    }

    /// One batch. `false` once a drain is complete.
    ///
    /// # Errors
    ///
    /// None with a simulated ring.
    pub fn turn(&mut self) -> Result<bool, Errno> {
        self.shard.turn()
    }

    /// Starts a drain, as a running engine is drained.
    pub fn drain(&self) {
        self.remote.send(Command::Drain);
    }

    /// Connections and handlers there are.
    pub fn population(&self) -> (u32, usize) {
        self.shard.population()
    }

    /// Bytes by which inboxes exceed their limit, as the shard accounts for them.
    pub fn inbox_growth_bytes(&self) -> usize {
        self.shard.core.inbox_growth_bytes.get()
    }

    /// Counts so far.
    pub fn totals(&self) -> Totals {
        self.shard.totals()
    }
}
