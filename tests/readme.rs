//! What the README says is what the code does: limits, exit codes, routes, links.

use ringwire::proto::frame::FrameError;
use ringwire::proto::{ProtocolError, RequestError, limits};
use ringwire::{ListenAddress, Settings, Timeouts, serve};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const README: &str = include_str!("../README.md");
const LIMITS: &str = include_str!("../src/proto/limits.rs");

/// Constants of `limits.rs` that bound nothing a peer does.
const INTERNAL: [&str; 2] = ["OUTBOX_COPY_BYTES_MAX", "SERVER_FRAME_HEADER_BYTES_MAX"];

/// Rows whose default is no number, or is the way something is made.
const WITHOUT_AMOUNT: [&str; 5] = [
    "origin of the page",
    "name of a page's host, straight at a port of a server on loopback alone",
    "connections",
    "memory of the process",
    "Pings answered while a send is under way",
];

/// A row of the table of limits: its name, the constant behind it, and its value in bytes,
/// milliseconds or pieces.
struct Limit(&'static str, &'static str, u64);

macro_rules! size {
    ($what:literal, $name:ident) => {
        Limit($what, stringify!($name), limits::$name as u64)
    };
}

macro_rules! time {
    ($what:literal, $name:ident) => {
        Limit($what, stringify!($name), limits::$name.as_millis() as u64)
    };
}

fn limits_in_code() -> Vec<Limit> {
    let Timeouts { drain, drain_spread, drain_delay, .. } = Timeouts::default();
    vec![
        size!("connections of one address", CONNECTIONS_PER_ADDRESS_MAX),
        size!("request head", REQUEST_HEAD_BYTES_MAX),
        size!("header fields of a request", REQUEST_HEADERS_MAX),
        time!("time for the request head", REQUEST_HEAD_TIMEOUT),
        size!("message", MESSAGE_BYTES_MAX),
        size!("fragments of a message after the first", MESSAGE_FRAGMENTS_MAX),
        size!("payload of a control frame", CONTROL_BYTES_MAX),
        size!("reason of a Close frame", CLOSE_REASON_BYTES_MAX),
        size!("bytes of a connection in a batch", BATCH_BYTES_MAX),
        size!("messages of a connection in a batch", BATCH_MESSAGES_MAX),
        size!("bytes of a shot", SHOT_BYTES_MAX),
        size!("bytes of a shot of small messages", SHOT_OF_SMALL_BYTES_MAX),
        size!("bytes of all shots of a batch", SHOTS_BYTES_MAX),
        size!("inbox of a connection", INBOX_BYTES_MAX),
        size!("messages in an inbox", INBOX_MESSAGES_MAX),
        size!("received beyond a full inbox", REST_BYTES),
        size!("growth of all connections of a shard", INBOX_GROWTH_BYTES_MAX),
        time!("time for a message to get room to grow", GROWTH_TIMEOUT),
        size!("cost of a message that a gone peer has left", MESSAGE_COST_BYTES),
        size!("outbox of a connection", OUTBOX_HIGH_WATER_BYTES),
        size!("pieces in an outbox", OUTBOX_ITEMS_MAX),
        size!("Pongs that wait for one send", PONGS_BYTES_MAX),
        time!("silence before a Ping", PING_INTERVAL),
        time!("silence after a Ping", PONG_TIMEOUT),
        time!("time to take something of what was sent", STALL_TIMEOUT),
        time!("time for a message to end, or to grow by what follows", MESSAGE_TIMEOUT),
        size!("growth of a message in that time", MESSAGE_GROWTH_BYTES_MIN),
        time!("closing handshake, since the peer last took something", CLOSE_TIMEOUT),
        time!("end of a connection in all", CLOSE_TIMEOUT_MAX),
        time!("time to take something of a refusal or a page", LINGER_TIMEOUT),
        size!("`read`, length", READ_LEN_DEFAULT),
        time!("`read`, time", READ_TIMEOUT_DEFAULT),
        time!("session without activity", SESSION_LIFETIME),
        time!("age of a session", SESSION_AGE_MAX),
        size!("keys and values of a session", SESSION_BYTES_MAX),
        size!("values of a session", SESSION_VALUES_MAX),
        size!("sessions in memory that have values", SESSIONS_MAX),
        size!("WebSockets of a session", SESSION_SOCKETS_MAX),
        time!("look for revoked sessions", SESSION_CHECK_INTERVAL),
        time!("answer of a session store", SESSION_STORE_TIMEOUT),
        time!("shared socket without activity", SESSION_TIMEOUT),
        time!("lease of a holder that has gone", LEASE),
        time!("last words of shared sockets that are gone, time", REMAINS_TIME),
        size!("sockets of a shard that have left last words", REMAINS_MAX),
        size!("last words of a shard together", REMAINS_BYTES_MAX),
        size!("ids of a shard that are known to be answered with 410", EXPIRED_IDS_MAX),
        size!("writes by id that wait for one shared socket", WAITING_WRITES_MAX),
        size!("events that are kept for streams that come late", EVENTS_KEPT_MAX),
        size!("connections in one list", LIST_ITEMS_MAX),
        size!("connections that a sorted list leaves out", LIST_OFFSET_MAX),
        size!("log that waits to be written", LOG_BYTES_MAX),
        size!("lines of the log that wait", LOG_LINES_MAX),
        size!("lines of the log per second and reason", LOG_LINES_PER_SECOND_MAX),
        time!("address in use at the start", ADDRESS_IN_USE_TIMEOUT),
        Limit("drain after the signal", "", drain_delay.as_millis() as u64),
        Limit("spread of the Close frames (1001) of a drain", "", drain_spread.as_millis() as u64),
        Limit("drain", "", drain.as_millis() as u64),
    ]
}

/// The cells of the table under a heading, without its first two lines.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let section = README.split(&format!("\n## {heading}\n")).nth(1).expect(heading);
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// `16 MiB`, `10 s`, `65,536` or `125 bytes` in bytes, milliseconds or pieces.
fn amount(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let number: u64 = number.replace(',', "").parse().ok()?;
    let factor = match unit {
        "" | "bytes" => 1,
        "s" => 1_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    Some(number * factor)
}

fn row_of<'a>(rows: &'a [Vec<&'static str>], what: &str) -> &'a [&'static str] {
    rows.iter().find(|row| row[0] == what).unwrap_or_else(|| panic!("no row `{what}`"))
}

#[test]
fn the_limits_are_those_of_the_code() {
    let rows = table("Limits");
    let mut named: BTreeSet<&str> = WITHOUT_AMOUNT.into();
    for Limit(what, constant, value) in limits_in_code() {
        assert_eq!(amount(row_of(&rows, what)[2]), Some(value), "{what}, {constant}");
        named.insert(what);
    }
    assert_eq!(rows.iter().map(|row| row[0]).collect::<BTreeSet<_>>(), named);
}

#[test]
fn every_limit_of_the_code_is_in_the_table() {
    let constants = LIMITS.lines().filter_map(|line| line.strip_prefix("pub const "));
    let constants: BTreeSet<&str> = constants
        .filter_map(|line| line.split(':').next())
        .filter(|n| !INTERNAL.contains(n))
        .collect();
    let named = limits_in_code().into_iter().map(|Limit(_, constant, _)| constant);
    assert_eq!(constants, named.filter(|constant| !constant.is_empty()).collect());
}

#[test]
fn the_keys_exist_and_have_the_defaults_of_the_table() {
    let defaults = ringwire::config::default_toml();
    let defaults: toml::Table = defaults.parse().expect("the default file is TOML");
    for row in table("Limits") {
        let Some(key) = row[1].strip_prefix('`').and_then(|key| key.strip_suffix('`')) else {
            let fixed = ["fixed", "its argument", "its setting", "set by the route"];
            assert!(fixed.contains(&row[1]), "{row:?}");
            continue;
        };
        let value = match key.split_once('.') {
            Some((section, key)) => defaults[section].get(key),
            None => defaults.get(key),
        };
        let value = value.unwrap_or_else(|| panic!("no key {key}"));
        if let Some(amount) = amount(row[2]) {
            assert_eq!(value.as_integer(), i64::try_from(amount).ok(), "{key}");
        }
    }
}

#[test]
fn the_answers_are_those_of_the_code() {
    let rows = table("Limits");
    let too_long = ProtocolError::MessageTooLong { declared_bytes: 1 };
    for (what, error) in [
        ("message", too_long),
        ("fragments of a message after the first", ProtocolError::TooManyFragments),
        ("payload of a control frame", FrameError::ControlTooLong.into()),
        ("time for a message to get room to grow", ProtocolError::Refused),
    ] {
        let answer = format!("close {}", error.close_code().0);
        assert!(row_of(&rows, what)[3].starts_with(&answer), "{what}: {answer}");
    }
    for (what, error) in [
        ("request head", RequestError::HeadTooLong),
        ("header fields of a request", RequestError::TooManyHeaders),
    ] {
        assert_eq!(row_of(&rows, what)[3], error.status().to_string(), "{what}");
    }
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let help = Command::new(env!("CARGO_BIN_EXE_ringwire")).arg("--help").output();
    let help = String::from_utf8(help.expect("it runs").stdout).expect("UTF-8");
    let section = help.split("Exit codes:\n").nth(1).expect("exit codes in the help");
    let in_help: Vec<(&str, &str)> =
        section.lines().map_while(|line| line.trim().split_once("  ")).collect();
    let in_readme = table("Exit codes");
    let in_readme: Vec<(&str, &str)> = in_readme.iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(in_readme, in_help);
}

#[test]
fn the_routes_are_served() {
    let settings = Settings { shards: 1, ..Settings::default() };
    let engine = serve::builder(settings).listen("127.0.0.1:0".parse().expect("an address"));
    let engine = engine.start().expect("this host carries the server");
    let ListenAddress::Tcp(address) = engine.addresses()[0].clone() else { panic!("not TCP") };
    let status = |path: &str| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a TCP socket");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers and closes");
        answer[9..12].to_owned()
    };
    for row in table("Routes of `ringwire serve`") {
        let path = row[0].trim_matches('`');
        // Paths of WebSockets tell a plain request to upgrade.
        assert_eq!(status(path), if path == "/" { "200" } else { "426" }, "{path}");
    }
    assert_eq!(status("/elsewhere"), "404");
    engine.handle().drain();
    assert_eq!(engine.join().totals.cut, 0);
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/containers.md",
        "docs/control.md",
        "docs/proxies.md",
        "docs/sessions.md",
    ] {
        let text = std::fs::read_to_string(root.join(file)).expect(file);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let own = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
        let folder = root.join(file);
        let folder = folder.parent().expect("a folder");
        for target in own {
            let path = target.split('#').next().unwrap_or(target);
            assert!(folder.join(path).exists(), "{file}: {target}");
        }
    }
}
