//! What people see of a suite: a bar on a terminal, lines everywhere else.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::ProgressBar;

use super::clock::{Clock, minutes};
use crate::progress;

/// How far it is.
pub struct Progress {
    clock: Clock,
    started: Instant,
    /// Only on a terminal, and only while something is measured.
    bar: Option<ProgressBar>,
    title: String,
}

impl Progress {
    /// Nothing is planned yet.
    pub fn new() -> Progress {
        let (clock, started) = (Clock::default(), Instant::now());
        Progress { clock, started, bar: None, title: String::new() }
    }

    /// The time of what was planned begins.
    pub fn start(&mut self, clock: Clock) {
        let is_terminal = std::io::stderr().is_terminal();
        self.bar = is_terminal.then(|| progress::share(clock.planned_ms));
        (self.clock, self.started) = (clock, Instant::now());
    }

    /// A run begins that takes so long.
    pub fn begin(&mut self, title: &str, cost_ms: u64) {
        let words = self.clock.words(self.elapsed_ms());
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.clock.done_ms);
                bar.set_message(format!("{words}: {title}"));
            }
            None if title != self.title => println!("{words}: {title}"),
            None => {}
        }
        title.clone_into(&mut self.title);
        self.clock.done_ms += cost_ms;
    }

    /// A run is left out that would have taken so long.
    pub fn skip(&mut self, cost_ms: u64) {
        self.clock.planned_ms = self.clock.planned_ms.saturating_sub(cost_ms);
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => println!("{line}"),
        }
    }

    /// Whether the time that was given will not do.
    pub fn is_late(&self) -> bool {
        self.clock.is_late(self.elapsed_ms())
    }

    /// The time that was given.
    pub fn budget(&self) -> String {
        minutes(self.clock.budget_ms)
    }

    /// The bar goes; what it took.
    pub fn finish(&mut self) -> String {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        minutes(self.elapsed_ms())
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
