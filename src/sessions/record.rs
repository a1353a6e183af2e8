//! What a session holds: texts by key, and two facts of its own. Plain data between stores and
//! handlers, with the measure of how much of it there may be.

use crate::proto::limits::SESSION_VALUES_MAX;
use std::collections::BTreeMap;

/// Keys that begin so are not for applications: stores may put facts of their own beside the values.
pub(super) const RESERVED_PREFIX: &str = "ringwire.";

/// The values of a session: texts by key, as any language and Redis can read and write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionValues(BTreeMap<String, String>);

impl SessionValues {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets a value, and returns the one before. Keys that begin with `ringwire.` are reserved, and
    /// the size is limited; both is found out when the closure of `Session::with` has returned.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) -> Option<String> {
        self.0.insert(key.into(), value.into())
    }

    /// Removes a value and returns it.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    /// Removes all values: somebody has logged out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All keys and values, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    pub(super) fn fits(&self, bytes_max: usize) -> bool {
        self.len() <= SESSION_VALUES_MAX && self.bytes() <= bytes_max
    }

    pub(super) fn has_reserved(&self) -> bool {
        self.0.keys().any(|key| key.starts_with(RESERVED_PREFIX))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for SessionValues {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// What a store keeps of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRecord {
    /// The application's values.
    pub values: SessionValues,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: u64,
    /// The next handshake is to give it a new cookie.
    pub rotation_due: bool,
}
