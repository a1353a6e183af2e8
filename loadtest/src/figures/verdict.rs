//! What the figures come to: ours beside everybody at a glance, and where somebody is ahead.
//!
//! Rows of values and ratios, not of text; `page` and `markdown` write them.

use super::book::Book;
use super::measures::{Better, Family, METRICS, Measure, Metric};
use super::series::{Ratio, Series};

/// Differences below this mean nothing on a machine that is shared or virtual.
pub const NOISE: f64 = 0.05;
/// Above this multiple of the raw floor it is told.
pub const FLOOR_WANTED: f64 = 1.05;

/// Everybody's cost as a multiple of that of ours.
pub struct Glance<'a> {
    pub base: &'a str,
    pub contenders: Vec<&'a str>,
    pub parts: Vec<GlancePart<'a>>,
}

/// The rows of one family.
pub struct GlancePart<'a> {
    pub unit: &'static str,
    pub rows: Vec<(&'a str, Vec<Option<Ratio>>)>,
}

/// One figure of ours in which somebody is ahead.
pub struct Loss<'a> {
    pub metric: &'static Metric,
    pub scenario: &'a str,
    pub ours: &'a str,
    pub own: &'a Series,
    /// The best first.
    pub ahead: Vec<Ahead<'a>>,
}

/// Who is ahead; `ratio` has ours beside theirs, over the rounds that both have.
pub struct Ahead<'a> {
    pub name: &'a str,
    pub ratio: Ratio,
    pub overlaps: bool,
}

/// Server CPU of ours above the better raw floor's.
pub struct AboveFloor<'a> {
    pub scenario: &'a str,
    pub ours: &'a str,
    pub floor: &'a str,
    pub ratio: Ratio,
}

/// The families in which all take part.
const GLANCED: [Family; 4] = [Family::Echo, Family::Fanout, Family::Churn, Family::Idle];

/// Who needs how much more than ours. `None` without ours, or with nobody beside it.
pub fn glance(book: &Book) -> Option<Glance<'_>> {
    let base = book.ours.first()?;
    let common = |family: Family| {
        let rows = book.rows(family, family.cost().0).into_iter();
        rows.filter(|row| row.of(base).is_some() && row.cells.len() > 1).collect::<Vec<_>>()
    };
    let parts: Vec<_> = GLANCED.map(|family| (family, common(family))).into();
    let takes_part = |name: &&String| {
        let mut rows = parts.iter().flat_map(|part| &part.1);
        *name != base && rows.any(|row| row.of(name).is_some())
    };
    let contenders: Vec<&str> =
        book.contenders.iter().filter(takes_part).map(String::as_str).collect();
    let of_part = |(family, rows): &(Family, Vec<super::book::Row<'_>>)| {
        let (measure, unit) = family.cost();
        let rows = rows.iter().map(|row| {
            let scenario = book.scenarios.iter().find(|one| one.title == row.scenario);
            let title = scenario.map_or("", |one| one.title.as_str());
            let ratio = |name: &&str| book.ratio(title, measure, name, base);
            (title, contenders.iter().map(ratio).collect())
        });
        GlancePart { unit, rows: rows.collect() }
    };
    let parts: Vec<GlancePart<'_>> =
        parts.iter().filter(|part| !part.1.is_empty()).map(of_part).collect();
    (!parts.is_empty()).then_some(Glance { base, contenders, parts })
}

/// Every figure in which somebody is ahead of ours by more than noise.
pub fn losses(book: &Book) -> Vec<Loss<'_>> {
    let mut found = Vec::new();
    for metric in METRICS.iter().filter(|metric| metric.better != Better::Neither) {
        for scenario in book.scenarios.iter().filter(|one| one.family == metric.family) {
            found.extend(
                book.ours.iter().filter_map(|own| loss(book, metric, &scenario.title, own)),
            );
        }
    }
    found
}

fn loss<'a>(
    book: &'a Book,
    metric: &'static Metric,
    scenario: &'a str,
    ours: &'a str,
) -> Option<Loss<'a>> {
    let row = book.row(scenario, metric.measure);
    let own = row.of(ours)?;
    if metric.measure == Measure::Rate && is_generator_bound(book, scenario, ours) {
        return None;
    }
    let mut ahead: Vec<Ahead<'_>> = row
        .cells
        .iter()
        .filter(|cell| book.is_rival(cell.0))
        .filter_map(|(name, series)| {
            let ratio = book.ratio(scenario, metric.measure, ours, name)?;
            let behind = match metric.better {
                Better::Less => ratio.quotient > 1.0 + NOISE,
                Better::More => ratio.quotient < 1.0 - NOISE,
                Better::Neither => false,
            };
            behind.then(|| Ahead { name, ratio, overlaps: own.overlaps(series) })
        })
        .collect();
    ahead.sort_by(|one, other| one.ratio.quotient.total_cmp(&other.ratio.quotient));
    if metric.better == Better::Less {
        ahead.reverse();
    }
    (!ahead.is_empty()).then_some(Loss { metric, scenario, ours, own, ahead })
}

/// Whether in most runs the generator, not the server, set the rate.
fn is_generator_bound(book: &Book, scenario: &str, contender: &str) -> bool {
    book.doubt_of(scenario, contender).is_some_and(|doubt| 2 * doubt.bound > doubt.runs)
}

/// Server CPU of ours above what the better raw floor needs.
pub fn above_floor(book: &Book) -> Vec<AboveFloor<'_>> {
    let mut found = Vec::new();
    let is_cpu = |metric: &&Metric| metric.measure == Measure::Cpu;
    for metric in METRICS.iter().filter(is_cpu).filter(|metric| metric.family != Family::Idle) {
        for scenario in book.scenarios.iter().filter(|one| one.family == metric.family) {
            let row = book.row(&scenario.title, metric.measure);
            let Some((floor, _)) = row.better_floor() else { continue };
            found.extend(book.ours.iter().filter_map(|ours| {
                let ratio = book.ratio(&scenario.title, metric.measure, ours, floor)?;
                let scenario = scenario.title.as_str();
                let above = ratio.quotient > FLOOR_WANTED;
                above.then_some(AboveFloor { scenario, ours, floor, ratio })
            }));
        }
    }
    found
}

/// Runs of the floors and of ours in which other programs used the cores, and all of them. Threads
/// of one program that share a core stand in each other's way; only the other runs can tell.
pub fn disturbed(book: &Book) -> (u32, u32) {
    let shares_cores = [Family::Control, Family::Shards, Family::Shared];
    let is_alone = |title: &str| {
        let scenario = book.scenarios.iter().find(|one| one.title == title);
        scenario.is_some_and(|one| !shares_cores.contains(&one.family))
    };
    let doubts = book.doubts.iter().filter(|doubt| {
        let name = &doubt.contender;
        (book.ours.contains(name) || super::book::is_floor(name)) && is_alone(&doubt.scenario)
    });
    doubts.fold((0, 0), |(some, all), doubt| (some + doubt.disturbed, all + doubt.runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(rows: &[(&str, Measure, &[f64])]) -> Book {
        let mut book = Book { ours: vec!["ringwire".to_owned()], ..Book::default() };
        book.name_scenario("echo: one", Family::Echo, None);
        for (contender, measure, values) in rows {
            for (round, value) in (1..).zip(*values) {
                book.add("echo: one", contender, *measure, (round, *value));
            }
        }
        book
    }

    #[test]
    fn losses_are_beyond_noise_and_the_best_is_first() {
        let book = book(&[
            ("ringwire", Measure::Cpu, &[110.0, 120.0, 130.0]),
            ("floor-epoll", Measure::Cpu, &[10.0, 10.0, 10.0]),
            ("bun", Measure::Cpu, &[117.0, 118.0, 119.0]),
            ("nchan", Measure::Cpu, &[100.0, 100.0, 100.0]),
            ("node-ws", Measure::Cpu, &[60.0, 61.0, 115.0]),
        ]);
        let losses = losses(&book);
        assert_eq!(losses.len(), 1);
        let names: Vec<_> = losses[0].ahead.iter().map(|one| (one.name, one.overlaps)).collect();
        assert_eq!(names, [("node-ws", true), ("nchan", false)]);
        assert_eq!(losses[0].ahead[1].ratio.quotient, 1.2);
        let above = above_floor(&book);
        assert_eq!(
            (above.len(), above[0].floor, above[0].ratio.quotient),
            (1, "floor-epoll", 12.0)
        );
    }

    #[test]
    fn a_rate_that_the_generator_set_is_no_loss() {
        let rates: [(&str, Measure, &[f64]); 2] =
            [("ringwire", Measure::Rate, &[10.0, 10.0]), ("bun", Measure::Rate, &[20.0, 20.0])];
        let mut book = book(&rates);
        assert_eq!(losses(&book).len(), 1, "more is better");
        let doubt = |bound| super::super::book::Doubt {
            scenario: "echo: one".to_owned(),
            contender: "ringwire".to_owned(),
            runs: 2,
            disturbed: 1,
            bound,
            missed: 0,
        };
        book.doubts = vec![doubt(1)];
        assert_eq!(losses(&book).len(), 1, "half of the runs are not most");
        book.doubts = vec![doubt(2)];
        assert!(losses(&book).is_empty());
        assert_eq!(disturbed(&book), (1, 2));
    }

    #[test]
    fn a_glance_needs_ours_and_somebody_beside_it() {
        let mut book = book(&[
            ("ringwire", Measure::Cpu, &[100.0]),
            ("bun", Measure::Cpu, &[150.0]),
            ("late", Measure::Rate, &[1.0]),
        ]);
        let one = glance(&book).unwrap();
        assert_eq!((one.base, one.contenders.as_slice()), ("ringwire", ["bun"].as_slice()));
        assert_eq!(one.parts[0].rows[0].1[0].unwrap().quotient, 1.5);
        book.ours.clear();
        assert!(glance(&book).is_none());
    }
}
