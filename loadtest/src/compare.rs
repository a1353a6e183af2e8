//! Many runs in one table: medians, spreads, ratios to the better floor.
//!
//! `main` calls [`run`] on a file of JSON lines that the scenarios wrote with `--json`. It
//! judges nothing: overlapping spreads are for the reader to see.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::figure::{Figure, Unit, median, place, spread};
use crate::report::Line;

/// The values of one contender in one scenario.
#[derive(Default)]
struct Series {
    values: Vec<f64>,
    rates: Vec<f64>,
    /// Runs in which the generator was never idle but the server was.
    generator_bound: usize,
    /// Runs in which an offered rate did not get through.
    missed_rate: usize,
    /// The values of runs in which nobody else used the cores.
    quiet: Vec<f64>,
}

/// Scenario, then contender; both in the order in which they first appeared.
#[derive(Default)]
struct Table {
    scenarios: Vec<String>,
    contenders: Vec<String>,
    cells: BTreeMap<(usize, usize), Series>,
}

/// Prints the table of a file.
pub fn run(file: &Path) -> Result<()> {
    let mut tables = Unit::ALL.map(|_| Table::default());
    let mut skipped = 0;
    for line in read(file)? {
        match Figure::of(&line) {
            Some(figure) => tables[figure.unit as usize].add(figure),
            None => skipped += 1,
        }
    }
    ensure!(
        tables.iter().any(|table| !table.cells.is_empty()),
        "{}: no run of echo, fanout, churn, control or idle with --server-pid",
        file.display()
    );
    let mut text: String = Unit::ALL
        .iter()
        .zip(&tables)
        .map(|(unit, table)| table.text(unit.value(), unit.rate()))
        .collect();
    if skipped > 0 {
        text += &format!("{skipped} runs have no figure of the server and are not in the tables\n");
    }
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

impl Table {
    fn add(&mut self, figure: Figure) {
        let series = self.series(&figure.scenario, &figure.contender);
        series.values.push(figure.value);
        series.rates.push(figure.rate);
        if figure.quiet {
            series.quiet.push(figure.value);
        }
        series.generator_bound += usize::from(figure.generator_bound);
        series.missed_rate += usize::from(figure.missed_rate);
    }

    fn series(&mut self, scenario: &str, contender: &str) -> &mut Series {
        let row = place(&mut self.scenarios, scenario);
        let column = place(&mut self.contenders, contender);
        self.cells.entry((row, column)).or_default()
    }

    fn text(&self, what: &str, rate: &str) -> String {
        if self.cells.is_empty() {
            return String::new();
        }
        let mut text = format!(
            "{what}: median [min-max], ratio to the better floor (median over the rounds); {rate}\n"
        );
        for (row, scenario) in self.scenarios.iter().enumerate() {
            text += &format!("{scenario}\n");
            let floor = self.better_floor(row);
            for (column, contender) in self.contenders.iter().enumerate() {
                let Some(series) = self.cells.get(&(row, column)) else { continue };
                let (low, high) = spread(&series.values);
                let ratio = floor.and_then(|floor| ratio(&series.values, &floor.values));
                text += &format!(
                    "  {contender:<16}{:>10.0} [{low:.0}-{high:.0}] {:>7} {:>12.0}/s  n={}{}\n",
                    median(&series.values),
                    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}x")),
                    median(&series.rates),
                    series.values.len(),
                    series.remarks(),
                );
            }
        }
        text
    }

    /// The floor with the lower median.
    fn better_floor(&self, row: usize) -> Option<&Series> {
        let names = self.contenders.iter().enumerate();
        names
            .filter(|(_, name)| name.starts_with("floor"))
            .filter_map(|(column, _)| self.cells.get(&(row, column)))
            .min_by(|one, other| median(&one.values).total_cmp(&median(&other.values)))
    }
}

impl Series {
    fn remarks(&self) -> String {
        let mut remarks = String::new();
        let disturbed = self.values.len() - self.quiet.len();
        if disturbed > 0 {
            remarks += &format!(", {disturbed} disturbed");
        }
        if disturbed > 0 && !self.quiet.is_empty() {
            remarks += &format!(" (median of the others {:.0})", median(&self.quiet));
        }
        if self.generator_bound > 0 {
            remarks += &format!(", generator the bottleneck in {}", self.generator_bound);
        }
        if self.missed_rate > 0 {
            remarks += &format!(", rate not reached in {}", self.missed_rate);
        }
        remarks
    }
}

/// Round against round if both have all of them, so that a noisy minute weighs on both; median
/// against median otherwise.
fn ratio(values: &[f64], floor: &[f64]) -> Option<f64> {
    if floor.iter().any(|value| *value <= 0.0) {
        return None;
    }
    if values.len() != floor.len() {
        return Some(median(values) / median(floor));
    }
    let pairs: Vec<f64> = values.iter().zip(floor).map(|(value, floor)| value / floor).collect();
    Some(median(&pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_floor_is_the_lower_median() {
        let mut table = Table::default();
        for (contender, value) in
            [("floor-epoll", 10.0), ("floor-uring", 8.0), ("engine", 5.0), ("floor-uring", 9.0)]
        {
            table.series("one", contender).values.push(value);
        }
        table.series("two", "engine").values.push(1.0);
        assert_eq!(table.better_floor(0).map(|floor| median(&floor.values)), Some(8.5));
        assert!(table.better_floor(1).is_none());
    }

    #[test]
    fn ratios_pair_the_rounds() {
        assert_eq!(ratio(&[2.0, 40.0, 6.0], &[1.0, 20.0, 2.0]), Some(2.0));
        assert_eq!(ratio(&[4.0], &[1.0, 3.0]), Some(2.0));
        assert_eq!(ratio(&[4.0], &[0.0]), None);
    }
}
