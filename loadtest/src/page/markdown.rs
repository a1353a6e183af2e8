//! The report that is read in a terminal: what is generated of it stands between marks, so that the
//! rest can be written by hand.
//!
//! `suite` calls [`fill`] with the report as it is. All tables are on the page, not here.

use anyhow::{Context, Result};

use super::verdicts::{ahead, verdict};
use crate::figures::book::Book;
use crate::figures::series::number;
use crate::figures::targets::{RatioTarget, TOLD, Targets, Verdict};
use crate::figures::verdict::{FLOOR_WANTED, Loss, NOISE, above_floor, disturbed, glance, losses};

/// The report is to stay short, whatever comes out.
const ROWS_MAX: usize = 5;

/// A report of nothing but what is generated.
pub const BLANK: &str = "# Benchmarks\n\n\
    ## At a glance\n\n<!-- glance -->\n<!-- /glance -->\n\n\
    ## Targets\n\n<!-- targets -->\n<!-- /targets -->\n\n\
    ## Where we lose\n\n<!-- losses -->\n<!-- /losses -->\n\n\
    ## Setting\n\n<!-- setting -->\n<!-- /setting -->\n";

/// Writes a book between the marks of a report. Fails if a mark is missing.
pub fn fill(report: &str, book: &Book) -> Result<String> {
    let parts = [
        ("glance", glance_text(book)),
        ("targets", targets_text(book)),
        ("losses", losses_text(book)),
        ("setting", setting_text(book)),
    ];
    let mut text = report.to_owned();
    for (name, part) in parts {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let from = text.find(&begin).map(|at| at + begin.len());
        let to = from.and_then(|from| text[from..].find(&end).map(|at| from + at));
        let (from, to) =
            from.zip(to).with_context(|| format!("the report has no part <!-- {name} -->"))?;
        text.replace_range(from..to, &part);
    }
    Ok(text)
}

fn glance_text(book: &Book) -> String {
    let Some(glance) = glance(book) else { return "Nobody was measured beside ours.\n".to_owned() };
    let mut rows = Vec::new();
    for (scenario, ratios) in glance.parts.into_iter().flat_map(|part| part.rows) {
        let ratios = ratios
            .iter()
            .map(|ratio| ratio.map_or("–".to_owned(), |ratio| format!("{:.2}", ratio.quotient)));
        rows.push([scenario.to_owned()].into_iter().chain(ratios).collect());
    }
    let head = ["scenario"].iter().chain(&glance.contenders).map(|name| (*name).to_owned());
    table(&head.collect::<Vec<_>>(), &rows, "--:")
}

fn targets_text(book: &Book) -> String {
    let targets = Targets::of(book);
    let count = targets.count();
    let mut text = format!(
        "{} met, {} missed, {} not measured; of the missed, the raw floor misses {} as well (its \
         figure stands behind). In brackets the lowest and the highest round.\n\n",
        count.met, count.missed, count.not_measured, count.out_of_reach
    );
    let ratios: Vec<Vec<String>> = targets
        .ratios
        .iter()
        .map(|row| [vec![row.scenario.to_owned()], row.peers.iter().map(ratio).collect()].concat())
        .collect();
    let head = ["server CPU, as a multiple of", "the better raw floor", "Bun", "node `ws`"];
    text += &table(&head.map(str::to_owned), &ratios, "---");
    let others: Vec<Vec<String>> = targets
        .others
        .iter()
        .filter(|target| target.wanted != TOLD)
        .map(|target| {
            let mut said = bold(target.verdict);
            if !target.remark.is_empty() {
                said += &format!(", {}", target.remark);
            }
            vec![target.what.clone(), target.wanted.clone(), target.measured.clone(), said]
        })
        .collect();
    let head = ["target", "wanted", "measured", ""].map(str::to_owned);
    text + "\n" + &table(&head, &others, "---")
}

fn bold(word: Verdict) -> String {
    match word {
        Verdict::Missed => "**missed**".to_owned(),
        Verdict::Met | Verdict::NotMeasured => verdict(word).to_owned(),
    }
}

fn ratio(target: &RatioTarget) -> String {
    let wanted = target.wanted;
    let Some(ratio) = target.ratio else { return format!("– (≤ {wanted:.2})") };
    let spread =
        ratio.spread.map_or(String::new(), |(low, high)| format!(" [{low:.2} – {high:.2}]"));
    let floor = target.floor.map_or(String::new(), |floor| format!(", floor too: {floor:.2}"));
    let word = bold(target.verdict());
    format!("{:.2}{spread}, ≤ {wanted:.2}: {word}{floor}", ratio.quotient)
}

fn losses_text(book: &Book) -> String {
    let all = losses(book);
    let is_sure = |loss: &&Loss<'_>| loss.ahead.iter().any(|one| !one.overlaps);
    let (sure, unsure): (Vec<&Loss<'_>>, Vec<_>) = all.iter().partition(is_sure);
    let noise = NOISE * 100.0;
    let mut text = match all.is_empty() {
        true => format!("In no scenario was a contender ahead by more than {noise:.0} %.\n"),
        false => format!(
            "Somebody is ahead by more than {noise:.0} % in {} figures; in these by more than the \
             rounds differ (~ where not):\n\n",
            all.len()
        ),
    };
    let more = sure.len().saturating_sub(ROWS_MAX);
    if more > 0 {
        text = text.replace(":\n\n", &format!(", of which {more} are on the page alone:\n\n"));
    }
    let row = |loss: &&Loss<'_>| {
        let ahead = loss.ahead.iter().map(|one| ahead(one, loss.own.median()));
        let own = format!("{} {}", loss.ours, number(loss.own.median()));
        let ahead: Vec<String> = ahead.collect();
        vec![loss.metric.heading.to_owned(), loss.scenario.to_owned(), own, ahead.join(", ")]
    };
    let head = ["figure", "scenario", "ours", "ahead of it"].map(str::to_owned);
    if !sure.is_empty() {
        text += &table(&head, &sure.iter().take(ROWS_MAX).map(row).collect::<Vec<_>>(), "---");
    }
    if !unsure.is_empty() {
        let told = unsure.iter().map(|loss| {
            let first = ahead(&loss.ahead[0], loss.own.median());
            let more = match loss.ahead.len() {
                1 => String::new(),
                len => format!(" and {} more", len - 1),
            };
            format!("{}, {}: {first}{more}", loss.metric.heading, loss.scenario)
        });
        text += &format!(
            "\nWithin the spread of the rounds: {}.\n",
            told.collect::<Vec<_>>().join("; ")
        );
    }
    let above: Vec<String> = above_floor(book)
        .iter()
        .map(|one| format!("{} {:.3}", one.scenario, one.ratio.quotient))
        .collect();
    if !above.is_empty() {
        text += &format!(
            "{}Server CPU above {FLOOR_WANTED} × the better raw floor: {}.\n",
            if unsure.is_empty() { "\n" } else { "" },
            above.join("; ")
        );
    }
    text
}

/// Facts that are told in one line.
const TOGETHER: [&[&str]; 2] = [
    &["machine", "kernel", "congestion control", "open files of a process"],
    &["commit", "date", "load"],
];

fn setting_text(book: &Book) -> String {
    let is_version = |fact: &&(String, String)| fact.0.starts_with("version ");
    let (versions, facts): (Vec<_>, Vec<_>) = book.facts.iter().partition(is_version);
    let mut lines: Vec<(usize, Vec<String>)> = Vec::new();
    for (place, (name, value)) in facts.into_iter().enumerate() {
        let group = TOGETHER.iter().position(|names| names.contains(&name.as_str()));
        let key = group.unwrap_or(TOGETHER.len() + place);
        let text = format!("{name}: {value}");
        match lines.iter_mut().find(|line| line.0 == key) {
            Some(line) => line.1.push(text),
            None => lines.push((key, vec![text])),
        }
    }
    let mut text: String =
        lines.iter().map(|(_, facts)| format!("- {}\n", facts.join("; "))).collect();
    let mut known: Vec<&str> = Vec::new();
    for (_, version) in versions {
        if !known.contains(&version.as_str()) {
            known.push(version);
        }
    }
    if !known.is_empty() {
        text += &format!("- versions: {}\n", known.join("; "));
    }
    let mut doubts = Vec::new();
    let (some, all) = disturbed(book);
    if some > 0 {
        doubts.push(format!(
            "not quiet: in {some} of {all} runs of the floors and of ours, other programs used the \
             same cores"
        ));
    }
    if !book.failures.is_empty() {
        doubts.push(format!("what did not work: {} lines on the page", book.failures.len()));
    }
    if !doubts.is_empty() {
        text += &format!("- {}\n", doubts.join("; "));
    }
    text
}

fn table(head: &[String], rows: &[Vec<String>], align: &str) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|---{}|\n", format!("|{align}").repeat(head.len() - 1));
    line(head) + &rule + &rows.iter().map(|row| line(row)).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::measures::{Family, Measure};

    fn book() -> Book {
        let mut book = Book { ours: vec!["ringwire".to_owned()], ..Book::default() };
        book.name_scenario("echo: one", Family::Echo, None);
        for (name, values) in [
            ("floor-epoll", [90.0, 95.0]),
            ("ringwire", [100.0, 110.0]),
            ("bun", [80.0, 84.0]),
            ("node-ws", [60.0, 130.0]),
        ] {
            for (round, value) in (1..).zip(values) {
                book.add("echo: one", name, Measure::Cpu, (round, value));
            }
        }
        book.facts.push(("machine".to_owned(), "two cores".to_owned()));
        book
    }

    #[test]
    fn what_is_written_by_hand_stays() {
        let report = BLANK.replace("## Targets", "By hand.\n\n## Targets");
        let once = fill(&report, &book()).unwrap();
        assert!(once.contains("By hand.") && once.contains("- machine: two cores"), "{once}");
        assert_eq!(fill(&once, &book()).unwrap(), once, "a second time changes nothing");
        let broken = report.replace("<!-- /losses -->", "");
        assert!(fill(&broken, &book()).unwrap_err().to_string().contains("losses"));
    }

    #[test]
    fn losses_beyond_the_spread_are_rows_and_the_others_are_named() {
        let text = losses_text(&book());
        let row = "| Server CPU per echoed message, ns | echo: one | ringwire 105 | \
                   bun 82.0 (1.28 ×), node-ws 95.0 (1.11 × ~) |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("better raw floor: echo: one 1.135."), "{text}");
        let mut book = book();
        book.figures.retain(|figure| figure.contender != "bun");
        let text = losses_text(&book);
        assert!(text.contains("Within the spread of the rounds: Server CPU"), "{text}");
        assert!(losses_text(&Book::default()).starts_with("In no scenario"));
    }

    #[test]
    fn a_glance_is_a_table() {
        let text = glance_text(&book());
        assert!(text.contains("| scenario | floor-epoll | bun | node-ws |"), "{text}");
        assert!(text.contains("| echo: one | 0.88 | 0.78 | 0.90 |"), "{text}");
    }
}
