//! The first picture: all scenarios and contenders in one table that is read by its colours.
//!
//! `page` calls [`table`]. A cell is the cost as a multiple of the cheapest WebSocket server's in
//! the same row, so floors, which do no WebSocket, may be below 1.

use super::sections::{Group, Runs, group, middle, section};
use super::svg::escape;
use crate::figure::{Figure, Unit};

/// Multiples from which on a cell has the next shade; below the first it has none.
const SHADES: [f64; 6] = [1.05, 1.25, 1.6, 2.5, 5.0, 10.0];

/// What the rows are about.
const UNITS: [Unit; 4] = [Unit::Echo, Unit::Delivery, Unit::Connection, Unit::Memory];

/// The table, or nothing if there is nobody to compare with.
pub fn table(runs: &Runs) -> String {
    if runs.contenders.iter().filter(|name| !is_floor(name)).count() < 2 {
        return String::new();
    }
    let parts: Vec<(Unit, Vec<Group<Figure>>)> =
        UNITS.iter().map(|unit| (*unit, compared(runs, *unit))).collect();
    let rows = || parts.iter().flat_map(|(_, groups)| groups);
    let is_shown = |name: &&String| rows().any(|one| one.rows.iter().any(|row| row.0 == **name));
    let columns: Vec<&String> = runs.contenders.iter().filter(is_shown).collect();
    let mut body = String::new();
    for (unit, groups) in parts.iter().filter(|(_, groups)| !groups.is_empty()) {
        let width = columns.len() + 1;
        body += &format!("<tr><th class='unit' colspan='{width}'>{}</th></tr>\n", unit.value());
        body += &groups.iter().map(|one| row(&columns, one)).collect::<String>();
    }
    let names = columns.iter().map(|name| format!("<th>{}</th>", escape(name)));
    let table = format!(
        "<div class='table'><table class='glance'><thead><tr><th></th>{}</tr></thead>\
         <tbody>{body}</tbody></table></div>",
        names.collect::<String>()
    );
    let words = "Each cost as a multiple of the cheapest WebSocket server's in its row: 1.0 is the \
                 best, the darker the dearer. Floors do no WebSocket, so they may be below it.";
    section("At a glance", words, &table)
}

/// The scenarios of a unit in which most take part; a pair among many would be a column for itself.
fn compared(runs: &Runs, unit: Unit) -> Vec<Group<Figure>> {
    let figures = runs.figures(unit).into_iter();
    let groups = group(figures.map(|one| (one.scenario.clone(), one.contender.clone(), one)));
    let is_common =
        |one: &Group<Figure>| one.rows.len() > 1 && one.rows.len() * 3 > runs.contenders.len();
    groups.into_iter().filter(is_common).collect()
}

fn is_floor(name: &str) -> bool {
    name.starts_with("floor")
}

fn row(columns: &[&String], scenario: &Group<Figure>) -> String {
    let costs: Vec<(&str, f64)> = scenario
        .rows
        .iter()
        .map(|(name, figures)| (name.as_str(), middle(figures, |figure| figure.value)))
        .collect();
    let servers = costs.iter().filter(|(name, cost)| !is_floor(name) && *cost > 0.0);
    let best = servers.map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
    let cells =
        columns.iter().map(|contender| match costs.iter().find(|(name, _)| name == contender) {
            Some((_, cost)) if best.is_finite() => cell(cost / best),
            _ => "<td></td>".to_owned(),
        });
    let title = escape(&scenario.scenario);
    format!("<tr><th>{title}</th>{}</tr>\n", cells.collect::<String>())
}

fn cell(multiple: f64) -> String {
    let shade = SHADES.iter().filter(|shade| multiple >= **shade).count();
    let digits = match multiple {
        small if small < 1.995 => format!("{small:.2}"),
        middling if middling < 9.95 => format!("{middling:.1}"),
        large => format!("{large:.0}"),
    };
    format!("<td class='h{shade}'>{digits}</td>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearer_the_darker() {
        for (multiple, wanted) in [
            (0.4, "<td class='h0'>0.40</td>"),
            (1.0, "<td class='h0'>1.00</td>"),
            (1.3, "<td class='h2'>1.30</td>"),
            (1.999, "<td class='h3'>2.0</td>"),
            (12.4, "<td class='h6'>12</td>"),
        ] {
            assert_eq!(cell(multiple), wanted);
        }
    }
}
