//! A server under test: a session of its own, pinned, and stopped while others are measured.
//!
//! `runner` starts and ends them. Sessions are groups of the scheduler, so every server is one,
//! and what it starts is ended with it. It runs as the shell would have it: nothing of this process
//! but its environment is inherited, in particular no timer slack.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::contender::{Policy, Setup};
use crate::interrupt;

const LOOK: Duration = Duration::from_millis(100);
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
const REST_LOOK: Duration = Duration::from_millis(200);
const REST_LOOKS_MAX: u32 = 50;
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// A server that was started and is stopped (SIGSTOP) unless it is measured. It ends when dropped.
pub struct Server {
    child: Child,
    group: Pid,
    pub address: String,
}

impl Server {
    /// Starts a command line and waits until it listens and has come to rest.
    pub fn start(words: &[String], setup: &Setup, address: String, log: &Path) -> Result<Server> {
        let output = File::create(log).with_context(|| log.display().to_string())?;
        let policy = match setup.policy {
            Policy::Other => "--other",
            Policy::Batch => "--batch",
        };
        let child = Command::new("setsid")
            .args(["chrt", policy, "0", "taskset", "-c", setup.cores.list()])
            .args(words)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start setsid")?;
        let group = Pid::from_child(&child);
        let mut server = Server { child, group, address };
        server.await_listener().map_err(|why| anyhow!("{why}: {}", last_line(log)))?;
        server.await_rest();
        server.suspend();
        Ok(server)
    }

    /// Whose costs are counted.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// While another is measured.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Before it is measured.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // Its group may have ended.
        let _ = kill_process_group(self.group, signal);
    }

    fn await_listener(&mut self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < LISTENS_WITHIN && self.is_alive() {
            if interrupt::is_asked() {
                bail!("interrupted");
            }
            if TcpStream::connect(&self.address).is_ok() {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
        bail!("does not listen on {}", self.address)
    }

    /// A server listens before all its threads have made what they need, which would count as the
    /// memory of connections.
    fn await_rest(&self) {
        let mut before = None;
        for _ in 0..REST_LOOKS_MAX {
            let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
            let now = status
                .unwrap_or_default()
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:").map(|rest| rest.trim().to_owned()));
            if now.is_none() || now == before {
                return;
            }
            before = now;
            thread::sleep(REST_LOOK);
        }
    }

    /// A stopped process hears nothing but KILL until it goes on.
    fn ask_to_end(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }
}

/// Ends several at once, which takes no longer than one.
pub fn end_all(servers: Vec<Server>) {
    servers.iter().for_each(Server::ask_to_end);
    drop(servers);
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_end();
        let asked = Instant::now();
        // The group lives as long as any process of it does.
        let is_there = |server: &mut Server| {
            server.is_alive() || rustix::process::test_kill_process_group(server.group).is_ok()
        };
        while is_there(self) {
            if asked.elapsed() > ENDS_WITHIN {
                self.signal(Signal::KILL);
                let _ = self.child.wait();
                return;
            }
            thread::sleep(LOOK);
        }
    }
}

/// The last line of a file, to say what was wrong.
pub fn last_line(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&text).trim_end().lines().next_back().unwrap_or_default().to_owned()
}
