//! The target of a request in its four forms (RFC 9112 §3.2), of which three are answered. Called by
//! the reader of requests.

use super::RequestError;
use crate::proto::origin::Authority;
use std::borrow::Cow;

/// Where a request goes.
pub(super) struct Target<'a> {
    /// Path and query, which begin with `/`; or `*`.
    pub(super) resource: Cow<'a, str>,
    /// The authority of an absolute-form target, which counts instead of `Host`.
    pub(super) authority: Option<&'a str>,
}

/// Reads `/path?query`, the whole of an `http`, `https`, `ws` or `wss` URL, or the `*` of OPTIONS.
pub(super) fn parse<'a>(method: &str, target: &'a str) -> Result<Target<'a>, RequestError> {
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !target.bytes().all(visible) {
        return Err(RequestError::Target);
    }
    if target.starts_with('/') || (method, target) == ("OPTIONS", "*") {
        return Ok(Target { resource: target.into(), authority: None });
    }
    if method == "CONNECT" && Authority::parse(target).is_some() {
        return Err(RequestError::Connect);
    }
    let (scheme, rest) = target.split_once("://").ok_or(RequestError::Target)?;
    let known = ["http", "https", "ws", "wss"];
    if !known.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(RequestError::Target);
    }
    let (authority, resource) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // User information is none: it would be there to make one host look like another
    // (RFC 9110 §4.2.4).
    Authority::parse(authority).ok_or(RequestError::Target)?;
    let resource = match resource.starts_with('/') {
        true => resource.into(),
        false => format!("/{resource}").into(),
    };
    Ok(Target { resource, authority: Some(authority) })
}
