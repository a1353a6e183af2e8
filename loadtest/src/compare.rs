//! Many runs in one table: medians, spreads, ratios to the better floor.
//!
//! `main` calls [`run`] on a file of JSON lines that the scenarios wrote with `--json`, `suite`
//! shows [`text`] at its end. It judges nothing: overlapping spreads are for the reader to see.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::figures::book::{Book, Row};
use crate::figures::measures::{Family, Measure};
use crate::figures::series::Series;
use crate::report::Line;

/// Prints the table of a file.
pub fn run(file: &Path) -> Result<()> {
    let text = text(&Book::of(&read(file)?));
    ensure!(
        !text.is_empty(),
        "{}: no run of echo, fanout, churn, control or idle with --server-pid",
        file.display()
    );
    show(&text)
}

/// Writes a long text to standard output. A reader that has seen enough is no failure.
pub fn show(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The runs of a file of JSON lines.
pub fn read(file: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            Line::read(line).with_context(|| format!("{}, line {number}", file.display()))
        })
        .collect()
}

/// The costs of everybody in all scenarios.
pub fn text(book: &Book) -> String {
    let mut text = String::new();
    for family in Family::ALL {
        let (measure, unit) = family.cost();
        let rows = book.rows(family, measure);
        if rows.is_empty() {
            continue;
        }
        let rate = family.rate();
        text += &format!("{unit}: median [min-max], ratio to the better floor; {rate}\n");
        text += &rows.iter().map(|one| row(book, one, measure)).collect::<String>();
    }
    text
}

fn row(book: &Book, row: &Row<'_>, measure: Measure) -> String {
    let mut text = format!("{}\n", row.scenario);
    let floor = row.better_floor().map(|floor| floor.0);
    for (name, series) in &row.cells {
        let (low, high) = series.spread();
        let ratio = floor.and_then(|floor| book.ratio(row.scenario, measure, name, floor));
        let rate = book.series(row.scenario, name, Measure::Rate).map_or(0.0, Series::median);
        text += &format!(
            "  {name:<16}{:>10.0} [{low:.0}-{high:.0}] {:>7} {rate:>12.0}/s{}{}\n",
            series.median(),
            ratio.map_or("-".to_owned(), |ratio| format!("{:.2}x", ratio.quotient)),
            series.runs().map_or(String::new(), |runs| format!("  n={runs}")),
            remarks(book, row.scenario, name),
        );
    }
    text
}

fn remarks(book: &Book, scenario: &str, name: &str) -> String {
    let Some(doubt) = book.doubt_of(scenario, name) else { return String::new() };
    let mut remarks = String::new();
    if doubt.disturbed > 0 {
        remarks += &format!(", {} disturbed", doubt.disturbed);
        if let Some(quiet) = book.series(scenario, name, Measure::QuietCpu) {
            remarks += &format!(" (median of the others {:.0})", quiet.median());
        }
    }
    if doubt.bound > 0 {
        remarks += &format!(", generator the bottleneck in {}", doubt.bound);
    }
    if doubt.missed > 0 {
        remarks += &format!(", rate not reached in {}", doubt.missed);
    }
    remarks
}
