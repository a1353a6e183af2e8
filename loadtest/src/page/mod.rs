//! `report`: the JSON lines of many runs as one page of HTML with pictures, without scripts and
//! without anything from elsewhere.
//!
//! `cli` calls [`run`]. `sections` chooses, `chart` and `svg` draw.

mod chart;
mod sections;
mod svg;

use std::path::PathBuf;

use anyhow::{Result, ensure};

use self::sections::Runs;
use crate::compare;
use crate::figure::Unit;

const STYLE: &str = include_str!("style.css");

/// Writes the page about `files` to standard output.
pub fn run(files: &[PathBuf]) -> Result<()> {
    let mut all = Vec::new();
    for file in files {
        all.extend(compare::read(file)?);
    }
    ensure!(!all.is_empty(), "there is no run in the files");
    compare::show(&page(&Runs::new(all)))
}

fn page(runs: &Runs) -> String {
    let bars = "The bar is the median, the whisker spans the lowest and the highest run; less is \
                better.";
    let sections = [
        sections::costs(runs, Unit::Echo, "Echo", bars),
        sections::latencies(runs),
        sections::scaling(runs),
        sections::costs(runs, Unit::Delivery, "Fan-out", bars),
        sections::costs(runs, Unit::Connection, "Churn", bars),
        sections::costs(runs, Unit::Memory, "Idle connections", bars),
        sections::machine(runs),
        sections::others(runs),
        sections::everything(runs),
    ];
    format!(
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width, initial-scale=1'>\
         <title>WebSocket load test</title><style>\n{STYLE}</style></head><body>\n\
         <header><h1>WebSocket load test</h1><p>{} runs. † other programs used the cores in at \
         least one run; ‡ the generator was the bottleneck in at least one; ¶ the \
         offered rate was not reached in at least one.</p>{}</header>\n\
         <main>{}</main></body></html>\n",
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
        for class in classes.iter().chain(&["beside", "dot", "legend", "cards", "table"]) {
            assert!(STYLE.contains(&format!(".{class}")), "{class}");
        }
        for colour in 0..8 {
            assert_eq!(STYLE.matches(&format!(".c{colour} ")).count(), 1, "{colour}");
        }
    }

    #[test]
    fn no_runs_no_sections() {
        let page = page(&Runs::new(Vec::new()));
        assert!(!page.contains("<section"), "{page}");
    }
}
