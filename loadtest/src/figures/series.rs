//! Medians, spreads and ratios. Every figure that is printed or drawn anywhere is computed here.

use serde::{Deserialize, Serialize};

/// What one contender came to in one scenario, by one measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Series {
    /// A value of each round in which it took part, by the number of the round.
    Rounds(Vec<(u32, f64)>),
    /// What is left where the rounds were not kept.
    Summary { median: f64, low: f64, high: f64 },
}

/// One contender beside another, over the rounds that both have. `quotient` is that of the two
/// medians, so that a row which shows all three is right in itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub value: f64,
    pub base: f64,
    pub quotient: f64,
    /// The lowest and the highest of round against round; `quotient` lies between them.
    pub spread: Option<(f64, f64)>,
}

impl Series {
    /// The middle value.
    pub fn median(&self) -> f64 {
        match self {
            Series::Rounds(rounds) => median(&values(rounds)),
            Series::Summary { median, .. } => *median,
        }
    }

    /// The lowest and the highest value.
    pub fn spread(&self) -> (f64, f64) {
        match self {
            Series::Rounds(rounds) => spread(&values(rounds)),
            Series::Summary { low, high, .. } => (*low, *high),
        }
    }

    /// How many runs it is of; `None` if they were not kept.
    pub fn runs(&self) -> Option<usize> {
        match self {
            Series::Rounds(rounds) => Some(rounds.len()),
            Series::Summary { .. } => None,
        }
    }

    /// Whether some run of one was no better than some run of the other.
    pub fn overlaps(&self, other: &Series) -> bool {
        let (one, two) = (self.spread(), other.spread());
        one.0 <= two.1 && two.0 <= one.1
    }

    /// Beside `base`. `None` without a round that both have, or if the base is nothing.
    pub fn beside(&self, base: &Series) -> Option<Ratio> {
        let (Series::Rounds(own), Series::Rounds(others)) = (self, base) else {
            return Ratio::of(self.median(), base.median(), None);
        };
        let pairs: Vec<(f64, f64)> = own
            .iter()
            .filter_map(|(round, value)| {
                let other = others.iter().find(|other| other.0 == *round)?;
                Some((*value, other.1))
            })
            .collect();
        let of = |side: fn(&(f64, f64)) -> f64| median(&pairs.iter().map(side).collect::<Vec<_>>());
        let ratios: Vec<f64> = pairs.iter().map(|(value, base)| value / base).collect();
        let is_sound = pairs.iter().all(|pair| pair.1 > 0.0);
        let spread = (pairs.len() > 1 && is_sound).then(|| spread(&ratios));
        Ratio::of(of(|pair| pair.0), of(|pair| pair.1), spread)
    }
}

impl Ratio {
    /// Of two medians; `None` if the base is nothing.
    pub fn of(value: f64, base: f64, spread: Option<(f64, f64)>) -> Option<Ratio> {
        (base > 0.0).then(|| Ratio { value, base, quotient: value / base, spread })
    }
}

fn values(rounds: &[(u32, f64)]) -> Vec<f64> {
    rounds.iter().map(|round| round.1).collect()
}

/// The middle value; the mean of the two in the middle; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

/// The lowest and the highest value; 0 of none.
pub fn spread(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().min_by(f64::total_cmp);
    let high = values.iter().copied().max_by(f64::total_cmp);
    (low.unwrap_or(0.0), high.unwrap_or(0.0))
}

/// A number for people: thousands apart, one digit behind the point where that says something.
pub fn number(value: f64) -> String {
    if value.abs() < 99.95 {
        return if value == 0.0 { "0".to_owned() } else { format!("{value:.1}") };
    }
    let digits = format!("{:.0}", value.abs());
    let mut out = String::from(if value < 0.0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[(u32, f64)]) -> Series {
        Series::Rounds(values.to_vec())
    }

    #[test]
    fn medians_and_spreads() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 3.0));
    }

    #[test]
    fn a_ratio_is_of_the_rounds_that_both_have() {
        let one = rounds(&[(1, 2.0), (2, 40.0), (3, 6.0), (4, 999.0)]);
        let other = rounds(&[(0, 999.0), (1, 1.0), (2, 20.0), (3, 2.0)]);
        let ratio = one.beside(&other).unwrap();
        assert_eq!((ratio.value, ratio.base, ratio.quotient), (6.0, 2.0, 3.0));
        assert_eq!(ratio.spread, Some((2.0, 3.0)));
        assert_eq!(one.beside(&rounds(&[(9, 1.0)])), None, "no round is shared");
        assert_eq!(one.beside(&rounds(&[(1, 0.0)])), None);
    }

    #[test]
    fn a_ratio_agrees_with_the_values_beside_it_and_lies_within_its_spread() {
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 40) as f64 + 1.0
        };
        for len in 2..40_u32 {
            let mut series = || rounds(&(0..len).map(|round| (round, next())).collect::<Vec<_>>());
            let (one, other) = (series(), series());
            let ratio = one.beside(&other).unwrap();
            let (low, high) = ratio.spread.unwrap();
            assert_eq!(ratio.quotient, one.median() / other.median());
            assert!(low <= ratio.quotient && ratio.quotient <= high, "{ratio:?}");
        }
    }

    #[test]
    fn summaries_have_a_ratio_without_a_spread() {
        let summary = |median, low, high| Series::Summary { median, low, high };
        let ratio = summary(3.0, 1.0, 9.0).beside(&rounds(&[(1, 2.0)])).unwrap();
        assert_eq!((ratio.quotient, ratio.spread), (1.5, None));
        assert!(summary(3.0, 1.0, 4.0).overlaps(&summary(5.0, 4.0, 6.0)));
        assert!(!summary(3.0, 1.0, 4.0).overlaps(&summary(5.0, 4.5, 6.0)));
    }

    #[test]
    fn both_forms_are_read_from_json() {
        for series in
            [rounds(&[(1, 2.5), (3, 4.0)]), Series::Summary { median: 2.0, low: 1.0, high: 3.0 }]
        {
            let text = serde_json::to_string(&series).unwrap();
            assert_eq!(serde_json::from_str::<Series>(&text).unwrap(), series, "{text}");
        }
    }

    #[test]
    fn numbers_are_readable() {
        for (value, text) in [
            (0.0, "0"),
            (4.56, "4.6"),
            (99.96, "100"),
            (-79.9, "-79.9"),
            (-2_105.0, "-2,105"),
            (12_345.6, "12,346"),
            (2_592_947.0, "2,592,947"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
