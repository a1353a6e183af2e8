//! What ringwire is to reach, with what a book of figures came to.
//!
//! Met or missed is the median's word; how far the spread goes is for the reader to see. Where the
//! better raw floor, which does no WebSocket at all, misses a ratio too, no server on this kernel's
//! TCP can meet it, and the target says so.

use super::book::Book;
use super::measures::{Family, Measure};
use super::series::{Ratio, Series, number};

/// What became of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed,
    NotMeasured,
}

/// A limit on the ratio of CPU to a peer's.
pub struct RatioTarget {
    pub wanted: f64,
    pub ratio: Option<Ratio>,
    /// The floor's own ratio, where it misses as well.
    pub floor: Option<f64>,
}

/// Limits of one scenario: to the better raw floor, to Bun and to node `ws`.
pub struct RatioTargets {
    pub scenario: &'static str,
    pub peers: [RatioTarget; 3],
}

/// Any other target, in words.
pub struct Target {
    pub what: String,
    pub wanted: String,
    pub measured: String,
    pub verdict: Verdict,
    /// What is to be said beside the verdict.
    pub remark: String,
}

/// How many of each there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub met: usize,
    pub missed: usize,
    pub not_measured: usize,
    /// Of the missed, those that the raw floor misses too.
    pub out_of_reach: usize,
}

/// All targets.
pub struct Targets {
    pub ratios: Vec<RatioTargets>,
    pub others: Vec<Target>,
}

const RATIOS: [(&str, [f64; 3]); 8] = [
    ("echo: 100 x 1, 32 B text", [1.05, 0.80, 0.45]),
    ("echo: 100 x 16, 32 B text", [1.10, 0.50, 0.05]),
    ("echo: 1000 x 1, 512 B text", [1.05, 0.77, 0.45]),
    ("echo: 100 x 1, 16 KiB text", [1.05, 0.45, 0.33]),
    ("echo: 10 x 1, 1 MiB binary", [1.25, 0.40, 0.35]),
    ("echo: 10 x 1, 1 MiB text", [1.40, 0.40, 0.45]),
    ("echo: 10 x 1, 1 MiB utf8", [1.70, 0.30, 0.55]),
    ("echo: 10000 x 1, 64 B text", [1.0, 1.0, 0.45]),
];
/// Wanted of what is only told.
pub const TOLD: &str = "told";
const IDLE: &str = "idle: 10000";
const MILLION: &str = "idle: 1000000";
const MICRO: [(&str, f64); 2] = [("micro: 125 B text", 60.0), ("micro: 16 x 32 B text", 20.0)];
const IDLE_BYTES_MAX: f64 = 256.0;
const HANDSHAKES_MIN: f64 = 50_000.0;
const SHARDS_MIN: f64 = 1.8;
const SHARED_MAX: f64 = 2.5;
const SHARED_RATE_MIN: f64 = 300_000.0;
const CONTROL: [(&str, &str, f64); 2] = [
    (
        "control: pairs, 64 connections",
        "read and write pairs per second over the Unix socket, 64 kept-alive connections",
        30_000.0,
    ),
    (
        "control: writes to 100000 sockets",
        "writes by id per second to 100,000 sockets through one HTTP/2 connection",
        50_000.0,
    ),
];

/// A limit and how a value is written beside it.
#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Targets {
    /// All targets with what they came to.
    pub fn of(book: &Book) -> Targets {
        let ours = book.ours.first().map_or("ringwire", String::as_str);
        let asked = Asked { book, ours };
        let others = [
            asked.idle(),
            asked.latency(),
            asked.shards(),
            asked.shared(),
            asked.control(),
            asked.million(),
            asked.micro(),
        ];
        Targets {
            ratios: RATIOS.map(|(scenario, limits)| asked.ratios(scenario, limits)).into(),
            others: others.into_iter().flatten().collect(),
        }
    }

    /// How many were met.
    pub fn count(&self) -> Count {
        let mut count = Count::default();
        let ratios = self.ratios.iter().flat_map(|row| &row.peers);
        let ratios = ratios.map(|one| (one.verdict(), one.floor.is_some()));
        let others = self.others.iter().map(|one| (one.verdict, one.remark.contains("floor")));
        for (verdict, floor_too) in ratios.chain(others) {
            match verdict {
                Verdict::Met => count.met += 1,
                Verdict::Missed => count.missed += 1,
                Verdict::NotMeasured => count.not_measured += 1,
            }
            count.out_of_reach += usize::from(verdict == Verdict::Missed && floor_too);
        }
        count
    }
}

impl RatioTarget {
    /// What became of it.
    pub fn verdict(&self) -> Verdict {
        match self.ratio {
            None => Verdict::NotMeasured,
            Some(ratio) if ratio.quotient <= self.wanted => Verdict::Met,
            Some(_) => Verdict::Missed,
        }
    }
}

/// Whose targets are looked up where.
struct Asked<'a> {
    book: &'a Book,
    ours: &'a str,
}

impl Asked<'_> {
    fn own(&self, scenario: &str, measure: Measure) -> Option<&Series> {
        self.book.series(scenario, self.ours, measure)
    }

    fn ratios(&self, scenario: &'static str, limits: [f64; 3]) -> RatioTargets {
        let row = self.book.row(scenario, Measure::Cpu);
        let floor = row.better_floor().map(|floor| floor.0);
        let beside = |one: &str, other: &str| self.book.ratio(scenario, Measure::Cpu, one, other);
        let of = |wanted: f64, peer: Option<&str>| {
            let ratio = peer.and_then(|peer| beside(self.ours, peer));
            let of_floor = floor.zip(peer).filter(|(floor, peer)| floor != peer);
            let of_floor = of_floor.and_then(|(floor, peer)| beside(floor, peer));
            let missed = ratio.is_some_and(|ratio| ratio.quotient > wanted);
            let of_floor = of_floor.map(|ratio| ratio.quotient);
            RatioTarget { wanted, ratio, floor: of_floor.filter(|own| missed && *own > wanted) }
        };
        let [to_floor, to_bun, to_node] = limits;
        let peers = [of(to_floor, floor), of(to_bun, Some("bun")), of(to_node, Some("node-ws"))];
        RatioTargets { scenario, peers }
    }

    fn idle(&self) -> Vec<Target> {
        let rss = self.own(IDLE, Measure::Rss).map(Shown::whole);
        let what = format!("{IDLE}: RSS per connection, bytes");
        let mut found = vec![judged(what, Limit::AtMost(IDLE_BYTES_MAX), rss)];
        for (name, peer, limit) in [("Bun", "bun", 0.2), ("node ws", "node-ws", 0.05)] {
            let ratio = self.book.ratio(IDLE, Measure::Rss, self.ours, peer).map(Shown::ratio);
            let what = format!("{IDLE}: RSS as a multiple of {name}'s");
            found.push(judged(what, Limit::AtMost(limit), ratio));
        }
        found
    }

    /// At equal load, against the best of all contenders. The medians decide; that spreads overlap
    /// is said beside.
    fn latency(&self) -> Vec<Target> {
        let mut found = Vec::new();
        for row in self.book.rows(Family::Open, Measure::P99) {
            let rivals = row.cells.iter().filter(|cell| self.book.is_rival(cell.0));
            let best = rivals.min_by(|one, two| one.1.median().total_cmp(&two.1.median()));
            let is_same = row.scenario.ends_with("/s for each");
            let (Some(own), Some((name, best)), true) = (row.of(self.ours), best, is_same) else {
                continue;
            };
            let what = format!("{}: p99, µs, beside the best other ({name})", row.scenario);
            let limit = Limit::AtMost(best.median());
            let mut target = judged(what, limit, Some(Shown::whole(own)));
            target.wanted = format!("≤ {}", Shown::whole(best).text());
            let mut remarks = Vec::new();
            if own.overlaps(best) {
                remarks.push("spreads overlap".to_owned());
            }
            let floor = row.better_floor().map(|floor| floor.1.median());
            let floor = floor.filter(|floor| *floor > best.median());
            if let Some(floor) = floor.filter(|_| target.verdict == Verdict::Missed) {
                remarks.push(format!("floor too: {}", number(floor)));
            }
            target.remark = remarks.join(", ");
            found.push(target);
        }
        found
    }

    /// Capacity from CPU per message: both cores divided by it, beside one by that of one shard.
    fn shards(&self) -> Vec<Target> {
        let two = format!("{} (2 shards)", self.ours);
        let of = |row: super::book::Row<'_>| {
            let ratio = self.book.ratio(row.scenario, Measure::Cpu, self.ours, &two);
            let twice = |value: f64| 2.0 * value;
            let shown = ratio.map(|ratio| Shown {
                median: twice(ratio.quotient),
                spread: ratio.spread.map(|(low, high)| (twice(low), twice(high))),
                write: |value| format!("{value:.2}"),
            });
            let what = format!("{}: capacity of two on two cores, of one on one", row.scenario);
            judged(what, Limit::AtLeast(SHARDS_MIN), shown)
        };
        self.book.rows(Family::Shards, Measure::Cpu).into_iter().map(of).collect()
    }

    /// A worker on another thread beside a handler, in the same program.
    fn shared(&self) -> Vec<Target> {
        let (worker, both) =
            (format!("{} (shared)", self.ours), format!("{} (shared, both cores)", self.ours));
        let mut found = Vec::new();
        for row in self.book.rows(Family::Shared, Measure::Cpu) {
            let ratio = self.book.ratio(row.scenario, Measure::Cpu, &worker, self.ours);
            let what = format!("{}: CPU of a worker on another thread, of a handler", row.scenario);
            found.push(judged(what, Limit::AtMost(SHARED_MAX), ratio.map(Shown::ratio)));
            let rate = self.book.series(row.scenario, &both, Measure::Rate);
            if let Some(rate) = rate {
                let what = format!("{}: messages per second by one worker", row.scenario);
                let limit = Limit::AtLeast(SHARED_RATE_MIN);
                found.push(judged(what, limit, Some(Shown::whole(rate))));
            }
        }
        found
    }

    fn control(&self) -> Vec<Target> {
        let of = |(scenario, what, limit): (&str, &str, f64)| {
            let rate = self.own(scenario, Measure::Rate).map(Shown::whole);
            judged(format!("control plane: {what}"), Limit::AtLeast(limit), rate)
        };
        CONTROL.map(of).into()
    }

    fn million(&self) -> Vec<Target> {
        let of = |what: &str, limit: Limit, measure: Measure| {
            let shown = self.own(MILLION, measure).map(Shown::whole);
            judged(format!("{MILLION}: {what}"), limit, shown)
        };
        let told = |what: &str, measure: Measure| {
            let target = of(what, Limit::AtMost(f64::INFINITY), measure);
            Target { wanted: TOLD.to_owned(), ..target }
        };
        let established = Limit::AtLeast(1e6);
        if self.own(MILLION, Measure::Established).is_none() {
            return vec![of("established in one process", established, Measure::Established)];
        }
        vec![
            of("established, and none lost", established, Measure::Established),
            of("handshakes per second", Limit::AtLeast(HANDSHAKES_MIN), Measure::Rate),
            of("RSS per connection, bytes", Limit::AtMost(IDLE_BYTES_MAX), Measure::Rss),
            of("pings answered", Limit::AtLeast(1.0), Measure::Pings),
            told("kernel and user memory per connection, both ends, bytes", Measure::Used),
            told("echo p99 for 1,000 active clients among them, µs", Measure::ActiveP99),
        ]
    }

    fn micro(&self) -> Vec<Target> {
        let of = |(scenario, limit): (&str, f64)| {
            let cost = self.own(scenario, Measure::Cpu);
            let shown = cost
                .map(|cost| Shown { write: |value| format!("{value:.1}"), ..Shown::whole(cost) });
            let size = scenario.trim_start_matches("micro: ");
            let what = format!("user-space cost of an echo in memory, {size}, ns per message");
            judged(what, Limit::AtMost(limit), shown)
        };
        MICRO.map(of).into()
    }
}

/// A measured value, its spread, and how they are written.
struct Shown {
    median: f64,
    spread: Option<(f64, f64)>,
    write: fn(f64) -> String,
}

impl Shown {
    fn whole(series: &Series) -> Shown {
        let is_several = series.runs().is_none_or(|runs| runs > 1);
        let (low, high) = series.spread();
        let spread = (is_several && low < high).then_some((low, high));
        Shown { median: series.median(), spread, write: whole_number }
    }

    fn ratio(ratio: Ratio) -> Shown {
        let write = |value| format!("{value:.2}");
        Shown { median: ratio.quotient, spread: ratio.spread, write }
    }

    fn text(&self) -> String {
        let middle = (self.write)(self.median);
        self.spread.map_or(middle.clone(), |(low, high)| {
            format!("{middle} [{} – {}]", (self.write)(low), (self.write)(high))
        })
    }
}

fn whole_number(value: f64) -> String {
    let text = number(value.round());
    text.trim_end_matches(".0").to_owned()
}

fn judged(what: String, limit: Limit, measured: Option<Shown>) -> Target {
    let written = |limit: f64| match limit {
        part if part.fract() != 0.0 => format!("{part:.2}"),
        whole => whole_number(whole),
    };
    let (wanted, is_met): (String, fn(f64, f64) -> bool) = match limit {
        Limit::AtMost(most) => (format!("≤ {}", written(most)), |value, limit| value <= limit),
        Limit::AtLeast(least) => (format!("≥ {}", written(least)), |value, limit| value >= limit),
    };
    let (Limit::AtMost(bound) | Limit::AtLeast(bound)) = limit;
    let verdict = match &measured {
        None => Verdict::NotMeasured,
        Some(shown) if is_met(shown.median, bound) => Verdict::Met,
        Some(_) => Verdict::Missed,
    };
    let measured = measured.map_or("not measured".to_owned(), |shown| shown.text());
    Target { what, wanted, measured, verdict, remark: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(rows: &[(&str, Family, &str, Measure, &[f64])]) -> Book {
        let mut book = Book { ours: vec!["ringwire".to_owned()], ..Book::default() };
        for (scenario, family, contender, measure, values) in rows {
            book.name_scenario(scenario, *family, None);
            for (round, value) in (1..).zip(*values) {
                book.add(scenario, contender, *measure, (round, *value));
            }
        }
        book
    }

    fn find<'a>(targets: &'a Targets, what: &str) -> &'a Target {
        targets.others.iter().find(|one| one.what.contains(what)).expect(what)
    }

    #[test]
    fn nothing_measured_is_neither_met_nor_missed() {
        let targets = Targets::of(&Book::default());
        let count = targets.count();
        assert_eq!((count.met, count.missed), (0, 0));
        assert_eq!(count.not_measured, 24 + targets.others.len());
    }

    #[test]
    fn a_ratio_that_the_floor_misses_too_says_so() {
        let scenario = RATIOS[0].0;
        let cpu =
            |name, values: &'static [f64]| (scenario, Family::Echo, name, Measure::Cpu, values);
        let book = book(&[
            cpu("floor-epoll", &[90.0, 95.0, 92.0]),
            cpu("floor-uring", &[99.0, 99.0, 99.0]),
            cpu("ringwire", &[94.0, 96.0, 95.0]),
            cpu("bun", &[100.0, 100.0, 100.0]),
            cpu("node-ws", &[400.0, 400.0, 400.0]),
        ]);
        let targets = Targets::of(&book);
        let [floor, bun, node] = &targets.ratios[0].peers;
        assert_eq!(floor.verdict(), Verdict::Met);
        assert_eq!((bun.verdict(), bun.floor), (Verdict::Missed, Some(0.92)));
        assert_eq!((node.verdict(), node.floor), (Verdict::Met, None));
        let count = targets.count();
        assert_eq!((count.met, count.missed, count.out_of_reach), (2, 1, 1));
    }

    #[test]
    fn two_shards_are_judged_by_their_capacity() {
        let cpu = |name, values: &'static [f64]| {
            ("shards: one", Family::Shards, name, Measure::Cpu, values)
        };
        let book =
            book(&[cpu("ringwire", &[300.0, 310.0]), cpu("ringwire (2 shards)", &[300.0, 290.0])]);
        let targets = Targets::of(&book);
        let target = find(&targets, "capacity");
        assert_eq!(target.verdict, Verdict::Met);
        assert_eq!(target.measured, "2.07 [2.00 – 2.14]");
        assert_eq!(target.wanted, "≥ 1.80");
    }

    #[test]
    fn latency_is_judged_by_medians_and_overlap_is_told() {
        let p99 = |name, values: &'static [f64]| {
            ("open: 100/s for each", Family::Open, name, Measure::P99, values)
        };
        let book = book(&[
            p99("floor-epoll", &[170.0, 180.0]),
            p99("ringwire", &[150.0, 170.0]),
            p99("bun", &[140.0, 160.0]),
            p99("node-ws", &[500.0, 500.0]),
        ]);
        let targets = Targets::of(&book);
        let target = find(&targets, "beside the best other (bun)");
        assert_eq!(
            (target.verdict, target.wanted.as_str()),
            (Verdict::Missed, "≤ 150 [140 – 160]")
        );
        assert_eq!(target.remark, "spreads overlap, floor too: 175");
    }

    #[test]
    fn a_million_is_told_in_whole_numbers() {
        let idle =
            |measure, values: &'static [f64]| (MILLION, Family::Idle, "ringwire", measure, values);
        let book = book(&[
            idle(Measure::Established, &[1e6]),
            idle(Measure::Rate, &[20_254.3]),
            idle(Measure::Used, &[9_472.0]),
        ]);
        let targets = Targets::of(&book);
        assert_eq!(find(&targets, "established").verdict, Verdict::Met);
        let rate = find(&targets, "handshakes");
        assert_eq!((rate.verdict, rate.measured.as_str()), (Verdict::Missed, "20,254"));
        let told = find(&targets, "kernel and user");
        assert_eq!((told.verdict, told.wanted.as_str()), (Verdict::Met, "told"));
        assert_eq!(find(&targets, "active clients").verdict, Verdict::NotMeasured);
    }
}
