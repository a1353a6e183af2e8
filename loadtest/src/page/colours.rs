//! Which colour is whose: twelve that can be told apart, also by people who see fewer.
//!
//! The first is for ours and all its variants. From the seventh on curves are dashed as well. The
//! colours themselves are in `style.css`.

use super::chart::OWN;
use crate::figures::book::Book;

const COLOURS: usize = 12;
const DASHED_FROM: usize = 6;

/// The classes of a contender.
pub fn class(book: &Book, contender: &str) -> String {
    let base = contender.split(" (").next().unwrap_or(contender);
    let base = if book.contenders.iter().any(|name| name == base) { base } else { contender };
    let ours = book.ours.first().map(String::as_str);
    if ours == Some(base) {
        return format!("c0{OWN}");
    }
    let others = book.contenders.iter().filter(|name| Some(name.as_str()) != ours);
    let bases = others.filter(|name| !name.contains(" (") || *name == base);
    let place = bases.take_while(|name| *name != base).count();
    let colour = match ours {
        Some(_) => 1 + place % (COLOURS - 1),
        None => place % COLOURS,
    };
    format!("c{colour}{}", if colour < DASHED_FROM { "" } else { " dashed" })
}

/// Which colour is whose, with the number of runs.
pub fn legend(book: &Book) -> String {
    let entries = book.contenders.iter().map(|contender| {
        let runs: u32 = book
            .doubts
            .iter()
            .filter(|doubt| doubt.contender == *contender)
            .map(|doubt| doubt.runs)
            .sum();
        let (class, name) = (class(book, contender), super::svg::escape(contender));
        format!("<li class='{class}'><i></i>{name} <small>{runs}</small></li>")
    });
    format!("<ul class='legend'>{}</ul>", entries.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Colours nearer than this are hard to tell apart (CIE76 in L*a*b*): for most people, and for
    /// those who see no red or no green, where both are drawn alike and where one is dashed.
    const DISTANCE_MIN: f64 = 25.0;
    const DISTANCE_ALIKE_MIN: f64 = 15.0;
    const DISTANCE_DASHED_MIN: f64 = 10.0;
    /// Of a colour to its card.
    const CONTRAST_MIN: f64 = 2.0;

    type Three = [f64; 3];
    type Matrix = [Three; 3];

    const NORMAL: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    /// Machado, Oliveira and Fernandes 2009, severity 1.
    const PROTANOPIA: Matrix = [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ];
    const DEUTERANOPIA: Matrix = [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ];

    fn times(matrix: Matrix, colour: Three) -> Three {
        matrix.map(|row| row.iter().zip(colour).map(|(weight, part)| weight * part).sum())
    }

    fn linear(hex: &str) -> Three {
        [1, 3, 5].map(|at| {
            let part = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn lab(linear: Three) -> Three {
        let xyz = times(
            [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
            linear.map(|part| part.clamp(0.0, 1.0)),
        );
        let white = [0.9505, 1.0, 1.089];
        let [x, y, z] = [0, 1, 2].map(|axis| {
            let part: f64 = xyz[axis] / white[axis];
            if part > 0.008856 { part.cbrt() } else { 7.787 * part + 16.0 / 116.0 }
        });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// As WCAG has it, for contrasts.
    fn luminance(colour: Three) -> f64 {
        let weights = [0.2126, 0.7152, 0.0722];
        colour.iter().zip(weights).map(|(part, weight)| part * weight).sum::<f64>() + 0.05
    }

    fn distance(one: Three, other: Three) -> f64 {
        one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    }

    /// The values of a name in the style sheet: for light pages, for dark ones.
    fn values(name: &str) -> Vec<&'static str> {
        let (style, name) = (crate::page::STYLE, format!("{name}: "));
        let hits = style.match_indices(&name).map(|(at, _)| at + name.len());
        hits.map(|at| &style[at..at + 7]).filter(|value| value.starts_with('#')).collect()
    }

    #[test]
    fn colours_can_be_told_apart_by_everybody_and_seen_on_their_card() {
        for page in 0..2 {
            let colours: Vec<Three> =
                (0..COLOURS).map(|number| linear(values(&format!("--k{number}"))[page])).collect();
            let card = luminance(linear(values("--card")[page]));
            for (place, colour) in colours.iter().enumerate() {
                let own = luminance(*colour);
                let contrast = card.max(own) / card.min(own);
                assert!(contrast >= CONTRAST_MIN, "c{place} on page {page}: {contrast:.2}");
                for (before, other) in colours[..place].iter().enumerate() {
                    let is_alike = (before < DASHED_FROM) == (place < DASHED_FROM);
                    let less = if is_alike { DISTANCE_ALIKE_MIN } else { DISTANCE_DASHED_MIN };
                    for (eyes, least) in
                        [(NORMAL, DISTANCE_MIN), (PROTANOPIA, less), (DEUTERANOPIA, less)]
                    {
                        let far = distance(lab(times(eyes, *colour)), lab(times(eyes, *other)));
                        assert!(far >= least, "c{before} and c{place}, page {page}: {far:.1}");
                    }
                }
            }
        }
    }

    #[test]
    fn twelve_contenders_have_twelve_colours_and_ours_has_its_own() {
        let names = ["a", "b", "ringwire", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
        let mut book = Book { ours: vec!["ringwire".to_owned()], ..Book::default() };
        book.contenders = names.map(str::to_owned).into();
        book.contenders.push("ringwire (2 shards)".to_owned());
        let mut classes: Vec<String> = names.iter().map(|name| class(&book, name)).collect();
        assert_eq!(classes[2], "c0 own");
        assert_eq!(class(&book, "ringwire (2 shards)"), "c0 own");
        assert_eq!(class(&book, "k"), "c11 dashed");
        classes.sort();
        classes.dedup();
        assert_eq!(classes.len(), 12);
    }
}
