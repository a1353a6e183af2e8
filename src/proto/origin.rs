//! Which origins are at home here: the comparison of `Origin` with `Host` and with those allowed.
//!
//! Browsers let any page open a WebSocket anywhere and send the user's cookies along; the `Origin`
//! header is the only thing that tells such a page from ours (RFC 6455 §10.2). So the comparison is
//! exact, of forms of which each origin has one: no substring, no suffix. The request reader uses
//! the same notion of a host for the `Host` header.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt::Write;

/// A host with its port, in the spelling it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub host: &'a str,
    /// The port, if one is given.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; `None` if it is anything else. A name
    /// consists of letters, digits, `-`, `_` and dots. An empty port is none. User information, an
    /// empty host, and a port of 0 or above 65535 are none of these.
    ///
    /// Source: RFC 9110 §7.2, RFC 3986 §3.2.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        is_host(host).then_some(Self { host, port })
    }

    /// Whether nobody but this host itself can be meant: a name or an address of loopback.
    pub fn is_loopback(&self) -> bool {
        let name = self.host.strip_suffix('.').unwrap_or(self.host);
        let of_loopback = |from: usize| {
            name.get(from..).is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
        };
        let from = name.len().saturating_sub("localhost".len());
        let is_name = of_loopback(from) && (from == 0 || name[..from].ends_with('.'));
        let v4 = || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback());
        is_name || v4() || self.v6().is_some_and(|address| address.to_canonical().is_loopback())
    }

    /// Whether the host is an address and no name.
    pub fn is_address(&self) -> bool {
        self.v6().is_some() || self.host.parse::<Ipv4Addr>().is_ok()
    }

    fn v6(&self) -> Option<Ipv6Addr> {
        self.host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
    }
}

/// The host, not looked at, and its port.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let host_bytes = if text.starts_with('[') {
        text.find(']')? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, port) = text.split_at(host_bytes);
    match port.strip_prefix(':') {
        Some("") => Some((host, None)),
        Some(digits) => Some((host, Some(parse_port(digits)?))),
        None => port.is_empty().then_some((host, None)),
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().filter(|port| *port > 0)
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !host.is_empty() && host.bytes().all(name) && !host.starts_with('.') && !host.contains("..")
}

/// The host as browsers write it: in lower case, international names in Punycode, addresses in
/// their shortest form; and without the dot that a name may end with, for it is the same name.
fn canonical_host(host: &str) -> Option<String> {
    // The URL Standard would decode it, and no browser sends it.
    if host.contains('%') {
        return None;
    }
    let host = url::Host::parse(host.strip_suffix('.').unwrap_or(host)).ok()?.to_string();
    (is_host(&host) && !host.ends_with('.')).then_some(host)
}

/// The origin in its one canonical form, which is the one that browsers send: two texts are the
/// same origin if this is equal. `None` if `text` is no origin, or one that no browser can send.
///
/// `ws` is `http` and `wss` is `https`, because some clients write the address that they connect to;
/// default ports, a dot at the end of the host and a slash behind it are left out. Of other schemes
/// (`app://`, `chrome-extension://`) scheme and host are put into lower case. `null` and `file://`
/// are what they are.
///
/// Source: RFC 6454 §4, §6; URL Standard, "host parsing".
pub fn canonical(text: &str) -> Option<String> {
    if text == "null" || text == "file://" {
        return Some(text.to_owned());
    }
    let (scheme, authority) = scheme_of(text)?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = split_port(authority)?;
    let (host, default) = match default_port(&scheme) {
        Some(default) => (canonical_host(host)?, Some(default)),
        None => (Some(host.to_ascii_lowercase()).filter(|host| is_host(host))?, None),
    };
    let mut canonical = format!("{scheme}://{host}");
    if let Some(port) = port.filter(|port| Some(*port) != default) {
        // Writing to a `String` cannot fail.
        let _ = write!(canonical, ":{port}");
    }
    Some(canonical)
}

/// The scheme as it is compared, and what stands behind its `://`.
fn scheme_of(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        || !scheme.bytes().all(allowed)
    {
        return None;
    }
    let scheme = match scheme.to_ascii_lowercase() {
        scheme if scheme == "ws" => "http".to_owned(),
        scheme if scheme == "wss" => "https".to_owned(),
        scheme => scheme,
    };
    Some((scheme, rest))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Whether a page of `origin` was served by the host that `host`, a `Host` header, names: the port
/// at which it was, if so.
///
/// The schemes are not compared, because the server cannot know whether a proxy took TLS off; a
/// missing port is the default port of the origin's scheme on both sides.
///
/// Source: RFC 6454 §4, §6.
pub fn port_of_same_host(origin: &str, host: &str) -> Option<u16> {
    let (scheme, authority) = scheme_of(origin)?;
    let default = default_port(&scheme)?;
    let (origin_host, origin_port) = split_port(authority.strip_suffix('/').unwrap_or(authority))?;
    let Authority { host, port } = Authority::parse(host)?;
    let port = port.unwrap_or(default);
    let same = origin_port.unwrap_or(default) == port
        && canonical_host(origin_host)? == canonical_host(host)?;
    same.then_some(port)
}

/// Whether a page of `origin` was served by the host that `host`, a `Host` header, names.
pub fn is_same_host(origin: &str, host: &str) -> bool {
    port_of_same_host(origin, host).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("Example.com.:8080", "Example.com.", Some(8080)),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::1]:65535", "[2001:db8::1]", Some(65_535)),
            ("my_service", "my_service", None),
            ("a:", "a", None),
            ("[::1]:", "[::1]", None),
            ("a:00080", "a", Some(80)),
        ] {
            assert_eq!(Authority::parse(text), Some(Authority { host, port }), "{text}");
        }
        for text in [
            "",
            ":80",
            "a:0",
            "a:00",
            "a::",
            "a:80:",
            "a:65536",
            "a:+1",
            "a:b",
            "a:1:2",
            "[::1",
            "[::1]x",
            "[]",
            "[1.2.3.4]",
            "::1",
            "u@a",
            "a/b",
            "a b",
            ".a",
            "a..b",
            "é",
            "a%20",
            "[::1%25lo]",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn equal_origins_have_one_form() {
        for (origin, expected) in [
            ("https://example.org", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("http://example.org:80", "http://example.org"),
            ("http://example.org:443", "http://example.org:443"),
            ("https://example.org:", "https://example.org"),
            ("https://example.org:08443", "https://example.org:8443"),
            ("HTTPS://EXAMPLE.org", "https://example.org"),
            ("https://example.org.", "https://example.org"),
            ("https://example.org.:8443/", "https://example.org:8443"),
            ("wss://example.org", "https://example.org"),
            ("ws://example.org:80", "http://example.org"),
            ("http://[0:0:0:0:0:0:0:1]:9001", "http://[::1]:9001"),
            ("http://[2001:DB8::00A]", "http://[2001:db8::a]"),
            ("http://0x7f.1", "http://127.0.0.1"),
            ("https://Bücher.example", "https://xn--bcher-kva.example"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("http://my_service", "http://my_service"),
            ("app://Obsidian.md", "app://obsidian.md"),
            ("chrome-extension://abc", "chrome-extension://abc"),
            ("capacitor://localhost:80", "capacitor://localhost:80"),
            ("null", "null"),
            ("file://", "file://"),
        ] {
            let found = canonical(origin);
            assert_eq!(found.as_deref(), Some(expected), "{origin}");
            assert_eq!(canonical(expected).as_deref(), Some(expected));
        }
        for origin in [
            "",
            "*",
            "Null",
            "example.org",
            "//example.org",
            "http:example.org",
            "http:/example.org",
            "http:\\\\example.org",
            "http://",
            "https://",
            "file:///",
            "://example.org",
            "1http://example.org",
            "h ttp://example.org",
            "http:///example.org",
            "http://example.org//",
            "http://example.org/x",
            "http://example.org?x",
            "http://example.org#x",
            "http://u@example.org",
            "http://u:p@example.org",
            "http://example.org:0",
            "http://example.org:65536",
            "http://example.org:x",
            "http://*.example.org",
            "http://ex%61mple.org",
            "http://ex ample.org",
            "http://example..org",
            "http://.example.org",
            "http://example.org..",
            "http://[::1",
            "http://::1",
            "http://[fe80::1%25lo]",
            "http://1.2.3.4.5",
            "http://a, http://b",
        ] {
            assert_eq!(canonical(origin), None, "{origin}");
        }
    }

    #[test]
    fn what_is_of_loopback() {
        let of_loopback = |host| Authority::parse(host).is_some_and(|host| host.is_loopback());
        for host in [
            "localhost",
            "LOCALHOST.:9001",
            "a.localhost",
            "a.b.LocalHost.",
            "127.0.0.1:1",
            "127.1.2.3",
            "[::1]:9001",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(of_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.example.org",
            "notlocalhost",
            "localhos",
            "128.0.0.1",
            "127.0.0.1.example.org",
            "[::2]",
            "0.0.0.0",
        ] {
            assert!(!of_loopback(host), "{host}");
        }
    }
}
