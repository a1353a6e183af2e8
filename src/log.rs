//! The log of the program, on standard error.
//!
//! Owns the one subscriber. Called by `main` before anything starts. Texts that a peer chose are
//! escaped by the subscriber, so that they cannot move a terminal's cursor or forge a line; colours
//! come only from here, and only on a terminal.

use crate::{EXIT_CONFIG, Failure};
use ringwire::config::{Log, LogFormat};
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

/// Starts the log.
pub(crate) fn start(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::builder().parse(&log.filter).map_err(|error| Failure {
        code: EXIT_CONFIG,
        message: format!("`log.filter` is wrong: {error}; give a level such as info"),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours_on(&io::stderr()));
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(|error| Failure {
        code: EXIT_CONFIG,
        message: format!("the log cannot start: {error}; start the program alone"),
    })
}

/// Whether `output` should be coloured: a terminal, and nobody set NO_COLOR (no-color.org).
pub(crate) fn colours_on(output: &impl IsTerminal) -> bool {
    output.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
