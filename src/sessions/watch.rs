//! Looks after the sessions of open WebSockets: they live on, and those that somebody else has
//! ended are closed.

use super::id::SessionId;
use super::keeper::SessionKeeper;
use super::store::StoreError;
use crate::proto::limits::SESSION_CHECK_INTERVAL;
use std::sync::Weak;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Sessions asked about in one call of the store.
const IDS_PER_CALL: usize = 1_000;

/// Goes on until the engine is gone.
pub(super) async fn watch(keeper: Weak<SessionKeeper>) {
    let Some(lifetime) = keeper.upgrade().map(|keeper| keeper.settings.lifetime) else { return };
    // A quarter, so that one or two that fail do not end a session that is in use.
    let patience = lifetime / 4;
    let mut ticks = interval(SESSION_CHECK_INTERVAL.min(patience));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut extended = Instant::now();
    let mut failing = false;
    loop {
        ticks.tick().await;
        let Some(keeper) = keeper.upgrade() else { return };
        let extend = extended.elapsed() >= patience;
        let checked = keeper.check(extend).await;
        match &checked {
            Ok(()) if extend => extended = Instant::now(),
            Err(error) if !failing => {
                tracing::warn!(%error, "sessions are not looked after; revocations wait");
            }
            _ => {}
        }
        failing = checked.is_err();
    }
}

impl SessionKeeper {
    /// Asks about every session that has a WebSocket here. What the store does not have has
    /// expired, or was ended elsewhere.
    async fn check(&self, extend: bool) -> Result<(), StoreError> {
        let mut last = None;
        loop {
            let ids = self.live.after(last, IDS_PER_CALL);
            last = ids.last().copied().or(last);
            let whole = ids.len() == IDS_PER_CALL;
            self.end_missing(ids, extend).await?;
            if !whole {
                return Ok(());
            }
        }
    }

    async fn end_missing(&self, ids: Vec<SessionId>, extend: bool) -> Result<(), StoreError> {
        let lifetime = self.settings.lifetime;
        let missing = match extend {
            true => self.ask(move |store| store.extend(ids, lifetime)).await?,
            false => self.ask(move |store| store.missing(ids)).await?,
        };
        for id in missing {
            // A rotation may have begun since: the old id is missing, and nothing is wrong.
            if !self.live.is_rotating(id) {
                self.end(id, "the session has ended");
            }
        }
        Ok(())
    }
}
