//! The signals that end a server: the first drains, the second cuts.
//!
//! Called by the engine on behalf of a program that asked for it. An engine that runs inside a
//! larger program leaves the signals alone.

use super::handle::EngineHandle;
use std::io;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code after a second signal: connections were cut.
const EXIT_CUT: i32 = 3;

/// SIGINT and SIGTERM, kept from ending the process.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches the signals from now on.
    pub(super) fn catch() -> io::Result<Self> {
        // To catch needs a runtime, any; the engine's, which is made later, will deliver.
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        drop(entered);
        // A plain drop would panic where the caller is on a runtime itself.
        runtime.shutdown_background();
        Ok(Self { interrupt, terminate })
    }

    /// Drains at the first signal, also one that came before this was called, and ends the process
    /// at the second.
    pub(super) async fn drain(mut self, handle: EngineHandle) {
        self.next().await;
        tracing::info!("draining; a second signal cuts");
        handle.drain();
        self.next().await;
        tracing::warn!("cut by a second signal");
        std::process::exit(EXIT_CUT);
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
