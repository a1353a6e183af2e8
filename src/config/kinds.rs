//! What a key is, and which values it takes.
//!
//! The tables of keys are made of these, and [`layers`](super::layers) checks every value with them
//! before serde sees it. Nothing here knows a key by name.

use crate::control;
use crate::engine::SOCKET_PATH_BYTES_MAX;
use crate::{AddressRange, SessionSettings};
use std::net::SocketAddr;
use toml::Value;

/// One key of the configuration.
pub(super) struct Key {
    /// `section.key`, or `key` at the top.
    pub(super) path: &'static str,
    /// What a value may be.
    pub(super) kind: Kind,
    /// One line: what it is, in which unit, and why it is so.
    pub(super) about: &'static str,
}

/// A key, as the tables write it.
pub(super) const fn key(path: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { path, kind, about }
}

/// What a value may be.
pub(super) enum Kind {
    /// A whole number between the two, both included.
    Integer(i64, i64),
    /// Zero, or a whole number between the two.
    ZeroOr(i64, i64),
    /// A power of two between the two.
    PowerOfTwo(i64, i64),
    /// Zero, or a power of two between the two.
    ZeroOrPowerOfTwo(i64, i64),
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A filter as tracing takes it.
    Filter,
    /// Addresses, at least one.
    Addresses,
    /// Texts, or none.
    Texts,
    /// IP:PORT, or `off`.
    AddressOrOff,
    /// The path of a file, or empty.
    Path,
    /// The path of a Unix socket, or empty.
    SocketPath,
    /// A token that opens the control plane, or empty. Never shown, never taken from a flag.
    Token,
    /// Where a Redis server is, or empty. May have a password, so it is treated as a token.
    RedisUrl,
    /// The name of a cookie.
    CookieName,
    /// Names of hosts, or none.
    Hosts,
    /// The path of a route.
    RoutePath,
    /// Origins, or none.
    Origins,
    /// Subprotocols, or none.
    Subprotocols,
    /// Addresses and ranges of them, or none.
    AddressRanges,
}

impl Key {
    /// The variable of the environment that sets this key.
    pub(super) fn variable(&self) -> String {
        format!("RINGWIRE_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// What the value may be, as the end of a sentence.
    pub(super) fn allowed(&self) -> String {
        match self.kind {
            Kind::Integer(min, max) => format!("an integer from {min} to {max}"),
            Kind::ZeroOr(min, max) => format!("0 or an integer from {min} to {max}"),
            Kind::PowerOfTwo(min, max) => format!("a power of two from {min} to {max}"),
            Kind::ZeroOrPowerOfTwo(min, max) => format!("0 or a power of two from {min} to {max}"),
            Kind::Boolean => "true or false".into(),
            Kind::Word(words) => format!("one of \"{}\"", words.join("\", \"")),
            Kind::Filter => "a filter such as \"info\" or \"warn,ringwire=debug\"".into(),
            Kind::Addresses => "a list of IP:PORT, [IPv6]:PORT or unix:/path, at least one".into(),
            Kind::Texts => "a list of texts".into(),
            Kind::AddressOrOff => "IP:PORT, [IPv6]:PORT, or \"off\"".into(),
            Kind::Path => "the path of a file without control characters, or \"\"".into(),
            Kind::SocketPath => {
                "the path of a socket, 107 bytes at most and without control characters, or \"\""
                    .into()
            }
            Kind::Token => "16 to 256 letters, digits and -._~+/=, or \"\"".into(),
            Kind::RedisUrl => {
                "redis://[:PASSWORD@]HOST[:PORT][/DATABASE], redis+unix:///PATH, or \"\"".into()
            }
            Kind::CookieName => "1 to 64 letters, digits, - or _, without __Host-".into(),
            Kind::Hosts => "a list of host names without port, in lower case".into(),
            Kind::RoutePath => {
                "a path such as \"/feed\" or \"/rooms/*\", as it stands in a URL, without query"
                    .into()
            }
            Kind::Origins => {
                "a list of origins without a path, such as \"https://example.org\"".into()
            }
            Kind::AddressRanges => "a list of IP or IP/BITS, such as \"10.0.0.0/8\"".into(),
            Kind::Subprotocols => "a list of subprotocols (RFC 6455 tokens)".into(),
        }
    }

    /// Whether this key takes several values.
    pub(super) fn is_list(&self) -> bool {
        use Kind::{AddressRanges, Addresses, Hosts, Origins, Subprotocols, Texts};
        matches!(self.kind, Addresses | AddressRanges | Texts | Hosts | Origins | Subprotocols)
    }

    /// Whether the value is nobody's business.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Token | Kind::RedisUrl)
    }

    /// Whether `value` is allowed.
    pub(super) fn allows(&self, value: &Value) -> bool {
        match (&self.kind, value) {
            (&Kind::Integer(min, max), &Value::Integer(n)) => (min..=max).contains(&n),
            (&Kind::ZeroOr(min, max), &Value::Integer(n)) => n == 0 || (min..=max).contains(&n),
            (&Kind::PowerOfTwo(min, max), &Value::Integer(n)) => is_power_of_two(n, min, max),
            (&Kind::ZeroOrPowerOfTwo(min, max), &Value::Integer(n)) => {
                n == 0 || is_power_of_two(n, min, max)
            }
            (Kind::Boolean, Value::Boolean(_)) => true,
            (Kind::Addresses, Value::Array(list)) => {
                let is_address = |item: &Value| {
                    item.as_str().is_some_and(|text| text.parse::<super::ListenAddress>().is_ok())
                };
                !list.is_empty() && list.iter().all(is_address)
            }
            (Kind::Texts, Value::Array(list)) => list.iter().all(Value::is_str),
            (Kind::Hosts, Value::Array(list)) => every(list, is_host),
            (Kind::Origins, Value::Array(list)) => every(list, super::is_origin),
            (Kind::Subprotocols, Value::Array(list)) => every(list, is_token),
            (Kind::AddressRanges, Value::Array(list)) => {
                every(list, |text| text.parse::<AddressRange>().is_ok())
            }
            (kind, Value::String(text)) => allows_text(kind, text),
            _ => false,
        }
    }

    /// `texts` as a value of this key's kind, or `None` where they cannot be one. A list takes
    /// them all, anything else exactly one.
    pub(super) fn value_of(&self, texts: &[String]) -> Option<Value> {
        if self.is_list() {
            return Some(Value::Array(texts.iter().cloned().map(Value::String).collect()));
        }
        let [text] = texts else { return None };
        match self.kind {
            Kind::Boolean => text.parse().ok().map(Value::Boolean),
            Kind::Integer(..) | Kind::ZeroOr(..) => integer(text),
            Kind::PowerOfTwo(..) | Kind::ZeroOrPowerOfTwo(..) => integer(text),
            _ => Some(Value::String(text.clone())),
        }
    }
}

fn is_power_of_two(n: i64, min: i64, max: i64) -> bool {
    (min..=max).contains(&n) && n.count_ones() == 1
}

fn integer(text: &str) -> Option<Value> {
    text.replace('_', "").parse().ok().map(Value::Integer)
}

fn every(list: &[Value], allowed: fn(&str) -> bool) -> bool {
    list.iter().all(|item| item.as_str().is_some_and(allowed))
}

fn allows_text(kind: &Kind, text: &str) -> bool {
    match kind {
        Kind::Word(words) => words.contains(&text),
        Kind::Filter => tracing_subscriber::EnvFilter::builder().parse(text).is_ok(),
        Kind::AddressOrOff => text == "off" || text.parse::<SocketAddr>().is_ok(),
        Kind::Path => text.len() <= 4_096 && !text.chars().any(char::is_control),
        Kind::SocketPath => {
            text.len() <= SOCKET_PATH_BYTES_MAX && !text.chars().any(char::is_control)
        }
        Kind::Token => text.is_empty() || control::is_token(text),
        Kind::RedisUrl => text.is_empty() || is_redis_url(text),
        Kind::CookieName => {
            let settings = SessionSettings { cookie_name: text.into(), ..Default::default() };
            settings.check().is_ok()
        }
        Kind::RoutePath => is_route_path(text),
        _ => false,
    }
}

fn is_redis_url(text: &str) -> bool {
    let known = ["redis://", "redis+unix:///"].iter().any(|scheme| text.starts_with(scheme));
    known && text.len() <= 4_096 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    (1..=253).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

/// A token of RFC 9110 §5.6.2, which subprotocols are.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// A path as a request line has it, perhaps with `/*` at its end.
fn is_route_path(text: &str) -> bool {
    let path = text.strip_suffix("/*").unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"?#*\"<>\\^`{|}".contains(&byte);
    text.starts_with('/') && text.len() <= 1_024 && path.bytes().all(allowed)
}
