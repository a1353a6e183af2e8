//! What memory is used for, as the status and the metrics tell it.

use super::lists::metrics;
use super::stand::{OPERATOR, Stand, path_of_its_own};
use ringwire::RouteOptions;
use std::collections::BTreeMap;
use support::http::Connection;
use support::program::Program;
use support::{eventually, quick};
use tungstenite::Message;

const CLASSES: [&str; 6] = ["inboxes", "outboxes", "buffers", "pools", "log", "control"];

/// Used, kept and returned.
type Sizes = [u64; 3];

fn sizes(stand: &Stand, class: &str) -> Sizes {
    sizes_of(&mut stand.reader(), class)
}

fn sizes_of(connection: &mut Connection, class: &str) -> Sizes {
    let memory = connection.get("/v1/status").json()["memory"].clone();
    ["used_bytes", "kept_bytes", "returned_bytes"]
        .map(|key| memory["classes"][class][key].as_u64().expect("a number"))
}

#[test]
fn every_class_is_in_the_status_and_in_the_metrics() {
    let stand = Stand::new();
    let mut reader = stand.reader();
    let status = reader.get("/v1/status").json();
    let classes = status["memory"]["classes"].as_object().expect("an object");
    assert_eq!(classes.len(), CLASSES.len());
    let samples: BTreeMap<String, f64> = metrics(reader.get("/metrics").text());
    for class in CLASSES {
        for (metric, key) in [
            ("used_bytes", "used_bytes"),
            ("kept_bytes", "kept_bytes"),
            ("returned_bytes_total", "returned_bytes"),
        ] {
            let sample = samples[&format!("ringwire_memory_{metric}{{class=\"{class}\"}}")];
            let told = classes[class][key].as_f64().expect("a number");
            // What there is grows while it is asked for.
            assert!(sample >= told && sample <= told + 65_536.0, "{class} {key}");
        }
    }
    let [used, kept, returned] = sizes(&stand, "pools");
    assert_eq!((used + kept, returned), (1 << 20, 0), "the pool of the one shard");
    stand.finish();
}

#[test]
fn what_nobody_reads_is_in_inboxes_and_what_nobody_takes_in_outboxes() {
    let mut settings = quick();
    // So that what the client does not read stays with the server.
    settings.limits.socket_send_buffer_bytes = 16 * 1024;
    let stand = Stand::with(settings, RouteOptions::default());
    let (mut client, id) = stand.shared();
    for _ in 0..3 {
        client.send(Message::binary(vec![1; 10_000])).unwrap();
    }
    eventually("it waits", || sizes(&stand, "inboxes")[0] == 30_000);
    assert_eq!(sizes(&stand, "outboxes")[0], 0);
    let mut operator = stand.operator();
    let fence = operator.post(&format!("/v1/websockets/{id}/open")).json()["fence"].clone();
    for _ in 0..3 {
        assert_eq!(operator.post(&format!("/v1/websockets/{id}/read?fence={fence}")).status, 200);
    }
    operator.post(&format!("/v1/websockets/{id}/release?fence={fence}"));
    eventually("it was read", || sizes(&stand, "inboxes")[0] == 0);
    let (mut silent, _) = stand.client("/echo");
    silent.send(Message::binary(vec![2; 8 << 20])).unwrap();
    eventually("it waits", || sizes(&stand, "outboxes")[0] >= 1 << 20);
    drop((client, silent));
    eventually("it is dropped", || {
        sizes(&stand, "outboxes")[0] == 0 && sizes(&stand, "inboxes")[0] == 0
    });
    eventually("what it was in is given back", || sizes(&stand, "buffers")[2] >= 1 << 20);
    stand.finish();
}

#[test]
fn requests_and_answers_are_in_control() {
    let stand = Stand::new();
    let (_client, id) = stand.shared();
    let [before, _, returned_before] = sizes(&stand, "control");
    assert!(before >= 16 * 1024, "one connection asks");
    let mut writer = stand.operator();
    let head = format!(
        "POST /v1/websockets/{id}/write HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: 100000\r\n\r\n",
        OPERATOR
    );
    writer.raw(head.as_bytes());
    writer.raw(&vec![7; 60_000]);
    eventually("a part is there", || sizes(&stand, "control")[0] >= before + 60_000);
    writer.raw(&vec![7; 40_000]);
    assert_eq!(writer.answer(false).status, 204);
    eventually("it is given back", || {
        let [used, kept, returned] = sizes(&stand, "control");
        used < before + 60_000 && kept == 0 && returned >= returned_before + 100_000
    });
    stand.finish();
}

#[test]
fn the_log_gives_back_what_was_written() {
    let socket = path_of_its_own();
    let control = format!("--control={}", socket.display());
    let mut program = Program::serve(&["--shards=1", "--admin=off", &control]);
    eventually("lines were written", || sizes_of(&mut Connection::unix(&socket), "log")[2] > 0);
    assert!(program.stop().success());
}
