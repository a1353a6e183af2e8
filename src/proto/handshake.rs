//! The opening handshake, from the server's side (RFC 6455 §4.2): may this request become a
//! WebSocket, and the bytes that say so.
//!
//! The engine asks [`classify`] with every request. What it accepts is right in every respect that
//! the protocol knows; whether the path exists and the application agrees is decided above.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::origin::{self, Authority};
use super::request::{Request, is_token};
use super::response::{check_header, write_header};

pub use super::response::{Refusal, options_response, page_response};

/// What a handshake must satisfy beyond the RFC.
#[derive(Clone, Copy, Debug, Default)]
pub struct HandshakeRules<'a> {
    /// Whether to speak to clients of the drafts HyBi-07 to HyBi-12 (versions 7 and 8) as well.
    pub legacy_drafts: bool,
    /// Origins that are welcome besides the server's own, in the form of [`origin::canonical`].
    /// `null` is an origin only if it stands here.
    pub origins_allowed: &'a [String],
    /// Whether a client must send an origin. Browsers always do; other programs need not.
    pub origin_required: bool,
    /// The ports of a server that listens on loopback alone; otherwise none. A page that says it
    /// was served there must have come under a name of loopback: see [`classify`].
    pub loopback_ports: &'a [u16],
}

/// What a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A WebSocket, and it may have one.
    Upgrade(Upgrade),
    /// Something else: a page.
    Plain,
}

/// A handshake that is right, ready to be answered by [`response`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: [u8; 28],
    /// The protocol version: 13, or 7 or 8 if the rules allow.
    pub version: u8,
    /// The subprotocols offered, the most wanted first, all different, all tokens.
    pub subprotocols: Vec<String>,
}

/// Decides what a request wants and whether it may have it.
///
/// A request wants a WebSocket if it says `Upgrade: websocket`, or carries a `Sec-WebSocket-Key`
/// or `Sec-WebSocket-Version`: a proxy that drops `Upgrade` should be found out, not answered with
/// a page.
///
/// A foreign page whose name was bound to a loopback address after it was loaded (DNS rebinding) has
/// an `Origin` that is the `Host`. What tells it from a page behind a proxy is that its browser has
/// connected to the loopback port itself: `Host` names that very port under a name that is not
/// loopback's, and there is none of the header fields that proxies add and that a page cannot.
///
/// Source: RFC 6455 §4.2.1, §4.2.2, §4.4, §10.2.
pub fn classify(request: &Request, rules: &HandshakeRules<'_>) -> Result<Intent, Refusal> {
    let upgrade = has_token(request, "upgrade", "websocket");
    let keyed = request.header("sec-websocket-key").is_some();
    if !upgrade && !keyed && request.header("sec-websocket-version").is_none() {
        return Ok(Intent::Plain);
    }
    check_request(request, upgrade)?;
    let version = check_version(request, rules)?;
    let accept = check_key(request)?;
    check_origin(request, rules, version)?;
    let subprotocols = offered_subprotocols(request)?;
    Ok(Intent::Upgrade(Upgrade { accept, version, subprotocols }))
}

fn check_request(request: &Request, upgrade: bool) -> Result<(), Refusal> {
    // A handshake is a GET (RFC 6455 §4.2.1, item 1).
    if request.method() != "GET" {
        return Err(
            Refusal::new(405, "a WebSocket is opened by GET").with_own_header("Allow", "GET")
        );
    }
    // An `Upgrade` in a request of HTTP/1.0 counts for nothing (RFC 9110 §7.8).
    if request.is_http_1_0() {
        let reason = "a WebSocket needs HTTP/1.1, and this came as HTTP/1.0; behind nginx, set \
                      proxy_http_version 1.1 and pass Upgrade and Connection on";
        return Err(Refusal::new(426, reason).with_own_header("Upgrade", "websocket"));
    }
    // Both tokens are the same in upper and in lower case (RFC 6455 §4.2.1, items 3 and 4).
    if !upgrade {
        let refusal = Refusal::new(426, "no Upgrade: websocket; does a proxy drop it?");
        return Err(refusal.with_own_header("Upgrade", "websocket"));
    }
    if !has_token(request, "connection", "upgrade") {
        return Err(Refusal::new(400, "no Connection: Upgrade; does a proxy drop it?"));
    }
    // A body would be bytes of which a proxy and we might differ whether they are frames. That there
    // are none may be said (RFC 9110 §8.6), and some clients do.
    let lengths = request.headers_named("content-length").flat_map(|value| value.split(is_comma));
    let mut lengths = lengths.map(<[u8]>::trim_ascii);
    let is_zero = |length: &[u8]| !length.is_empty() && length.iter().all(|digit| *digit == b'0');
    if !lengths.all(is_zero) || request.header("transfer-encoding").is_some() {
        return Err(Refusal::new(400, "an upgrade has no body"));
    }
    Ok(())
}

/// Who asks for a version that is none of ours is told which are (RFC 6455 §4.2.2, §4.4).
fn check_version(request: &Request, rules: &HandshakeRules<'_>) -> Result<u8, Refusal> {
    let mut versions = request.headers_named("sec-websocket-version").flat_map(elements);
    let version = versions.next().filter(|_| versions.next().is_none());
    match (version, rules.legacy_drafts) {
        (Some(b"13"), _) => Ok(13),
        (Some(b"8"), true) => Ok(8),
        (Some(b"7"), true) => Ok(7),
        (_, legacy) => {
            let versions = if legacy { "13, 8, 7" } else { "13" };
            Err(Refusal::new(426, "unknown Sec-WebSocket-Version")
                .with_own_header("Upgrade", "websocket")
                .with_own_header("Sec-WebSocket-Version", versions))
        }
    }
}

/// A key is 16 bytes in base64, and there is one (RFC 6455 §4.2.1, item 5).
fn check_key(request: &Request) -> Result<[u8; 28], Refusal> {
    let key = only_one(request, "sec-websocket-key").filter(|key| is_key(key));
    key.map(accept_value).ok_or_else(|| Refusal::new(400, "bad Sec-WebSocket-Key"))
}

/// 24 characters of base64 in its one canonical form.
fn is_key(key: &[u8]) -> bool {
    let mut decoded = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut decoded) == Ok(16)
}

/// The value of `Sec-WebSocket-Accept` for a key.
///
/// Source: RFC 6455 §4.2.2, step 5.4.
pub fn accept_value(key: &[u8]) -> [u8; 28] {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest: [u8; 20] = hash.finalize().into();
    let mut accept = [0; 28];
    let written = STANDARD.encode_slice(digest, &mut accept);
    debug_assert_eq!(written, Ok(accept.len()));
    accept
}

/// A page of a foreign origin gets a 403 (RFC 6455 §10.2).
fn check_origin(request: &Request, rules: &HandshakeRules<'_>, version: u8) -> Result<(), Refusal> {
    // The drafts had a header of their own.
    let draft = version < 13 && request.header("origin").is_none();
    let name = if draft { "sec-websocket-origin" } else { "origin" };
    let refused = Refusal::new(403, "origin not allowed");
    let mut origins = request.headers_named(name);
    match (origins.next(), origins.next()) {
        (None, _) if !rules.origin_required => Ok(()),
        (None, _) => Err(refused.with_remedy(
            "a handshake without Origin was refused: only browsers send one, and origins.required \
             is set",
        )),
        (Some(origin), None) => match welcome(request, rules, origin) {
            Welcome::Yes => Ok(()),
            Welcome::No => Err(refused.with_remedy(
                "a page of a foreign origin was refused; if it is yours, add its origin to \
                 origins.allowed",
            )),
            Welcome::Rebound => Err(refused.with_remedy(
                "a page that reached this loopback port under a name that is not loopback's was \
                 refused, for it may be DNS rebinding; if the name is yours, add its origin to \
                 origins.allowed, or have a proxy of the same port number send X-Forwarded-For",
            )),
        },
        (Some(_), Some(_)) => Err(refused.with_remedy("a handshake with two Origins was refused")),
    }
}

/// Whether a page may connect.
enum Welcome {
    Yes,
    No,
    /// It looks as if it was served here, but only by the name.
    Rebound,
}

fn welcome(request: &Request, rules: &HandshakeRules<'_>, origin: &[u8]) -> Welcome {
    let Ok(text) = std::str::from_utf8(origin) else { return Welcome::No };
    let allowed = rules.origins_allowed;
    let listed = |origin: String| allowed.contains(&origin);
    if !allowed.is_empty() && origin::canonical(text).is_some_and(listed) {
        return Welcome::Yes;
    }
    let host = request.header_str("host").unwrap_or_default();
    match origin::port_of_same_host(text, host) {
        None => Welcome::No,
        Some(port) if rules.loopback_ports.contains(&port) && is_rebound(request, host) => {
            Welcome::Rebound
        }
        Some(_) => Welcome::Yes,
    }
}

fn is_rebound(request: &Request, host: &str) -> bool {
    let own = |host: Authority<'_>| host.is_loopback() || host.is_address();
    let proxied = |name: &str| {
        ["forwarded", "via", "x-real-ip"].contains(&name) || name.starts_with("x-forwarded-")
    };
    !Authority::parse(host).is_some_and(own) && !request.headers().any(|(name, _)| proxied(name))
}

/// Each is a token, and none is offered twice (RFC 6455 §4.1, item 10).
fn offered_subprotocols(request: &Request) -> Result<Vec<String>, Refusal> {
    let mut offered = Vec::new();
    let mut seen = BTreeSet::new();
    for name in request.headers_named("sec-websocket-protocol").flat_map(elements) {
        let token = name.iter().all(|byte| is_token(*byte));
        let text = std::str::from_utf8(name).ok().filter(|_| token && seen.insert(name));
        let Some(text) = text else {
            return Err(Refusal::new(400, "malformed Sec-WebSocket-Protocol"));
        };
        offered.push(text.to_owned());
    }
    Ok(offered)
}

/// The 101. `subprotocol` is one of those offered; `extra` are header fields of the application.
/// A subprotocol that was not offered and a header that [`check_header`] refuses are left out:
/// the last defence, for whoever took them from the application should have refused them.
///
/// Source: RFC 6455 §4.2.2, step 5.
pub fn response(
    upgrade: &Upgrade,
    subprotocol: Option<&str>,
    extra: &[(String, String)],
) -> Vec<u8> {
    let mut head = String::with_capacity(256);
    head.push_str("HTTP/1.1 101 Switching Protocols\r\n");
    write_header(&mut head, "Upgrade", "websocket");
    write_header(&mut head, "Connection", "Upgrade");
    let accept = std::str::from_utf8(&upgrade.accept).unwrap_or_default();
    write_header(&mut head, "Sec-WebSocket-Accept", accept);
    // What was not offered cannot be chosen (RFC 6455 §4.2.2).
    let offered = |name: &&str| upgrade.subprotocols.iter().any(|offer| offer == name);
    if let Some(name) = subprotocol.filter(offered) {
        write_header(&mut head, "Sec-WebSocket-Protocol", name);
    }
    for (name, value) in extra {
        if check_header(name, value).is_ok() {
            write_header(&mut head, name, value);
        }
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// The value of a header field that came exactly once.
fn only_one<'a>(request: &'a Request, name: &'a str) -> Option<&'a [u8]> {
    let mut values = request.headers_named(name);
    values.next().filter(|_| values.next().is_none())
}

fn has_token(request: &Request, name: &str, token: &str) -> bool {
    let mut elements = request.headers_named(name).flat_map(elements);
    elements.any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// The elements of a comma-separated list, without the white space around them and without the
/// empty ones, which a list may have (RFC 9110 §5.6.1.2).
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(is_comma).map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(&accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys() {
        for (key, valid) in [
            ("dGhlIHNhbXBsZSBub25jZQ==", true),
            ("AAAAAAAAAAAAAAAAAAAAAA==", true),
            ("dGhlIHNhbXBsZSBub25jZR==", false), // non-canonical last character
            ("dGhlIHNhbXBsZSBub25jZQ=", false),
            ("dGhlIHNhbXBsZSBub25jZQ", false),
            ("dGhlIHNhbXBsZSBub25jZQ==x", false),
            ("dGhlIHNhbXBsZSBub25jZQ== ", false),
            ("dGhlIHNhbXBsZSBub25jZQ-=", false),
            ("dGhl-HNhbXBsZSBub25jZQ==", false),
            ("dGhl HNhbXBsZSBub25jZQ==", false),
            ("AAAAAAAAAAAAAAAAAAAA", false),     // 15 bytes
            ("AAAAAAAAAAAAAAAAAAAAAAA=", false), // 17 bytes
            ("AAAAAAAAAAAAAAAAAAAAAAAA", false), // 18 bytes
            ("A===AAAAAAAAAAAAAAAAAA==", false),
            ("========================", false),
            ("", false),
        ] {
            assert_eq!(is_key(key.as_bytes()), valid, "{key}");
        }
    }
}
