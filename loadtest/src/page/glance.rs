//! The first picture: all scenarios and contenders in one table that is read by its colours.

use super::svg::escape;
use crate::figures::book::Book;
use crate::figures::series::Ratio;
use crate::figures::verdict::{Glance, glance};

/// Multiples from which on a cell has the next shade; below the first it has none.
const SHADES: [f64; 6] = [1.05, 1.25, 1.6, 2.5, 5.0, 10.0];

/// The table, or nothing if there is nobody to compare with.
pub fn section(book: &Book) -> String {
    let Some(Glance { base, contenders, parts }) = glance(book) else { return String::new() };
    let width = contenders.len() + 1;
    let mut body = String::new();
    for part in parts {
        body += &format!("<tr><th class='unit' colspan='{width}'>{}</th></tr>\n", part.unit);
        for (scenario, ratios) in part.rows {
            let cells: String = ratios.iter().map(|ratio| cell(*ratio)).collect();
            body += &format!("<tr><th>{}</th>{cells}</tr>\n", escape(scenario));
        }
    }
    let names: String =
        contenders.iter().map(|name| format!("<th>{}</th>", escape(name))).collect();
    let table = format!(
        "<div class='table'><table class='glance'><thead><tr><th></th>{names}</tr></thead>\n\
         <tbody>{body}</tbody></table></div>"
    );
    let base = escape(base);
    let words = format!(
        "Each cost as a multiple of that of <b>{base}</b>: above 1, {base} is cheaper; the darker \
         the dearer. Quotients of the medians, over the rounds that both have. Floors echo raw TCP \
         and do no WebSocket."
    );
    super::section("At a glance", &words, &table)
}

fn cell(ratio: Option<Ratio>) -> String {
    let Some(ratio) = ratio else { return "<td></td>".to_owned() };
    let multiple = ratio.quotient;
    let shade = SHADES.iter().filter(|shade| multiple >= **shade).count();
    let digits = match multiple {
        small if small < 9.995 => format!("{small:.2}"),
        large => format!("{large:.1}"),
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
            (1.999, "<td class='h3'>2.00</td>"),
            (12.4, "<td class='h6'>12.4</td>"),
        ] {
            assert_eq!(cell(Ratio::of(multiple, 1.0, None)), wanted);
        }
        assert_eq!(cell(None), "<td></td>");
    }
}
