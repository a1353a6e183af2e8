//! The book of a measurement: every figure of every contender in every scenario, with its setting.
//!
//! It is made of runs by [`Book::of`] or read from a file, which has an item a line, so that two
//! books can be compared with `diff`. Pages are made of a book and of nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::measures::{Family, Measure, contender, measures, scenario};
use super::series::{Ratio, Series, median};
use crate::report::{Line, Run, is_contended};
use crate::system_memory::Slab;

/// The version of the form. It grows when an item changes its meaning or goes.
const FORM: u32 = 1;
const SLABS_MAX: usize = 12;

/// Everything that pages are made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    pub form: u32,
    /// Which of the contenders are ours; the first of them is what others are compared with.
    pub ours: Vec<String>,
    /// In the order of their columns and colours.
    pub contenders: Vec<String>,
    pub scenarios: Vec<Scenario>,
    /// Machine, versions and what else there is to say about the setting, by name.
    pub facts: Vec<(String, String)>,
    /// What did not work, and how often.
    pub failures: Vec<(String, u32)>,
    /// How a single run of each scenario was started.
    pub commands: Vec<(String, String)>,
    pub figures: Vec<Figure>,
    /// Round against round where the rounds themselves were not kept.
    pub spreads: Vec<RatioSpread>,
    pub doubts: Vec<Doubt>,
    pub curves: Vec<Curve>,
    pub slabs: Vec<Slabs>,
}

/// What was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    pub title: String,
    pub family: Family,
    /// Of a closed loop.
    pub load: Option<Load>,
}

/// How much a closed loop says at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub connections: u32,
    pub depth: usize,
    /// The mean.
    pub bytes: f64,
    pub payload: String,
    pub kind: String,
}

/// One measure of a contender in a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub scenario: String,
    pub contender: String,
    pub measure: Measure,
    pub series: Series,
}

/// The lowest and the highest ratio, round against round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioSpread {
    pub scenario: String,
    pub one: String,
    pub other: String,
    pub measure: Measure,
    pub low: f64,
    pub high: f64,
}

/// How many of the runs are to be doubted, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Doubt {
    pub scenario: String,
    pub contender: String,
    pub runs: u32,
    /// Other programs used the cores.
    pub disturbed: u32,
    /// The generator was never idle, the server was.
    pub bound: u32,
    /// An offered rate did not get through.
    pub missed: u32,
}

/// Latency over quantiles, the median over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    pub scenario: String,
    pub contender: String,
    pub points: Vec<(f64, f64)>,
}

/// What the kernel keeps for a connection, the largest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slabs {
    pub scenario: String,
    pub contender: String,
    pub slabs: Vec<(String, f64)>,
}

/// What everybody has in one scenario by one measure, in the order of the contenders.
pub struct Row<'a> {
    pub scenario: &'a str,
    pub cells: Vec<(&'a str, &'a Series)>,
}

impl Book {
    /// Of runs, without facts, failures and commands.
    pub fn of(lines: &[Line]) -> Book {
        let mut book = Book { form: FORM, ..Book::default() };
        let mut seen = BTreeMap::new();
        for line in lines {
            let (title, name) = (scenario(line), contender(&line.run).to_owned());
            let nth = seen.entry((title.clone(), name.clone())).or_insert(0);
            *nth += 1;
            book.name_scenario(&title, Family::of(line), load(&line.run));
            for (measure, value) in measures(&line.run) {
                book.add(&title, &name, measure, (line.round.unwrap_or(*nth), value));
            }
            book.doubt(&title, &name, &line.run);
        }
        book.curves = curves(lines);
        book.slabs = slabs(lines);
        book
    }

    /// Reads a file.
    pub fn read(file: &Path) -> Result<Book> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let book: Book = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        let form = book.form;
        ensure!(form == FORM, "{}: form {form} instead of {FORM}", file.display());
        Ok(book)
    }

    /// As the text of a file.
    pub fn to_json(&self) -> Result<String> {
        let parts = [
            ("ours", list(&self.ours)?),
            ("contenders", list(&self.contenders)?),
            ("scenarios", list(&self.scenarios)?),
            ("facts", list(&self.facts)?),
            ("failures", list(&self.failures)?),
            ("commands", list(&self.commands)?),
            ("figures", list(&self.figures)?),
            ("spreads", list(&self.spreads)?),
            ("doubts", list(&self.doubts)?),
            ("curves", list(&self.curves)?),
            ("slabs", list(&self.slabs)?),
        ];
        let parts = parts.map(|(name, items)| format!(",\n\"{name}\":{items}"));
        Ok(format!("{{\"form\":{}{}}}\n", self.form, parts.concat()))
    }

    /// Puts a scenario and its family into the book, if it is new.
    pub fn name_scenario(&mut self, title: &str, family: Family, load: Option<Load>) {
        if !self.scenarios.iter().any(|known| known.title == title) {
            self.scenarios.push(Scenario { title: title.to_owned(), family, load });
        }
    }

    /// Puts the value of a round into the book.
    pub fn add(&mut self, scenario: &str, contender: &str, measure: Measure, value: (u32, f64)) {
        if !self.contenders.iter().any(|known| known == contender) {
            self.contenders.push(contender.to_owned());
        }
        let known = self.figures.iter_mut().find(|figure| {
            figure.measure == measure
                && figure.contender == contender
                && figure.scenario == scenario
        });
        match known.map(|figure| &mut figure.series) {
            Some(Series::Rounds(rounds)) => rounds.push(value),
            Some(Series::Summary { .. }) => {}
            None => self.figures.push(Figure {
                scenario: scenario.to_owned(),
                contender: contender.to_owned(),
                measure,
                series: Series::Rounds(vec![value]),
            }),
        }
    }

    fn doubt(&mut self, scenario: &str, contender: &str, run: &Run) {
        let mut doubt = Doubt {
            scenario: scenario.to_owned(),
            contender: contender.to_owned(),
            runs: 1,
            disturbed: 0,
            bound: 0,
            missed: 0,
        };
        let (costs, bound, missed) = match run {
            Run::Echo(run) => {
                let missed = run.open_loop.as_ref().is_some_and(|open| !open.reached);
                (Some((&run.client, run.server.as_ref())), run.generator_bound, missed)
            }
            Run::Fanout(run) => {
                let missed = run.reached == Some(false);
                (Some((&run.client, run.server.as_ref())), run.generator_bound, missed)
            }
            Run::Churn(run) => {
                (Some((&run.client, run.server.as_ref())), run.generator_bound, false)
            }
            Run::Control(run) => {
                (Some((&run.client, run.server.as_ref())), run.generator_bound, false)
            }
            Run::Idle(_) | Run::Abuse(_) => (None, false, false),
        };
        doubt.disturbed = costs.is_some_and(|(client, server)| is_contended(client, server)).into();
        (doubt.bound, doubt.missed) = (bound.into(), missed.into());
        let same = |one: &&mut Doubt| one.scenario == scenario && one.contender == contender;
        match self.doubts.iter_mut().find(same) {
            Some(known) => {
                known.runs += 1;
                known.disturbed += doubt.disturbed;
                known.bound += doubt.bound;
                known.missed += doubt.missed;
            }
            None => self.doubts.push(doubt),
        }
    }

    /// What `contender` came to.
    pub fn series(&self, scenario: &str, contender: &str, measure: Measure) -> Option<&Series> {
        let mut figures = self.figures.iter();
        let found = figures.find(|figure| {
            figure.measure == measure
                && figure.contender == contender
                && figure.scenario == scenario
        });
        found.map(|figure| &figure.series)
    }

    /// What everybody came to in a scenario.
    pub fn row<'a>(&'a self, scenario: &'a str, measure: Measure) -> Row<'a> {
        let cells = self
            .contenders
            .iter()
            .filter_map(|name| Some((name.as_str(), self.series(scenario, name, measure)?)));
        Row { scenario, cells: cells.collect() }
    }

    /// All rows of a family that have somebody in them.
    pub fn rows(&self, family: Family, measure: Measure) -> Vec<Row<'_>> {
        let scenarios = self.scenarios.iter().filter(|scenario| scenario.family == family);
        let rows = scenarios.map(|scenario| self.row(&scenario.title, measure));
        rows.filter(|row| !row.cells.is_empty()).collect()
    }

    /// One beside another.
    pub fn ratio(&self, scenario: &str, measure: Measure, one: &str, other: &str) -> Option<Ratio> {
        let series = |name| self.series(scenario, name, measure);
        let ratio = series(one)?.beside(series(other)?)?;
        let is_it = |kept: &&RatioSpread| {
            let names = (kept.scenario.as_str(), kept.one.as_str(), kept.other.as_str());
            kept.measure == measure && names == (scenario, one, other)
        };
        let kept = self.spreads.iter().find(is_it).map(|kept| (kept.low, kept.high));
        let spread = ratio.spread.or(kept);
        Some(Ratio { spread, ..ratio })
    }

    /// What is to be doubted about a contender's runs.
    pub fn doubt_of(&self, scenario: &str, contender: &str) -> Option<&Doubt> {
        let mut doubts = self.doubts.iter();
        doubts.find(|doubt| doubt.scenario == scenario && doubt.contender == contender)
    }

    /// Neither a floor nor ours, however many shards it has.
    pub fn is_rival(&self, name: &str) -> bool {
        let own = |own: &String| name == own || name.starts_with(&format!("{own} ("));
        !is_floor(name) && !self.ours.iter().any(own)
    }
}

/// Floors echo raw TCP and do no WebSocket.
pub fn is_floor(name: &str) -> bool {
    name.starts_with("floor")
}

impl<'a> Row<'a> {
    /// What one came to.
    pub fn of(&self, name: &str) -> Option<&'a Series> {
        self.cells.iter().find(|cell| cell.0 == name).map(|cell| cell.1)
    }

    /// The floor with the lower median.
    pub fn better_floor(&self) -> Option<(&'a str, &'a Series)> {
        let floors = self.cells.iter().filter(|cell| is_floor(cell.0));
        floors.min_by(|one, two| one.1.median().total_cmp(&two.1.median())).copied()
    }
}

fn list<T: Serialize>(items: &[T]) -> Result<String> {
    let items = items.iter().map(serde_json::to_string).collect::<Result<Vec<String>, _>>()?;
    Ok(format!("[\n{}]", items.join(",\n")))
}

fn load(run: &Run) -> Option<Load> {
    match run {
        Run::Echo(run) if run.open_loop.is_none() => Some(Load {
            connections: run.connections,
            depth: run.depth,
            bytes: run.payload_mean_bytes,
            payload: run.payload.clone(),
            kind: run.kind.name().to_owned(),
        }),
        _ => None,
    }
}

/// Items by scenario and contender, in the order of first appearance.
fn group<T>(lines: &[Line], of: impl Fn(&Run) -> Option<T>) -> Vec<(String, String, Vec<T>)> {
    let mut groups: Vec<(String, String, Vec<T>)> = Vec::new();
    for line in lines {
        let Some(item) = of(&line.run) else { continue };
        let (title, name) = (scenario(line), contender(&line.run));
        match groups.iter_mut().find(|group| group.0 == title && group.1 == name) {
            Some(group) => group.2.push(item),
            None => groups.push((title, name.to_owned(), vec![item])),
        }
    }
    groups
}

fn curves(lines: &[Line]) -> Vec<Curve> {
    let groups = group(lines, |run| match run {
        Run::Echo(run) => Some(run.latency_us.distribution.clone()),
        Run::Fanout(run) => Some(run.last_delivery_us.distribution.clone()),
        _ => None,
    });
    let curves = groups.into_iter().map(|(scenario, contender, runs)| Curve {
        scenario,
        contender,
        points: middle_curve(&runs),
    });
    curves.filter(|curve| !curve.points.is_empty()).collect()
}

/// The median of several distributions at each quantile of the first, up to 0.9999.
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

fn slabs(lines: &[Line]) -> Vec<Slabs> {
    let groups = group(lines, |run| match run {
        Run::Idle(run) => Some(run.system.slabs.as_slice().to_vec()),
        _ => None,
    });
    let of = |(scenario, contender, runs): (String, String, Vec<Vec<Slab>>)| {
        let mut sizes = BTreeMap::new();
        for slab in runs.iter().flatten() {
            sizes.entry(slab.name.clone()).or_insert_with(Vec::new).push(slab.bytes_per_connection);
        }
        // One that is missing in a run did not grow in it.
        let mut slabs: Vec<(String, f64)> = sizes
            .into_iter()
            .map(|(name, mut bytes)| {
                bytes.resize(runs.len(), 0.0);
                (name, median(&bytes))
            })
            .filter(|slab| slab.1 > 0.0)
            .collect();
        slabs.sort_by(|one, other| other.1.total_cmp(&one.1));
        slabs.truncate(SLABS_MAX);
        Slabs { scenario, contender, slabs }
    };
    groups.into_iter().map(of).filter(|one| !one.slabs.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Server CPU of echoes: scenario, contender, a value for each round from 1 on.
    pub fn cpu(rows: &[(&str, &str, &[f64])]) -> Book {
        let mut book = Book { form: FORM, ours: vec!["ringwire".to_owned()], ..Book::default() };
        for (scenario, contender, values) in rows {
            book.name_scenario(scenario, Family::Echo, None);
            for (round, value) in (1..).zip(*values) {
                book.add(scenario, contender, Measure::Cpu, (round, *value));
            }
        }
        book
    }

    #[test]
    fn the_better_floor_is_the_lower_median() {
        let book = cpu(&[
            ("one", "floor-epoll", &[10.0]),
            ("one", "ringwire", &[5.0]),
            ("one", "floor-uring", &[8.0, 9.0]),
            ("two", "ringwire", &[1.0]),
        ]);
        let floor = book.row("one", Measure::Cpu).better_floor().map(|floor| floor.1.median());
        assert_eq!(floor, Some(8.5));
        assert!(book.row("two", Measure::Cpu).better_floor().is_none());
        assert_eq!(book.rows(Family::Echo, Measure::Cpu).len(), 2);
        assert!(book.rows(Family::Echo, Measure::Rate).is_empty());
    }

    #[test]
    fn a_book_is_read_as_it_was_written_an_item_a_line() {
        let mut book = cpu(&[("one", "ringwire", &[5.0, 7.5]), ("one", "bun", &[6.0])]);
        book.facts.push(("machine".to_owned(), "two cores \"and\" more".to_owned()));
        book.spreads.push(RatioSpread {
            scenario: "one".to_owned(),
            one: "ringwire".to_owned(),
            other: "bun".to_owned(),
            measure: Measure::Cpu,
            low: 0.5,
            high: 0.9,
        });
        let text = book.to_json().unwrap();
        assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), book);
        assert_eq!(text.lines().filter(|line| line.contains("\"series\"")).count(), 2);
    }

    #[test]
    fn spreads_that_were_kept_are_for_rounds_that_were_not() {
        let mut book = cpu(&[("one", "bun", &[4.0, 5.0, 6.0])]);
        book.figures.push(Figure {
            scenario: "one".to_owned(),
            contender: "ringwire".to_owned(),
            measure: Measure::Cpu,
            series: Series::Summary { median: 4.0, low: 3.0, high: 5.0 },
        });
        book.spreads.push(RatioSpread {
            scenario: "one".to_owned(),
            one: "ringwire".to_owned(),
            other: "bun".to_owned(),
            measure: Measure::Cpu,
            low: 0.5,
            high: 0.9,
        });
        let ratio = book.ratio("one", Measure::Cpu, "ringwire", "bun").unwrap();
        assert_eq!((ratio.quotient, ratio.spread), (0.8, Some((0.5, 0.9))));
    }

    #[test]
    fn rivals_are_neither_floors_nor_ours() {
        let book = cpu(&[]);
        assert!(book.is_rival("bun") && book.is_rival("ringwire-old"));
        for name in ["floor-uring", "ringwire", "ringwire (2 shards)"] {
            assert!(!book.is_rival(name), "{name}");
        }
    }

    #[test]
    fn curves_of_runs_meet_in_the_middle() {
        let runs = [vec![(0.5, 1.0), (1.0, 9.0)], vec![(0.5, 3.0)], vec![(0.5, 2.0)]];
        assert_eq!(middle_curve(&runs), [(0.5, 2.0)]);
    }
}
