//! Bodies: read whole, within their limits of bytes and time, and counted against the budget of all
//! of them. The verbs ask for them, after the guard; what nobody asks for is not read.

use super::budget::{Budget, Share};
use super::error::{ApiError, shown};
use super::limits::{BODY_BYTES_MAX, BODY_TIMEOUT};
use super::plane::Plane;
use crate::{Message, MessageKind};
use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::time::timeout;

/// A message that somebody wants written.
pub(super) struct Wanted {
    pub(super) kind: MessageKind,
    pub(super) bytes: Bytes,
    /// Its share of the budget, until it is written.
    _share: Option<Share>,
}

impl Wanted {
    /// Reads the message of a `write`.
    pub(super) async fn read(
        plane: &Plane,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, ApiError> {
        let kind = kind_of(headers)?;
        let reading = Collected::read(&plane.bodies, body);
        let Ok(collected) = timeout(BODY_TIMEOUT, reading).await else {
            let seconds = BODY_TIMEOUT.as_secs();
            let message = format!("the body did not come within {seconds} s");
            return Err(ApiError::new(408, "timeout", message, "send it at once").closing());
        };
        let Collected { bytes, share } = collected?;
        if kind == MessageKind::Text && simdutf8::basic::from_utf8(&bytes).is_err() {
            return Err(ApiError::bad_request(
                "the body is not UTF-8, and a text message must be",
                "send text as UTF-8, or bytes as application/octet-stream",
            ));
        }
        Ok(Self { kind, bytes, _share: share })
    }

    /// As the engine takes it.
    pub(super) fn message(&self) -> Message<'_> {
        match self.kind {
            // It was looked through when it came.
            MessageKind::Text => simdutf8::basic::from_utf8(&self.bytes).unwrap_or_default().into(),
            MessageKind::Binary => Message::from(&self.bytes[..]),
        }
    }
}

/// A verb that takes no body got one?
pub(super) fn refuse_body(body: &Body) -> Result<(), ApiError> {
    if body.is_end_stream() || body.size_hint().exact() == Some(0) {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "this verb takes no body",
        "send it without one; parameters go into the query",
    ))
}

/// What message a body is, by its `Content-Type`.
fn kind_of(headers: &HeaderMap) -> Result<MessageKind, ApiError> {
    let field = headers.get(CONTENT_TYPE).map(|field| field.to_str().unwrap_or("?"));
    let (media, parameters) = match field.map(|field| field.split_once(';')) {
        Some(Some((media, parameters))) => (media, parameters.trim()),
        _ => (field.unwrap_or_default(), ""),
    };
    let is_utf8 = parameters.is_empty()
        || parameters.split_once('=').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("charset")
                && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
    match media.trim().to_ascii_lowercase().as_str() {
        "text/plain" if is_utf8 => Ok(MessageKind::Text),
        "application/octet-stream" => Ok(MessageKind::Binary),
        _ => {
            let message = match field {
                Some(field) => format!("a message is not `{}`", shown(field)),
                None => "the request does not say what message its body is".into(),
            };
            let remedy = "send Content-Type: text/plain (UTF-8) or application/octet-stream";
            Err(ApiError::new(415, "unsupported_media_type", message, remedy).closing())
        }
    }
}

/// A body in memory and its share of the budget.
struct Collected {
    bytes: Bytes,
    share: Option<Share>,
}

impl Collected {
    async fn read(budget: &Arc<Budget>, mut body: Body) -> Result<Self, ApiError> {
        // What is announced is refused before it is sent.
        if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err(too_long());
        }
        let mut collected = Self { bytes: Bytes::new(), share: None };
        let mut pieces: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                ApiError::bad_request("the body is broken", "send it as HTTP says").closing()
            })?;
            let Ok(piece) = frame.into_data() else { continue };
            let bytes = collected.bytes.len() + pieces.len() + piece.len();
            if bytes > BODY_BYTES_MAX {
                return Err(too_long());
            }
            collected.grow(budget, piece.len())?;
            if bytes == piece.len() {
                collected.bytes = piece;
            } else {
                pieces.extend_from_slice(&std::mem::take(&mut collected.bytes));
                pieces.extend_from_slice(&piece);
            }
        }
        if !pieces.is_empty() {
            collected.bytes = pieces.into();
        }
        Ok(collected)
    }

    fn grow(&mut self, budget: &Arc<Budget>, bytes: usize) -> Result<(), ApiError> {
        let Some(share) = budget.take(bytes) else {
            return Err(ApiError::new(
                503,
                "busy",
                "the bodies under way take all the memory there is for them",
                "send less at the same time",
            )
            .retry_after_s(1)
            .closing());
        };
        match &mut self.share {
            Some(mine) => mine.merge(share),
            None => self.share = Some(share),
        }
        Ok(())
    }
}

fn too_long() -> ApiError {
    let message = format!("a message has at most {BODY_BYTES_MAX} bytes");
    ApiError::new(413, "too_long", message, "send several").closing()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[test]
    fn the_media_type_says_which_message_it_is() {
        let kind = |value: &str| {
            let mut headers = HeaderMap::new();
            if !value.is_empty() {
                headers.insert(CONTENT_TYPE, value.parse().expect("a header value"));
            }
            kind_of(&headers).map_err(|error| error.into_response().status().as_u16())
        };
        for text in ["text/plain", "Text/Plain; charset=UTF-8", "text/plain;charset=\"utf-8\""] {
            assert_eq!(kind(text), Ok(MessageKind::Text), "{text}");
        }
        assert_eq!(kind("application/octet-stream"), Ok(MessageKind::Binary));
        for other in
            ["", "application/json", "text/plain; charset=latin1", "text/html", "text/plain; a=b"]
        {
            assert_eq!(kind(other), Err(415), "{other}");
        }
    }

    #[tokio::test]
    async fn a_body_is_bounded_alone_and_with_others() {
        let budget = Budget::new(10);
        let first = Collected::read(&budget, Body::from("12345678")).await.expect("it fits");
        assert_eq!((&first.bytes[..], budget.used_bytes()), (&b"12345678"[..], 8));
        let second = Collected::read(&budget, Body::from("123")).await;
        let status = second.err().expect("no room").into_response().status();
        assert_eq!(status, 503);
        drop(first);
        assert_eq!(budget.used_bytes(), 0);
        let long = Collected::read(&budget, Body::from(vec![0; BODY_BYTES_MAX + 1])).await;
        assert_eq!(long.err().expect("too long").into_response().status(), 413);
        assert!(Collected::read(&budget, Body::empty()).await.is_ok_and(|c| c.bytes.is_empty()));
    }
}
