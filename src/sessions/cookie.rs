//! The session cookie on its way to the browser (RFC 6265bis). Asked by the keeper when it admits
//! or rotates; how a cookie is read is the request's.

use super::id::Token;
use super::settings::SessionSettings;
use std::fmt::Write;

/// The value of the `Set-Cookie` that hands a token out. Always for the whole host and for no
/// other: `Path=/` and no `Domain`, which the prefix `__Host-` makes browsers insist on.
pub(super) fn set_cookie(settings: &SessionSettings, token: &Token) -> String {
    let mut cookie = format!("{}={}; Path=/", settings.full_cookie_name(), token.as_str());
    if let Some(age) = settings.cookie_max_age {
        // Writing to a `String` cannot fail.
        let _ = write!(cookie, "; Max-Age={}", age.as_secs());
    }
    if settings.http_only {
        cookie.push_str("; HttpOnly");
    }
    if settings.secure {
        cookie.push_str("; Secure");
    }
    cookie.push_str("; SameSite=");
    cookie.push_str(settings.same_site.as_str());
    cookie
}

#[cfg(test)]
mod tests {
    use super::super::settings::SameSite;
    use super::*;
    use std::time::Duration;

    #[test]
    fn attributes_follow_the_settings() {
        let token = Token::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        let value = token.as_str();
        assert_eq!(
            set_cookie(&SessionSettings::default(), &token),
            format!("__Host-ringwire={value}; Path=/; HttpOnly; Secure; SameSite=Lax")
        );
        let open = SessionSettings {
            cookie_name: "s".into(),
            cookie_max_age: Some(Duration::from_secs(60)),
            http_only: false,
            secure: false,
            same_site: SameSite::Strict,
            ..SessionSettings::default()
        };
        assert_eq!(
            set_cookie(&open, &token),
            format!("s={value}; Path=/; Max-Age=60; SameSite=Strict")
        );
    }
}
