//! Bars with spread, and curves on logarithmic axes.
//!
//! `sections` fills in the figures, `svg` draws. A colour class belongs to a contender.

use super::svg::{Anchor, Svg};
use crate::figures::series::{Series, number, spread};

const WIDTH: f64 = 560.0;
const ROW: f64 = 26.0;
/// What the class of ours ends with: it is drawn bold and above the others.
pub const OWN: &str = " own";

/// One row of a bar chart.
pub struct Bar<'a> {
    pub name: &'a str,
    pub class: String,
    pub series: &'a Series,
    /// The column behind the value.
    pub beside: String,
    /// Shown behind the name: a reason to doubt.
    pub mark: String,
}

/// Bars from zero: the median, with a whisker from the lowest to the highest run.
pub fn bars(title: &str, unit: &str, beside: &str, rows: &[Bar<'_>]) -> String {
    const LEFT: f64 = 150.0;
    const RIGHT: f64 = 380.0;
    let mut svg = Svg::new(WIDTH, 24.0 + ROW * rows.len() as f64 + 6.0);
    let highest = rows.iter().map(|row| row.series.spread().1).fold(0.0, f64::max).max(1e-9);
    let place = |value: f64| LEFT + (RIGHT - LEFT) * (value.max(0.0) / highest);
    svg.text((462.0, 13.0), Anchor::End, "axis", unit);
    svg.text((WIDTH, 13.0), Anchor::End, "axis", beside);
    for (place_of_row, row) in rows.iter().enumerate() {
        let y = 24.0 + ROW * place_of_row as f64;
        let (middle, (low, high)) = (row.series.median(), row.series.spread());
        let runs = row.series.runs().map_or(String::new(), |runs| format!(" of {runs} runs"));
        let tip = format!(
            "{}: median {}{runs}, {} to {}",
            row.name,
            number(middle),
            number(low),
            number(high)
        );
        let name = format!("{}{}", row.name, row.mark);
        let own = if row.class.ends_with(OWN) { "name own" } else { "name" };
        svg.text((LEFT - 10.0, y + 15.0), Anchor::End, own, &name);
        svg.bar(LEFT, y + 4.0, (place(middle) - LEFT).max(1.0), 14.0, &row.class, &tip);
        if low < high {
            let centre = y + 11.0;
            svg.line((place(low), centre), (place(high), centre), "whisker");
            for end in [low, high] {
                svg.line((place(end), centre - 4.0), (place(end), centre + 4.0), "whisker");
            }
        }
        svg.text((462.0, y + 15.0), Anchor::End, "value", &number(middle));
        svg.text((WIDTH, y + 15.0), Anchor::End, "beside", &row.beside);
    }
    svg.line((LEFT, 20.0), (LEFT, 24.0 + ROW * rows.len() as f64), "base");
    svg.finish(title)
}

/// One curve.
pub struct Curve {
    pub name: String,
    pub class: String,
    pub points: Vec<(f64, f64)>,
}

/// What an axis shows; both kinds are logarithmic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Powers of ten.
    Decades,
    /// Quantiles from 0 to 0.9999: every nine is as long as the one before.
    Nines,
}

impl Axis {
    fn measure(self, value: f64) -> f64 {
        match self {
            Axis::Decades => value.max(1e-9).log10(),
            Axis::Nines => -(1.0 - value.clamp(0.0, 0.9999)).log10(),
        }
    }

    /// Values to mark between two of them, with their names.
    fn marks(self, low: f64, high: f64) -> Vec<(f64, String)> {
        if self == Axis::Nines {
            let marks = [(0.0, "0"), (0.5, "p50"), (0.9, "p90"), (0.99, "p99")];
            let tail = [(0.999, "p99.9"), (0.9999, "p99.99")];
            return marks.iter().chain(&tail).map(|(at, name)| (*at, (*name).to_owned())).collect();
        }
        let (first, last) = (low.max(1e-9).log10().floor(), high.max(1e-9).log10().ceil());
        let steps: &[f64] = match high / low.max(1e-9) {
            close if close < 8.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
            near if near < 1e3 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let decades = (first as i32..=last as i32).map(|power| 10_f64.powi(power));
        decades
            .flat_map(|decade| steps.iter().map(move |step| decade * step))
            .filter(|value| (low * 0.999..=high * 1.001).contains(value))
            .map(|value| (value, number(value)))
            .collect()
    }
}

/// Curves over an axis; the vertical one is in decades.
pub fn curves(title: &str, across: Axis, names: (&str, &str), curves: &[Curve]) -> String {
    const FRAME: (f64, f64, f64, f64) = (62.0, 14.0, WIDTH - 26.0, 236.0);
    let (left, top, right, bottom) = FRAME;
    let mut svg = Svg::new(WIDTH, 276.0);
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let (low_x, high_x) = spread(&all().map(|point| point.0).collect::<Vec<f64>>());
    let (low_y, high_y) = spread(&all().map(|point| point.1).collect::<Vec<f64>>());
    let (low_y, high_y) = (low_y.max(1e-3) / 1.3, high_y.max(1e-3) * 1.3);
    let scale = |axis: Axis, value: f64, ends: (f64, f64)| {
        let (low, high) = (axis.measure(ends.0), axis.measure(ends.1));
        if high > low { (axis.measure(value) - low) / (high - low) } else { 0.5 }
    };
    let ends_x = if across == Axis::Nines { (0.0, 0.9999) } else { (low_x, high_x) };
    let x = |value: f64| left + (right - left) * scale(across, value, ends_x);
    let y = |value: f64| bottom - (bottom - top) * scale(Axis::Decades, value, (low_y, high_y));
    for (value, name) in Axis::Decades.marks(low_y, high_y) {
        svg.line((left, y(value)), (right, y(value)), "grid");
        svg.text((left - 8.0, y(value) + 4.0), Anchor::End, "axis", &name);
    }
    let mut marks = across.marks(ends_x.0, ends_x.1);
    if across == Axis::Decades {
        // The places of the runs say more than round numbers.
        marks = all().map(|point| (point.0, number(point.0))).collect();
        marks.sort_by(|one, other| one.0.total_cmp(&other.0));
        marks.dedup_by(|one, other| one.0 == other.0);
    }
    for (value, name) in marks {
        svg.line((x(value), bottom), (x(value), bottom + 4.0), "base");
        svg.text((x(value), bottom + 18.0), Anchor::Middle, "axis", &name);
    }
    svg.line((left, bottom), (right, bottom), "base");
    svg.text((right, 270.0), Anchor::End, "axis", names.0);
    svg.text((4.0, 10.0), Anchor::Start, "axis", names.1);
    let (own, others): (Vec<_>, Vec<_>) =
        curves.iter().partition(|curve| curve.class.ends_with(OWN));
    for curve in others.into_iter().chain(own) {
        let points: Vec<(f64, f64)> = curve.points.iter().map(|at| (x(at.0), y(at.1))).collect();
        svg.curve(&points, &curve.class, &curve.name);
        if across == Axis::Decades {
            for (at, value) in points.iter().zip(&curve.points) {
                let tip = format!("{}: {} at {}", curve.name, number(value.1), number(value.0));
                svg.dot(*at, &curve.class, &tip);
            }
        }
    }
    svg.finish(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_equally_long() {
        let length = |from: f64, to: f64| Axis::Nines.measure(to) - Axis::Nines.measure(from);
        assert!((length(0.9, 0.99) - length(0.99, 0.999)).abs() < 1e-9);
        assert!(Axis::Nines.measure(1.0).is_finite());
        let marks: Vec<f64> = Axis::Decades.marks(15.0, 600.0).iter().map(|mark| mark.0).collect();
        assert_eq!(marks, [20.0, 50.0, 100.0, 200.0, 500.0]);
        assert_eq!(Axis::Decades.marks(3_500.0, 7_000.0).len(), 3, "4,000, 5,000 and 6,000");
    }

    #[test]
    fn the_longest_bar_ends_at_the_frame() {
        let rounds = |values: &[f64]| Series::Rounds((1..).zip(values.iter().copied()).collect());
        let (one, two, both) = (rounds(&[50.0]), rounds(&[100.0]), rounds(&[1.0, 2.0]));
        let bar = |name, series| Bar {
            name,
            class: "c0".to_owned(),
            series,
            beside: String::new(),
            mark: String::new(),
        };
        let picture = bars("t", "ns", "", &[bar("one", &one), bar("two", &two)]);
        assert!(
            picture.contains("width='115.0'") && picture.contains("width='230.0'"),
            "{picture}"
        );
        assert!(!picture.contains("whisker"), "one run has no spread");
        assert!(bars("t", "ns", "", &[bar("one", &both)]).contains("whisker"));
    }
}
