//! Lists, status and metrics.

use super::stand::Stand;
use ringwire::{Error, RouteOptions, WebSocket, WebSocketServer};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use support::http::Connection;
use support::{Client, Shared, echo, eventually, on, quick, text};
use tungstenite::Message;

fn ids(page: &Value) -> Vec<String> {
    let list = page["websockets"].as_array().expect("a list");
    list.iter().map(|socket| socket["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn a_list_is_paged_filtered_and_sorted() {
    let mut settings = quick();
    settings.shards = 2;
    let stand = Stand::with(settings, RouteOptions::default());
    let mut clients: Vec<Client> = (0..30).map(|_| stand.client_with("/shared", &[])).collect();
    clients.extend((0..20).map(|_| stand.client_with("/echo", &[])));
    let (mut busy, busy_id) = stand.client("/echo");
    busy.send(Message::text("x".repeat(10_000))).expect("open");
    assert_eq!(text(&mut busy).len(), 10_000);
    let mut reader = stand.reader();
    let mut seen = HashSet::new();
    let mut target = "/v1/websockets?limit=7".to_owned();
    let mut pages = 0;
    loop {
        let page = reader.get(&target).json();
        assert_eq!(page["total"], 51);
        let ids = ids(&page);
        assert!(ids.len() <= 7);
        for id in ids {
            assert!(seen.insert(id), "listed twice");
        }
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        target = format!("/v1/websockets?limit=7&cursor={cursor}");
    }
    assert_eq!(seen.len(), 51);
    assert!(pages >= 8);
    let shared = reader.get("/v1/websockets?route=/shared&status=unattended").json();
    assert_eq!((&shared["total"], ids(&shared).len()), (&30.into(), 30));
    let by_bytes = reader.get("/v1/websockets?sort=bytes_in&order=desc&limit=1").json();
    assert_eq!(ids(&by_bytes), [&busy_id[..]]);
    let by_id: Vec<String> = ids(&reader.get("/v1/websockets?sort=id&limit=500").json());
    assert!(by_id.is_sorted() && by_id.len() == 51);
    let later = ids(&reader.get("/v1/websockets?sort=id&limit=500&offset=50").json());
    assert_eq!(later, by_id[50..]);
    let found = reader.get(&format!("/v1/websockets?q={busy_id}")).json();
    assert_eq!(ids(&found), [busy_id]);
    let script = reader.get("/v1/websockets?q=%3Cscript%3Ealert(1)%3C/script%3E");
    assert_eq!((script.status, script.json()["total"].as_u64()), (200, Some(0)));
    for wrong in
        ["limit=0", "sort=age", "cursor=zz", "order=desc", "status=free", "q=", "limit=501&sort=id"]
    {
        let answer = reader.get(&format!("/v1/websockets?{wrong}"));
        assert_eq!(answer.error(400), "bad_request", "{wrong}");
    }
    drop(clients);
    stand.finish();
}

#[test]
fn one_socket_is_described() {
    let stand = Stand::new();
    let (mut client, id) = stand.client("/echo");
    client.send(Message::text("hello")).expect("open");
    assert_eq!(text(&mut client), "hello");
    let info = stand.reader().get(&format!("/v1/websockets/{id}")).json();
    let peer = client.get_ref().local_addr().expect("a socket").to_string();
    assert_eq!((&info["route"], &info["status"]), (&"/echo".into(), &"websocket".into()));
    assert!(info["peer"] == peer.as_str() || info["peer"].is_null(), "{info}");
    assert_eq!((&info["messages_in"], &info["messages_out"]), (&1.into(), &1.into()));
    assert!(
        info["bytes_in"].as_u64() > Some(100) && info["bytes_out"].as_u64() > Some(100),
        "{info}"
    );
    for key in ["lease", "session_id", "timeout_ms"] {
        assert!(info[key].is_null(), "{key}: {info}");
    }
    assert_eq!(stand.reader().get("/v1/websockets/unheard-of").error(404), "unknown_id");
    stand.finish();
}

#[test]
fn the_status_adds_up() {
    let mut settings = quick();
    settings.shards = 2;
    let stand = Stand::with(settings, RouteOptions::default());
    let (mut client, _) = stand.client("/echo");
    let (_shared, _) = stand.shared();
    client.send(Message::text("hello")).expect("open");
    assert_eq!(text(&mut client), "hello");
    let status = stand.reader().get("/v1/status").json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&status["ready"], &status["healthy"], &status["draining"]),
        (&true.into(), &true.into(), &false.into())
    );
    assert_eq!(status["connections"], 2);
    let shards = status["shards"].as_array().expect("shards");
    assert_eq!(shards.len(), 2);
    for key in ["accepted", "opened", "messages_in", "messages_out", "bytes_in", "enters"] {
        let sum: u64 = shards.iter().map(|shard| shard[key].as_u64().expect(key)).sum();
        assert_eq!(status["totals"][key], sum, "{key}");
        assert!(sum > 0, "{key}");
    }
    let routes = status["routes"].as_array().expect("routes");
    let route = |path: &str| routes.iter().find(|route| route["path"] == path).expect("a route");
    assert_eq!(
        (&route("/echo")["open"], &route("/echo")["mode"]),
        (&1.into(), &"websocket".into())
    );
    assert_eq!(
        (&route("/shared")["unattended"], &route("/shared")["mode"]),
        (&1.into(), &"shared".into())
    );
    stand.finish();
}

#[test]
fn a_route_keeps_its_mode_and_a_token_learns_what_it_may() {
    let stand = Stand::start(quick(), |builder| {
        let declared = RouteOptions { shared_connection: true, ..RouteOptions::default() };
        builder
            .route_with("/declared", declared, || Stay)
            .route("/shared", || Shared)
            .route("/echo", on(echo))
    });
    let mode = |path: &str| {
        let status = stand.reader().get("/v1/status").json();
        let routes = status["routes"].as_array().expect("routes").clone();
        routes.into_iter().find(|route| route["path"] == path).expect("a route")["mode"].clone()
    };
    assert_eq!(["/declared", "/shared", "/echo"].map(mode), ["shared", "websocket", "websocket"]);
    for path in ["/declared", "/shared", "/echo"] {
        let (client, id) = stand.client(path);
        let status = stand.reader().get(&format!("/v1/websockets/{id}")).json()["status"].clone();
        assert_eq!(status, if path == "/echo" { "websocket" } else { "unattended" });
        drop(client);
    }
    eventually("all have gone", || stand.reader().get("/v1/status").json()["connections"] == 0);
    assert_eq!(["/declared", "/shared", "/echo"].map(mode), ["shared", "shared", "websocket"]);
    let access = |mut connection: Connection| connection.get("/v1/status").json()["access"].clone();
    assert_eq!(access(stand.operator()), "operator");
    assert_eq!(access(stand.reader()), "read-only");
    assert_eq!(access(Connection::unix(&stand.socket)), "operator");
    stand.finish();
}

/// Says nothing about the mode of its sockets.
struct Stay;

impl WebSocketServer for Stay {
    async fn server(&mut self, _ws: &mut WebSocket) -> Result<(), Error> {
        Ok(())
    }
}

/// The metrics by name and labels.
pub fn metrics(text: &str) -> BTreeMap<String, f64> {
    let mut described = HashSet::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            assert!(words[2].len() > 3 && ["HELP", "TYPE"].contains(&words[0]), "{line}");
            assert!(described.insert((words[0].to_owned(), words[1].to_owned())), "twice: {line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        let family = name.split('{').next().unwrap_or(name);
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end));
        let known = |kind: &str| {
            let is = |name: &str| described.contains(&(kind.to_owned(), name.to_owned()));
            is(family) || base.is_some_and(is)
        };
        assert!(family.starts_with("ringwire_") && known("HELP") && known("TYPE"), "{line}");
        let value = value.parse().expect("a number");
        assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {name}");
    }
    samples
}

#[test]
fn metrics_are_described_and_bounded_in_number() {
    let stand = Stand::new();
    let before = metrics(stand.reader().get("/metrics").text()).len();
    let clients: Vec<Client> = (0..50)
        .map(|n| stand.client_with("/echo", &[("user-agent", &format!("agent-{n}"))]))
        .collect();
    for n in 0..50 {
        stand.reader().get(&format!("/nothing/{n}"));
    }
    let answer = stand.reader().get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let samples = metrics(answer.text());
    // No label comes from what a peer chooses.
    assert!(samples.len() <= before + 10, "{} after {before}", samples.len());
    assert_eq!(samples["ringwire_connections{shard=\"0\"}"], 50.0);
    assert_eq!(samples["ringwire_route_open{route=\"/echo\"}"], 50.0);
    assert_eq!(samples["ringwire_opened_total{shard=\"0\"}"], 50.0);
    assert!(samples["ringwire_ring_enters_total{shard=\"0\"}"] > 0.0);
    assert!(samples["ringwire_control_answers_total{class=\"4xx\"}"] >= 50.0);
    let last = samples["ringwire_read_to_write_seconds_bucket{le=\"+Inf\"}"];
    assert_eq!(last, samples["ringwire_read_to_write_seconds_count"]);
    drop(clients);
    stand.finish();
}

#[test]
fn a_route_that_is_given_twice_is_counted_once() {
    let stand = Stand::start(support::quick(), |builder| {
        builder.route("/twice", || Stay).route("/twice/*", || Stay).route("/twice", || Stay)
    });
    let samples = metrics(stand.reader().get("/metrics").text());
    assert!(samples.contains_key("ringwire_route_open{route=\"/twice\"}"));
    assert!(samples.contains_key("ringwire_route_open{route=\"/twice/*\"}"));
    stand.finish();
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let stand = Stand::new();
    let answer = stand.reader().get("/metrics");
    let described: HashSet<&str> = answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let dashboard: Value =
        serde_json::from_str(include_str!("../../docs/grafana.json")).expect("JSON");
    let text = dashboard.to_string();
    let mut asked = 0;
    for (at, _) in text.match_indices("ringwire_") {
        let name = text[at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
        let name = name.expect("a name").trim_end_matches("_bucket");
        assert!(described.contains(name), "{name}");
        asked += 1;
    }
    assert!(asked > 30, "{asked}");
    stand.finish();
}
