//! The sections of the page that are tables: memory by slab, other clients, every figure, doubts,
//! commands. A section without figures is empty.

use super::section;
use super::sections::mark;
use super::svg::escape;
use crate::figures::book::{Book, Row};
use crate::figures::measures::{Family, METRICS, Measure, Metric};
use crate::figures::series::{Series, number};

/// Memory of the whole machine, per connection, by slab.
pub fn machine(book: &Book) -> String {
    let mut rows = Vec::new();
    for row in book.rows(Family::Idle, Measure::Used) {
        for (name, used) in row.cells {
            let of_it = |one: &&crate::figures::book::Slabs| {
                one.scenario == row.scenario && one.contender == name
            };
            let slabs = book.slabs.iter().find(of_it).map_or(&[][..], |one| &one.slabs);
            let slabs: Vec<String> =
                slabs.iter().map(|(name, bytes)| format!("{name} {}", number(*bytes))).collect();
            let all = book.series(row.scenario, name, Measure::Slabs);
            rows.push([
                row.scenario.to_owned(),
                name.to_owned(),
                number(used.median()),
                all.map_or(String::new(), |all| number(all.median())),
                slabs.join(", "),
            ]);
        }
    }
    let head = ["scenario", "contender", "all, B/connection", "slabs", "the largest slabs"];
    let words = "By MemFree of the machine, so both ends of every connection and whatever else \
                 ran are in it; medians over the rounds.";
    section("Memory of the machine", words, &table(&head, &rows))
}

/// Fan-out and busy clients: what others felt.
pub fn others(book: &Book) -> String {
    let mut rows = Vec::new();
    for family in [Family::Fanout, Family::Busy] {
        for row in book.rows(family, Measure::MeanwhileP99) {
            for (name, _) in row.cells {
                let of = |measure| book.series(row.scenario, name, measure);
                let both = |p50, p99| {
                    let shown = |one: Option<&Series>| {
                        one.map_or("–".to_owned(), |one| number(one.median()))
                    };
                    format!("{} / {}", shown(of(p50)), shown(of(p99)))
                };
                let rate = of(Measure::Rate).map_or(String::new(), |rate| {
                    format!("{} {}", number(rate.median().round()), family.rate())
                });
                let before = both(Measure::BeforeP50, Measure::BeforeP99);
                let meanwhile = both(Measure::MeanwhileP50, Measure::MeanwhileP99);
                rows.push([row.scenario.to_owned(), name.to_owned(), before, meanwhile, rate]);
            }
        }
    }
    let head = ["load", "contender", "echo alone p50 / p99, µs", "meanwhile", "what was done"];
    let words = "A few good clients echo at a low fixed rate before the load and beside it.";
    section("Others meanwhile", words, &table(&head, &rows))
}

/// Every figure: medians with the lowest and the highest round.
pub fn everything(book: &Book) -> String {
    let tables: String = METRICS.iter().map(|metric| metric_table(book, metric)).collect();
    let words = "Medians over the rounds, with the lowest and the highest below them; of server CPU \
                 also the multiple of the better floor in that row, over the rounds that both have.";
    section("All figures", words, &tables)
}

fn metric_table(book: &Book, metric: &Metric) -> String {
    let rows = book.rows(metric.family, metric.measure);
    if rows.is_empty() {
        return String::new();
    }
    let takes_part = |name: &&String| rows.iter().any(|row| row.of(name).is_some());
    let names: Vec<&String> = book.contenders.iter().filter(takes_part).collect();
    let head: String = names.iter().map(|name| head_cell(book, name)).collect();
    let body: String = rows
        .iter()
        .map(|row| {
            let cells: String = names.iter().map(|name| cell(book, metric, row, name)).collect();
            format!("<tr><th>{}</th>{cells}</tr>\n", escape(row.scenario))
        })
        .collect();
    format!(
        "<div class='table'><h3>{}</h3><table class='figures'><thead><tr><th></th>{head}</tr></thead>\
         \n<tbody>{body}</tbody></table></div>\n",
        escape(metric.heading)
    )
}

fn head_cell(book: &Book, name: &str) -> String {
    let class = if book.ours.iter().any(|own| own == name) { " class='own'" } else { "" };
    format!("<th{class}>{}</th>", escape(name))
}

fn cell(book: &Book, metric: &Metric, row: &Row<'_>, name: &str) -> String {
    let Some(series) = row.of(name) else { return "<td></td>".to_owned() };
    let (low, high) = series.spread();
    let floor = row.better_floor().filter(|_| metric.measure == Measure::Cpu);
    let ratio = floor.and_then(|(floor, _)| book.ratio(row.scenario, metric.measure, name, floor));
    let spread = (low < high).then(|| format!("{} – {}", number(low), number(high)));
    let ratio = ratio.map(|ratio| format!("{:.2} ×", ratio.quotient));
    let most = row.cells.iter().filter_map(|cell| cell.1.runs()).max();
    let fewer = series.runs().filter(|runs| Some(*runs) < most).map(|runs| format!("n={runs}"));
    let below = [spread, ratio, fewer].into_iter().flatten();
    let below: String = below.map(|words| format!("<small>{words}</small>")).collect();
    let marks = mark(book.doubt_of(row.scenario, name));
    let class = if book.ours.iter().any(|own| own == name) { " class='own'" } else { "" };
    format!("<td{class}>{}{marks}{below}</td>", number(series.median()))
}

/// Where the generator was the bottleneck, and what did not work.
pub fn doubts(book: &Book) -> String {
    let bound: Vec<[String; 3]> = book
        .doubts
        .iter()
        .filter(|doubt| doubt.bound > 0)
        .map(|doubt| {
            let runs = format!("{} of {} runs", doubt.bound, doubt.runs);
            [doubt.scenario.clone(), doubt.contender.clone(), runs]
        })
        .collect();
    let words = "The server had time left, so messages per second say nothing about it there; its \
                 CPU per message still does. At a fixed rate the server has time left by intention; \
                 what stands here then are runs in which the generator, for want of CPU, sent less \
                 than that.";
    let bound = table(&["scenario", "contender", ""], &bound);
    let bound = section("Where the generator was the bottleneck", words, &bound);
    let failures: Vec<[String; 2]> =
        book.failures.iter().map(|(line, count)| [line.clone(), format!("{count} ×")]).collect();
    bound + &section("What did not work", "", &table(&["", ""], &failures))
}

/// How a single run of each scenario was started.
pub fn commands(book: &Book) -> String {
    let lines: String = book
        .commands
        .iter()
        .map(|(scenario, command)| format!("# {}\n{}\n", escape(scenario), escape(command)))
        .collect();
    if lines.is_empty() {
        return lines;
    }
    let words = "scripts/bench.sh runs all of it. A single run of each scenario; PID is the server, \
                 and --echo-url has the same server.";
    let folded = format!("<details><summary>Show</summary><pre>{lines}</pre></details>");
    section("Commands", words, &folded)
}

pub(super) fn table<const N: usize>(head: &[&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: &[String]| format!("<tr>{}</tr>\n", cells.concat());
    let head: Vec<String> = head.iter().map(|cell| format!("<th>{}</th>", escape(cell))).collect();
    let body = rows.iter().map(|row| {
        let cells: Vec<String> =
            row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        line(&cells)
    });
    format!(
        "<div class='table'><table><thead>{}</thead><tbody>{}</tbody></table></div>",
        line(&head),
        body.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_its_spread_and_its_ratio_to_the_floor() {
        let mut book = Book { ours: vec!["ringwire".to_owned()], ..Book::default() };
        book.name_scenario("echo: one", Family::Echo, None);
        for (name, values) in [("floor-epoll", &[100.0, 200.0, 150.0][..]), ("ringwire", &[165.0])]
        {
            for (round, value) in (1..).zip(values) {
                book.add("echo: one", name, Measure::Cpu, (round, *value));
            }
        }
        let page = everything(&book);
        assert!(
            page.contains("<td>150<small>100 – 200</small><small>1.00 ×</small></td>"),
            "{page}"
        );
        assert!(
            page.contains("<td class='own'>165<small>1.65 ×</small><small>n=1</small></td>"),
            "{page}"
        );
    }
}
