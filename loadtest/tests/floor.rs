//! The generator against the floors and against servers that do wrong, over loopback.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use support::{Floor, PROGRAM, complaint, echo, load, server, upgrade};

#[test]
fn floors_echo_every_byte() {
    for driver in ["epoll", "uring"] {
        let floor = Floor::start(driver);
        let pid = floor.child.id().to_string();
        let url = format!("tcp://{}", floor.address);
        for (connections, depth, bytes) in [
            ("5", "1", "32"),
            ("7", "16", "32"),
            ("3", "1", "1048576"),
            ("3", "5", "70000"),
            ("2", "40", "16384"),
        ] {
            for verify in ["full", "length"] {
                let extra = [
                    "--raw",
                    "--connections",
                    connections,
                    "--depth",
                    depth,
                    "--bytes",
                    bytes,
                    "--verify",
                    verify,
                    "--server-pid",
                    &pid,
                ];
                let output = echo(&url, &extra);
                let case = format!("{driver} {connections} x {depth}, {bytes} B, {verify}");
                assert!(output.status.success(), "{case}: {output:?}");
                let report: serde_json::Value =
                    serde_json::from_slice(&output.stdout).expect("one JSON object");
                let cost = report["server"]["cpu_ns_per_message"].as_f64().expect("a cost");
                assert!(report["messages"].as_u64().expect("a count") > 0, "{case}");
                assert!(cost > 0.0, "{case}: {cost}");
            }
        }
    }
}

#[test]
fn floors_hold_idle_connections_and_reuse_slots() {
    for driver in ["epoll", "uring"] {
        let floor = Floor::start(driver);
        let url = format!("tcp://{}", floor.address);
        let pid = floor.child.id().to_string();
        for _ in 0..2 {
            let output = load(&[
                "idle",
                &url,
                "--raw",
                "--connections",
                "300",
                "--hold",
                "0.1",
                "--server-pid",
                &pid,
                "--json",
            ]);
            assert!(output.status.success(), "{driver}: {output:?}");
        }
        assert!(echo(&url, &["--raw", "--connections", "10"]).status.success());
    }
}

#[test]
fn a_wrong_byte_is_found() {
    for (bytes, verify) in [("32", "length"), ("20000", "length"), ("20000", "full")] {
        let address = server(|mut stream| {
            let mut buffer = vec![0; 65_536];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                buffer[count - 1] ^= 1;
                let _ = stream.write_all(&buffer[..count]);
            }
        });
        let url = format!("tcp://{address}");
        let output =
            echo(&url, &["--raw", "--connections", "1", "--bytes", bytes, "--verify", verify]);
        let text = complaint(&output);
        assert!(text.contains("wrong content"), "{text}");
    }
}

#[test]
fn a_lost_connection_and_a_refused_handshake_are_told() {
    let address = server(|mut stream| {
        let _ = stream.read(&mut [0; 100]);
    });
    let text = complaint(&echo(&format!("tcp://{address}"), &["--raw", "--connections", "1"]));
    assert!(text.contains("closed the connection") || text.contains("lost"), "{text}");
    let address = server(|mut stream| {
        let _ = stream.read(&mut [0; 1000]);
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let text = complaint(&echo(&format!("ws://{address}/x"), &["--connections", "1"]));
    assert!(text.contains("handshake refused: HTTP/1.1 404 Not Found"), "{text}");
    let text = complaint(&echo("ws://127.0.0.1:1/", &[]));
    assert!(text.contains("cannot connect to 127.0.0.1:1"), "{text}");
    assert!(complaint(&echo("http://x/", &[])).contains("not a URL"));
}

#[test]
fn a_server_that_ends_is_named() {
    let mut floor = Floor::start("epoll");
    let pid = floor.child.id().to_string();
    let url = format!("tcp://{}", floor.address);
    let generator = Command::new(PROGRAM)
        .args(["echo", &url, "--raw", "--seconds", "60", "--server-pid", &pid])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the generator starts");
    thread::sleep(Duration::from_millis(500));
    floor.child.kill().expect("the floor is running");
    let output = generator.wait_with_output().expect("the generator ends");
    assert!(complaint(&output).contains(&format!("the server (process {pid}) has ended")));
}

/// Answers each message in two fragments with a ping between them.
fn fragmenting_echo(mut stream: TcpStream) {
    upgrade(&mut stream).expect("a request");
    let mut header = [0; 6];
    while stream.read_exact(&mut header).is_ok() {
        assert_eq!(header[1] & 0x80, 0x80, "a client masks");
        let mut payload = vec![0; usize::from(header[1] & 0x7F)];
        stream.read_exact(&mut payload).expect("a whole frame");
        payload.iter_mut().zip(header[2..].iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        if header[0] & 0x0F > 2 {
            continue;
        }
        let (first, second) = payload.split_at(payload.len() / 3);
        let mut frames = vec![header[0] & 0x0F, first.len() as u8];
        frames.extend_from_slice(first);
        frames.extend_from_slice(b"\x89\x02hi");
        frames.extend_from_slice(&[0x80, second.len() as u8]);
        frames.extend_from_slice(second);
        if stream.write_all(&frames).is_err() {
            return;
        }
    }
}

#[test]
fn fragments_and_pings_are_followed() {
    let address = server(fragmenting_echo);
    let extra = ["--connections", "1", "--depth", "4", "--bytes", "90", "--kind", "utf8"];
    let output = echo(&format!("ws://{address}/"), &extra);
    assert!(output.status.success(), "{output:?}");
}
