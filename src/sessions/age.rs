//! How old a session may become, however much it is used.
//!
//! The keeper asks when it has loaded a session, and the watch every second. The age counts from
//! `created_unix_s` of the record, by the clock of the store, which every process that shares it
//! asks; a rotation does not change it. While a session has WebSockets here, time that only grows
//! decides, whatever becomes of clocks.

use super::id::SessionId;
use super::keeper::SessionKeeper;
use super::record::SessionRecord;
use super::store::StoreError;
use std::time::{Duration, Instant};

/// By so much a session may have been made in the future. What was made later than that was made by
/// a clock that was wrong then, or is set back now.
const CLOCK_SKEW_S: u64 = 60;

/// How the WebSockets of a session are told that it is too old.
pub(super) const TOO_OLD: &str = "the session is too old";

/// When a session ends although it is used; `None`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End(Option<Instant>);

impl End {
    /// Whether it has come.
    pub(super) fn is_over(self) -> bool {
        self.0.is_some_and(|end| end <= Instant::now())
    }

    /// Whether it comes before a session that nobody uses would end.
    pub(super) fn comes_within(self, lifetime: Duration) -> bool {
        self.cut(lifetime) < lifetime
    }

    /// So much of `lifetime` as there is until then.
    pub(super) fn cut(self, lifetime: Duration) -> Duration {
        let left = self.0.map(|end| end.saturating_duration_since(Instant::now()));
        left.map_or(lifetime, |left| left.min(lifetime))
    }
}

impl SessionKeeper {
    /// When a session ends that has this age now.
    pub(super) fn end_of(&self, age: Duration) -> End {
        let left = self.settings.age_max.map(|age_max| age_max.saturating_sub(age));
        // What is later than the clock can count never comes.
        End(left.and_then(|left| Instant::now().checked_add(left)))
    }

    /// When a session ends that was just loaded, at `now_unix_s` by the clock of its store. `None`:
    /// it has ended now, for it is too old.
    pub(super) async fn judge(
        &self,
        id: SessionId,
        record: &SessionRecord,
        now_unix_s: u64,
    ) -> Result<Option<End>, StoreError> {
        let lifetime = self.settings.lifetime;
        let created = record.created_unix_s;
        // Made by a program that did not say when, or by a clock that was wrong: then from now on.
        if created == 0 || created > now_unix_s.saturating_add(CLOCK_SKEW_S) {
            let before = record.clone();
            let after = SessionRecord { created_unix_s: now_unix_s.max(1), ..record.clone() };
            let end = self.end_of(Duration::ZERO);
            // If somebody changes it at this moment, the next one who comes will do it.
            self.ask(move |store| store.replace(id, before, after, lifetime)).await?;
            return Ok(Some(end));
        }
        let end = self.end_of(Duration::from_secs(now_unix_s.saturating_sub(created)));
        if end.is_over() {
            self.end_of_age(id).await?;
            return Ok(None);
        }
        if end.comes_within(lifetime) {
            // The load has let it live for longer.
            self.ask(move |store| store.extend(vec![id], end.cut(lifetime))).await?;
        }
        Ok(Some(end))
    }

    /// Ends a session that is too old.
    pub(super) async fn end_of_age(&self, id: SessionId) -> Result<(), StoreError> {
        self.remove_and_end(id, TOO_OLD).await.0.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::live::SocketKey;
    use super::super::memory::MemoryStore;
    use super::super::settings::SessionSettings;
    use super::super::store::host_unix_s;
    use super::*;
    use std::sync::Arc;

    fn socket(slot: u32) -> SocketKey {
        SocketKey { shard: 0, slot, generation: 0 }
    }

    /// Ages count by time that only grows, so a cookie is good however wrong the clock was.
    #[tokio::test]
    async fn the_store_in_memory_does_not_mind_what_the_clock_said_at_the_start() {
        let (now_s, days_s) = (host_unix_s(), 400 * 86_400);
        for began_s in [0, 1, now_s - days_s, now_s + days_s, u64::MAX] {
            let store = Arc::new(MemoryStore::began_at(10, began_s));
            let keeper = Arc::new(SessionKeeper::new(SessionSettings::default(), Some(store)));
            let mut first = keeper.admit(None, socket(0)).await.unwrap();
            let cookie = keeper.conclude(&mut first, false).await.unwrap().unwrap();
            assert!(!cookie.contains("Expires"), "a date would be judged by another clock");
            let token = cookie.split(['=', ';']).nth(1);
            first.visit.with(|values| values.set("user", "ada")).await.unwrap();
            first.visit.leave();
            for slot in 1..4 {
                let again = keeper.admit(token, socket(slot)).await.unwrap();
                let user = again.visit.with(|values| values.get("user").map(str::to_owned)).await;
                assert_eq!(user.unwrap().as_deref(), Some("ada"), "{began_s}");
                again.visit.leave();
            }
        }
    }

    #[test]
    fn an_age_that_no_clock_counts_to_never_comes() {
        let settings = SessionSettings { age_max: Some(Duration::MAX), ..Default::default() };
        let keeper = SessionKeeper::new(settings, None);
        assert_eq!(keeper.end_of(Duration::ZERO), End(None));
        assert!(keeper.end_of(Duration::MAX).is_over());
    }
}
