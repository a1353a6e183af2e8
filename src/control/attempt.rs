//! How a request is known again that is sent twice because its answer was lost.
//!
//! The client names the attempt in `Idempotency-Key`; [`verbs`](super::verbs) hands the engine a
//! number made of the name. The numbers are keyed hashes, so that nobody can choose a name that
//! meets another's number.

use super::error::{ApiError, shown};
use super::limits::ATTEMPT_BYTES_MAX;
use axum::http::{HeaderMap, HeaderName};
use std::hash::{BuildHasher, RandomState};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Makes numbers of names, the same for the same name as long as it lives.
pub(super) struct Attempts(RandomState);

impl Attempts {
    pub(super) fn new() -> Self {
        Self(RandomState::new())
    }

    /// The number of the attempt that a request names, if it names one.
    pub(super) fn number(&self, headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
        let mut fields = headers.get_all(&IDEMPOTENCY_KEY).iter();
        let Some(field) = fields.next() else { return Ok(None) };
        if fields.next().is_some() {
            let message = "there is more than one Idempotency-Key header";
            return Err(ApiError::bad_request(message, "send it once"));
        }
        let name = field.as_bytes();
        if !(1..=ATTEMPT_BYTES_MAX).contains(&name.len()) || !name.iter().all(u8::is_ascii_graphic)
        {
            let shown = shown(&String::from_utf8_lossy(name));
            let message = format!("the Idempotency-Key header cannot be `{shown}`");
            let remedy =
                format!("give 1 to {ATTEMPT_BYTES_MAX} visible ASCII letters, new for each lease");
            return Err(ApiError::bad_request(message, remedy));
        }
        Ok(Some(self.0.hash_one(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_the_same_attempt_and_no_other() {
        let attempts = Attempts::new();
        let number = |names: &[&str]| {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.append(&IDEMPOTENCY_KEY, name.parse().expect("a header value"));
            }
            attempts.number(&headers).ok()
        };
        assert_eq!(number(&[]), Some(None));
        let first = number(&["\"8e03978e\""]).expect("right");
        assert!(first.is_some());
        assert_eq!(number(&["\"8e03978e\""]), Some(first));
        assert_ne!(number(&["8e03978e"]), Some(first));
        let longest = "x".repeat(ATTEMPT_BYTES_MAX);
        assert!(number(&[&longest]).is_some());
        for wrong in ["", "a b", "\t", "é", &format!("{longest}x")] {
            assert_eq!(number(&[wrong]), None, "{wrong}");
        }
        assert_eq!(number(&["a", "a"]), None);
    }
}
