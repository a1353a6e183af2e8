//! Looks after the sessions of open WebSockets: they live on, and those that somebody else has
//! ended are closed. One task of the keeper, on the runtime beside the shards, for as long as the
//! engine runs.

use super::age::TOO_OLD;
use super::keeper::SessionKeeper;
use super::live::Seen;
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
        // A store that panics ends this look, and not those after it.
        let look = tokio::spawn(async move { keeper.check(extend).await });
        let panicked = |_| Err(StoreError::new("it has panicked"));
        let checked = look.await.unwrap_or_else(panicked);
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
    /// expired, or was ended elsewhere; what is too old is ended.
    async fn check(&self, extend: bool) -> Result<(), StoreError> {
        let mut last = None;
        loop {
            let sessions = self.live.after(last, IDS_PER_CALL);
            last = sessions.last().map(|seen| seen.id).or(last);
            let whole = sessions.len() == IDS_PER_CALL;
            let (old, mut young): (Vec<_>, Vec<_>) =
                sessions.into_iter().partition(|seen| seen.end.is_over());
            self.end_old(old).await;
            // What has no values is in no store that could miss it.
            young.retain(|seen| seen.stored);
            self.end_missing(young, extend).await?;
            if !whole {
                return Ok(());
            }
        }
    }

    async fn end_old(&self, sessions: Vec<Seen>) {
        for seen in sessions {
            // What a store that fails keeps of it expires, and nobody is admitted to it.
            let _ = self.end_of_age(seen.id).await;
        }
    }

    async fn end_missing(&self, sessions: Vec<Seen>, extend: bool) -> Result<(), StoreError> {
        let lifetime = self.settings.lifetime;
        let (last, others): (Vec<_>, Vec<_>) =
            sessions.into_iter().partition(|seen| extend && seen.end.comes_within(lifetime));
        let ids = others.into_iter().map(|seen| seen.id).collect();
        let mut missing = match extend {
            true => self.ask(move |store| store.extend(ids, lifetime)).await?,
            false => self.ask(move |store| store.missing(ids)).await?,
        };
        // Those in the last of their time have each their own.
        for Seen { id, end, .. } in last {
            missing.extend(self.ask(move |s| s.extend(vec![id], end.cut(lifetime))).await?);
        }
        for id in missing {
            // A rotation may have begun since: the old id is missing, and nothing is wrong. Or
            // somebody here ends it and says why.
            if self.live.is_changing(id) {
                continue;
            }
            // It may have come of age since, and the store drops it at that very moment.
            let too_old = self.live.place(id).is_some_and(|place| place.end.is_over());
            self.end(id, if too_old { TOO_OLD } else { "the session has ended" });
        }
        Ok(())
    }
}
