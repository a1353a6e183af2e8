//! `suite` with the floors: reports come out, what is broken is one line, Ctrl-C leaves nothing.

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::PROGRAM;

const ONE_ECHO: [&str; 4] = ["--only", "echo", "--scenarios", "2,1,32,text"];
const PATIENCE: u32 = 600;
const LOOK: Duration = Duration::from_millis(100);

/// A folder that ends with the test, and a port of its own.
struct Place {
    folder: PathBuf,
    port: u16,
}

impl Place {
    fn new(name: &str) -> Place {
        let folder = std::env::temp_dir().join(format!("suite-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // Somewhere below what the kernel gives to connections.
        let port = 10_000 + listener.local_addr().expect("an address").port() % 10_000;
        Place { folder, port }
    }

    fn suite(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("suite").args(words).arg("--out").arg(&self.folder);
        command.args(["--port", &self.port.to_string(), "--seconds-each", "0.2"]);
        command.args(ONE_ECHO).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    fn assert_nobody_listens(&self) {
        for port in [self.port, self.port + 2] {
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{port} is still served");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that failed is to say why, not this.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn reports_come_out_and_what_does_not_start_is_one_line() {
    let place = Place::new("reports");
    let broken = "broken=/bin/true";
    let output = place
        .suite(&["floor-epoll", "floor-uring", broken, "--rounds", "1"])
        .output()
        .expect("it runs");
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let lines = said.lines().filter(|line| line.starts_with("left out: broken (does not listen"));
    assert_eq!(lines.count(), 1, "{said}");
    assert!(said.contains("round 1 of 1") && said.contains("echo: 2 x 1, 32 B text"), "{said}");
    let runs = place.read("results.jsonl");
    assert_eq!(runs.lines().count(), 2, "{runs}");
    assert!(runs.lines().all(|line| line.contains("\"round\":1")), "{runs}");
    let page = place.read("benchmarks.html");
    for words in ["floor-epoll", "floor-uring", "<dt>machine</dt>", "<svg", "left out: broken"] {
        assert!(page.contains(words), "{words}: {said}");
    }
    let report = place.read("BENCHMARKS.md");
    for words in ["- machine: ", "what did not work: 1 lines", "## Targets"] {
        assert!(report.contains(words), "{words}: {report}");
    }
    assert!(place.read("book.json").contains("\"floor-uring\",\"measure\":\"cpu\""));
    place.assert_nobody_listens();
}

#[test]
fn a_signal_ends_the_servers_and_what_is_there_is_written() {
    let place = Place::new("signal");
    let many = ["floor-epoll", "--rounds", "1000", "--time-budget", "0"];
    let child = place.suite(&many).spawn().expect("it starts");
    let has_runs = || place.read("results.jsonl").lines().count() > 0;
    wait_until(&place.folder, has_runs);
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(said(&output).contains("interrupted"), "{}", said(&output));
    assert!(place.read("benchmarks.html").contains("floor-epoll"));
    place.assert_nobody_listens();
}

fn wait_until(folder: &Path, is_so: impl Fn() -> bool) {
    for _ in 0..PATIENCE {
        if is_so() {
            return;
        }
        thread::sleep(LOOK);
    }
    panic!("nothing came to {}", folder.display());
}

#[test]
fn contenders_are_listed_and_wrong_words_refused() {
    let list = support::load(&["suite", "--list", "bun", "a=b"]);
    assert_eq!(String::from_utf8_lossy(&list.stdout), "bun\na=b\n");
    let place = Place::new("wrong");
    let output = place.suite(&["apache"]).output().expect("it runs");
    assert!(support::complaint(&output).contains("apache is none of floor-epoll"));
}
