//! The built program as a child: what can only be measured of a process of its own.

use super::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Where the built program is: beside the folder of the test that runs.
fn path() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a program");
    test.ancestors().nth(2).expect("a folder of what was built").join("ringwire")
}

/// `ringwire serve` on a port of its own. Killed when dropped.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Program {
    /// Serves with these arguments.
    pub fn serve(arguments: &[&str]) -> Self {
        let mut command = Command::new(path());
        command.arg("serve").args(arguments);
        Self::run(command)
    }

    /// The same from a shell that sets a limit first.
    pub fn limited(limit: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        let script = format!("{limit}; exec \"$0\" serve \"$@\"");
        command.args(["-c", &script]).arg(path()).args(arguments);
        Self::run(command)
    }

    /// What a command becomes that serves.
    pub fn run(mut command: Command) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("RINGWIRE_LISTEN", "127.0.0.1:0")
            .stderr(Stdio::piped());
        // One that wants a control plane says so by its arguments.
        command.env("RINGWIRE_ADMIN_LISTEN", "off");
        let mut child = command.spawn().expect("the program runs");
        let output = BufReader::new(child.stderr.take().expect("a pipe"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                written.lock().expect("not poisoned").push(line);
            }
        });
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut program = Self { child, address, lines, reader: Some(reader) };
        super::eventually("the program listens", || {
            let address = program.said("listening on ");
            address.and_then(|text| text.parse().ok()).map(|at| program.address = at).is_some()
        });
        program
    }

    /// How many lines of the log have `text`, and what follows it in the last of them.
    fn count_and_find(&self, text: &str) -> (usize, Option<String>) {
        let lines = self.lines.lock().expect("not poisoned");
        let mut found = lines.iter().filter_map(|line| line.split_once(text));
        (found.clone().count(), found.next_back().map(|(_, rest)| rest.to_owned()))
    }

    /// What follows `text` in the last line of the log that has it.
    pub fn said(&self, text: &str) -> Option<String> {
        self.count_and_find(text).1
    }

    /// Every address it listens on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let lines = self.lines.lock().expect("not poisoned");
        let listening = lines.iter().filter_map(|line| line.split_once("listening on "));
        listening.filter_map(|(_, address)| address.parse().ok()).collect()
    }

    /// Lines of the log that have `text`.
    pub fn lines_with(&self, text: &str) -> usize {
        self.count_and_find(text).0
    }

    /// Lines of the log.
    pub fn lines(&self) -> usize {
        self.lines.lock().expect("not poisoned").len()
    }

    /// A counter of the last line but few.
    pub fn counter(&self, name: &str) -> u64 {
        let rest = self.count_and_find(&format!(" {name}=")).1.expect("the counter is logged");
        rest.split(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    /// Resident memory that is the process's own.
    pub fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the program runs");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("kB");
        kib * 1_024
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("the program runs");
        let fields =
            stat.rsplit_once(')').expect("a name").1.split_whitespace().collect::<Vec<_>>();
        let ticks: u64 =
            fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Lets it do nothing for so long, as a debugger does, or a machine that is moved elsewhere.
    pub fn pause(&self, time: Duration) {
        let process = Pid::from_child(&self.child);
        kill_process(process, Signal::STOP).expect("the program runs");
        thread::sleep(time);
        kill_process(process, Signal::CONT).expect("the program is stopped");
    }

    /// Asks it to end, and waits for that.
    pub fn stop(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the program runs");
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                self.reader.take().map(JoinHandle::join);
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the program does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
