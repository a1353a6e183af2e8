//! The signals that end a server: the first drains, the second cuts. Where the drain waits for load
//! balancers to look, the first but announces it, and the next does not wait.
//!
//! Called by the engine on behalf of a program that asked for it. An engine that runs inside a
//! larger program leaves the signals alone.

use super::handle::EngineHandle;
use crate::engine::LAST_WORDS;
use std::io;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

/// The exit code after a second signal: connections were cut.
const EXIT_CUT: i32 = 3;

/// Time in which signals are taken for one: timeout(1) sends each to the process and to its group.
const ECHO_TIME: Duration = Duration::from_millis(250);

/// SIGINT, SIGTERM, SIGQUIT and SIGHUP, kept from ending the process.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None`: ignored before this process began, and still.
    quit: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    /// Catches the signals from now on. SIGHUP stays ignored where nohup(1) has seen to that, and
    /// SIGQUIT where a shell without job control has.
    pub(super) fn catch() -> io::Result<Self> {
        let ignored = ignored_signals();
        let unless_ignored = |kind: SignalKind| {
            let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
            (!is_ignored).then(|| signal(kind)).transpose()
        };
        // To catch needs a runtime, any; the engine's, which is made later, will deliver.
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let signals = Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: unless_ignored(SignalKind::quit())?,
            hangup: unless_ignored(SignalKind::hangup())?,
        };
        // A log file at its limit of size (`ulimit -f`) is to cost lines, not the process: once
        // caught, this signal stays so, and the write fails.
        unless_ignored(SignalKind::from_raw(libc::SIGXFSZ))?;
        drop(entered);
        // A plain drop would panic where the caller is on a runtime itself.
        runtime.shutdown_background();
        Ok(signals)
    }

    /// Drains `delay` after the first signal, also one that came before this was called, or at the
    /// second; ends the process at the next one.
    pub(super) async fn drain(mut self, handle: EngineHandle, delay: Duration) {
        self.next(true).await;
        if !delay.is_zero() {
            let due = Instant::now() + delay;
            handle.leave();
            tracing::info!("not ready, draining in {delay:?}; a second signal drains now");
            self.pass_echoes(due).await;
            let _ = timeout_at(due, self.next(false)).await;
        }
        tracing::info!("draining; a second signal cuts");
        handle.drain();
        self.pass_echoes(Instant::now() + ECHO_TIME).await;
        // Not at SIGHUP: a terminal that goes away sends it twice, and systemd beside SIGTERM.
        self.next(false).await;
        tracing::warn!(target: LAST_WORDS, "cut by a second signal");
        std::process::exit(EXIT_CUT);
    }

    /// Lets those pass that are one with the signal before, but for no longer than `until`.
    async fn pass_echoes(&mut self, until: Instant) {
        let echoes = async {
            loop {
                self.next(false).await;
            }
        };
        let _: Result<(), _> = timeout_at(until.min(Instant::now() + ECHO_TIME), echoes).await;
    }

    async fn next(&mut self, or_hangup: bool) {
        tokio::select! {
            () = next(&mut self.hangup), if or_hangup => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = next(&mut self.quit) => {}
        }
    }
}

/// The next of this signal; of one that is ignored there is none.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The signals that this process ignores, a bit for each from SIGHUP on (proc_pid_status(5)). Where
/// nobody tells, none.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}
