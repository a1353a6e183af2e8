//! How `ringwire doctor` shows a report: a table for people, JSON for programs.
//!
//! Called by `main`. It judges nothing: what is missing and what that means, the report says.

use crate::log::colours_on;
use ringwire::ring::probe::{Report, Rung};
use serde::Serialize;
use std::fmt::Write as _;
use std::io;

/// The report as JSON, with `ok` for the whole.
pub(crate) fn json(report: &Report) -> String {
    #[derive(Serialize)]
    struct Judged<'a> {
        ok: bool,
        #[serde(flatten)]
        report: &'a Report,
    }
    let judged = Judged { ok: report.fatal().is_none(), report };
    // Numbers, texts and lists always have a JSON form.
    let mut text = serde_json::to_string_pretty(&judged).unwrap_or_default();
    text.push('\n');
    text
}

/// The report as a table, coloured on a terminal.
pub(crate) fn table(report: &Report) -> String {
    render(report, colours_on(&io::stdout()))
}

fn render(report: &Report, colours: bool) -> String {
    let mut text = format!("Linux {}\n\n", report.kernel);
    let name_width = report.rungs.iter().map(|rung| rung.name.len()).max().unwrap_or(0);
    let purpose_width = report.rungs.iter().map(|rung| rung.purpose.len()).max().unwrap_or(0);
    for rung in &report.rungs {
        let mark = mark(rung, colours);
        let (name, purpose, seen) = (rung.name, rung.purpose, &rung.seen);
        // Formatting into a String cannot fail.
        let _ = writeln!(text, "{mark} {name:name_width$}  {purpose:purpose_width$}  {seen}");
        if !rung.ok {
            let _ = writeln!(text, "  without: {}; remedy: {}", rung.without, rung.remedy);
        }
    }
    text.push('\n');
    let limits = &report.limits;
    let _ = writeln!(
        text,
        "{} cores, {} shards; descriptors {} (hard {})",
        limits.cores, report.plan.shards, limits.nofile_soft, limits.nofile_hard
    );
    for line in &report.allowance.arithmetic {
        let _ = writeln!(text, "{line}");
    }
    text.push_str(match report.fatal() {
        None => "\nThe server can run here.\n",
        Some(_) => "\nThe server cannot run here.\n",
    });
    text
}

fn mark(rung: &Rung, colours: bool) -> &'static str {
    match (rung.ok, rung.required, colours) {
        (true, _, false) => "✓",
        (true, _, true) => "\u{1b}[32m✓\u{1b}[0m",
        (false, true, false) => "✗",
        (false, true, true) => "\u{1b}[31m✗\u{1b}[0m",
        (false, false, false) => "-",
        (false, false, true) => "\u{1b}[33m-\u{1b}[0m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringwire::ring::probe::probe;

    #[test]
    fn the_table_is_aligned_and_plain_without_colours() {
        let mut report = probe();
        report.rungs[0].ok = false;
        let text = render(&report, false);
        assert!(!text.contains('\u{1b}'));
        assert!(render(&report, true).contains("\u{1b}[31m✗"));
        assert!(text.contains(&format!("✗ {}", report.rungs[0].name)), "{text}");
        assert!(text.contains("without: the server cannot run; remedy: "), "{text}");
        let columns: Vec<_> = report
            .rungs
            .iter()
            .filter_map(|rung| {
                let line = text.lines().find(|line| line.contains(&format!(" {} ", rung.name)))?;
                line.find(rung.purpose).map(|at| line[..at].chars().count())
            })
            .collect();
        assert_eq!(columns.len(), report.rungs.len(), "{text}");
        assert!(columns.iter().all(|column| *column == columns[0]), "{text}");
    }

    #[test]
    fn the_json_says_the_same() {
        let report = probe();
        let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
        assert_eq!(value["ok"], report.fatal().is_none());
        assert_eq!(value["rungs"].as_array().map(Vec::len), Some(report.rungs.len()));
        assert_eq!(value["limits"]["cores"], report.limits.cores);
    }
}
