//! Progress on a terminal; silence everywhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of `total` things.
pub fn bar(total: u64, what: &'static str) -> ProgressBar {
    styled(total, "{msg} {bar:40} {pos}/{len}", what)
}

/// A bar of milliseconds.
pub fn timer(total: Duration) -> ProgressBar {
    styled(total.as_millis() as u64, "{msg} {bar:40} {elapsed}", "measuring")
}

fn styled(total: u64, template: &str, what: &'static str) -> ProgressBar {
    // Standard error, and hidden by the crate unless that is a terminal.
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_message(what)
}
