//! What all requests share: the engine's handle, the guard, and the budgets of what is limited
//! together. Made at the start and given to every request; it decides nothing.

use super::answer::Answers;
use super::attempt::Attempts;
use super::budget::Budget;
use super::error::ApiError;
use super::guard::Guard;
use super::limits::{
    BODIES_BYTES_MAX, EVENT_STREAMS_MAX, HEAD_BYTES_MAX, READ_ONLY_EVENT_STREAMS_MAX,
    SHARD_TIMEOUT, Times,
};
use crate::{EngineHandle, LogQueue, MemoryClass};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Time between the end of a connection and giving back what it had.
const TIDY_PAUSE: Duration = Duration::from_secs(5);

/// Shared by every connection of a control plane.
pub(super) struct Plane {
    pub(super) engine: EngineHandle,
    pub(super) guard: Guard,
    /// Requests that may come twice.
    pub(super) attempts: Attempts,
    /// The memory for bodies.
    pub(super) bodies: Arc<Budget>,
    /// The memory for answers.
    pub(super) answers: Answers,
    /// One permit a stream of events.
    pub(super) event_streams: Arc<Semaphore>,
    /// Another one for each of the read-only token.
    pub(super) read_only_event_streams: Arc<Semaphore>,
    pub(super) times: Times,
    pub(super) counts: Counts,
    /// The log of the program, if it counts its lines.
    pub(super) log: Option<LogQueue>,
    /// Somebody is about to give memory back.
    pub(super) tidies: AtomicBool,
}

impl Plane {
    pub(super) fn new(engine: EngineHandle, guard: Guard) -> Self {
        Self {
            engine,
            guard,
            attempts: Attempts::new(),
            bodies: Budget::new(BODIES_BYTES_MAX),
            answers: Answers::new(),
            event_streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            read_only_event_streams: Arc::new(Semaphore::new(READ_ONLY_EVENT_STREAMS_MAX)),
            times: Times::default(),
            counts: Counts::default(),
            log: None,
            tidies: AtomicBool::new(false),
        }
    }

    /// A connection has ended: what the last ones have freed is given to the system in a while, by
    /// the thread that has it.
    pub(super) fn tidy_soon(self: Arc<Self>) {
        if !self.tidies.swap(true, Ordering::Relaxed) {
            tokio::spawn(async move {
                sleep(TIDY_PAUSE).await;
                self.tidies.store(false, Ordering::Relaxed);
                crate::engine::tidy();
            });
        }
    }

    /// The memory of its requests and answers, and of a head for each of its connections, as if it
    /// was as long as it may be.
    pub(super) fn memory(&self) -> MemoryClass {
        let connections = self.counts.connections.load(Ordering::Relaxed);
        let heads = MemoryClass::new(connections * HEAD_BYTES_MAX as u64, 0, 0);
        [self.bodies.memory(), self.answers.memory(), heads].into_iter().sum()
    }

    /// What the shards answer, if they do.
    pub(super) async fn ask<T>(&self, answer: impl Future<Output = T>) -> Result<T, ApiError> {
        timeout(SHARD_TIMEOUT, answer).await.map_err(|_| {
            let message = "a shard does not answer: one of its handlers blocks its thread";
            ApiError::new(503, "stuck", message, "GET /healthz tells; end or mend the handler")
                .retry_after_s(5)
        })
    }
}

/// A connection that is being served.
pub(super) struct Present(Arc<Plane>);

impl Present {
    pub(super) fn new(plane: &Arc<Plane>) -> Self {
        plane.counts.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(plane))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.counts.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the control plane itself has done.
#[derive(Default)]
pub(super) struct Counts {
    /// Connections that are being served.
    connections: AtomicU64,
    /// Answers by class of status: 1xx to 5xx.
    pub(super) answers: [AtomicU64; 5],
    /// Connections refused because there were too many.
    pub(super) connections_refused: AtomicU64,
    /// Connections that made room for others.
    pub(super) connections_displaced: AtomicU64,
    /// Connections closed because their clients did not take an answer.
    pub(super) connections_stuck: AtomicU64,
}

impl Counts {
    pub(super) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).wrapping_sub(1);
        if let Some(count) = self.answers.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
