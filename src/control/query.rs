//! The query of a request: `name=value` pairs, each name known and there once.
//!
//! Routes ask for their parameters by name; what they do not know is refused, so that a misspelt
//! parameter is not overlooked.

use super::error::{ApiError, shown};
use super::limits::TEXT_BYTES_MAX;
use std::ops::RangeInclusive;

/// The pairs of a query, decoded.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query that may have the parameters `known`.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                let message =
                    format!("`{}` in the query is not percent-encoded UTF-8", shown(pair));
                return Err(ApiError::bad_request(message, "encode it as RFC 3986 §2.1 says"));
            };
            if !known.contains(&name.as_str()) {
                let message = format!("the query has an unknown parameter `{}`", shown(&name));
                return Err(ApiError::bad_request(message, known_are(known)));
            }
            if pairs.iter().any(|(earlier, _)| *earlier == name) {
                let message = format!("the query has `{name}` more than once");
                return Err(ApiError::bad_request(message, "send it once"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A number within `range`, if it is there.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.find(name) else { return Ok(None) };
        // `parse` alone would take a plus sign.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let remedy =
                    format!("give a whole number from {} to {}", range.start(), range.end());
                Err(ApiError::bad_request(format!("`{name}` cannot be `{}`", shown(text)), remedy))
            }
        }
    }

    /// `true` or `false`; `otherwise` if it is not there.
    pub(super) fn flag(&self, name: &str, otherwise: bool) -> Result<bool, ApiError> {
        match self.find(name) {
            None => Ok(otherwise),
            Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                let message = format!("`{name}` cannot be `{}`", shown(other));
                Err(ApiError::bad_request(message, "give true or false"))
            }
        }
    }

    /// A text that is not empty and not long, if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.find(name) {
            Some("") => Err(ApiError::bad_request(
                format!("`{name}` is empty"),
                "give it a value, or leave it out",
            )),
            Some(text) if text.len() > TEXT_BYTES_MAX => {
                let message = format!("`{name}` is {} bytes long", text.len());
                let remedy = format!("give at most {TEXT_BYTES_MAX} bytes");
                Err(ApiError::bad_request(message, remedy))
            }
            text => Ok(text),
        }
    }

    /// One of these words, if it is there.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.find(name) else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let message = format!("`{name}` cannot be `{}`", shown(text));
                Err(ApiError::bad_request(message, format!("give one of {}", words.join(", "))))
            }
        }
    }
}

fn known_are(known: &[&str]) -> String {
    if known.is_empty() {
        return "this path takes none; a token goes into the Authorization header".into();
    }
    format!("known are {}; a token goes into the Authorization header", known.join(", "))
}

/// `text` without percent-encoding, `+` being a space as in forms.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_or_refused_as_a_whole() {
        let query = Query::parse(Some("a=%C3%A9+x&b=17&c"), &["a", "b", "c", "d"]).expect("right");
        assert_eq!(query.text("a").expect("a text"), Some("é x"));
        assert_eq!(query.number("b", 1..=17).expect("a number"), Some(17));
        assert_eq!(query.number("d", 1..=2).expect("nothing"), None);
        assert!(query.number("b", 1..=16).is_err() && query.text("c").is_err());
        assert!(!query.flag("d", false).expect("not there"));
        assert!(query.flag("d", true).expect("not there"));
        for bad in ["e=1", "a=1&a=1", "a=%", "a=%4", "a=%zz", "a=%ff", "%ff=1", "token=x"] {
            assert!(Query::parse(Some(bad), &["a", "b"]).is_err(), "{bad}");
        }
        let flags = Query::parse(Some("x=true&y=TRUE"), &["x", "y"]).expect("right");
        assert!(flags.flag("x", false).expect("a flag") && flags.flag("y", false).is_err());
        for bad in ["+1", "-1", "1.0", "", "0x1", "99999999999999999999", "%20"] {
            let query = format!("n={bad}");
            let query = Query::parse(Some(&query), &["n"]).expect("a query");
            assert!(query.number("n", 0..=u64::MAX).is_err(), "{bad}");
        }
    }
}
