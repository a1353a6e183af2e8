//! The sections of the page that are tables: memory by slab, other clients, every figure.
//!
//! `page` calls each function with all runs; a section without runs is empty.

use super::chart::number_of;
use super::sections::{Group, Runs, group, mark, middle, name, section};
use super::svg::escape;
use crate::figure::{Unit, median, place, scenario, spread};
use crate::report::{Latency, Run};
use crate::system_memory::Growth;

/// Memory of the whole machine, per connection, by slab; medians over the runs.
pub fn machine(runs: &Runs) -> String {
    let idle = runs.all.iter().filter_map(|line| match &line.run {
        Run::Idle(idle) => Some((scenario(line), name(&line.run).to_owned(), &idle.system)),
        _ => None,
    });
    let mut rows = Vec::new();
    for Group { scenario, rows: contenders } in group(idle) {
        for (contender, growths) in contenders {
            rows.push([
                scenario.clone(),
                contender,
                number_of(middle(&growths, |growth| growth.used_bytes_per_connection)),
                number_of(middle(&growths, |growth| growth.slab_bytes_per_connection)),
                slabs(&growths),
            ]);
        }
    }
    let head = ["scenario", "contender", "all, B/connection", "slabs", "the largest slabs"];
    let words = "By MemFree of the machine, so both ends of every connection and whatever else \
                 ran are in it; medians over the runs.";
    section("Memory of the machine", words, &table(&head, &rows))
}

/// The slabs that grew most, by the median; one that is missing in a run did not grow in it.
fn slabs(growths: &[&Growth]) -> String {
    let mut names = Vec::new();
    for slab in growths.iter().flat_map(|growth| &growth.slabs) {
        place(&mut names, &slab.name);
    }
    let of = |growth: &Growth, name: &str| {
        let slab = growth.slabs.iter().find(|slab| slab.name == name);
        slab.map_or(0.0, |slab| slab.bytes_per_connection)
    };
    let mut sizes: Vec<(f64, &String)> =
        names.iter().map(|name| (middle(growths, |growth| of(growth, name)), name)).collect();
    sizes.retain(|size| size.0 > 0.0);
    sizes.sort_by(|one, other| other.0.total_cmp(&one.0));
    let words = sizes.iter().take(7).map(|(bytes, name)| format!("{name} {}", number_of(*bytes)));
    words.collect::<Vec<String>>().join(", ")
}

/// Fan-out and abuse: what other clients felt.
pub fn others(runs: &Runs) -> String {
    let mut rows = fanouts(runs);
    for line in &runs.all {
        let Run::Abuse(abuse) = &line.run else { continue };
        rows.extend(abuse.kinds.iter().map(|kind| {
            [
                format!("{} x {}", kind.clients_of(abuse.attackers), kind.abuse.name()),
                name(&line.run).to_owned(),
                felt(&[&kind.echo_before_us]),
                felt(&[&kind.echo_meanwhile_us]),
                format!("{} acts, {} refused", number_of(kind.acts as f64), kind.refused),
            ]
        }));
    }
    let head = ["load", "contender", "echo alone p50 / p99, µs", "meanwhile", "what was done"];
    let words = "A few good clients echo at a low fixed rate before the load and beside it.";
    section("Others meanwhile", words, &table(&head, &rows))
}

/// Medians over the runs.
fn fanouts(runs: &Runs) -> Vec<[String; 5]> {
    let items = runs.all.iter().filter_map(|line| match &line.run {
        Run::Fanout(fanout) => Some((scenario(line), name(&line.run).to_owned(), fanout)),
        _ => None,
    });
    let mut rows = Vec::new();
    for Group { scenario, rows: contenders } in group(items) {
        for (contender, runs) in contenders {
            let before: Vec<_> = runs.iter().filter_map(|r| r.echo_before_us.as_ref()).collect();
            let then: Vec<_> = runs.iter().filter_map(|r| r.echo_meanwhile_us.as_ref()).collect();
            let rate = number_of(middle(&runs, |run| run.deliveries_per_second));
            let done = format!("{rate} deliveries/s");
            rows.push([scenario.clone(), contender, felt(&before), felt(&then), done]);
        }
    }
    rows
}

fn felt(latencies: &[&Latency]) -> String {
    if latencies.is_empty() {
        return "–".to_owned();
    }
    let (p50, p99) = (middle(latencies, |one| one.p50), middle(latencies, |one| one.p99));
    format!("{} / {}", number_of(p50), number_of(p99))
}

/// Facts about the machine and the programs, by name.
pub fn facts(facts: &[(String, String)]) -> String {
    let rows: Vec<[String; 2]> = facts.iter().map(|one| [one.0.clone(), one.1.clone()]).collect();
    section("Setting", "", &table(&["", ""], &rows))
}

/// Every figure in words.
pub fn everything(runs: &Runs) -> String {
    let mut rows = Vec::new();
    for unit in Unit::ALL {
        let figures = runs.figures(unit).into_iter();
        let groups = group(figures.map(|one| (one.scenario.clone(), one.contender.clone(), one)));
        for Group { scenario, rows: contenders } in groups {
            for (contender, figures) in contenders {
                let values: Vec<f64> = figures.iter().map(|figure| figure.value).collect();
                let (low, high) = spread(&values);
                rows.push([
                    scenario.clone(),
                    format!("{contender}{}", mark(&figures)),
                    format!("{} {}", number_of(median(&values)), unit.value()),
                    format!("{} to {}, n={}", number_of(low), number_of(high), values.len()),
                    format!("{} {}", number_of(middle(&figures, |one| one.rate)), unit.rate()),
                ]);
            }
        }
    }
    let head = ["scenario", "contender", "median", "spread", "rate"];
    let table = table(&head, &rows);
    if table.is_empty() {
        return table;
    }
    let folded =
        format!("<details><summary>Show all {} of them</summary>{table}</details>", rows.len());
    section("All figures", "The same as the bars above.", &folded)
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
