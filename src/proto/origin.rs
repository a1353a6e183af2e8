//! Which origins are at home here: the comparison of `Origin` with `Host`.
//!
//! Browsers let any page open a WebSocket anywhere and send the user's cookies along; the `Origin`
//! header is the only thing that tells such a page from ours (RFC 6455 §10.2). So the comparison
//! is exact: no substring, no suffix, no lenient spelling. The request reader uses the same notion
//! of a host for the `Host` header.

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
    /// consists of letters, digits, `-`, `_` and dots. User information, an empty host or port,
    /// and a port of 0 or above 65535 are none of these.
    ///
    /// Source: RFC 9110 §7.2, RFC 3986 §3.2.
    pub fn parse(text: &'a str) -> Option<Self> {
        let host_bytes = if text.starts_with('[') {
            text.find(']')? + 1
        } else {
            text.find(':').unwrap_or(text.len())
        };
        let (host, port) = text.split_at(host_bytes);
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None if port.is_empty() => None,
            None => return None,
        };
        is_host(host).then_some(Self { host, port })
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or_default();
        return address.parse::<core::net::Ipv6Addr>().is_ok();
    }
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !host.is_empty() && host.bytes().all(name) && !host.starts_with('.') && !host.contains("..")
}

/// Whether a page of `origin` was served by the host that `host`, a `Host` header, names.
///
/// `origin` must be written as browsers write it: `http` or `https`, a host in lower case without
/// a dot at its end, perhaps a port. The schemes are not compared, because the server cannot know
/// whether a proxy took TLS off; a missing port is the default port of the origin's scheme on both
/// sides.
///
/// Source: RFC 6454 §4, §6.
pub fn is_same_host(origin: &str, host: &str) -> bool {
    let (authority, port_default) = if let Some(rest) = origin.strip_prefix("https://") {
        (rest, 443)
    } else if let Some(rest) = origin.strip_prefix("http://") {
        (rest, 80)
    } else {
        return false;
    };
    let (Some(origin), Some(host)) = (Authority::parse(authority), Authority::parse(host)) else {
        return false;
    };
    let upper_case = origin.host.bytes().any(|byte| byte.is_ascii_uppercase());
    !upper_case
        && !origin.host.ends_with('.')
        && origin.host.eq_ignore_ascii_case(host.host)
        && origin.port.unwrap_or(port_default) == host.port.unwrap_or(port_default)
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
        ] {
            assert_eq!(Authority::parse(text), Some(Authority { host, port }), "{text}");
        }
        for text in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:065",
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
}
