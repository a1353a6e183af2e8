//! The store that processes share: each session is a hash in Redis, as docs/sessions.md describes
//! it for programs in other languages.
//!
//! Asked by the keeper. It knows no WebSocket, and keeps nothing of a session in memory.

use super::id::SessionId;
use super::record::{RESERVED_PREFIX, SessionRecord};
use super::store::{Replaced, SessionStore, StoreCall, StoreError};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, cmd};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

/// Seconds since 1970.
const CREATED: &str = "ringwire.created";
/// Present and not `0`: the next handshake rotates.
const ROTATE: &str = "ringwire.rotate";

/// Time for one answer, and for a connection; less than the keeper's patience.
const TIMEOUT: Duration = Duration::from_secs(1);

/// KEYS: session. ARGV: lifetime in ms, count and pairs of the values before, count and keys to
/// remove, pairs to set. Returns whether it is done, and if not the fields, of which a session that
/// is missing has none.
const REPLACE: &str = r"
local fields = redis.call('HGETALL', KEYS[1])
if #fields == 0 then return {0, fields} end
local at = 2
local count, before = tonumber(ARGV[at]), {}
for i = 1, count do
  before[ARGV[at + 1]] = ARGV[at + 2]
  at = at + 2
end
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 9) ~= 'ringwire.' then
    if before[fields[i]] ~= fields[i + 1] then return {0, fields} end
    count = count - 1
  end
end
if count ~= 0 then return {0, fields} end
at = at + 1
for i = 1, tonumber(ARGV[at]) do
  at = at + 1
  redis.call('HDEL', KEYS[1], ARGV[at])
end
for i = at + 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {1, {}}";

/// KEYS: the session, its new name. ARGV: lifetime in ms. 1 done, 0 missing.
const RENAME: &str = r"
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('HDEL', KEYS[2], 'ringwire.rotate')
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return 1";

/// Keeps sessions in a Redis server (7 or newer is what it is tested with), so that other
/// processes, in any language, share and revoke them.
///
/// Connects at the first session, and again after a failure; meanwhile handshakes that need a
/// session get 503. One connection serves all shards.
pub struct RedisStore {
    client: Client,
    key_prefix: String,
    manager: OnceLock<ConnectionManager>,
}

impl RedisStore {
    /// A store at a URL: `redis://[:PASSWORD@]HOST[:PORT][/DATABASE]`, or
    /// `redis+unix:///PATH`. Does not connect yet.
    ///
    /// # Errors
    ///
    /// If it is no such URL.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let client = Client::open(url).map_err(|error| {
            StoreError::new(format!("not a URL of Redis: {error}; give redis://HOST:PORT/DATABASE"))
        })?;
        let key_prefix = "ringwire:session:".into();
        Ok(Self { client, key_prefix, manager: OnceLock::new() })
    }

    /// What stands before a session's id in its key. Default: `ringwire:session:`.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    fn key(&self, id: SessionId) -> String {
        format!("{}{id}", self.key_prefix)
    }

    /// The one connection, of which all use clones. Called inside the runtime.
    fn manager(&self) -> RedisResult<ConnectionManager> {
        if let Some(manager) = self.manager.get() {
            return Ok(manager.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_number_of_retries(1);
        let manager = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        Ok(self.manager.get_or_init(|| manager).clone())
    }

    async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, StoreError> {
        let mut manager = self.manager().map_err(failed)?;
        command.query_async(&mut manager).await.map_err(failed)
    }

    async fn ask_all<T: FromRedisValue>(&self, pipeline: Pipeline) -> Result<T, StoreError> {
        let mut manager = self.manager().map_err(failed)?;
        pipeline.query_async(&mut manager).await.map_err(failed)
    }
}

impl SessionStore for RedisStore {
    fn create(
        &self,
        id: SessionId,
        record: SessionRecord,
        lifetime: Duration,
    ) -> StoreCall<'_, ()> {
        let key = self.key(id);
        let mut create = Pipeline::new();
        create.atomic().cmd("HSET").arg(&key);
        create.arg(CREATED).arg(record.created_unix_s);
        if record.rotation_due {
            create.arg(ROTATE).arg(1);
        }
        for (name, value) in record.values.iter() {
            create.arg(name).arg(value);
        }
        create.ignore().cmd("PEXPIRE").arg(&key).arg(millis(lifetime)).ignore();
        StoreCall::new(self.ask_all(create))
    }

    fn load(&self, id: SessionId, lifetime: Duration) -> StoreCall<'_, Option<SessionRecord>> {
        let key = self.key(id);
        let mut load = Pipeline::new();
        load.cmd("HGETALL").arg(&key).cmd("PEXPIRE").arg(&key).arg(millis(lifetime)).ignore();
        StoreCall::new(async move {
            let (fields,): (BTreeMap<String, String>,) = self.ask_all(load).await?;
            Ok(record(fields))
        })
    }

    fn replace(
        &self,
        id: SessionId,
        before: SessionRecord,
        after: SessionRecord,
        lifetime: Duration,
    ) -> StoreCall<'_, Replaced> {
        let mut replace = cmd("EVAL");
        replace.arg(REPLACE).arg(1).arg(self.key(id)).arg(millis(lifetime));
        replace.arg(before.values.len());
        for (name, value) in before.values.iter() {
            replace.arg(name).arg(value);
        }
        let gone = before.values.iter().filter(|(name, _)| after.values.get(name).is_none());
        let gone: Vec<&str> = gone.map(|(name, _)| name).collect();
        replace.arg(gone.len()).arg(gone);
        let changed = after.values.iter();
        for (name, value) in changed.filter(|(name, new)| before.values.get(name) != Some(new)) {
            replace.arg(name).arg(value);
        }
        // A hash without a field would be no session.
        replace.arg(CREATED).arg(after.created_unix_s);
        if after.rotation_due {
            replace.arg(ROTATE).arg(1);
        }
        StoreCall::new(async move {
            let (done, fields): (bool, BTreeMap<String, String>) = self.ask(replace).await?;
            Ok(match record(fields) {
                _ if done => Replaced::Done,
                Some(now) => Replaced::Conflict(now),
                None => Replaced::Missing,
            })
        })
    }

    fn rename(&self, old: SessionId, new: SessionId, lifetime: Duration) -> StoreCall<'_, bool> {
        let mut rename = cmd("EVAL");
        rename.arg(RENAME).arg(2).arg(self.key(old)).arg(self.key(new)).arg(millis(lifetime));
        StoreCall::new(self.ask(rename))
    }

    fn remove(&self, id: SessionId) -> StoreCall<'_, bool> {
        let mut remove = cmd("DEL");
        remove.arg(self.key(id));
        StoreCall::new(self.ask(remove))
    }

    fn missing(&self, ids: Vec<SessionId>) -> StoreCall<'_, Vec<SessionId>> {
        StoreCall::new(async move {
            if ids.is_empty() {
                return Ok(ids);
            }
            // One question as long as nothing is missing, which is nearly always.
            let mut count = cmd("EXISTS");
            for id in &ids {
                count.arg(self.key(*id));
            }
            if self.ask::<usize>(count).await? == ids.len() {
                return Ok(Vec::new());
            }
            let mut each = Pipeline::new();
            for id in &ids {
                each.cmd("EXISTS").arg(self.key(*id));
            }
            Ok(without(ids, &self.ask_all::<Vec<bool>>(each).await?))
        })
    }

    fn extend(&self, ids: Vec<SessionId>, lifetime: Duration) -> StoreCall<'_, Vec<SessionId>> {
        StoreCall::new(async move {
            if ids.is_empty() {
                return Ok(ids);
            }
            let mut each = Pipeline::new();
            for id in &ids {
                each.cmd("PEXPIRE").arg(self.key(*id)).arg(millis(lifetime));
            }
            Ok(without(ids, &self.ask_all::<Vec<bool>>(each).await?))
        })
    }

    /// By the clock of the server, which all its clients have in common.
    fn unix_s(&self) -> StoreCall<'_, u64> {
        StoreCall::new(async move {
            let (seconds, _micros): (u64, u64) = self.ask(cmd("TIME")).await?;
            Ok(seconds.max(1))
        })
    }
}

/// A session's fields; none: no session.
fn record(fields: BTreeMap<String, String>) -> Option<SessionRecord> {
    if fields.is_empty() {
        return None;
    }
    let created = fields.get(CREATED).and_then(|text| text.parse().ok());
    let rotate = fields.get(ROTATE).is_some_and(|text| text != "0" && !text.is_empty());
    let values = fields.into_iter().filter(|(name, _)| !name.starts_with(RESERVED_PREFIX));
    Some(SessionRecord {
        values: values.collect(),
        created_unix_s: created.unwrap_or(0),
        rotation_due: rotate,
    })
}

fn without(ids: Vec<SessionId>, found: &[bool]) -> Vec<SessionId> {
    let missing = ids.into_iter().zip(found).filter(|(_, found)| !**found);
    missing.map(|(id, _)| id).collect()
}

fn millis(lifetime: Duration) -> u64 {
    // 300 years and more are an error to Redis.
    u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).min(i64::MAX as u64 / 1_000_000)
}

fn failed(error: RedisError) -> StoreError {
    let kind = if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
        "is Redis up and reachable?"
    } else {
        "is this key a session's hash of texts?"
    };
    let cause = error.to_string();
    StoreError::new(format!("{}; {kind}", cause.lines().next().unwrap_or_default()))
}
