//! What names a session, and what proves that it is one's own.
//!
//! The cookie carries 192 random bits that only the browser has: the token. The session's id is the
//! hash of it. Stores, logs, metrics and operators see the id alone, and none of them can take over
//! a session with it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Bytes of a token and of an id: 192 bits, 32 characters of base64url without padding.
const BYTES: usize = 24;
const CHARACTERS: usize = 32;

/// Names a session; no secret. The first 24 bytes of the SHA-256 of the cookie's value, in base64url
/// (32 characters).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; BYTES]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// The text is not the id of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id is 32 characters of base64url")]
pub struct NotAnId;

impl FromStr for SessionId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        decode(text).map(Self).ok_or(NotAnId)
    }
}

/// The value of a session cookie: who has it has the session.
pub(super) struct Token(String);

impl Token {
    /// A token that nobody can guess (getrandom(2)).
    pub(super) fn new() -> std::io::Result<Self> {
        let mut bytes = [0; BYTES];
        let mut filled = 0;
        while filled < BYTES {
            let rest = &mut bytes[filled..];
            match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// A cookie's value, if it has the form of a token.
    pub(super) fn parse(value: &str) -> Option<Self> {
        decode(value).map(|_| Self(value.to_owned()))
    }

    /// The session that this token is for, whether there is one or not.
    pub(super) fn id(&self) -> SessionId {
        let digest: [u8; 32] = Sha256::digest(self.0.as_bytes()).into();
        let mut id = [0; BYTES];
        id.copy_from_slice(&digest[..BYTES]);
        SessionId(id)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// 32 characters are 24 bytes in exactly one way.
fn decode(text: &str) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let whole = text.len() == CHARACTERS;
    let decoded = whole.then(|| BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes));
    matches!(decoded, Some(Ok(BYTES))).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tokens_differ_and_their_ids_are_not_they() {
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            let token = Token::new().unwrap();
            assert_eq!(token.as_str().len(), CHARACTERS);
            let id = Token::parse(token.as_str()).unwrap().id();
            assert_ne!(id.to_string(), token.as_str());
            assert_eq!(id.to_string().parse(), Ok(id));
            assert!(seen.insert(token.as_str().to_owned()) && seen.insert(id.to_string()));
        }
    }

    /// As docs/sessions.md tells other programs to compute it.
    #[test]
    fn the_id_is_the_beginning_of_a_sha_256() {
        let token = Token::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        assert_eq!(token.id().to_string(), "IqSAUVlMGUne7XBAhQwfD4dkU39Rkb5W");
    }

    #[test]
    fn what_is_no_token_is_none() {
        for value in [
            "",
            "x",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAé",
        ] {
            assert!(Token::parse(value).is_none(), "{value:?}");
            assert_eq!(value.parse::<SessionId>(), Err(NotAnId));
        }
    }
}
