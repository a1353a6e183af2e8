//! The figures of a book as pages: `html` is one page with pictures and all tables, without scripts
//! and without anything from elsewhere; `markdown` fills the report that people read in a terminal.
//!
//! `cli` calls [`run`] with the JSON lines of any runs, `suite` calls [`html`]. `glance`, `verdicts`,
//! `sections` and `tables` choose, `chart` and `svg` draw. Nothing is computed here.

mod chart;
mod colours;
mod glance;
pub mod markdown;
mod sections;
mod svg;
mod tables;
mod verdicts;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use self::svg::escape;
use crate::compare;
use crate::figures::book::Book;
use crate::figures::measures::Family;

const STYLE: &str = include_str!("style.css");

/// What to show.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// Files of JSON lines, in any order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A file of lines of a name, a tab and a value: machine, versions and what else there is to
    /// say about the setting. Lines of the name "ours" say whose figures others are compared with.
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
    let mut book = Book::of(&all);
    for (name, value) in facts.lines().filter_map(|line| line.split_once('\t')) {
        match name {
            "ours" => book.ours.push(value.to_owned()),
            _ => book.facts.push((name.to_owned(), value.to_owned())),
        }
    }
    compare::show(&html(&book))
}

/// The page.
pub fn html(book: &Book) -> String {
    let bars = "The bar is the median, the whisker spans the lowest and the highest round; less is \
                better.";
    let paced = "Server CPU where the clients set the pace, not the server; less is better.";
    let sections = [
        glance::section(book),
        verdicts::targets(book),
        verdicts::losses(book),
        sections::costs(book, Family::Echo, "Echo", bars),
        sections::scaling(book),
        sections::latencies(book),
        sections::costs(book, Family::Open, "Echo at a fixed rate", paced),
        sections::costs(book, Family::Fanout, "Fan-out", bars),
        sections::costs(book, Family::Churn, "Churn", bars),
        sections::costs(book, Family::Busy, "Busy clients", bars),
        sections::costs(book, Family::Shards, "Two shards", bars),
        sections::costs(book, Family::Shared, "Shared sockets", bars),
        sections::costs(book, Family::Control, "Control plane", bars),
        sections::costs(book, Family::Idle, "Idle connections", bars),
        tables::machine(book),
        tables::others(book),
        tables::everything(book),
        tables::doubts(book),
        tables::commands(book),
    ];
    let runs: u32 = book.doubts.iter().map(|doubt| doubt.runs).sum();
    format!(
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width, initial-scale=1'>\
         <title>WebSocket load test</title><style>\n{STYLE}</style></head><body>\n\
         <header><h1>WebSocket load test</h1>{}<p>{runs} runs; how many are whose is in the line \
         below. † other programs used the cores in at least one run; ‡ the generator was the \
         bottleneck in at least one; ¶ the offered rate was not reached in at least \
         one.</p></header>\n<nav>{}</nav>\n<main>{}</main></body></html>\n",
        setting(book),
        colours::legend(book),
        sections.concat()
    )
}

/// Facts about the machine and the programs, by name.
fn setting(book: &Book) -> String {
    let entry = |(name, value): &(String, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value))
    };
    let entries: String = book.facts.iter().map(entry).collect();
    match entries.is_empty() {
        true => entries,
        false => format!("<dl class='setting'>\n{entries}</dl>\n"),
    }
}

fn card(title: &str, picture: &str) -> String {
    format!("<figure><figcaption>{}</figcaption>{picture}</figure>\n", escape(title))
}

fn section(title: &str, words: &str, cards: &str) -> String {
    match cards.is_empty() {
        true => String::new(),
        false => format!(
            "<section><h2>{title}</h2><p>{words}</p><div class='cards'>{cards}</div></section>\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_of_the_pictures_exists() {
        let classes = ["fill", "stroke", "whisker", "base", "grid", "axis", "name", "value", "own"];
        let more = ["beside", "dot", "legend", "cards", "table", "glance", "setting", "dashed"];
        for class in classes.iter().chain(&more) {
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
    fn no_runs_no_pictures_and_the_setting_is_above_them() {
        let mut book = Book::default();
        let page = html(&book);
        assert!(!page.contains("<figure") && !page.contains("<dl"), "{page}");
        book.facts.push(("machine".to_owned(), "<two> cores".to_owned()));
        let page = html(&book);
        let setting = page.find("<dd>&lt;two&gt; cores</dd>").expect("the setting");
        assert!(setting < page.find("<nav>").expect("the legend"));
    }
}
