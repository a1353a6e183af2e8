//! The sections of the page that judge: targets, and where somebody is ahead.

use super::tables::table;
use crate::figures::book::Book;
use crate::figures::series::number;
use crate::figures::targets::{RatioTarget, Targets, Verdict};
use crate::figures::verdict::{Ahead, FLOOR_WANTED, NOISE, above_floor, losses as lost};

/// What was to be reached. Nothing if none of it was measured.
pub fn targets(book: &Book) -> String {
    let targets = Targets::of(book);
    let count = targets.count();
    if count.met + count.missed == 0 {
        return String::new();
    }
    let words = format!(
        "{} met, {} missed, {} not measured. Ratios are quotients of the medians, with the lowest \
         and the highest of round against round behind them. In {} of the missed the raw floor, \
         which does no WebSocket, misses as well: its figure stands behind.",
        count.met, count.missed, count.not_measured, count.out_of_reach
    );
    let rows: Vec<[String; 4]> = targets
        .ratios
        .iter()
        .map(|row| {
            let [floor, bun, node] = &row.peers;
            [row.scenario.to_owned(), ratio(floor), ratio(bun), ratio(node)]
        })
        .collect();
    let head = ["server CPU, as a multiple of", "the better raw floor", "Bun", "node ws"];
    let others: Vec<[String; 4]> = targets
        .others
        .iter()
        .map(|target| {
            let said = [verdict(target.verdict), &target.remark].map(str::to_owned);
            let said = said.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
            [target.what.clone(), target.wanted.clone(), target.measured.clone(), said.join(", ")]
        })
        .collect();
    let more = table(&["target", "wanted", "measured", ""], &others);
    super::section("Targets", &words, &(table(&head, &rows) + &more))
}

/// A word for it.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "missed",
        Verdict::NotMeasured => "–",
    }
}

fn ratio(target: &RatioTarget) -> String {
    let wanted = target.wanted;
    let Some(ratio) = target.ratio else { return format!("– (≤ {wanted:.2})") };
    let spread =
        ratio.spread.map_or(String::new(), |(low, high)| format!(" [{low:.2} – {high:.2}]"));
    let floor = target.floor.map_or(String::new(), |floor| format!(", floor too: {floor:.2}"));
    let word = verdict(target.verdict());
    format!("{:.2}{spread}, ≤ {wanted:.2}: {word}{floor}", ratio.quotient)
}

/// Where somebody is ahead of ours, and what raw TCP would need.
pub fn losses(book: &Book) -> String {
    if book.ours.is_empty() {
        return String::new();
    }
    let rows: Vec<[String; 4]> = lost(book)
        .iter()
        .map(|loss| {
            let ahead: Vec<String> =
                loss.ahead.iter().map(|one| ahead(one, loss.own.median())).collect();
            let own = format!("{} {}", loss.ours, number(loss.own.median()));
            [loss.metric.heading.to_owned(), loss.scenario.to_owned(), own, ahead.join(", ")]
        })
        .collect();
    let above: Vec<[String; 4]> = above_floor(book)
        .iter()
        .map(|one| {
            let (own, floor) = (number(one.ratio.value), number(one.ratio.base));
            [
                one.scenario.to_owned(),
                format!("{} {own}", one.ours),
                format!("{} {floor}", one.floor),
                format!("{:.3}", one.ratio.quotient),
            ]
        })
        .collect();
    let head = ["figure", "scenario", "ours", "ahead of it (ours as a multiple)"];
    let floor = ["server CPU above the better raw floor's", "ours", "floor", "ratio"];
    let words = format!(
        "Every figure in which somebody is ahead by more than {:.0} %; ~ where the spreads overlap. \
         Then every server CPU above {FLOOR_WANTED} × the better raw floor, which does no WebSocket \
         at all.",
        NOISE * 100.0
    );
    super::section("Where we lose", &words, &(table(&head, &rows) + &table(&floor, &above)))
}

/// Who is ahead, with ours where it is of other rounds than `own`.
pub fn ahead(one: &Ahead<'_>, own: f64) -> String {
    let beside = match one.ratio.value == own {
        true => String::new(),
        false => format!(" against {}", number(one.ratio.value)),
    };
    let doubt = if one.overlaps { " ~" } else { "" };
    let (theirs, quotient) = (number(one.ratio.base), one.ratio.quotient);
    format!("{} {theirs}{beside} ({quotient:.2} ×{doubt})", one.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::series::Ratio;

    #[test]
    fn a_row_says_of_which_rounds_it_is() {
        let ratio = Ratio::of(110.0, 100.0, None).expect("a base");
        let one = Ahead { name: "bun", ratio, overlaps: true };
        assert_eq!(ahead(&one, 110.0), "bun 100 (1.10 × ~)");
        assert_eq!(ahead(&one, 120.0), "bun 100 against 110 (1.10 × ~)");
    }

    #[test]
    fn without_ours_nobody_is_judged() {
        assert_eq!(losses(&Book::default()), "");
        assert_eq!(targets(&Book::default()), "");
        assert_eq!(verdict(Verdict::Missed), "missed");
    }
}
