//! How old a session may become, however much it is used.
//!
//! The keeper asks when it has loaded a session, and the watch every second. The age counts from
//! `created_unix_s` of the record, which every process that shares the store sees; a rotation does
//! not change it.

use super::id::SessionId;
use super::keeper::{SessionKeeper, unix_s};
use super::record::SessionRecord;
use super::store::StoreError;
use std::time::{Duration, Instant};

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
    /// When a session ends that was made then.
    pub(super) fn end_of(&self, created_unix_s: u64) -> End {
        let age = Duration::from_secs(unix_s().saturating_sub(created_unix_s));
        let left = self.settings.age_max.map(|age_max| age_max.saturating_sub(age));
        End(left.map(|left| Instant::now() + left))
    }

    /// When a session ends that was just loaded. `None`: it has ended now, for it is too old.
    pub(super) async fn judge(
        &self,
        id: SessionId,
        record: &SessionRecord,
    ) -> Result<Option<End>, StoreError> {
        let lifetime = self.settings.lifetime;
        if record.created_unix_s == 0 {
            // Made by a program that did not say when: then from now on.
            let before = record.clone();
            let after = SessionRecord { created_unix_s: unix_s(), ..record.clone() };
            let end = self.end_of(after.created_unix_s);
            // If somebody changes it at this moment, the next one who comes will do it.
            self.ask(move |store| store.replace(id, before, after, lifetime)).await?;
            return Ok(Some(end));
        }
        let end = self.end_of(record.created_unix_s);
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
