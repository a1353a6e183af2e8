//! The doctor: it says of a host and of settings what `serve` would meet.

use super::{Scratch, failure, output_of, ringwire};
use std::net::TcpListener;
use std::process::Command;

#[test]
fn the_doctor_finds_this_host_fit() {
    let output = output_of(&["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        text.contains("✓ io_uring_setup") && text.contains("The server can run here."),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "colours in a pipe");
    let output = output_of(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], true);
}

/// `serve` and the doctor with the same settings: both fail with the same code and the same line.
#[track_caller]
fn both_refuse(arguments: &[&str], code: i32) -> String {
    let of = |verb| failure(&output_of(&[&[verb], arguments].concat()), code);
    let said = of("doctor");
    assert_eq!(said, of("serve"), "{arguments:?}");
    said
}

#[test]
fn what_is_in_the_way_of_a_server_is_in_the_way_of_the_doctor() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("bound").to_string();
    both_refuse(&["--listen", &taken], 69);
    both_refuse(&["--admin", &taken], 69);
    both_refuse(&["--listen=192.0.2.1:9001"], 69);
    both_refuse(&["--listen=unix:/nonexistent/ringwire.sock"], 69);
    let file = Scratch::with("doctor.sock", b"precious");
    both_refuse(&["--control", file.text()], 69);
    assert_eq!(std::fs::read(&file.0).expect("left alone"), b"precious");
    both_refuse(&["--set=admin.token_file=/nonexistent/token"], 78);
    both_refuse(&["--config=/nonexistent/ringwire.toml"], 78);
    both_refuse(&["--drain-ms=1"], 2);
    let file = Scratch::with("doctor.toml", format!("listen = [\"{taken}\"]\n").as_bytes());
    let output = Command::new(env!("CARGO_BIN_EXE_ringwire"))
        .args(["doctor", "--json", "--admin=off", "--config", file.text()])
        .env_clear()
        .output()
        .expect("it runs");
    failure(&output, 69);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["ok"], &report["blocked"]["exit_code"]), (&false.into(), &69.into()));
}

#[test]
fn a_doctor_leaves_nothing_behind() {
    let socket = Scratch::new("doctor-gone.sock");
    let listen = format!("unix:{}", socket.text());
    for _ in 0..2 {
        let output = ringwire(&["doctor", "--listen", &listen]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!socket.0.exists());
    }
}
