//! Ctrl-C during a run that has something to tell: the first ends it early and in order, the second
//! at once.
//!
//! `idle` catches it; whoever waits on its behalf asks whether it came. `suite` hears it, and ends
//! what it has started.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// What a shell makes of an end by SIGINT.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Keeps the first SIGINT from ending the process.
pub fn catch() -> Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    // In this order: the first one must find the flag down.
    flag::register_conditional_shutdown(SIGINT, EXIT_INTERRUPTED, Arc::clone(asked))
        .and_then(|_| flag::register(SIGINT, Arc::clone(asked)))
        .context("cannot catch SIGINT")?;
    Ok(())
}

/// Keeps SIGINT, SIGTERM and SIGHUP from ending the process, however many come: whoever hears them
/// has children to end.
pub fn hear() -> Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(asked)).context("cannot catch signals")?;
    }
    Ok(())
}

/// Whether a caught SIGINT has come.
pub fn is_asked() -> bool {
    ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed))
}
