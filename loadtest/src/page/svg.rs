//! Writes SVG: shapes and words, escaped; colours by the names of the page's style sheet.
//!
//! `chart` draws with it. It knows nothing about figures.

use std::fmt::{Display, Write};

/// A picture under way.
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

/// Where a text is held.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty picture with its own units, which the page scales.
    pub fn new(width: f64, height: f64) -> Svg {
        Svg { body: String::new(), width, height }
    }

    /// A rectangle of a colour class, with a tip for the mouse.
    pub fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str, tip: &str) {
        let (class, tip) = (escape(class), escape(tip));
        self.put(format_args!(
            "<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}' rx='2' \
             class='fill {class}'><title>{tip}</title></rect>"
        ));
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.put(format_args!(
            "<line x1='{:.1}' y1='{:.1}' x2='{:.1}' y2='{:.1}' class='{}'/>",
            from.0,
            from.1,
            to.0,
            to.1,
            escape(class)
        ));
    }

    /// Points joined in order.
    pub fn curve(&mut self, points: &[(f64, f64)], class: &str, tip: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.put(format_args!(
            "<polyline points='{}' class='stroke {}'><title>{}</title></polyline>",
            points.join(" "),
            escape(class),
            escape(tip)
        ));
    }

    /// A point with a tip.
    pub fn dot(&mut self, at: (f64, f64), class: &str, tip: &str) {
        self.put(format_args!(
            "<circle cx='{:.1}' cy='{:.1}' r='3.5' class='fill dot {}'><title>{}</title></circle>",
            at.0,
            at.1,
            escape(class),
            escape(tip)
        ));
    }

    /// Words.
    pub fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.put(format_args!(
            "<text x='{:.1}' y='{:.1}' text-anchor='{anchor}' class='{}'>{}</text>",
            at.0,
            at.1,
            escape(class),
            escape(words)
        ));
    }

    /// The picture; `name` is read out instead of it.
    pub fn finish(self, name: &str) -> String {
        format!(
            "<svg viewBox='0 0 {} {}' role='img' aria-label='{}'>{}</svg>\n",
            self.width,
            self.height,
            escape(name),
            self.body
        )
    }

    fn put(&mut self, element: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// Makes words harmless inside elements and attributes.
pub fn escape(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for letter in words.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No control character is allowed in XML but these.
            letter if letter.is_control() && !matches!(letter, '\n' | '\t') => {}
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_break_out() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 2.0), Anchor::End, "name", "<script>'&\"\u{7}");
        let picture = svg.finish("a 'b'");
        assert!(picture.contains(">&lt;script&gt;&#39;&amp;&quot;</text>"), "{picture}");
        assert!(picture.contains("aria-label='a &#39;b&#39;'"), "{picture}");
    }
}
