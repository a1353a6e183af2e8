//! Every door with everything that can be wrong about a request: cause and remedy are told, and
//! nothing is changed.

use super::stand::Stand;
use super::verbs::say;
use serde_json::Value;
use support::eventually;

const BAD: (u16, &str) = (400, "bad_request");
const MEDIA: (u16, &str) = (415, "unsupported_media_type");
const UNKNOWN: (u16, &str) = (404, "unknown_id");

/// A request that is wrong, and how it is refused.
struct Wrong {
    method: &'static str,
    target: String,
    headers: &'static [(&'static str, &'static str)],
    body: &'static [u8],
    told: (u16, &'static str),
}

fn wrong(method: &'static str, target: impl Into<String>, told: (u16, &'static str)) -> Wrong {
    Wrong { method, target: target.into(), headers: &[], body: b"", told }
}

fn queries() -> impl Iterator<Item = Wrong> {
    let long = "x".repeat(1_025);
    let lists = [
        "limit=",
        "limit=x",
        "limit=0",
        "limit=1001",
        "limit=+1",
        "limit=1&limit=1",
        "limits=1",
        "offset=1",
        "offset=0",
        "order=asc",
        "sort=",
        "sort=age",
        "sort=id&offset=10001",
        "sort=id&limit=501",
        "sort=id&cursor=0.1",
        "cursor=0",
        "cursor=",
        "cursor=0.x",
        "status=",
        "status=Shared",
        "route=",
        "q=",
        "%zz=1",
        "q=%ff",
        "token=x",
    ];
    let long = [format!("q={long}"), format!("route={long}")];
    let lists = lists.map(str::to_owned).into_iter().chain(long);
    let events = [
        "types=",
        "types=dance",
        "types=open,",
        "route=",
        "after=",
        "after=1",
        "after=0-0",
        "after=00000000-+1",
        "after=00000000-1&after=00000000-1",
        "last=1",
    ];
    let others =
        ["/?a", "/healthz?a", "/readyz?a", "/metrics?a", "/openapi.json?a", "/v1/status?a"];
    let lists = lists.map(|query| wrong("GET", format!("/v1/websockets?{query}"), BAD));
    let events = events.map(|query| wrong("GET", format!("/v1/events?{query}"), BAD));
    lists.chain(events).chain(others.map(|target| wrong("GET", target, BAD)))
}

fn verbs(socket: &str) -> impl Iterator<Item = Wrong> {
    let posted = [
        "open?steal=1",
        "open?steal=",
        "open?fence=1",
        "read?len=0",
        "read?len=16777217",
        "read?len=",
        "read?timeout=-1",
        "read?timeout=1e3",
        "read?timeout=86400001",
        "read?fence=",
        "read?ack=1",
        "read?fence=1&ack=x",
        "renew",
        "renew?fence=",
        "renew?fence=0x1",
        "renew?fence=1&ack=false",
        "release",
        "release?ack=false",
        "release?fence=1&ack=",
        "release?fence=1&ack=no",
        "interrupt?now",
    ];
    let closed = [
        "code=",
        "code=999",
        "code=1004",
        "code=1005",
        "code=1006",
        "code=1015",
        "code=2999",
        "code=5000",
        "code=65536",
        "code=1000&code=1000",
        "reason=",
        "reason=%ff",
        "why=x",
    ];
    let reason = format!("{socket}?reason={}", "%C3%A9".repeat(62));
    let posted = posted.map(|verb| wrong("POST", format!("{socket}/{verb}"), BAD));
    let closed = closed.map(|query| wrong("DELETE", format!("{socket}?{query}"), BAD));
    posted.into_iter().chain(closed).chain([wrong("DELETE", reason, BAD)])
}

fn bodies(socket: &str) -> Vec<Wrong> {
    let mut table = Vec::new();
    for verb in ["open", "read", "renew?fence=1", "release?fence=1", "interrupt"] {
        let target = format!("{socket}/{verb}");
        table.push(Wrong { body: b"{}", ..wrong("POST", target.as_str(), BAD) });
        table.push(Wrong { body: b"{\"steal\": tru", ..wrong("POST", target, BAD) });
    }
    table.push(Wrong { body: b"{}", ..wrong("DELETE", socket, BAD) });
    table.push(Wrong { body: b"{}", ..wrong("POST", "/v1/sessions/x/revoke", BAD) });
    let write = format!("{socket}/write");
    for headers in [
        &[][..],
        &[("Content-Type", "")],
        &[("Content-Type", "text/html")],
        &[("Content-Type", "text/plain; charset=utf-16")],
        &[("Content-Type", "application/json")],
        &[("Content-Type", "multipart/form-data; boundary=x")],
        &[("Content-Type", "\u{fc}")],
    ] {
        table.push(Wrong { headers, body: b"x", ..wrong("POST", write.as_str(), MEDIA) });
    }
    let headers = &[("Content-Type", "text/plain")];
    for query in ["?fence=x", "?wait_ms=-1", "?wait_ms=60001", "?len=1", "?fence=1&fence=1"] {
        let target = format!("{write}{query}");
        table.push(Wrong { headers, body: b"x", ..wrong("POST", target, BAD) });
    }
    for body in [&b"\xff"[..], b"\xed\xa0\x80", b"\xc3"] {
        table.push(Wrong { headers, body, ..wrong("POST", write.as_str(), BAD) });
    }
    table
}

fn headers(socket: &str) -> impl Iterator<Item = Wrong> {
    let fields: [&'static [(&'static str, &'static str)]; 9] = [
        &[("Authorization", "Bearer x"), ("Authorization", "Bearer x")],
        &[("Authorization", "Bearer \u{fc}")],
        &[("Origin", "http://localhost"), ("Origin", "http://localhost")],
        &[("Origin", "\u{fc}")],
        &[("Host", "\u{fc}")],
        &[("Host", "localhost"), ("Host", "localhost")],
        &[("Idempotency-Key", "")],
        &[("Idempotency-Key", "a b")],
        &[("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
    ];
    let open = format!("{socket}/open");
    let opens = fields.map(|headers| Wrong { headers, ..wrong("POST", open.as_str(), BAD) });
    let ids: [&'static [(&'static str, &'static str)]; 3] = [
        &[("Last-Event-ID", "x")],
        &[("Last-Event-ID", "\u{fc}")],
        &[("Last-Event-ID", "00000000-1 00000000-2")],
    ];
    let events = ids.map(|headers| Wrong { headers, ..wrong("GET", "/v1/events", BAD) });
    opens.into_iter().chain(events)
}

fn ids() -> impl Iterator<Item = Wrong> {
    let ids = [
        "x",
        "%00",
        "%c3%28",
        "%ff",
        "..",
        "a%2Fb",
        "-",
        "%20",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ];
    let asked = ids.map(|id| wrong("GET", format!("/v1/websockets/{id}"), UNKNOWN));
    let closed = ids.map(|id| wrong("DELETE", format!("/v1/websockets/{id}"), UNKNOWN));
    let opened = ids.map(|id| wrong("POST", format!("/v1/websockets/{id}/open"), UNKNOWN));
    let revoked = ids.map(|id| wrong("POST", format!("/v1/sessions/{id}/revoke"), UNKNOWN));
    asked.into_iter().chain(closed).chain(opened).chain(revoked)
}

#[test]
fn every_door_says_what_is_wrong_and_how_to_do_better() {
    let stand = Stand::new();
    let (mut client, id) = stand.shared();
    say(&mut client, "kept");
    let socket = format!("/v1/websockets/{id}");
    eventually("it has come", || stand.reader().get(&socket).json()["inbox_messages"] == 1);
    let table = queries().chain(verbs(&socket)).chain(bodies(&socket));
    let table: Vec<Wrong> = table.chain(headers(&socket)).chain(ids()).collect();
    assert!(table.len() > 120);
    for Wrong { method, target, headers, body, told: (status, code) } in table {
        // Some of them end their connection.
        let answer = stand.operator().ask(method, &target, headers, body);
        assert_eq!(answer.error(status), code, "{method} {target} {headers:?}");
    }
    let info = stand.reader().get(&socket).json();
    assert_eq!((&info["status"], &info["lease"]), (&"unattended".into(), &Value::Null));
    assert_eq!((&info["messages_out"], &info["inbox_messages"]), (&0.into(), &1.into()));
    assert_eq!(stand.operator().post(&format!("{socket}/read?timeout=0")).text(), "kept");
    stand.finish();
}
