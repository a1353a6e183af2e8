//! The log of the program where nobody reads it: gone, stuck, full, closed. Whatever becomes of its
//! lines, everybody is served, the control plane answers, and the process ends when it is asked to.

use ringwire::{Engine, Error, LogQueue, WebSocket, WebSocketServer};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::frames::{CLOSE, FIN, TEXT, close_payload, frame, server_frame};
use support::raw::{Raw, upgrade};
use support::{ON_PURPOSE, eventually, quick};

/// Longer than the end of any server takes, a drain that cuts included, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A path of its own in the temporary directory.
fn path_of_its_own(extension: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ringwire-log-{}-{number}.{extension}", std::process::id());
    std::env::temp_dir().join(name)
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("RINGWIRE_ADMIN_LISTEN", "off").stdin(Stdio::null());
    command
}

fn end_of(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the program does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `ringwire serve` on Unix sockets, found without its log.
struct Served {
    child: Child,
    data: PathBuf,
    control: PathBuf,
}

impl Served {
    /// One shard, with every access line.
    fn with(stderr: Stdio, arguments: &[&str]) -> Self {
        let serve = command(env!("CARGO_BIN_EXE_ringwire"));
        Self::run(serve, stderr, arguments)
    }

    fn run(mut serve: Command, stderr: Stdio, arguments: &[&str]) -> Self {
        let (data, control) = (path_of_its_own("data"), path_of_its_own("control"));
        serve.args(["serve", "--shards=1", "--control"]).arg(&control);
        serve.args(["--listen", &format!("unix:{}", data.display())]).args(arguments);
        let child = serve.stderr(stderr).spawn().expect("it runs");
        let mut served = Self { child, data, control };
        let started = Instant::now();
        let answers = |path| UnixStream::connect(path).is_ok();
        while !answers(&served.control) || !answers(&served.data) {
            let ended = served.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the server has ended: {ended:?}");
            assert!(started.elapsed() < PATIENCE, "the server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        served
    }

    fn every_line(stderr: Stdio) -> Self {
        Self::with(stderr, &["--set", "limits.log_lines_per_second_max=0"])
    }

    /// Opens a WebSocket, hears its echo, and closes it.
    fn converse(&self) {
        let mut stream = connect(&self.data);
        let close = frame(FIN | CLOSE, &close_payload(1000, b""));
        let said = [upgrade("/echo", "").as_bytes(), &frame(FIN | TEXT, b"hello"), &close].concat();
        stream.write_all(&said).expect("it is read");
        let heard = rest_of(stream);
        let head = heard.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer") + 4;
        assert!(heard.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&heard));
        let (first, payload, _) = server_frame(&heard[head..]).expect("an echo");
        assert_eq!((first, payload), (FIN | TEXT, &b"hello"[..]));
    }

    /// Is refused: 400.
    fn be_refused(&self) {
        let mut stream = connect(&self.data);
        stream.write_all(b"nonsense\r\n\r\n").expect("it is read");
        assert!(rest_of(stream).starts_with(b"HTTP/1.1 400 "));
    }

    fn get(&self, path: &str) -> String {
        let mut stream = connect(&self.control);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is read");
        let answer = String::from_utf8(rest_of(stream)).expect("UTF-8");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
    }

    /// A count of `log` in the status.
    fn log(&self, count: &str) -> u64 {
        let status: serde_json::Value =
            serde_json::from_str(&self.get("/v1/status")).expect("JSON");
        status["log"][count].as_u64().unwrap_or_else(|| panic!("no {count}: {status}"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    #[track_caller]
    fn ends_in_order(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(end_of(&mut self.child).code(), Some(0));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.data);
        let _ = std::fs::remove_file(&self.control);
    }
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

fn rest_of(mut stream: UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the server closes");
    rest
}

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").expect("/dev/full")
}

/// A pipe that takes nothing more, because nobody reads it.
fn stuck_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    ioctl_fionbio(&writer, true).expect("a pipe");
    while writer.write(&[b'\n'; 4_096]).is_ok() {}
    ioctl_fionbio(&writer, false).expect("a pipe");
    (reader, writer)
}

#[test]
fn a_reader_that_goes_away_takes_nobody_along() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let served = Served::every_line(writer.into());
    served.converse();
    drop(reader);
    (0..1_000).for_each(|_| served.converse());
    eventually("the lines are counted", || served.log("dropped") >= 1_000);
    let metrics = served.get("/metrics");
    let dropped = metrics.lines().find_map(|l| l.strip_prefix("ringwire_log_lines_dropped_total "));
    assert!(dropped.and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n >= 1_000), "{metrics}");
    served.ends_in_order();
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let served = Served::every_line(full_disk().into());
    (0..100).for_each(|_| served.converse());
    eventually("the lines are counted", || served.log("dropped") >= 100);
    served.ends_in_order();
    let mut refused = command(env!("CARGO_BIN_EXE_ringwire"));
    refused.args(["serve", "--set", "nonsense=1"]).stderr(full_disk());
    assert_eq!(end_of(&mut refused.spawn().expect("it runs")).code(), Some(2));
}

#[test]
fn a_limit_of_the_size_of_files_costs_lines_and_nothing_else() {
    let path = path_of_its_own("log");
    let file = File::create(&path).expect("a free path");
    let mut shell = command("sh");
    let script = "ulimit -f 8 && exec \"$0\" \"$@\"";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_ringwire")]);
    let served = Served::run(shell, file.into(), &["--set", "limits.log_lines_per_second_max=0"]);
    (0..300).for_each(|_| served.converse());
    eventually("the lines are counted", || served.log("dropped") >= 100);
    served.converse();
    served.ends_in_order();
    let written = std::fs::metadata(&path).expect("the log").len();
    assert!((1..=8_192).contains(&written), "{written}");
    std::fs::remove_file(&path).expect("ours");
}

#[test]
fn a_closed_standard_error_is_no_obstacle() {
    for closed in ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        let mut shell = command("sh");
        let script = format!("exec \"$0\" \"$@\" {closed}");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_ringwire")]);
        let served = Served::run(shell, Stdio::null(), &[]);
        (0..20).for_each(|_| served.converse());
        served.ends_in_order();
    }
}

#[test]
fn a_pipe_that_nobody_reads_holds_nobody_up() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let served = Served::every_line(writer.into());
    eventually("more is logged than is kept", || {
        (0..500).for_each(|_| served.be_refused());
        served.log("dropped") > 0
    });
    (0..100).for_each(|_| served.converse());
    assert!(served.log("waiting_bytes") <= 1 << 20);
    // Whoever begins to read hears what was kept, and then how much is missing.
    let dropped = served.log("dropped");
    let mut lines = BufReader::new(reader).lines().map(|line| line.expect("UTF-8"));
    let notice = lines.find(|line| line.contains(" more lines were dropped"));
    let told = notice.expect("it is told").split(' ').rev().nth(4).map(str::parse::<u64>);
    assert_eq!(told, Some(Ok(dropped)));
    served.converse();
    let closed = lines.find(|line| line.contains("status=101"));
    assert!(closed.is_some(), "it goes on");
    // And nobody again.
    eventually("the pipe is full", || {
        (0..100).for_each(|_| served.be_refused());
        served.log("waiting_bytes") > 8_192
    });
    served.ends_in_order();
    drop(lines);
}

#[test]
fn a_program_that_cannot_say_why_it_ends_does_end() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("bound").to_string();
    for (arguments, code) in [
        (&["serve", "--listen", &taken][..], 69),
        (&["serve", "--set", "nonsense=1"], 2),
        (&["serve", "--nonsense"], 2),
        (&["config", "--check", "/nonexistent"], 78),
        (&["ls", "--control", "/nonexistent"], 69),
    ] {
        let (_reader, writer) = stuck_pipe();
        let mut child = command(env!("CARGO_BIN_EXE_ringwire"));
        let mut child = child.args(arguments).stderr(writer).spawn().expect("it runs");
        assert_eq!(end_of(&mut child).code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_second_signal_cuts_and_is_told_where_somebody_reads() {
    for reads in [true, false] {
        let (reader, writer) = if reads { std::io::pipe().expect("a pipe") } else { stuck_pipe() };
        let mut served = Served::with(writer.into(), &["--set", "timeouts.drain_ms=600000"]);
        // Its peer does not say goodbye, so that the drain takes long.
        let mut stream = connect(&served.data);
        stream.write_all(upgrade("/echo", "").as_bytes()).expect("it is read");
        stream.read_exact(&mut [0; 12]).expect("an answer");
        served.signal(Signal::TERM);
        eventually("the drain begins", || !served.is_ready());
        // Not right behind the first, which would be taken for the same.
        std::thread::sleep(Duration::from_millis(500));
        served.signal(Signal::TERM);
        assert_eq!(end_of(&mut served.child).code(), Some(3));
        let mut text = String::new();
        let mut reader = reader;
        reader.read_to_string(&mut text).expect("UTF-8");
        assert_eq!(text.contains("cut by a second signal"), reads, "{text}");
    }
}

impl Served {
    fn is_ready(&self) -> bool {
        let mut stream = connect(&self.control);
        let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("it is read");
        rest_of(stream).starts_with(b"HTTP/1.1 200 ")
    }
}

#[test]
fn a_stranger_fills_no_disk() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let served = Served::with(writer.into(), &["--set", "limits.log_lines_per_second_max=10"]);
    let reading = std::thread::spawn(move || {
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        lines.collect::<Vec<_>>()
    });
    let started = Instant::now();
    (0..2_000).for_each(|_| served.be_refused());
    let seconds = started.elapsed().as_secs() as usize + 2;
    // Another reason is heard beside it.
    served.converse();
    assert_eq!(served.log("dropped"), 0);
    served.ends_in_order();
    let lines = reading.join().expect("it reads");
    let refused = lines.iter().filter(|line| line.contains("status=400") && line.contains(" ms="));
    let refused = refused.count();
    assert!(refused <= 10 * seconds, "{refused} lines in {seconds} s");
    let more = lines.iter().filter_map(|line| line.split_once(" more=")).map(|(_, rest)| {
        rest.split(' ').next().and_then(|n| n.parse::<usize>().ok()).expect("a number")
    });
    assert_eq!(refused + more.sum::<usize>(), 2_000, "every line is there or counted");
    assert!(lines.iter().any(|line| line.contains("status=101")));
}

/// A handler that panics at everything but a greeting.
struct Panics;

impl WebSocketServer for Panics {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        loop {
            match ws.read(100, PATIENCE).await?.as_text() {
                Some("hello") => ws.write("hello").await?,
                _ => panic!("{ON_PURPOSE}"),
            }
        }
    }
}

/// An engine of a program of its own, when this test program is started by the test below; nothing
/// otherwise.
#[test]
fn program_with_a_handler_that_panics() {
    let Ok(path) = std::env::var("SERVE_A_HANDLER_THAT_PANICS") else { return };
    let queue = LogQueue::start(std::io::stderr(), |lines| format!("and {lines} more"));
    queue.expect("a thread").take_panics(|panic, more| format!("{panic} and {more} more"));
    let engine = Engine::builder()
        .settings(quick())
        .listen(format!("unix:{path}").parse().expect("a path"))
        .listen("127.0.0.1:0".parse().expect("an address"))
        .route("/", || Panics)
        .start()
        .expect("it starts");
    std::fs::write(format!("{path}.port"), engine.addresses()[1].to_string()).expect("a file");
    engine.join();
}

#[test]
fn a_handler_that_panics_waits_for_no_reader() {
    let (reader, gone) = std::io::pipe().expect("a pipe");
    drop(reader);
    let (_reader, stuck) = stuck_pipe();
    for stderr in [Stdio::from(gone), Stdio::from(stuck), Stdio::from(full_disk())] {
        let path = path_of_its_own("panics");
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.args(["--exact", "program_with_a_handler_that_panics", "--nocapture"]);
        child.env("SERVE_A_HANDLER_THAT_PANICS", &path).stdout(Stdio::null()).stderr(stderr);
        let mut child = child.spawn().expect("it runs");
        let port = PathBuf::from(format!("{}.port", path.display()));
        eventually("it serves", || {
            std::fs::read_to_string(&port).is_ok_and(|text| !text.is_empty())
        });
        let address = std::fs::read_to_string(&port).expect("a file");
        let address = address.parse().expect("an address");
        let mut quiet = Raw::open(address, "/");
        for _ in 0..200 {
            let mut raw = Raw::open(address, "/");
            raw.send(&frame(FIN | TEXT, b"panic"));
            assert_eq!(raw.close_code(), Some(1011));
        }
        quiet.send(&frame(FIN | TEXT, b"hello"));
        assert_eq!(quiet.read_frame().expect("it lives").payload, b"hello");
        let _ = child.kill();
        let _ = child.wait();
        let _ = std::fs::remove_file(&port);
        let _ = std::fs::remove_file(&path);
    }
}
