//! Ctrl-C during a run that has something to tell: the first ends it early and in order, the second
//! at once.
//!
//! `idle` catches it; whoever waits on its behalf asks whether it came.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// What a shell makes of an end by SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Keeps the first SIGINT from ending the process.
pub fn catch() -> Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    // In this order: the first one must find the flag down.
    flag::register_conditional_shutdown(SIGINT, EXIT_INTERRUPTED, Arc::clone(asked))
        .and_then(|_| flag::register(SIGINT, Arc::clone(asked)))
        .context("cannot catch SIGINT")?;
    Ok(())
}

/// Whether a caught SIGINT has come.
pub fn is_asked() -> bool {
    ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed))
}
