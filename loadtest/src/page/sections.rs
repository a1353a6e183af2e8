//! The sections of the page that are pictures: which runs make which.
//!
//! `page` calls each function with all runs; a section without runs is empty.

use std::collections::BTreeMap;

use super::chart::{Axis, Bar, Curve, bars, curves, number_of};
use super::svg::escape;
use crate::figure::{Figure, Unit, contender, median, place, scenario};
use crate::report::{Line, Run};

/// The runs, and the contenders in the order in which they first appear.
pub struct Runs {
    pub all: Vec<Line>,
    pub contenders: Vec<String>,
}

impl Runs {
    /// Takes all runs.
    pub fn new(all: Vec<Line>) -> Runs {
        let mut contenders = Vec::new();
        for line in &all {
            place(&mut contenders, name(&line.run));
        }
        Runs { all, contenders }
    }

    /// The colour class of a contender. There are twelve colours.
    pub fn class(&self, contender: &str) -> String {
        let known = self.contenders.iter().position(|name| name == contender);
        format!("c{}", known.unwrap_or(0) % 12)
    }

    pub fn figures(&self, unit: Unit) -> Vec<Figure> {
        let figures = self.all.iter().filter_map(Figure::of);
        figures.filter(|figure| figure.unit == unit).map(named).collect()
    }
}

fn named(figure: Figure) -> Figure {
    let contender =
        if figure.contender.is_empty() { NO_LABEL.to_owned() } else { figure.contender };
    Figure { contender, ..figure }
}

const NO_LABEL: &str = "(no label)";

/// The contender of a run.
pub(super) fn name(run: &Run) -> &str {
    match contender(run) {
        "" => NO_LABEL,
        label => label,
    }
}

/// What belongs to one scenario, by contender.
#[derive(Debug, PartialEq)]
pub(super) struct Group<T> {
    pub(super) scenario: String,
    pub(super) rows: Vec<(String, Vec<T>)>,
}

/// Items by scenario, then by contender, each in the order of first appearance.
pub(super) fn group<T>(items: impl Iterator<Item = (String, String, T)>) -> Vec<Group<T>> {
    let (mut scenarios, mut groups) = (Vec::new(), Vec::<Group<T>>::new());
    for (scenario, contender, item) in items {
        let at = place(&mut scenarios, &scenario);
        if at == groups.len() {
            groups.push(Group { scenario, rows: Vec::new() });
        }
        let rows = &mut groups[at].rows;
        match rows.iter_mut().find(|row| row.0 == contender) {
            Some(row) => row.1.push(item),
            None => rows.push((contender, vec![item])),
        }
    }
    groups
}

fn card(title: &str, picture: &str) -> String {
    format!("<figure><figcaption>{}</figcaption>{picture}</figure>\n", escape(title))
}

pub(super) fn section(title: &str, words: &str, cards: &str) -> String {
    if cards.is_empty() {
        return String::new();
    }
    format!("<section><h2>{title}</h2><p>{words}</p><div class='cards'>{cards}</div></section>\n")
}

/// Bars of one unit, a card per scenario.
pub fn costs(runs: &Runs, unit: Unit, title: &str, words: &str) -> String {
    let figures = runs.figures(unit).into_iter();
    let groups = group(figures.map(|one| (one.scenario.clone(), one.contender.clone(), one)));
    let mut cards = String::new();
    for Group { scenario, rows } in groups {
        let rows: Vec<Bar> = rows
            .iter()
            .map(|(contender, figures)| Bar {
                name: contender.clone(),
                class: runs.class(contender),
                values: figures.iter().map(|figure| figure.value).collect(),
                beside: number_of(middle(figures, |figure| figure.rate)),
                mark: mark(figures),
            })
            .collect();
        cards += &card(&scenario, &bars(&scenario, unit.value(), unit.rate(), &rows));
    }
    section(title, words, &cards)
}

pub(super) fn middle<T>(items: &[T], of: impl Fn(&T) -> f64) -> f64 {
    median(&items.iter().map(of).collect::<Vec<f64>>())
}

/// Reasons to doubt: † others used the cores, ‡ the generator was the bottleneck, ¶ the offered
/// rate was not reached.
pub(super) fn mark(figures: &[Figure]) -> String {
    let mut mark = String::new();
    if figures.iter().any(|figure| !figure.quiet) {
        mark.push('†');
    }
    if figures.iter().any(|figure| figure.generator_bound) {
        mark.push('‡');
    }
    if figures.iter().any(|figure| figure.missed_rate) {
        mark.push('¶');
    }
    mark
}

/// Latency over quantiles, a card per scenario.
pub fn latencies(runs: &Runs) -> String {
    let latency = |run: &Run| match run {
        Run::Echo(run) => Some(run.latency_us.distribution.clone()),
        Run::Fanout(run) => Some(run.last_delivery_us.distribution.clone()),
        _ => None,
    };
    let items = runs.all.iter().filter_map(|line| {
        let run = &line.run;
        let points = latency(run).filter(|points| !points.is_empty())?;
        let what = if matches!(run, Run::Fanout(_)) { "last delivery, " } else { "" };
        Some((format!("{what}{}", scenario(line)), name(run).to_owned(), points))
    });
    let mut cards = String::new();
    let several = runs.contenders.len() > 1;
    for Group { scenario, rows } in group(items) {
        // A curve alone among comparisons says little.
        if several && rows.len() == 1 {
            continue;
        }
        let rows: Vec<Curve> = rows
            .into_iter()
            .map(|(contender, runs_of_it)| Curve {
                class: runs.class(&contender),
                points: middle_curve(&runs_of_it),
                name: contender,
            })
            .collect();
        let names = ("quantile", "µs");
        cards += &card(&scenario, &curves(&scenario, Axis::Nines, names, &rows));
    }
    let words = "Round trips by quantile, the median over the runs; both axes logarithmic. A rate \
                 in the title means an open loop: latency counts from the time a message was to be \
                 sent, so waiting behind a stall is in it.";
    section("Latency", words, &cards)
}

/// The median of several distributions at each quantile they share.
fn middle_curve(distributions: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let first = distributions.first().map_or(&[][..], Vec::as_slice);
    let at = |quantile: f64| {
        let values = distributions.iter().filter_map(|points| {
            points.iter().find(|point| point.0 == quantile).map(|point| point.1)
        });
        median(&values.collect::<Vec<f64>>())
    };
    let inside = first.iter().filter(|point| point.0 <= 0.9999);
    inside.map(|point| (point.0, at(point.0))).collect()
}

/// What a title says before its colon: runs that differ in it were not made alike.
fn kind_of(line: &Line) -> String {
    let kind = line.title.as_deref().and_then(|title| title.split_once(": "));
    kind.map_or(String::new(), |(kind, _)| format!("{kind} "))
}

/// Cost over connections, and over payload, where there is more than one of them.
pub fn scaling(runs: &Runs) -> String {
    let closed = || {
        runs.all.iter().filter_map(|line| match &line.run {
            Run::Echo(echo) if echo.open_loop.is_none() => {
                let server = echo.server?;
                Some((echo, kind_of(line), name(&line.run).to_owned(), server.cpu_ns_per_message))
            }
            _ => None,
        })
    };
    let over_connections = closed().map(|(echo, what, contender, cost)| {
        let (depth, payload, kind) = (echo.depth, &echo.payload, echo.kind.name());
        let title = format!("{what}over connections: {depth} in flight, {payload} B {kind}");
        (title, contender, (f64::from(echo.connections), cost))
    });
    let over_payload = closed().map(|(echo, what, contender, cost)| {
        let (connections, depth, kind) = (echo.connections, echo.depth, echo.kind.name());
        let title = format!("{what}over payload: {connections} connections x {depth}, {kind}");
        (title, contender, (echo.payload_mean_bytes, cost))
    });
    let mut cards = String::new();
    for (axis, groups) in [("connections", group(over_connections)), ("bytes", group(over_payload))]
    {
        for Group { scenario: title, rows } in groups {
            let rows: Vec<Curve> = rows
                .into_iter()
                .map(|(contender, points)| Curve {
                    class: runs.class(&contender),
                    points: middle_points(&points),
                    name: contender,
                })
                .filter(|curve| curve.points.len() > 1)
                .collect();
            if !rows.is_empty() {
                let names = (axis, "server CPU ns/message");
                cards += &card(&title, &curves(&title, Axis::Decades, names, &rows));
            }
        }
    }
    section("Scaling", "Closed loop; medians over the runs; both axes logarithmic.", &cards)
}

fn middle_points(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut places: Vec<f64> = points.iter().map(|point| point.0).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let at = |place: f64| {
        let values = points.iter().filter(|point| point.0 == place).map(|point| point.1);
        median(&values.collect::<Vec<f64>>())
    };
    places.into_iter().map(|place| (place, at(place))).collect()
}

/// Which colour is whose.
pub fn legend(runs: &Runs) -> String {
    let mut counts = BTreeMap::new();
    for line in &runs.all {
        *counts.entry(name(&line.run)).or_insert(0) += 1;
    }
    let entries = runs.contenders.iter().map(|contender| {
        let count = counts.get(contender.as_str()).copied().unwrap_or(0);
        let (class, name) = (runs.class(contender), escape(contender));
        format!("<li><i class='{class}'></i>{name} <small>{count}</small></li>")
    });
    format!("<ul class='legend'>{}</ul>", entries.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_keep_the_order_of_appearance() {
        let item = |scenario: &str, contender: &str, value: i32| {
            (scenario.to_owned(), contender.to_owned(), value)
        };
        let items = [item("b", "y", 1), item("a", "x", 2), item("b", "x", 3), item("b", "y", 4)];
        let groups = group(items.into_iter());
        let row = |name: &str, values: &[i32]| (name.to_owned(), values.to_vec());
        let wanted = |scenario: &str, rows| Group { scenario: scenario.to_owned(), rows };
        assert_eq!(groups[0], wanted("b", vec![row("y", &[1, 4]), row("x", &[3])]));
        assert_eq!(groups[1], wanted("a", vec![row("x", &[2])]));
    }

    #[test]
    fn curves_of_runs_meet_in_the_middle() {
        let runs = [vec![(0.5, 1.0), (1.0, 9.0)], vec![(0.5, 3.0)], vec![(0.5, 2.0)]];
        assert_eq!(middle_curve(&runs), [(0.5, 2.0)]);
        assert_eq!(middle_points(&[(9.0, 1.0), (1.0, 5.0), (9.0, 3.0)]), [(1.0, 5.0), (9.0, 2.0)]);
    }
}
