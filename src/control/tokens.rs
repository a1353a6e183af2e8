//! The tokens that open the control plane.
//!
//! Owns how a token is made, and how one is compared: in a time that says nothing about it.
//! [`guard`](super::guard) asks. No token is ever logged.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustix::rand::{GetRandomFlags, getrandom};
use std::hint::black_box;
use std::io;

/// Random bytes of a token that is made here: as hard to guess as a key.
const TOKEN_BYTES: usize = 24;

/// Characters of a token: as many as cannot be guessed, and as few as fit into a header.
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 16..=256;

/// Whether `text` can be sent as it is behind `Bearer` (RFC 6750 §2.1) and is long enough.
pub(crate) fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    TOKEN_CHARS.contains(&text.len()) && text.bytes().all(allowed)
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everything.
    Operator,
    /// Look at lists, status, events and metrics.
    ReadOnly,
}

/// The tokens of this process.
pub(super) struct Tokens {
    operator: String,
    read_only: Option<String>,
}

impl Tokens {
    pub(super) fn new(operator: String, read_only: Option<String>) -> Self {
        Self { operator, read_only }
    }

    /// What `given` opens.
    pub(super) fn access(&self, given: &str) -> Option<Access> {
        // Both are always compared.
        let is_operator = is_equal(&self.operator, given);
        let is_read_only = self.read_only.as_ref().is_some_and(|token| is_equal(token, given));
        match (is_operator, is_read_only) {
            (true, _) => Some(Access::Operator),
            (_, true) => Some(Access::ReadOnly),
            _ => None,
        }
    }
}

/// Compares in a time that depends on `given` alone.
fn is_equal(secret: &str, given: &str) -> bool {
    let (secret, given) = (secret.as_bytes(), given.as_bytes());
    let mut difference = usize::from(secret.len() != given.len()) | usize::from(secret.is_empty());
    for (index, byte) in given.iter().enumerate() {
        let known = secret.get(index % secret.len().max(1)).copied().unwrap_or_default();
        difference |= usize::from(black_box(known ^ byte));
    }
    black_box(difference) == 0
}

/// A token nobody can guess.
pub(super) fn random() -> io::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let token = random().expect("random bytes");
        assert_eq!(token.len(), 32);
        assert_ne!(token, random().expect("random bytes"));
        let tokens = Tokens::new(token.clone(), Some("a-read-only-token".into()));
        assert_eq!(tokens.access(&token), Some(Access::Operator));
        assert_eq!(tokens.access("a-read-only-token"), Some(Access::ReadOnly));
        let twice = format!("{token}{token}");
        for wrong in ["", "a", &token[1..], &token[..31], &twice, "a-read-only-tokeN"] {
            assert_eq!(tokens.access(wrong), None, "{wrong}");
        }
        assert_eq!(Tokens::new(token, None).access(""), None);
        assert_eq!(Tokens::new(String::new(), Some(String::new())).access(""), None);
    }
}
