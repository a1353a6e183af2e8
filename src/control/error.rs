//! What a request gets that cannot be done: a status, a code for programs, the cause and the
//! remedy for people.
//!
//! Every door of the control plane answers with these. A text of the caller's is shown shortened
//! and escaped.

use axum::http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;

/// The code of an id that nothing has.
pub(super) const UNKNOWN_ID: &str = "unknown_id";

/// A refusal. Behind a pointer, so that what goes well does not carry its size.
#[derive(Debug)]
pub(super) struct ApiError(Box<Refused>);

#[derive(Debug)]
struct Refused {
    status: StatusCode,
    body: Body,
    retry_after_s: Option<u32>,
    allow: Option<&'static str>,
    closes: bool,
}

/// Marks the answer to an id that nothing has.
#[derive(Clone, Copy)]
pub(super) struct UnknownId;

/// Its JSON.
#[derive(Debug, Serialize)]
struct Body {
    code: &'static str,
    message: Cow<'static, str>,
    remedy: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a Body,
}

impl ApiError {
    pub(super) fn new(
        status: u16,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        let body = Body {
            code,
            message: message.into(),
            remedy: remedy.into(),
            close_code: None,
            reason: None,
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let plain = Refused { status, body, retry_after_s: None, allow: None, closes: false };
        Self(Box::new(plain))
    }

    /// Something in the request is wrong.
    pub(super) fn bad_request(
        message: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(400, "bad_request", message, remedy)
    }

    pub(super) fn unauthorized(message: &'static str) -> Self {
        let remedy = "send `Authorization: Bearer TOKEN`; the server printed the token when it \
                      started, or has it from admin.token";
        Self::new(401, "unauthorized", message, remedy)
    }

    pub(super) fn forbidden(
        message: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(403, "forbidden", message, remedy)
    }

    /// The one answer for ids that never were, are gone, or were made up.
    pub(super) fn unknown_id() -> Self {
        let remedy = "list GET /v1/websockets or follow GET /v1/events for ids that live";
        Self::new(404, UNKNOWN_ID, "no WebSocket of this server has this id", remedy)
    }

    pub(super) fn not_found() -> Self {
        let remedy = "GET /openapi.json lists the paths";
        Self::new(404, "not_found", "nothing is served at this path", remedy)
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let remedy = format!("use {allow}");
        let mut error =
            Self::new(405, "method_not_allowed", "this path does not take this method", remedy);
        error.0.allow = Some(allow);
        error
    }

    /// The conversation is over.
    pub(super) fn closed() -> Self {
        let remedy = "forget this id; GET /v1/events tells of WebSockets as they open";
        Self::new(410, "closed", "the WebSocket is closed", remedy)
    }

    /// Says how it ended.
    pub(super) fn with_close(mut self, code: u16, reason: &str) -> Self {
        self.0.body.close_code = Some(code);
        self.0.body.reason = Some(reason.to_owned());
        self
    }

    /// Says when to come back.
    pub(super) fn retry_after_s(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Ends the connection with it, because the rest of the request is not wanted.
    pub(super) fn closing(mut self) -> Self {
        self.0.closes = true;
        self
    }

    /// The JSON text.
    pub(super) fn json(&self) -> Vec<u8> {
        // Texts and a number always have a JSON form.
        serde_json::to_vec(&Envelope { error: &self.0.body }).unwrap_or_default()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let json = [("content-type", "application/json")];
        let mut response = (self.0.status, json, self.json()).into_response();
        if self.0.body.code == UNKNOWN_ID {
            response.extensions_mut().insert(UnknownId);
        }
        let headers = response.headers_mut();
        if self.0.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"ringwire\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self.0.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.0.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// What a caller sent, fit to be shown: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String =
        text.chars().take(CHARS_MAX).collect::<String>().escape_debug().collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_cause_and_remedy() {
        let json = ApiError::closed().with_close(1001, "going \u{1b}away").json();
        let value: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        let error = &value["error"];
        assert_eq!(error["code"], "closed");
        assert_eq!(error["close_code"], 1001);
        assert_eq!(error["reason"], "going \u{1b}away");
        for key in ["message", "remedy"] {
            assert!(error[key].as_str().is_some_and(|text| text.len() > 10), "{key}");
        }
        assert!(!String::from_utf8_lossy(&json).contains('\u{1b}'));
        let response = ApiError::method_not_allowed("GET").into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET");
    }

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        assert_eq!(shown("a\u{1b}[2J"), "a\\u{1b}[2J");
        assert_eq!(shown(&"é".repeat(61)).chars().count(), 61);
    }
}
