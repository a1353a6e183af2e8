//! `[[route]]`: paths that the program serves without a line of Rust.
//!
//! Owns the table of their keys and how a file's routes are read; [`layers`](super::layers) calls
//! it. What a route does with a connection is [`serve`](crate::serve)'s business.

use super::ConfigError;
use super::keys::{DAY_MS, suggestion};
use super::kinds::{Key, Kind, key};
use super::layers::{Source, at, not_allowed};
use crate::proto::path::canonical;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt::Write as _;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// What the list of routes is called in a file.
pub(super) const NAME: &str = "route";

/// Routes of a file at most. The engine numbers them in 16 bits.
const ROUTES_MAX: usize = 1_000;

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteSection {
    /// An exact path, or `/prefix/*`.
    pub path: String,
    /// Always `shared`: sockets that the control plane reads and writes.
    pub mode: String,
    /// What becomes of messages that nobody reads: `stop_reading`, `drop_oldest` or `close`.
    pub mailbox: String,
    /// Milliseconds without activity after which a socket is closed with 1001.
    pub session_timeout_ms: u64,
    /// Whether the handshake makes a session and sets its cookie.
    pub session: bool,
    /// Origins allowed here beside those of `[origins]`.
    pub origins: Vec<String>,
    /// Subprotocols spoken here; the first one offered is chosen.
    pub subprotocols: Vec<String>,
}

impl Default for RouteSection {
    fn default() -> Self {
        Self {
            path: String::new(),
            mode: "shared".into(),
            mailbox: "stop_reading".into(),
            session_timeout_ms: 900_000,
            session: false,
            origins: Vec::new(),
            subprotocols: Vec::new(),
        }
    }
}

const ROUTE_KEYS: &[Key] = &[
    key(
        "path",
        Kind::RoutePath,
        "Where: exact, or everything below with /* at the end. A built-in route of this path is replaced.",
    ),
    key(
        "mode",
        Kind::Word(&["shared"]),
        "Sockets stay open by themselves; any program reads and writes them through the control plane.",
    ),
    key(
        "mailbox",
        Kind::Word(&["stop_reading", "drop_oldest", "close"]),
        "When 64 KiB or 1,024 messages wait that nobody reads: let the peer feel it, forget the oldest, or close with 1013.",
    ),
    key(
        "session_timeout_ms",
        Kind::Integer(100, 365 * DAY_MS),
        "Milliseconds without activity until a socket is closed with 1001 and its id expires.",
    ),
    key("session", Kind::Boolean, "Make a session at the handshake and set its cookie."),
    key("origins", Kind::Origins, "Origins that may connect here beside those of [origins]."),
    key(
        "subprotocols",
        Kind::Subprotocols,
        "Subprotocols spoken here; the client's first wish among them is chosen.",
    ),
];

/// The routes of a file as a list for serde, every value checked.
pub(super) fn checked(
    entry: &Spanned<DeValue<'_>>,
    place: Source,
    place_of: impl Fn(usize) -> Source,
) -> Result<Value, ConfigError> {
    let not_a_list = || at(place.clone(), "`route` is a list; write `[[route]]`".into());
    let list = entry.get_ref().as_array().ok_or_else(not_a_list)?;
    if list.len() > ROUTES_MAX {
        let text = format!("{} routes are too many; {ROUTES_MAX} are allowed", list.len());
        return Err(at(place, text));
    }
    let mut paths = HashSet::new();
    let mut routes = Vec::with_capacity(list.len());
    for item in list {
        let place = place_of(item.span().start);
        let keys = item.get_ref().as_table().ok_or_else(not_a_list)?;
        let route = route(keys, place.clone(), &place_of)?;
        let path = route["path"].as_str().unwrap_or_default();
        if !paths.insert(canonical(path).into_owned()) {
            let text = format!("`path` {path} is another route's already; keep one of them");
            return Err(at(place, text));
        }
        routes.push(Value::Table(route));
    }
    Ok(Value::Array(routes))
}

fn route(
    keys: &DeTable<'_>,
    place: Source,
    place_of: impl Fn(usize) -> Source,
) -> Result<Table, ConfigError> {
    let mut route = Table::new();
    for (name, value) in keys {
        let place = place_of(name.span().start);
        let name = name.get_ref().as_ref();
        let Some(key) = ROUTE_KEYS.iter().find(|key| key.path == name) else {
            let suggestion = suggestion(name, ROUTE_KEYS.iter().map(|key| key.path));
            let name = name.escape_debug();
            return Err(at(place, format!("unknown key `{name}` in [[route]]; {suggestion}")));
        };
        let value = plain(value.get_ref());
        if !key.allows(&value) {
            return Err(not_allowed(key, &value.to_string(), place));
        }
        route.insert(name.to_owned(), value);
    }
    if !route.contains_key("path") {
        return Err(at(place, "this [[route]] has no `path`; add path = \"/feed\"".into()));
    }
    Ok(route)
}

/// The value without places. What no key takes (dates, tables, fractions) becomes its own text.
fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map_or_else(|_| Value::Float(f64::INFINITY), Value::Integer)
        }
        DeValue::Array(list) => {
            Value::Array(list.iter().map(|item| plain(item.get_ref())).collect())
        }
        _ => Value::Float(f64::NAN),
    }
}

/// A route with every key at its default, in comments, for the default file.
pub(super) fn commented_example() -> String {
    let example = RouteSection { path: "/feed".into(), ..RouteSection::default() };
    // Texts, numbers and lists of texts always have a TOML form; a test reads it back.
    let values = Table::try_from(example).unwrap_or_default();
    let mut text = String::from(
        "\n# Paths that are served without Rust, one [[route]] each; only in a file.\n# [[route]]\n",
    );
    for key in ROUTE_KEYS {
        if let Some(value) = values.get(key.path) {
            let name = key.path;
            let _ = writeln!(
                text,
                "# # {}\n# # Allowed: {}.\n# {name} = {value}",
                key.about,
                key.allowed()
            );
        }
    }
    text
}
