//! One shard on the simulator's ring: the engine of `tests/sim`. Called by nobody else.
//!
//! What `launch` does with threads, sockets and the kernel, done without any of them; from the
//! shard down it is the same code.

use crate::clock::TimeOfDay;
use crate::engine::commands::dispatch::{Exit, Reach};
use crate::engine::commands::mailbox::Mailbox;
use crate::engine::connection::places::Places;
use crate::engine::handlers::routes::Routes;
use crate::engine::model::counters::Totals;
use crate::engine::model::events::Events;
use crate::engine::model::ids::Ids;
use crate::engine::model::settings::Settings;
use crate::engine::shard::{Shard, ShardParts};
use crate::ring::sim::SimRing;
use crate::ring::{AddressFamily, Errno, Ring};
use std::sync::{Arc, Weak};

/// A shard that a test turns by hand.
pub struct SimulatedEngine {
    shard: Shard<SimRing>,
    reach: Arc<Reach>,
}

impl SimulatedEngine {
    /// Accepts on the first listener of `ring`, at most `settings.connections_max` connections.
    pub(crate) fn new(settings: Settings, routes: Routes, ring: SimRing) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.bell().set_doorbell(ring.doorbell());
        let connections_max = settings.connections_max.unwrap_or(ring.slots());
        let parts = ShardParts {
            connections_max,
            places: Arc::new(Places::new(connections_max, &settings)),
            settings: Arc::new(settings),
            routes: Arc::new(routes),
            mailbox: Arc::clone(&mailbox),
            families: vec![Some(AddressFamily::V4)],
            ids: Ids::new(),
            events: Arc::new(Events::new(1, TimeOfDay::Invented, 1)),
            shards: 1,
            memory: Arc::default(),
        };
        let reach = Reach {
            mailboxes: vec![mailbox],
            ids: parts.ids.clone(),
            routes: parts.routes.statuses(),
            events: Arc::clone(&parts.events),
            connections_max: u64::from(connections_max),
            exit: Exit::default(),
            listeners: Weak::new(),
            memory: Arc::default(),
        };
        Self { shard: Shard::new(ring, parts), reach: Arc::new(reach) }
    }

    /// What reaches the shard: from the thread that turns it, because its time is invented.
    pub(crate) fn reach(&self) -> Arc<Reach> {
        Arc::clone(&self.reach)
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
        self.reach.drain();
    }

    /// Connections and handlers there are.
    pub fn population(&self) -> (u32, usize) {
        self.shard.population()
    }

    /// What connections hold beyond their limits: as the shard accounts for it, and as it is.
    pub fn growth_bytes(&self) -> (usize, usize) {
        let core = &self.shard.core;
        (core.account.used_bytes(), core.held_growth_bytes())
    }

    /// Addresses that hold something of that.
    pub fn growing_addresses(&self) -> usize {
        self.shard.core.account.networks()
    }

    /// Something that is to be done and that nobody will look at again, if there is such a thing: asked
    /// between two batches.
    pub fn forgotten(&self) -> Option<String> {
        self.shard.forgotten()
    }

    /// Counts so far.
    pub fn totals(&self) -> Totals {
        self.shard.totals()
    }
}
