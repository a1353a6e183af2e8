//! The document of the status page, and the policy it is sent with.
//!
//! Owns the pieces in `page/` and puts them together. The HTTP service calls it for `GET /`. It
//! knows neither the engine nor a token: the page asks for one and calls the API like anybody.

use std::sync::LazyLock;

/// What stands in the document where a piece or the nonce goes.
const PIECES: [(&str, &str); 8] = [
    ("/* include style.css */", include_str!("page/style.css")),
    ("/* include format.js */", include_str!("page/format.js")),
    ("/* include api.js */", include_str!("page/api.js")),
    ("/* include charts.js */", include_str!("page/charts.js")),
    ("/* include overview.js */", include_str!("page/overview.js")),
    ("/* include table.js */", include_str!("page/table.js")),
    ("/* include dialogs.js */", include_str!("page/dialogs.js")),
    ("/* include main.js */", include_str!("page/main.js")),
];
const NONCE: &str = "{{nonce}}";

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let frame = include_str!("page/page.html").to_owned();
    PIECES.iter().fold(frame, |page, (place, piece)| page.replacen(place, piece.trim_end(), 1))
});

/// The whole document, with the nonce in its style and its script. `nonce` is base64 of at least
/// 128 random bits, new for each answer, and the same as in [`policy`].
pub(super) fn html(nonce: &str) -> String {
    PAGE.replace(NONCE, nonce)
}

/// The `Content-Security-Policy` of the document: nothing runs, is loaded or is called but the
/// page's own style and script and this server; no other page may frame it; and no text can become
/// markup in it (Trusted Types).
pub(super) fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_and_the_nonce_are_in_their_places() {
        let page = html("bm9uY2U=");
        assert!(!page.contains("/* include"), "a piece is missing");
        assert!(!page.contains(NONCE));
        assert!(page.contains("<style nonce=\"bm9uY2U=\">"));
        assert!(page.contains("<script nonce=\"bm9uY2U=\">"));
        assert!(page.len() > 40_000, "{} bytes", page.len());
        assert!(policy("bm9uY2U=").matches("'nonce-bm9uY2U='").count() == 2);
    }

    #[test]
    fn nothing_in_it_breaks_the_policy() {
        let page = html("n");
        // Inline styles and handlers are refused by the browser, and sinks of markup by Trusted Types.
        for refused in [
            " style=\"",
            " onclick",
            " onload",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "@import",
            "url(",
        ] {
            assert!(!page.contains(refused), "the page has {refused:?}");
        }
        assert_eq!(page.matches("<script").count(), 1);
        assert_eq!(page.matches("</script").count(), 1);
        let addresses: Vec<&str> = page.match_indices("http").map(|(at, _)| &page[at..]).collect();
        assert!(
            addresses
                .iter()
                .filter(|text| text.starts_with("http://") || text.starts_with("https://"))
                .all(|text| text.starts_with("http://www.w3.org/2000/svg")),
            "the page names another host"
        );
    }
}
