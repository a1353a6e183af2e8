//! Section `[sessions]`: the sessions of the routes that ask for one.

use super::{Contradiction, Secret, as_millis};
use crate::{SameSite, SessionSettings};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Section `[sessions]`, in milliseconds where it is about time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the table in `keys` says it, and `config --print-default` prints it"
)]
pub struct Sessions {
    pub cookie_name: String,
    pub lifetime_ms: u64,
    pub age_max_ms: u64,
    pub cookie_max_age_ms: u64,
    pub http_only: bool,
    pub same_site: String,
    pub secure: bool,
    pub kept_max: usize,
    pub bytes_max: usize,
    pub sockets_max: usize,
    pub redis: Secret,
}

impl Default for Sessions {
    fn default() -> Self {
        let settings = SessionSettings::default();
        Self {
            cookie_name: settings.cookie_name,
            lifetime_ms: as_millis(settings.lifetime),
            age_max_ms: settings.age_max.map_or(0, as_millis),
            cookie_max_age_ms: settings.cookie_max_age.map_or(0, as_millis),
            http_only: settings.http_only,
            same_site: "lax".into(),
            secure: settings.secure,
            kept_max: settings.sessions_max,
            bytes_max: settings.session_bytes_max,
            sockets_max: settings.session_sockets_max,
            redis: Secret::default(),
        }
    }
}

impl Sessions {
    /// What the engine is told, but for the store.
    pub fn to_settings(&self) -> SessionSettings {
        let unless_zero = |ms: u64| (ms > 0).then_some(Duration::from_millis(ms));
        SessionSettings {
            cookie_name: self.cookie_name.clone(),
            lifetime: Duration::from_millis(self.lifetime_ms),
            age_max: unless_zero(self.age_max_ms),
            cookie_max_age: unless_zero(self.cookie_max_age_ms),
            http_only: self.http_only,
            same_site: match self.same_site.as_str() {
                "strict" => SameSite::Strict,
                "none" => SameSite::None,
                _ => SameSite::Lax,
            },
            secure: self.secure,
            sessions_max: self.kept_max,
            session_bytes_max: self.bytes_max,
            session_sockets_max: self.sockets_max,
        }
    }

    /// The rules that tie the keys of this section together, and to how the program was built.
    pub(super) fn check(&self) -> Result<(), Contradiction> {
        if let Err(error) = self.to_settings().check() {
            // Every other rule is that of a single key.
            let message = format!("`sessions.same_site`: {error}");
            return Err(Contradiction {
                keys: &["sessions.same_site", "sessions.secure"],
                message,
            });
        }
        if cfg!(not(feature = "redis")) && self.redis.reveal().is_some() {
            let message = "`sessions.redis` needs a program built with the feature redis; build it \
                        with --features redis, or leave the key out";
            return Err(Contradiction { keys: &["sessions.redis"], message: message.into() });
        }
        Ok(())
    }
}
