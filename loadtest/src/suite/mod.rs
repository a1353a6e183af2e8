//! `suite`: everything that `BENCHMARKS.md` tells, measured beside other servers.
//!
//! `table` has the scenarios, `load` what a run of one is, `contender` those who take part, `plan`
//! the order, which is computed before anything starts; `server`, `generator` and `runner` do it, `clock` and
//! `progress` say how far it is, `facts` and `micro` add what is no run. The figures are computed in
//! `crate::figures`, the pages written in `crate::page`.

mod clock;
mod contender;
mod facts;
mod generator;
mod load;
mod micro;
mod options;
mod plan;
mod progress;
mod runner;
mod server;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

pub use self::options::Args;

use self::clock::{Clock, minutes};
use self::options::{Options, Reach};
use self::plan::{Fit, Means};
use self::progress::Progress;
use self::runner::{Found, Runner};
use crate::figures::book::Book;
use crate::figures::measures::{Family, Measure};
use crate::{compare, interrupt, page};

/// Where the figures of the last whole run are kept, and the pages that are made of them.
pub const PUBLISHED: &str = "benches/results/published.json";
pub const REPORT: &str = "BENCHMARKS.md";
pub const PAGE: &str = "docs/benchmarks.html";

/// Measures and reports.
pub fn run(args: Args) -> Result<()> {
    if args.list {
        return compare::show(&format!("{}\n", args.names().join("\n")));
    }
    let options = Options::of(args)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(cores >= 2, "two cores are needed, one for the servers and one for the generator");
    interrupt::hear()?;
    let out = options.places.out.clone();
    for folder in ["logs", "servers"] {
        let folder = out.join(folder);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(out.join("results.jsonl"), "").with_context(|| out.display().to_string())?;
    let Options { places, contenders, table, budget_ms, reach, plan_only } = options;
    let mut runner = Runner::new(places, contenders, Progress::new());
    runner.prepare()?;
    let means = Means {
        contenders: runner.contenders.clone(),
        usable: runner.usable(),
        files_max: facts::files_max(),
        memory_kib: facts::kib_of("MemAvailable:").unwrap_or(0),
    };
    let fit = plan::fit(&table, &means, budget_ms);
    let plan = plan::plan(&table, &means, fit.rounds);
    if fit.rounds < table.rounds {
        let (kept, wanted, budget) = (fit.rounds, table.rounds, minutes(budget_ms));
        let why = format!("since the time is limited to {budget}");
        runner.note(format!("{kept} rounds instead of {wanted}, {why}"));
    }
    plan.left_out.into_iter().for_each(|line| runner.note(line));
    let facts = [facts::of_machine(&fit, &table), runner.versions()].concat();
    facts.iter().for_each(|(name, value)| println!("{name}: {value}"));
    println!("{} to go", minutes(fit.planned_ms));
    if plan_only {
        runner.end_servers();
        return Ok(());
    }
    let Fit { seconds_ms, rounds, planned_ms } = fit;
    runner.progress.start(Clock { budget_ms, planned_ms, done_ms: 0 });
    runner.walk(&plan.steps, rounds, seconds_ms);
    let took = runner.progress.finish();
    let ours = runner.contenders.iter().filter(|one| one.is_ours()).map(|one| one.name.clone());
    let ours = ours.collect();
    let written = report(&runner.found, facts, ours, &out, reach)?;
    println!("{took}; {written}");
    if interrupt::is_asked() {
        println!("interrupted: these are the runs that were done by then");
        std::process::exit(interrupt::EXIT_INTERRUPTED);
    }
    Ok(())
}

/// Writes what was found: the book, the report and the page. A whole run that went to its end takes
/// the place of what is published.
fn report(
    found: &Found,
    facts: Vec<(String, String)>,
    ours: Vec<String>,
    out: &Path,
    reach: Reach,
) -> Result<String> {
    ensure!(!found.lines.is_empty() || !found.micro.is_empty(), "no run succeeded");
    let mut book = Book::of(&found.lines);
    (book.facts, book.commands, book.ours) = (facts, found.commands.clone(), ours);
    for (title, value) in &found.micro {
        book.name_scenario(title, Family::Micro, None);
        book.add(title, "ringwire", Measure::Cpu, *value);
    }
    for line in &found.failures {
        match book.failures.iter_mut().find(|known| known.0 == *line) {
            Some(known) => known.1 += 1,
            None => book.failures.push((line.clone(), 1)),
        }
    }
    println!("{}", compare::text(&book));
    let is_published = reach == Reach::Whole && !interrupt::is_asked();
    let [report, pictures, figures] = match is_published {
        true => [REPORT, PAGE, PUBLISHED].map(PathBuf::from),
        false => ["BENCHMARKS.md", "benchmarks.html", "book.json"].map(|name| out.join(name)),
    };
    let template = match is_published {
        true => fs::read_to_string(&report).with_context(|| report.display().to_string())?,
        false => page::markdown::BLANK.to_owned(),
    };
    write(&figures, &book.to_json()?)?;
    write_pages(&book, &template, &report, &pictures)?;
    let runs = out.join("results.jsonl");
    Ok(format!(
        "the report is {}, as pictures and in full {}; the figures are {}, the runs {}",
        report.display(),
        pictures.display(),
        figures.display(),
        runs.display()
    ))
}

/// Makes the report and the page of what is published, without measuring anything.
pub fn republish(book: &Path, root: &Path) -> Result<()> {
    let report = root.join(REPORT);
    let template = fs::read_to_string(&report).with_context(|| report.display().to_string())?;
    write_pages(&Book::read(book)?, &template, &report, &root.join(PAGE))
}

fn write_pages(book: &Book, template: &str, report: &Path, pictures: &Path) -> Result<()> {
    write(report, &page::markdown::fill(template, book)?)?;
    write(pictures, &page::html(book))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| file.display().to_string())
}
