//! Churn, fan-out and the other scenarios against small servers of their own.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{Floor, PROGRAM, complaint, load, report, upgrade};

/// One frame of a client: opcode and payload; `None` at the end.
fn read_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).ok()?;
    let payload_bytes = match header[1] & 0x7F {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            usize::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            stream.read_exact(&mut length).ok()?;
            u64::from_be_bytes(length) as usize
        }
        short => usize::from(short),
    };
    let mut key = [0; 4];
    stream.read_exact(&mut key).ok()?;
    let mut payload = vec![0; payload_bytes];
    stream.read_exact(&mut payload).ok()?;
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Some((header[0] & 0x0F, payload))
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => out.push(short as u8),
        long @ 126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// Serves every connection on a thread: `/echo` echoes, `/room` tells everybody, `/named` too but
/// takes the first message for a name.
fn websocket_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let room = Arc::new(Mutex::new(Vec::new()));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let room = Arc::clone(&room);
            thread::spawn(move || serve(stream, &room));
        }
    });
    address
}

fn serve(mut stream: TcpStream, room: &Mutex<Vec<TcpStream>>) {
    let Some(path) = upgrade(&mut stream) else { return };
    let mut name = None;
    if path == "/room" {
        room.lock().expect("a room").push(stream.try_clone().expect("a descriptor"));
    }
    while let Some((opcode, payload)) = read_frame(&mut stream) {
        if opcode == 8 {
            // The generator may be gone already.
            let _ = stream.write_all(&frame(8, &payload));
            return;
        }
        if path == "/echo" {
            let _ = stream.write_all(&frame(opcode, &payload));
            continue;
        }
        let mut members = room.lock().expect("a room");
        let line = match (path.as_str(), &name) {
            ("/named", None) => {
                members.push(stream.try_clone().expect("a descriptor"));
                name = Some(String::from_utf8(payload).expect("a text"));
                format!("* {} has joined", name.as_deref().unwrap_or_default()).into_bytes()
            }
            ("/named", Some(name)) => [name.as_bytes(), b": ", &payload].concat(),
            _ => payload,
        };
        // Members of an earlier run are gone.
        members.retain_mut(|member| member.write_all(&frame(1, &line)).is_ok());
    }
}

const SHORT: [&str; 5] = ["--seconds", "0.3", "--warmup", "0.1", "--json"];

#[test]
fn connections_come_and_go() {
    let floor = Floor::start("epoll");
    let pid = floor.child.id().to_string();
    let raw = format!("tcp://{}", floor.address);
    let websocket = format!("ws://{}/echo", websocket_server());
    for (url, extra) in [
        (&raw, &["--raw", "--server-pid", &pid][..]),
        (&raw, &["--raw", "--rst", "--server-pid", &pid]),
        (&websocket, &["--concurrency", "3"]),
        (&websocket, &["--rst", "--bytes", "10-300"]),
    ] {
        let run = report(&load(&[&["churn", url], &SHORT[..], extra].concat()));
        assert_eq!(run["scenario"], "churn");
        assert!(run["connections"].as_u64().expect("a count") > 0, "{run}");
        assert_eq!(run["server"].is_null(), !extra.contains(&"--server-pid"));
    }
    let wrong = format!("ws://{}/named", websocket_server());
    let text = complaint(&load(&[&["churn", &wrong, "--concurrency", "2"], &SHORT[..]].concat()));
    assert!(text.contains("wrong content"), "{text}");
    assert!(complaint(&load(&["churn", "ws://127.0.0.1:1/"])).contains("cannot connect"));
}

#[test]
fn everybody_hears_everybody() {
    let address = websocket_server();
    let echo_url = format!("ws://{address}/echo");
    for (path, join) in [("room", "none"), ("named", "chat")] {
        let url = format!("ws://{address}/{path}");
        let arguments = ["fanout", &url, "--subscribers", "9", "--publishers", "2", "--join", join];
        let run = report(&load(&[&arguments[..], &SHORT, &["--bytes", "200"]].concat()));
        let count = |name: &str| run[name].as_u64().expect("a count");
        assert_eq!(run["scenario"], "fanout");
        assert!(count("messages") > 0, "{run}");
        // Nine subscribers and two publishers hear each; what is under way at the edges of the
        // measured time counts on one side only.
        let all = count("messages") * 11;
        assert!(count("deliveries").abs_diff(all) <= 44, "{run}");
        assert_eq!((count("incomplete_messages"), count("missing_deliveries")), (0, 0));
        assert_eq!(count("other_messages") > 0, join == "chat");
        let extra = ["--rate", "100", "--echo-url", &echo_url, "--echo-connections", "2"];
        let run = report(&load(&[&arguments[..], &SHORT, &extra].concat()));
        assert_eq!(run["offered_per_second"], 100.0);
        assert!(run["echo_before_us"]["p99"].as_f64().expect("a latency") > 0.0);
        assert!(run["echo_meanwhile_us"]["p99"].as_f64().expect("a latency") > 0.0);
    }
}

#[test]
fn a_broken_fan_out_is_told() {
    let address = websocket_server();
    let arguments = ["fanout", "--subscribers", "3", "--seconds", "0.2", "--warmup", "0"];
    let echo = format!("ws://{address}/echo");
    let text = complaint(&load(&[&arguments[..], &[&echo]].concat()));
    assert!(
        text.contains("nothing was delivered to a subscriber"),
        "only the publisher hears it: {text}"
    );
    assert!(
        complaint(&load(&[&arguments[..], &["ws://127.0.0.1:1/"]].concat())).contains("cannot")
    );
}

#[test]
fn idle_connections_are_weighed_and_active_ones_echo_among_them() {
    let floor = Floor::start("uring");
    let (pid, url) = (floor.child.id().to_string(), format!("tcp://{}", floor.address));
    let arguments = ["idle", &url, "--raw", "--connections", "1000", "--hold", "0.3", "--json"];
    let extra = ["--server-pid", &pid, "--active", "5", "--active-rate", "200"];
    let run = report(&load(&[&arguments[..], &extra].concat()));
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    assert_eq!(run["scenario"], "idle");
    assert!(number(&run["handshakes_per_second"]) > 0.0);
    assert!(number(&run["opening_server"]["cpu_ns_per_message"]) > 0.0);
    // A pair of TCP sockets is more than a KiB in any kernel; others on the machine may free
    // memory, so the total is not asserted.
    let slabs = run["system"]["slabs"].as_array().expect("a list");
    let tcp = slabs.iter().find(|slab| slab["name"] == "TCP");
    if let Some(tcp) = tcp {
        assert!(number(&tcp["bytes_per_connection"]) > 1_000.0, "{run}");
    }
    assert!(number(&run["active"]["latency_us"]["p99"]) > 0.0, "{run}");
    let text = complaint(&load(&["idle", "ws://127.0.0.1:1/", "--connections", "3"]));
    assert!(text.contains("cannot connect"), "{text}");
}

#[test]
fn an_interrupted_idle_run_tells_what_it_knows() {
    let floor = Floor::start("epoll");
    let (pid, url) = (floor.child.id(), format!("tcp://{}", floor.address));
    let arguments = ["idle", &url, "--raw", "--connections", "300", "--hold", "600", "--json"];
    let child = Command::new(PROGRAM).args(arguments).stdout(Stdio::piped()).spawn();
    let child = child.expect("the generator runs");
    let started = Instant::now();
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the floor runs").count();
    while open() < 300 {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not connect");
        thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let run = report(&child.wait_with_output().expect("it ends"));
    assert_eq!((&run["interrupted"], &run["connections"]), (&true.into(), &300.into()), "{run}");
    assert!(run["hold_seconds"].as_f64().expect("a number") < 500.0, "{run}");
    assert_eq!(run["lost"], 0, "{run}");
}

#[test]
fn good_clients_are_watched_among_bad_ones() {
    let url = format!("ws://{}/echo", websocket_server());
    let arguments = ["abuse", &url, "--attackers", "4", "--busy", "2", "--json"];
    let run = report(&load(
        &[&arguments[..], &["--seconds", "0.3", "--echo-connections", "2", "--echo-rate", "100"]]
            .concat(),
    ));
    let kinds = run["kinds"].as_array().expect("a list");
    let names: Vec<_> = kinds.iter().filter_map(|kind| kind["abuse"].as_str()).collect();
    let bad = ["slow_readers", "half_open", "rst_storm", "mid_frame_kills"];
    let busy = ["pong_floods", "tiny_messages", "large_echoes"];
    assert_eq!(names, [&bad[..], &busy].concat());
    for kind in kinds {
        assert!(kind["echo_before_us"]["p99"].as_f64().expect("a latency") > 0.0, "{kind}");
        assert!(kind["echo_meanwhile_us"]["p99"].as_f64().expect("a latency") > 0.0, "{kind}");
        assert!(kind["acts"].as_u64().expect("a count") > 0, "{kind}");
        let busy = busy.iter().any(|name| kind["abuse"] == **name);
        assert_eq!(kind["clients"], if busy { 2 } else { 4 }, "{kind}");
        assert!(!busy || kind["refused"] == 0, "{kind}");
    }
    let text = complaint(&load(&["abuse", "ws://127.0.0.1:1/", "--kinds", "rst-storm"]));
    assert!(text.contains("the good clients") && text.contains("cannot connect"), "{text}");
}

#[test]
fn all_kinds_at_once_are_measured_as_one() {
    let url = format!("ws://{}/echo", websocket_server());
    let kinds = ["--at-once", "--kinds", "rst-storm,mid-frame-kills,tiny-messages"];
    let extra = ["--attackers", "3", "--busy", "2", "--seconds", "0.5", "--json"];
    let echo = ["--echo-connections", "2", "--echo-rate", "100"];
    let run = report(&load(&[&["abuse", &url], &kinds[..], &extra, &echo].concat()));
    let kinds = run["kinds"].as_array().expect("a list");
    let names: Vec<_> = kinds.iter().filter_map(|kind| kind["abuse"].as_str()).collect();
    assert_eq!(names, ["rst_storm", "mid_frame_kills", "tiny_messages"]);
    for (kind, clients) in kinds.iter().zip([3, 3, 2]) {
        assert!(kind["acts"].as_u64().expect("a count") > 0, "{kind}");
        assert_eq!(kind["clients"], clients, "{kind}");
        // One time before and one meanwhile, for all of them.
        for shared in ["echo_before_us", "echo_meanwhile_us", "client"] {
            assert_eq!(kind[shared], kinds[0][shared], "{kind}");
        }
        assert!(kind["echo_meanwhile_us"]["p99"].as_f64().expect("a latency") > 0.0, "{kind}");
    }
}
