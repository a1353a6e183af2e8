//! What can be set about sessions. Filled in by programs and by the configuration, checked before
//! an engine starts, and read by the keeper.

use crate::proto::limits;
use std::time::Duration;

/// How sessions are made and kept, the same for all routes that ask for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// The cookie's name, without the prefix `__Host-` that it gets when `secure` is set. Default:
    /// `ringwire`.
    pub cookie_name: String,
    /// Time without activity after which a session ends; an open WebSocket is activity. Default:
    /// [`limits::SESSION_LIFETIME`].
    pub lifetime: Duration,
    /// Age at which a session ends although it is used; its WebSockets are closed with 1008. `None`:
    /// it may become as old as it likes. Default: [`limits::SESSION_AGE_MAX`].
    pub age_max: Option<Duration>,
    /// How long the browser keeps the cookie (`Max-Age`), from the last handshake on. `None`, the
    /// default: until it is closed. The session itself ends by `lifetime`, whatever the browser keeps.
    pub cookie_max_age: Option<Duration>,
    /// Keep the cookie from scripts (`HttpOnly`). Default: yes.
    pub http_only: bool,
    /// Which requests of other sites carry the cookie. Default: [`SameSite::Lax`].
    pub same_site: SameSite,
    /// Send the cookie over TLS only (`Secure`, and the prefix `__Host-`). Default: yes. Browsers
    /// make an exception for `localhost`; a server that is reached by plain `ws://` from elsewhere
    /// must say no.
    pub secure: bool,
    /// Sessions in the store in memory at most. See [`limits::SESSIONS_MAX`].
    pub sessions_max: usize,
    /// Bytes of the keys and values of one session. See [`limits::SESSION_BYTES_MAX`].
    pub session_bytes_max: usize,
    /// Open WebSockets of one session. See [`limits::SESSION_SOCKETS_MAX`].
    pub session_sockets_max: usize,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            cookie_name: "ringwire".into(),
            lifetime: limits::SESSION_LIFETIME,
            age_max: Some(limits::SESSION_AGE_MAX),
            cookie_max_age: None,
            http_only: true,
            same_site: SameSite::Lax,
            secure: true,
            sessions_max: limits::SESSIONS_MAX,
            session_bytes_max: limits::SESSION_BYTES_MAX,
            session_sockets_max: limits::SESSION_SOCKETS_MAX,
        }
    }
}

/// Which requests of other sites carry a cookie (RFC 6265bis §5.6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// None.
    Strict,
    /// Links that are followed; no WebSocket.
    #[default]
    Lax,
    /// All; only with `secure`.
    None,
}

impl SameSite {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// Why sessions cannot be kept as they were set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionSettingsError {
    /// The cookie would have no name that browsers take.
    #[error(
        "`{0}` cannot name a cookie; take 1 to 64 letters, digits, `-` or `_`, without `__Host-`"
    )]
    CookieName(String),
    /// Shorter than a second: ended before it is looked after.
    #[error("a session lifetime or age below 1 s; give it seconds at least")]
    Lifetime,
    /// Browsers refuse it.
    #[error("browsers drop a cookie with SameSite=None that is not Secure; set both or neither")]
    SameSite,
    /// A limit of nothing.
    #[error("a limit of sessions is 0; leave out `session` on the routes instead")]
    Limit,
}

impl SessionSettings {
    /// The name of the cookie as browsers know it.
    pub fn full_cookie_name(&self) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        format!("{prefix}{}", self.cookie_name)
    }

    /// Whether they make sense together.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SessionSettingsError> {
        let name = &self.cookie_name;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        // Browsers compare both prefixes without regard to case.
        let prefixed = ["__host-", "__secure-"];
        let prefixed = prefixed.iter().any(|prefix| name.to_ascii_lowercase().starts_with(prefix));
        if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) || prefixed {
            return Err(SessionSettingsError::CookieName(name.escape_debug().to_string()));
        }
        let age_max = self.age_max.unwrap_or(Duration::MAX);
        if self.lifetime.min(age_max) < Duration::from_secs(1) {
            return Err(SessionSettingsError::Lifetime);
        }
        if self.same_site == SameSite::None && !self.secure {
            return Err(SessionSettingsError::SameSite);
        }
        if [self.sessions_max, self.session_bytes_max, self.session_sockets_max].contains(&0) {
            return Err(SessionSettingsError::Limit);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(change: impl FnOnce(&mut SessionSettings)) -> Result<(), SessionSettingsError> {
        let mut settings = SessionSettings::default();
        change(&mut settings);
        settings.check()
    }

    #[test]
    fn what_browsers_would_drop_is_refused() {
        assert_eq!(checked(|_| {}), Ok(()));
        for name in ["", "a b", "a;b", "a=b", "é", "__Host-a", "__secure-a", "a\n", &"a".repeat(65)]
        {
            let refused = checked(|settings| settings.cookie_name = name.into());
            assert!(matches!(refused, Err(SessionSettingsError::CookieName(_))), "{name:?}");
        }
        let lax_none = checked(|settings| {
            settings.same_site = SameSite::None;
            settings.secure = false;
        });
        assert_eq!(lax_none, Err(SessionSettingsError::SameSite));
        assert_eq!(checked(|settings| settings.same_site = SameSite::None), Ok(()));
        let short = checked(|settings| settings.lifetime = Duration::from_millis(999));
        assert_eq!(short, Err(SessionSettingsError::Lifetime));
        let young = checked(|settings| settings.age_max = Some(Duration::ZERO));
        assert_eq!(young, Err(SessionSettingsError::Lifetime));
        assert_eq!(checked(|settings| settings.age_max = None), Ok(()));
        assert_eq!(
            checked(|settings| settings.session_sockets_max = 0),
            Err(SessionSettingsError::Limit)
        );
    }
}
