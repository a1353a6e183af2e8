//! `report`: the JSON lines of many runs as one page of HTML with pictures, without scripts and
//! without anything from elsewhere.
//!
//! `cli` calls [`run`]. `glance`, `sections` and `tables` choose, `chart` and `svg` draw.

mod chart;
mod glance;
mod sections;
mod svg;
mod tables;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use self::sections::Runs;
use crate::compare;
use crate::figure::Unit;

const STYLE: &str = include_str!("style.css");

/// What to show.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// Files of JSON lines, in any order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A file of lines of a name, a tab and a value: machine, versions and what else there is to
    /// say about the setting.
    #[arg(long)]
    facts: Option<PathBuf>,
}

/// Writes the page to standard output.
pub fn run(plan: &Plan) -> Result<()> {
    let mut all = Vec::new();
    for file in &plan.files {
        all.extend(compare::read(file)?);
    }
    ensure!(!all.is_empty(), "there is no run in the files");
    let facts = match &plan.facts {
        Some(file) => fs::read_to_string(file).with_context(|| file.display().to_string())?,
        None => String::new(),
    };
    let facts = facts.lines().filter_map(|line| line.split_once('\t'));
    let facts: Vec<(String, String)> =
        facts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    compare::show(&page(&Runs::new(all), &facts))
}

fn page(runs: &Runs, facts: &[(String, String)]) -> String {
    let bars = "The bar is the median, the whisker spans the lowest and the highest run; less is \
                better.";
    let paced = "Server CPU where the clients set the pace, not the server; less is better.";
    let sections = [
        glance::table(runs),
        sections::costs(runs, Unit::Echo, "Echo", bars),
        sections::scaling(runs),
        sections::latencies(runs),
        sections::costs(runs, Unit::Paced, "Echo at a fixed rate", paced),
        sections::costs(runs, Unit::Delivery, "Fan-out", bars),
        sections::costs(runs, Unit::Connection, "Churn", bars),
        sections::costs(runs, Unit::Control, "Control plane", bars),
        sections::costs(runs, Unit::Memory, "Idle connections", bars),
        tables::machine(runs),
        tables::others(runs),
        tables::facts(facts),
        tables::everything(runs),
    ];
    format!(
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width, initial-scale=1'>\
         <title>WebSocket load test</title><style>\n{STYLE}</style></head><body>\n\
         <header><h1>WebSocket load test</h1><p>{} runs; how many are whose is in the line below. † other programs used the cores in at \
         least one run; ‡ the generator was the bottleneck in at least one; ¶ the \
         offered rate was not reached in at least one.</p></header>\n\
         <nav>{}</nav><main>{}</main></body></html>\n",
        runs.all.len(),
        sections::legend(runs),
        sections.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_of_the_pictures_exists() {
        let classes = ["fill", "stroke", "whisker", "base", "grid", "axis", "name", "value"];
        for class in classes.iter().chain(&["beside", "dot", "legend", "cards", "table", "glance"])
        {
            assert!(STYLE.contains(&format!(".{class}")), "{class}");
        }
        for shade in 1..=6 {
            assert!(STYLE.contains(&format!(".h{shade} ")), "{shade}");
        }
        for colour in 0..12 {
            assert_eq!(STYLE.matches(&format!(".c{colour} ")).count(), 1, "{colour}");
        }
    }

    #[test]
    fn no_runs_no_sections() {
        let page = page(&Runs::new(Vec::new()), &[]);
        assert!(!page.contains("<section"), "{page}");
    }
}
