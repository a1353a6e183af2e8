//! The subcommands for the shell, against a real server.

use super::stand::{ROUTE, Running, Stand, ids_of};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use support::{connect, eventually, quick, text};
use tungstenite::Message;

struct Shell<'a>(&'a Stand);

impl Shell<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
        command.args(arguments).env_clear().env("RINGWIRE_ADMIN_CONTROL", &self.0.socket);
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("it runs")
    }

    /// What it prints when all goes well.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{arguments:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// A line of JSON.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).expect("one value")
    }

    /// It fails with this code and one line that names cause and remedy.
    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32) {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.starts_with("ringwire: ") && errors.contains("; "), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }

    fn id(&self) -> String {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async { ids_of(&self.0.client().await, 1).await.remove(0) })
    }
}

#[test]
fn sockets_are_listed_read_written_and_ended() {
    let stand = Stand::new(quick());
    let shell = Shell(&stand);
    let mut peer = connect(stand.address(), ROUTE);
    let id = &shell.id();
    let rows = shell.ok(&["ls"]);
    assert!(rows.lines().any(|row| row.contains(id) && row.contains("unattended")), "{rows}");
    let row = shell.json(&["ls", "--json", "--route", ROUTE, "--sort", "idle_ms", "--descending"]);
    assert_eq!((row["id"].as_str(), row["route"].as_str()), (Some(id.as_str()), Some(ROUTE)));
    assert_eq!(shell.ok(&["ls", "--json", "--status", "closing"]), "");

    shell.fails(&["read", id, "--timeout-ms", "10"], 4);
    for said in ["first", "second"] {
        peer.send(Message::text(said)).expect("open");
    }
    peer.send(Message::binary(vec![0, 1, 255])).expect("open");
    assert_eq!(shell.ok(&["read", id]), "first\n");
    let read = shell.json(&["read", id, "--json"]);
    assert_eq!((read["kind"].as_str(), read["text"].as_str()), (Some("text"), Some("second")));
    assert_eq!(shell.output(&["read", id]).stdout, [0, 1, 255]);

    shell.ok(&["write", id, "hello"]);
    assert_eq!(text(&mut peer), "hello");
    let mut lines = shell.command(&["write", id, "--lines", "--json"]);
    let lines = lines.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    lines.stdin.as_ref().expect("a pipe").write_all(b"one\ntwo\n").expect("it reads");
    let output = lines.wait_with_output().expect("it ends");
    let written: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&written["messages"], &written["bytes"]), (&2.into(), &6.into()));
    assert_eq!((text(&mut peer), text(&mut peer)), ("one".into(), "two".into()));
    shell.ok(&["write", id, "--binary", "é"]);
    assert_eq!(peer.read().expect("open"), Message::binary("é".as_bytes().to_vec()));

    let status = shell.json(&["status", "--json"]);
    assert_eq!(status["connections"], 1);
    assert!(shell.ok(&["status"]).contains(ROUTE));
    let ended = shell.json(&["end", id, "--code", "4001", "--reason", "enough", "--json"]);
    assert_eq!(ended["code"], 4_001);
    match peer.read() {
        Ok(Message::Close(Some(frame))) => {
            assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4_001, "enough"));
        }
        other => panic!("{other:?}"),
    }
    drop(peer);
    stand.server.finish();
}

#[test]
fn exit_codes_tell_what_is_wrong() {
    let stand = Stand::new(quick());
    let shell = Shell(&stand);
    let peer = connect(stand.address(), ROUTE);
    let id = &shell.id();
    for arguments in [
        &["read", "nobody"][..],
        &["write", "nobody", "x"],
        &["end", "nobody"],
        &["write", "nobody", "--lines"],
        &["end", "nobody", "--interrupt"],
        &["open", "nobody"],
    ] {
        let mut command = shell.command(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("it runs");
        // Who reads no input may be gone already.
        let _ = child.stdin.as_ref().expect("a pipe").write_all(b"line\n");
        let output = child.wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {errors}");
        assert!(errors.starts_with("ringwire: no WebSocket has this id; "), "{errors}");
    }
    shell.fails(&["ls", "--sort", "beauty"], 65);
    shell.fails(&["end", id, "--code", "1005"], 65);
    shell.fails(&["ls", "--admin", "127.0.0.1:1"], 69);
    shell.fails(&["ls", "--control", "/nonexistent/control.sock"], 69);
    shell.fails(&["ls", "--token-file", "/nonexistent/token"], 78);
    let holder =
        shell.command(&["open", id, "--steal"]).stdin(Stdio::piped()).spawn().expect("it runs");
    let holder = Running(holder);
    eventually("it is held", || {
        let looked = shell.output(&["read", id, "--timeout-ms", "1"]);
        looked.status.code() == Some(6)
    });
    shell.fails(&["read", id, "--timeout-ms", "10"], 6);
    shell.fails(&["read", id, "--steal", "--timeout-ms", "10"], 4);
    drop((holder, peer));
    stand.server.finish();
}

#[test]
fn open_is_a_conversation_and_releases_at_its_end() {
    let stand = Stand::new(quick());
    let shell = Shell(&stand);
    let mut peer = connect(stand.address(), ROUTE);
    let id = &shell.id();
    for flags in [&[][..], &["--json"]] {
        let mut command = shell.command(&[&["open", id], flags].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        let mut typed = child.stdin.take().expect("a pipe");
        let mut seen = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut child = Running(child);
        for round in 0..3 {
            writeln!(typed, "typed {round}").expect("it reads");
            assert_eq!(text(&mut peer), format!("typed {round}"));
            peer.send(Message::text(format!("heard {round}"))).expect("open");
            let line = seen.next().expect("a line").expect("UTF-8");
            let expected = match flags {
                [] => format!("heard {round}"),
                _ => format!("{{\"id\":\"{id}\",\"kind\":\"text\",\"text\":\"heard {round}\"}}"),
            };
            assert_eq!(line, expected);
        }
        drop(typed);
        eventually("it ends", || child.0.try_wait().expect("our child").is_some());
        assert_eq!(child.0.wait().expect("our child").code(), Some(0));
        // Released: nobody has to wait for the lease to end.
        shell.fails(&["read", id, "--timeout-ms", "1"], 4);
    }
    drop(peer);
    stand.server.finish();
}

/// Where a message may go that nobody sees, and whether the shell has to be asked for it.
#[derive(Clone, Copy, Debug)]
enum Nowhere {
    GoneReader,
    FullDisk,
    Closed,
}

impl Nowhere {
    /// The command with its output there, run to its end.
    fn output(self, shell: &Shell<'_>, arguments: &[&str], input: Stdio) -> Output {
        let mut command = match self {
            Self::Closed => {
                let mut closed = Command::new("sh");
                closed.args(["-c", "exec \"$0\" \"$@\" >&-", env!("CARGO_BIN_EXE_ringwire")]);
                closed.args(arguments).env("RINGWIRE_ADMIN_CONTROL", &shell.0.socket);
                closed
            }
            _ => shell.command(arguments),
        };
        match self {
            Self::GoneReader => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                drop(reader);
                command.stdout(writer);
            }
            Self::FullDisk => {
                let full = std::fs::File::options().write(true).open("/dev/full");
                command.stdout(full.expect("Linux has it"));
            }
            Self::Closed => {}
        }
        command.stdin(input).stderr(Stdio::piped());
        command.spawn().expect("it runs").wait_with_output().expect("it ends")
    }
}

#[test]
fn what_nobody_saw_is_not_acknowledged() {
    let stand = Stand::new(quick());
    let shell = Shell(&stand);
    let mut peer = connect(stand.address(), ROUTE);
    let id = &shell.id();
    // One that comes in one piece, and one that is longer than a look.
    for said in ["short".to_owned(), "long ".repeat(50_000)] {
        peer.send(Message::text(said.clone())).expect("open");
        for nowhere in [Nowhere::GoneReader, Nowhere::FullDisk, Nowhere::Closed] {
            for flags in [&["read", id][..], &["read", id, "--json"], &["open", id]] {
                // `open` goes on for as long as its input is open.
                let (input, _typed) = std::io::pipe().expect("a pipe");
                let output = nowhere.output(&shell, flags, input.into());
                let errors = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(74), "{nowhere:?} {flags:?}: {errors}");
                assert!(errors.starts_with("ringwire: ") && errors.contains("; "), "{errors}");
            }
        }
        // It is all there, at once, and now it is acknowledged.
        assert_eq!(shell.ok(&["read", id]), format!("{said}\n"));
        shell.fails(&["read", id, "--timeout-ms", "10"], 4);
    }
    // Who throws it away on purpose has seen it.
    peer.send(Message::text("unwanted")).expect("open");
    let null = std::fs::File::options().write(true).open("/dev/null").expect("Linux has it");
    let thrown = shell.command(&["read", id]).stdout(null).status().expect("it runs");
    assert_eq!(thrown.code(), Some(0));
    shell.fails(&["read", id, "--timeout-ms", "10"], 4);
    drop(peer);
    stand.server.finish();
}

#[test]
fn events_are_followed() {
    let stand = Stand::new(quick());
    let shell = Shell(&stand);
    let mut command = shell.command(&["events", "--json", "--route", ROUTE]);
    let mut child = Running(command.stdout(Stdio::piped()).spawn().expect("it runs"));
    let mut lines = BufReader::new(child.0.stdout.take().expect("a pipe")).lines();
    let mut next = move || -> Value {
        let line = lines.next().expect("a line").expect("UTF-8");
        serde_json::from_str(&line).expect("JSON")
    };
    // Until it listens, nothing is told.
    let mut peers = Vec::new();
    let (sender, first) = std::sync::mpsc::channel();
    let listening = std::thread::spawn(move || {
        sender.send(next()).expect("the test waits");
        next
    });
    eventually("it listens", || {
        peers.push(connect(stand.address(), ROUTE));
        first.try_recv().is_ok_and(|event| event["event"] == "open")
    });
    let mut next = listening.join().expect("it told");
    let mut peer = peers.pop().expect("there is one");
    peer.send(Message::text("x")).expect("open");
    peer.close(None).expect("open");
    while peer.read().is_ok() {}
    let mut readable = None;
    loop {
        let event = next();
        match event["event"].as_str() {
            Some("readable") => readable = event["id"].as_str().map(str::to_owned),
            Some("closed") => {
                assert_eq!(event["id"].as_str().map(str::to_owned), readable);
                assert!(event["event_id"].as_str().is_some_and(|id| !id.is_empty()));
                break;
            }
            _ => {}
        }
    }
    child.0.kill().expect("our child");
    drop((peers, peer));
    stand.server.finish();
}

#[test]
fn completions_are_scripts() {
    for (shell, word) in
        [("bash", "complete "), ("zsh", "#compdef ringwire"), ("fish", "complete ")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
        let output = command.args(["completions", shell]).env_clear().output().expect("it runs");
        assert_eq!(output.status.code(), Some(0));
        let script = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(script.contains(word) && script.contains("completions"), "{shell}");
        if shell == "bash" {
            let mut check = Command::new("bash");
            let mut check = check.arg("-n").stdin(Stdio::piped()).spawn().expect("bash");
            check.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("it reads");
            assert!(check.wait().expect("our child").success());
        }
    }
}
