//! The signals that end a server: the first drains, the second cuts.
//!
//! Called by the engine on behalf of a program that asked for it. An engine that runs inside a
//! larger program leaves the signals alone.

use super::engine::EngineHandle;
use std::io;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code after a second signal: connections were cut.
const EXIT_CUT: i32 = 3;

/// Drains the engine of `handle` after SIGINT or SIGTERM, and ends the process after another.
pub(super) fn drain_on_signal(runtime: &Handle, handle: EngineHandle) {
    let entered = runtime.enter();
    // Caught from here on, not from whenever the task below runs.
    let signals = Signals::catch();
    drop(entered);
    match signals {
        Ok(mut signals) => {
            runtime.spawn(async move {
                signals.next().await;
                tracing::info!("draining; a second signal cuts");
                handle.drain();
                signals.next().await;
                tracing::warn!("cut by a second signal");
                std::process::exit(EXIT_CUT);
            });
        }
        Err(error) => {
            tracing::error!(%error, "signals cannot be caught; one will end the process at once");
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Needs to be inside a tokio runtime.
    fn catch() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
