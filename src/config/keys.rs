//! The table of keys: what each means, what it may be, and how it is written where.
//!
//! [`layers`](super::layers) checks every value against it before serde sees it, so that an error
//! says what is allowed. The default file is printed from it.

use super::Config;
use super::kinds::key;
pub(super) use super::kinds::{Key, Kind};
use std::fmt::Write as _;
use toml::{Table, Value};

const MIB: i64 = 1 << 20;
pub(super) const DAY_MS: i64 = 86_400_000;

/// Every key, in the order of the default file.
pub(super) const KEYS: &[Key] = &[
    key(
        "listen",
        Kind::Addresses,
        "Where to listen: IP:PORT, [IPv6]:PORT or unix:/path. [::] takes IPv4 as well, unless an IPv4 address of the same port is listed. Loopback, because a server should be exposed on purpose.",
    ),
    key(
        "shards",
        Kind::ZeroOr(1, 256),
        "Threads with a ring each. 0: one per core. More than cores hold more connections where RLIMIT_NOFILE is low.",
    ),
    key(
        "connections_max",
        Kind::ZeroOr(1, u32::MAX as i64),
        "Connections of the whole process. 0: what RLIMIT_NOFILE and the shards allow. Passed: 503.",
    ),
    key(
        "legacy_drafts",
        Kind::Boolean,
        "Accept WebSocket versions 7 and 8 (HyBi-07 to -12) beside 13. Off, because no browser since 2012 needs them.",
    ),
    key(
        "origins.allowed",
        Kind::Texts,
        "Origins that may connect beside the request's own host, like \"https://example.org\". A server on loopback alone wants the names here under which browsers reach its own port, against DNS rebinding.",
    ),
    key(
        "origins.required",
        Kind::Boolean,
        "Refuse a request without Origin (403). Off, because programs that are no browsers send none.",
    ),
    key(
        "limits.connections_per_address_max",
        Kind::ZeroOr(1, u16::MAX as i64),
        "Connections of one address (of an IPv6 network of 64 bits), never more than half of connections_max. 0: no limit. Passed: 429.",
    ),
    key(
        "limits.trusted_addresses",
        Kind::AddressRanges,
        "Addresses without that limit, and without a common share of limits.inbox_growth_bytes_max, because many people are behind each: proxies. Others than these know a peer's own address.",
    ),
    key(
        "limits.request_head_bytes_max",
        Kind::Integer(256, MIB),
        "Bytes of a request head. Browsers need 1 to 2 KiB. Passed: 431.",
    ),
    key(
        "limits.message_bytes_max",
        Kind::Integer(125, 1 << 40),
        "Bytes of a message, all fragments together. Passed: close 1009, from the frame header alone.",
    ),
    key(
        "limits.message_fragments_max",
        Kind::Integer(1, u32::MAX as i64),
        "Fragments of a message after the first; empty ones count, because they weigh nothing and cost time. Passed: close 1008.",
    ),
    key(
        "limits.inbox_bytes_max",
        Kind::Integer(1_024, 1 << 30),
        "Bytes that wait for a handler before a connection is no longer read, so that the peer feels it.",
    ),
    key(
        "limits.inbox_messages_max",
        Kind::Integer(1, MIB),
        "Messages that wait for a handler before a connection is no longer read.",
    ),
    key(
        "limits.inbox_growth_bytes_max",
        Kind::Integer(0, 1 << 40),
        "Bytes that all connections of a shard together may hold beyond their limits. Passed: reading stops and writes wait; close 1013 after 10 s.",
    ),
    key(
        "limits.memory_max",
        Kind::ZeroOr(32 * MIB, 1 << 50),
        "Bytes of memory that the process may have. 0: no limit. At 80 % nobody grows, at 90 % handshakes are refused (503), at 95 % those who hold most are cut.",
    ),
    key(
        "limits.outbox_high_water_bytes",
        Kind::Integer(4_096, 1 << 30),
        "Bytes that wait for a slow peer before a write waits too.",
    ),
    key(
        "limits.socket_send_buffer_bytes",
        Kind::ZeroOr(2_048, 1 << 30),
        "SO_SNDBUF of every connection, which bounds the kernel's memory for slow peers. 0: the kernel sizes it.",
    ),
    key(
        "limits.log_lines_per_second_max",
        Kind::ZeroOr(1, MIB),
        "Lines of the log per second for each thing that peers can cause: connections that end, refusals by status, failing handlers. Passed: counted, and told with the next line. 0: no limit.",
    ),
    key(
        "timeouts.request_head_ms",
        Kind::Integer(1, DAY_MS),
        "Milliseconds for the whole request head; bytes do not extend it, or a slow peer could stay for ever. Passed: 408.",
    ),
    key(
        "timeouts.ping_interval_ms",
        Kind::ZeroOr(1, DAY_MS),
        "Milliseconds of silence before a Ping. Below the 30 s after which many proxies cut. 0: no Pings.",
    ),
    key(
        "timeouts.pong_ms",
        Kind::Integer(1, DAY_MS),
        "Milliseconds for any byte to arrive after a Ping, or to get through to a peer that still takes what was sent before. Passed: cut.",
    ),
    key(
        "timeouts.stall_ms",
        Kind::Integer(1, DAY_MS),
        "Milliseconds in which the peer takes something of what was sent. Passed: cut.",
    ),
    key(
        "timeouts.message_ms",
        Kind::ZeroOr(1, DAY_MS),
        "Milliseconds in which a message that has begun ends or grows by 64 KiB. Passed: close 1008. 0: no limit.",
    ),
    key(
        "timeouts.close_ms",
        Kind::Integer(1, DAY_MS),
        "Milliseconds for the peer to answer a Close, since it last took something of what was sent before. Passed: cut.",
    ),
    key(
        "timeouts.close_max_ms",
        Kind::Integer(1, DAY_MS),
        "Milliseconds for the end of a connection in all, however slowly the peer takes what is left. Passed: cut.",
    ),
    key(
        "timeouts.linger_ms",
        Kind::Integer(1, DAY_MS),
        "Milliseconds for the peer to take something of a refusal (400, 403, ...) or a page before it is cut.",
    ),
    key(
        "timeouts.drain_delay_ms",
        Kind::Integer(0, DAY_MS),
        "Milliseconds after SIGTERM in which everybody is still served and let in, while /readyz says 503: time for load balancers to look. A second signal ends it.",
    ),
    key(
        "timeouts.drain_spread_ms",
        Kind::Integer(0, DAY_MS),
        "Milliseconds over which a drain spreads its Close frames (1001), so that clients do not return all at once.",
    ),
    key(
        "timeouts.drain_ms",
        Kind::Integer(1, DAY_MS),
        "Milliseconds after the beginning of a drain until what is left is cut (exit code 3).",
    ),
    key(
        "ring.submission_entries",
        Kind::PowerOfTwo(8, 32_768),
        "Entries of the submission queue: operations per system call.",
    ),
    key(
        "ring.completion_entries",
        Kind::PowerOfTwo(8, 65_536),
        "Entries of the completion queue; halved at start until RLIMIT_MEMLOCK allows it.",
    ),
    key(
        "ring.buffers",
        Kind::Word(&["auto", "incremental", "classic"]),
        "Receive buffers: incremental (16 of them, kernel 6.12), classic (4 KiB), or auto: the first that passes the self-test.",
    ),
    key(
        "ring.buffer_pool_bytes",
        Kind::PowerOfTwo(4_096, 128 * MIB),
        "Bytes of receive buffers per shard. A pool near the size of the L2 cache is fastest.",
    ),
    key(
        "ring.buffer_count",
        Kind::ZeroOrPowerOfTwo(1, 32_768),
        "Receive buffers per shard. 0: as many as buffer_pool_bytes holds.",
    ),
    key(
        "ring.send_waitall",
        Kind::Boolean,
        "Send with MSG_WAITALL, so that a send completes once. Off only in tests.",
    ),
    key(
        "sessions.cookie_name",
        Kind::CookieName,
        "The cookie of a session, on routes that ask for one; with secure it gets the prefix __Host-.",
    ),
    key(
        "sessions.lifetime_ms",
        Kind::Integer(1_000, 365 * DAY_MS),
        "Milliseconds without activity until a session ends. An open WebSocket is activity.",
    ),
    key(
        "sessions.age_max_ms",
        Kind::ZeroOr(1_000, 365 * DAY_MS),
        "Milliseconds from its making until a session ends although it is used, so that a stolen cookie is not good for ever. 0: never.",
    ),
    key(
        "sessions.cookie_max_age_ms",
        Kind::ZeroOr(1_000, 365 * DAY_MS),
        "Milliseconds for which the browser keeps the cookie. 0: until it is closed.",
    ),
    key(
        "sessions.http_only",
        Kind::Boolean,
        "Keep the cookie from scripts, so that none can steal it.",
    ),
    key(
        "sessions.same_site",
        Kind::Word(&["lax", "strict", "none"]),
        "Which requests of other sites carry the cookie; none needs secure.",
    ),
    key(
        "sessions.secure",
        Kind::Boolean,
        "Send the cookie over TLS only. Off only where browsers come by ws:// from another host.",
    ),
    key(
        "sessions.kept_max",
        Kind::Integer(1, 100_000_000),
        "Sessions with values kept in memory. Passed: a further one gets no value.",
    ),
    key(
        "sessions.bytes_max",
        Kind::Integer(64, MIB),
        "Bytes of the keys and values of one session. Passed: the change is refused.",
    ),
    key("sessions.sockets_max", Kind::Integer(1, MIB), "WebSockets of one session. Passed: 429."),
    key(
        "sessions.redis",
        Kind::RedisUrl,
        "A Redis server that keeps sessions, so that other processes share them; needs a program built with the feature redis. Empty: memory.",
    ),
    key(
        "admin.listen",
        Kind::AddressOrOff,
        "Where the control plane and its status page listen. Loopback, because who reaches it and has the token can do everything. Port 0: any.",
    ),
    key(
        "admin.control",
        Kind::SocketPath,
        "A Unix socket for the control plane, for programs of this user: its file mode (0600) replaces the token.",
    ),
    key(
        "admin.token",
        Kind::Token,
        "Opens the control plane. Empty: token_file, or else one is made at each start and printed.",
    ),
    key(
        "admin.token_file",
        Kind::Path,
        "A file whose first line is the token, such as systemd's credentials.",
    ),
    key(
        "admin.read_only_token",
        Kind::Token,
        "Opens what only looks: lists, status, events, metrics. Empty: read_only_token_file, or else there is none.",
    ),
    key(
        "admin.read_only_token_file",
        Kind::Path,
        "A file whose first line is the read-only token.",
    ),
    key(
        "admin.hosts",
        Kind::Hosts,
        "Names under which browsers may reach the control plane beside loopback, for a proxy in front of it. Others: 403, against DNS rebinding.",
    ),
    key(
        "log.format",
        Kind::Word(&["text", "json"]),
        "Lines on standard error: text for people, json for programs.",
    ),
    key(
        "log.filter",
        Kind::Filter,
        "What is logged: error, warn, info, debug, trace, or target=level pairs, as tracing's EnvFilter takes them.",
    ),
];

/// The key at `path`.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The configuration file that says the defaults: every key with its value, its unit and its
/// reason, as `ringwire config --print-default` prints it.
pub fn default_toml() -> String {
    let defaults = defaults();
    let mut text = String::from(
        "# ringwire: the defaults. A file needs only the keys it changes.\n\
         # Flags win over the environment, the environment over this file.\n",
    );
    let mut section_before = "";
    for key in KEYS {
        let (section, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if section != section_before {
            let _ = write!(text, "\n[{section}]\n");
            section_before = section;
        } else {
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "# {}\n# Allowed: {}. Environment: {}",
            key.about,
            key.allowed(),
            key.variable()
        );
        if let Some(value) = value_at(&defaults, key.path) {
            let _ = writeln!(text, "{name} = {value}");
        }
    }
    text.push_str(&super::routes::commented_example());
    text
}

/// The defaults as a table.
pub(super) fn defaults() -> Table {
    // A `Config` of small numbers and texts always has a TOML form; a test prints it.
    Table::try_from(Config::default()).unwrap_or_default()
}

/// The value at `section.key` or `key`.
pub(super) fn value_at<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((section, name)) => table.get(section)?.as_table()?.get(name),
        None => table.get(path),
    }
}

/// What to say about an unknown name among `known`: the nearest one, or all of them.
pub(super) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let nearest = known.iter().map(|known| (distance(name, known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= 1 + name.len() / 4 => {
            format!("did you mean `{known}`?")
        }
        _ => format!("known are: {}", known.join(", ")),
    }
}

/// Letters to insert, delete or change to make `a` of `b` (Levenshtein), over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
