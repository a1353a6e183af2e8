//! The open loop: what a fixed rate tells that a closed loop hides, and mixed lengths.

mod support;

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use support::{Floor, complaint, echo, load, report, server};

/// A run of 0.2 s at 500 messages per second. The machine may stand still for much of one, which
/// then says that it was not reached; not for much of each.
fn run_at_500(url: &str, extra: &[&str]) -> serde_json::Value {
    for _ in 0..10 {
        let run = report(&echo(url, &[extra, &["--rate", "500"]].concat()));
        let messages = run["messages"].as_u64().expect("a count");
        // What was owed when the measured time began may come on top.
        assert!(messages <= 130, "{run}");
        if messages >= 50 {
            return run;
        }
        assert_eq!(run["open_loop"]["reached"], false, "{run}");
    }
    panic!("never half of the rate");
}

#[test]
fn a_rate_is_kept_and_mixed_lengths_are_compared() {
    let floor = Floor::start("epoll");
    let url = format!("tcp://{}", floor.address);
    for bytes in ["32", "16-1024", "5,300,20000"] {
        for verify in ["full", "length"] {
            let extra = ["--raw", "--connections", "7", "--bytes", bytes, "--verify", verify];
            let run = run_at_500(&url, &extra);
            assert_eq!(run["schema"], 1);
            assert_eq!(run["scenario"], "echo");
            assert_eq!(run["payload"], bytes);
            assert_eq!(run["open_loop"]["offered_per_second"], 500.0);
            assert_eq!(run["open_loop"]["unanswered"], 0);
            let sent = run["open_loop"]["sent_per_second"].as_f64().expect("a rate");
            assert!((250.0..=650.0).contains(&sent), "{bytes}: {sent} of 500 per second");
        }
        let closed = echo(&url, &["--raw", "--depth", "9", "--bytes", bytes]);
        assert!(report(&closed)["open_loop"].is_null());
    }
}

#[test]
fn threads_share_connections_and_rate() {
    let floor = Floor::start("epoll");
    let url = format!("tcp://{}", floor.address);
    let extra = ["--raw", "--connections", "7", "--threads", "3", "--verify", "full"];
    let open = run_at_500(&url, &extra);
    assert_eq!((&open["threads"], &open["connections"]), (&3.into(), &7.into()));
    assert_eq!(open["open_loop"]["unanswered"], 0);
    let closed = report(&echo(&url, &[&extra[..], &["--depth", "4"]].concat()));
    assert!(closed["messages"].as_u64() > Some(100), "{closed}");
    let more = echo(&url, &["--raw", "--connections", "2", "--threads", "3"]);
    assert!(complaint(&more).contains("3 threads have nothing to do with 2 connections"));
    let refused = echo("tcp://127.0.0.1:1", &extra);
    assert!(complaint(&refused).contains("cannot connect"), "the cause, not that others wait");
}

#[test]
fn a_stall_weighs_on_every_message_it_delays() {
    let address = server(|mut stream| {
        let (mut buffer, started, mut stalled) = (vec![0; 65_536], Instant::now(), false);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if !stalled && started.elapsed() > Duration::from_millis(200) {
                thread::sleep(Duration::from_millis(400));
                stalled = true;
            }
            let _ = stream.write_all(&buffer[..count]);
        }
    });
    let url = format!("tcp://{address}");
    let arguments = ["echo", &url, "--raw", "--connections", "1", "--rate", "1000", "--json"];
    let run = report(&load(&[&arguments[..], &["--warmup", "0", "--seconds", "1"]].concat()));
    // Four messages in ten were to be sent during the stall; they waited 200 ms on average.
    let p90 = run["latency_us"]["p90"].as_f64().expect("a latency");
    assert!(p90 > 150_000.0, "{p90}");
}

#[test]
fn a_rate_that_is_not_reached_is_told() {
    let address = server(|mut stream| {
        let mut message = vec![0; 38];
        while stream.read_exact(&mut message).is_ok() {
            thread::sleep(Duration::from_millis(20));
            let _ = stream.write_all(&message);
        }
    });
    let url = format!("tcp://{address}");
    let extra = ["--raw", "--connections", "1", "--bytes", "32", "--rate", "5000"];
    let run = report(&echo(&url, &extra));
    assert_eq!(run["open_loop"]["reached"], false);
    assert!(run["open_loop"]["unanswered"].as_u64().expect("a count") > 100, "{run}");
    assert!(run["verdict"].as_str().expect("a verdict").contains("not reached"), "{run}");
    let max = run["latency_us"]["max"].as_f64().expect("a latency");
    assert!(max > 1_000_000.0, "what never came back waited at least until the end: {max}");
}

#[test]
fn a_generator_that_cannot_keep_a_rate_says_so() {
    let floor = Floor::start("uring");
    let url = format!("tcp://{}", floor.address);
    let pid = floor.child.id().to_string();
    let watched = ["--raw", "--connections", "7", "--bytes", "4096", "--server-pid", &pid];
    let run = |rate| report(&echo(&url, &[&watched[..], &["--rate", rate]].concat()));
    let slow = run("200");
    assert_eq!(slow["generator_bound"], false, "{slow}");
    // More than goes through a loopback, but the kernel may still take it all into its queues.
    let fast = run("10000000");
    let sent = fast["open_loop"]["sent_per_second"].as_f64().expect("a rate");
    let is_full = |side| fast[side]["busiest_thread"].as_f64().expect("a share") >= 0.95;
    let falls_behind = sent < 0.99 * 10e6;
    let bound = falls_behind && is_full("client") && !is_full("server");
    assert_eq!(fast["generator_bound"], bound, "{fast}");
    assert_eq!(fast["open_loop"]["reached"], false, "{fast}");
}

#[test]
fn wrong_rates_and_lengths_are_refused() {
    for extra in [["--rate", "0"], ["--bytes", "9-3"], ["--bytes", "many"]] {
        let output = load(&[&["echo", "ws://127.0.0.1:1/"], &extra[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    assert!(complaint(&echo("ws://127.0.0.1:1/", &["--rate", "9"])).contains("cannot connect"));
}
