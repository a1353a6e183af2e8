//! Programs in several languages on the same socket, one after the other, and across restarts of
//! the server.

use super::stand::{ROUTE, Running, Stand, ids_of, path_of_its_own};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use support::{LONG, PATIENCE, connect, eventually, program::Program, quick, text, told};
use tokio::time::timeout;
use tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_a_python_and_a_curl_client_take_turns_on_one_socket() {
    let stand = Stand::new(quick());
    let mut peer = connect(stand.address(), ROUTE);
    let client = stand.client().await;
    let id = ids_of(&client, 1).await.remove(0);
    for round in 0..2 {
        // In Rust. What was not asked for is left for the others.
        for said in ["for rust", "for python"] {
            peer.send(Message::text(format!("{said} {round}"))).expect("open");
        }
        let mut socket = client.open_server(&id).await.expect("nobody holds it");
        let data = timeout(PATIENCE, socket.read(99, LONG)).await.expect("in time").expect("text");
        socket.write(format!("rust has {}", data.as_text().expect("text"))).await.expect("open");
        socket.release().await.expect("ours");
        assert_eq!(text(&mut peer), format!("rust has for rust {round}"));
        for language in ["python", "curl"] {
            // What waits already, and what comes while it listens; text, binary, and large.
            let worker = Running::worker(language, &stand.socket);
            if language == "curl" {
                peer.send(Message::text(format!("for curl {round}"))).expect("open");
            }
            assert_eq!(text(&mut peer), format!("FOR {} {round}", language.to_uppercase()));
            peer.send(Message::text("a \"quoted\" one")).expect("open");
            assert_eq!(text(&mut peer), "A \"QUOTED\" ONE");
            peer.send(Message::binary(b"b\0\xff\n".to_vec())).expect("open");
            assert_eq!(peer.read().expect("open"), Message::binary(b"B\0\xff\n".to_vec()));
            let large = "x".repeat(1_500_000);
            peer.send(Message::text(large.as_str())).expect("open");
            assert_eq!(text(&mut peer), large.to_uppercase());
            worker.stop();
            free(&client, &id).await;
        }
    }
    let socket = client.open_server(&id).await.expect("nobody holds it");
    socket.end_server().await.expect("open");
    assert!(
        matches!(peer.read(), Ok(Message::Close(Some(frame))) if u16::from(frame.code) == 1_000)
    );
    drop(peer);
    drop(client);
    stand.server.finish();
}

/// Waits until nobody holds the socket; a worker that was stopped while it had the lease leaves it
/// to end by itself.
async fn free(client: &ringwire::client::Client, id: &str) {
    let freed = async {
        while client.socket(id).await.expect("open").lease.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(2 * PATIENCE, freed).await.expect("it is released");
}

#[test]
fn the_workers_survive_restarts_of_the_server() {
    let socket = path_of_its_own();
    let file = path_of_its_own();
    std::fs::write(&file, "[[route]]\npath = \"/feed\"\nmode = \"shared\"\n").expect("writable");
    let [control, config] = [&socket, &file].map(|path| path.to_str().expect("UTF-8"));
    let serve =
        || Program::serve(&["--shards=1", "--admin=off", "--control", control, "--config", config]);
    let mut server = serve();
    let workers = ["python", "curl"].map(|language| Running::worker(language, &socket));
    for round in 0..3 {
        let mut peer = connect(server.address, ROUTE);
        for number in 0..10 {
            peer.send(Message::text(format!("round {round} message {number}"))).expect("open");
            assert_eq!(text(&mut peer), format!("ROUND {round} MESSAGE {number}"));
        }
        drop(peer);
        server.stop();
        server = serve();
    }
    workers.into_iter().for_each(Running::kill);
    std::fs::remove_file(&file).expect("ours");
}

/// The worker of docs/control.md, as it stands there but for the address and the token.
#[test]
fn the_worker_in_the_description_works_as_it_stands_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let description = std::fs::read_to_string(root.join("docs/control.md")).expect("it is there");
    let mut blocks = description.split("```sh\n").filter_map(|rest| rest.split("```").next());
    let script = blocks.find(|block| block.contains("'events?")).expect("a block with a worker");
    let stand = Stand::new(quick());
    let socket = format!("--unix-socket {}", stand.socket.display());
    let script = script
        .replace("TOKEN=…", "TOKEN=none")
        .replace("curl -sN", &format!("curl -sN {socket}"))
        .replace("timeout=5000", "timeout=500");
    let folder = path_of_its_own();
    std::fs::create_dir(&folder).expect("a free path");
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", &script]).current_dir(&folder);
    let worker = Running(bash.spawn().expect("bash is there"));
    eventually("it listens", || {
        metrics(&stand.socket).contains("\nringwire_control_event_streams 1\n")
    });
    let mut peers = [connect(stand.address(), ROUTE), connect(stand.address(), ROUTE)];
    for round in 0..3 {
        for (number, peer) in peers.iter_mut().enumerate() {
            let said = format!("round {round} of \"{number}\"");
            peer.send(Message::text(said.as_str())).expect("open");
            assert_eq!(text(peer), said);
        }
    }
    worker.kill();
    drop(peers);
    // What bash has started ends with the streams and the sockets.
    stand.server.finish();
    std::fs::remove_dir_all(&folder).expect("ours");
}

fn metrics(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

/// A control plane whose streams of events end before anything has happened. Tells how each was
/// asked for.
fn serve_short_streams(stream: UnixStream, asked: &Sender<String>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while line.trim() != "" {
            line.clear();
            stream.read_line(&mut line)?;
        }
        line.clear();
        let (media, body) = match target.starts_with("/v1/events") {
            true => ("text/event-stream", "retry: 1000\nid: 0000002a-7\n\n"),
            false => ("application/json", r#"{"websockets":[],"next_cursor":null,"total":0}"#),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {length}");
        stream.get_mut().write_all(format!("{head}\r\n\r\n{body}").as_bytes())?;
        if media == "text/event-stream" {
            // The test may have heard enough.
            let _ = asked.send(target);
        }
    }
    Ok(())
}

#[test]
fn the_workers_go_on_after_the_id_that_a_stream_begins_with() {
    for language in ["python", "curl"] {
        let path = path_of_its_own();
        let listener = UnixListener::bind(&path).expect("a free path");
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || serve_short_streams(stream, &sender));
            }
        });
        let worker = Running::worker(language, &path);
        let [first, second] = [told(&asked), told(&asked)];
        assert!(!first.contains("after="), "{language}: {first}");
        assert!(second.contains("after=0000002a-7"), "{language}: {second}");
        worker.kill();
        std::fs::remove_file(&path).expect("ours");
    }
}
