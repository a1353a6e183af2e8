//! The sections of the page that are pictures: which figures make which.

use super::chart::{Axis, Bar, Curve, bars, curves};
use super::colours::class;
use super::{card, section};
use crate::figures::book::{Book, Doubt, Load, Row};
use crate::figures::measures::{Family, Measure};
use crate::figures::series::number;

/// Bars of one family, a card per scenario.
pub fn costs(book: &Book, family: Family, title: &str, words: &str) -> String {
    let (measure, unit) = family.cost();
    let card_of = |row: &Row<'_>| {
        let rows: Vec<Bar<'_>> = row
            .cells
            .iter()
            .map(|(name, series)| Bar {
                name,
                class: class(book, name),
                series,
                beside: book
                    .series(row.scenario, name, Measure::Rate)
                    .map_or(String::new(), |rate| number(rate.median().round())),
                mark: mark(book.doubt_of(row.scenario, name)),
            })
            .collect();
        card(row.scenario, &bars(row.scenario, unit, family.rate(), &rows))
    };
    let cards: String = book.rows(family, measure).iter().map(card_of).collect();
    section(title, words, &cards)
}

/// Reasons to doubt: † others used the cores, ‡ the generator was the bottleneck, ¶ the offered
/// rate was not reached.
pub(super) fn mark(doubt: Option<&Doubt>) -> String {
    let Some(doubt) = doubt else { return String::new() };
    let marks = [(doubt.disturbed, '†'), (doubt.bound, '‡'), (doubt.missed, '¶')];
    marks.iter().filter(|mark| mark.0 > 0).map(|mark| mark.1).collect()
}

/// Latency over quantiles, a card per scenario.
pub fn latencies(book: &Book) -> String {
    let mut cards = String::new();
    for scenario in &book.scenarios {
        let of_it: Vec<Curve> = book
            .curves
            .iter()
            .filter(|curve| curve.scenario == scenario.title)
            .map(|curve| Curve {
                name: curve.contender.clone(),
                class: class(book, &curve.contender),
                points: curve.points.clone(),
            })
            .collect();
        // A curve alone among comparisons says little.
        if of_it.is_empty() || of_it.len() == 1 && book.contenders.len() > 1 {
            continue;
        }
        let what = if scenario.family == Family::Fanout { "last delivery, " } else { "" };
        let title = format!("{what}{}", scenario.title);
        cards += &card(&title, &curves(&title, Axis::Nines, ("quantile", "µs"), &of_it));
    }
    let words = "Round trips by quantile, the median over the rounds; both axes logarithmic. A rate \
                 in the title means an open loop: latency counts from the time a message was to be \
                 sent, so waiting behind a stall is in it.";
    section("Latency", words, &cards)
}

/// What differs between the scenarios of a picture of scaling.
struct Along {
    name: &'static str,
    title: fn(&str, &Load) -> String,
    place: fn(&Load) -> f64,
}

const ALONG: [Along; 2] = [
    Along {
        name: "connections",
        title: |family, load| {
            let Load { depth, payload, kind, .. } = load;
            format!("{family} over connections: {depth} in flight, {payload} B {kind}")
        },
        place: |load| f64::from(load.connections),
    },
    Along {
        name: "bytes",
        title: |family, load| {
            let Load { connections, depth, kind, .. } = load;
            format!("{family} over payload: {connections} connections x {depth}, {kind}")
        },
        place: |load| load.bytes,
    },
];

/// Cost over connections, and over payload, where there is more than one of them.
pub fn scaling(book: &Book) -> String {
    let mut cards = String::new();
    for Along { name: axis, title: title_of, place: place_of } in ALONG {
        let mut pictures: Vec<(String, Vec<(f64, &str)>)> = Vec::new();
        for scenario in &book.scenarios {
            let Some(load) = &scenario.load else { continue };
            let title = title_of(scenario.family.name(), load);
            let point = (place_of(load), scenario.title.as_str());
            match pictures.iter_mut().find(|picture| picture.0 == title) {
                Some(picture) => picture.1.push(point),
                None => pictures.push((title, vec![point])),
            }
        }
        for (title, mut places) in pictures {
            places.sort_by(|one, other| one.0.total_cmp(&other.0));
            let curves_of: Vec<Curve> = book
                .contenders
                .iter()
                .map(|name| Curve {
                    name: name.clone(),
                    class: class(book, name),
                    points: points(book, name, &places),
                })
                .filter(|curve| curve.points.len() > 1)
                .collect();
            if !curves_of.is_empty() {
                let names = (axis, "server CPU ns/message");
                cards += &card(&title, &curves(&title, Axis::Decades, names, &curves_of));
            }
        }
    }
    section("Scaling", "Closed loop; medians over the rounds; both axes logarithmic.", &cards)
}

fn points(book: &Book, name: &str, places: &[(f64, &str)]) -> Vec<(f64, f64)> {
    let point = |(place, scenario): &(f64, &str)| {
        Some((*place, book.series(scenario, name, Measure::Cpu)?.median()))
    };
    places.iter().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_reasons() {
        let doubt = |disturbed, bound, missed| Doubt {
            scenario: String::new(),
            contender: String::new(),
            runs: 3,
            disturbed,
            bound,
            missed,
        };
        assert_eq!(mark(None), "");
        assert_eq!(mark(Some(&doubt(0, 0, 0))), "");
        assert_eq!(mark(Some(&doubt(1, 0, 2))), "†¶");
        assert_eq!(mark(Some(&doubt(0, 3, 0))), "‡");
    }

    #[test]
    fn scaling_needs_two_places() {
        let mut book = Book::default();
        let load = |connections| {
            let (payload, kind) = ("32".to_owned(), "text".to_owned());
            Some(Load { connections, depth: 1, bytes: 32.0, payload, kind })
        };
        for (scenario, connections) in [("one", 100), ("two", 1)] {
            book.name_scenario(scenario, Family::Echo, load(connections));
            book.add(scenario, "a", Measure::Cpu, (1, 5.0));
        }
        let page = scaling(&book);
        assert_eq!(page.matches("<figure>").count(), 1, "over connections alone: {page}");
        assert!(page.contains("echo over connections: 1 in flight, 32 B text"), "{page}");
    }
}
