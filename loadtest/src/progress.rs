//! Progress on a terminal; silence everywhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of `total` things; none at all if `quiet`.
pub fn bar(total: u64, what: &'static str, quiet: bool) -> ProgressBar {
    styled(total, "{msg} {bar:40} {pos}/{len} ({per_sec})", quiet).with_message(what)
}

/// A bar of milliseconds whose message is the live rate.
pub fn timer(total: Duration, quiet: bool) -> ProgressBar {
    styled(total.as_millis() as u64, "measuring {bar:40} {elapsed} {msg}", quiet)
}

/// A bar of all that is to be done, whose message says what is done now.
pub fn share(total: u64) -> ProgressBar {
    styled(total, "{bar:30} {msg}", false)
}

fn styled(total: u64, template: &str, quiet: bool) -> ProgressBar {
    // Standard error, and hidden by the crate unless that is a terminal.
    let target =
        if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
