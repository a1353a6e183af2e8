//! The document of the status page, and the policy it is sent with.
//!
//! Owns the pieces in `page/` and puts them together. The HTTP service calls it for `GET /`. It
//! knows neither the engine nor a token: the page asks for one and calls the API like anybody.

use axum::body::Bytes;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// What stands in the document where a piece goes.
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

/// The document, made once: everybody gets the same bytes, so that who takes none of them holds no
/// memory.
static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
    let frame = include_str!("page/page.html").to_owned();
    let page =
        PIECES.iter().fold(frame, |page, (place, piece)| page.replacen(place, piece.trim_end(), 1));
    page.into()
});

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let page = str::from_utf8(&PAGE).unwrap_or_default();
    let [script, style] = ["script", "style"].map(|tag| hash(content_of(page, tag)));
    format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
});

/// The whole document.
pub(super) fn html() -> Bytes {
    PAGE.clone()
}

/// The `Content-Security-Policy` of the document: nothing runs, is loaded or is called but the
/// page's own style and script, which are known by their hashes, and this server; no other page may
/// frame it; and no text can become markup in it (Trusted Types).
pub(super) fn policy() -> &'static str {
    &POLICY
}

/// What stands in the only element of this name.
fn content_of<'a>(page: &'a str, tag: &str) -> &'a str {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let rest = page.split_once(&open).map_or("", |(_, rest)| rest);
    rest.split_once(&close).map_or("", |(content, _)| content)
}

/// The hash of an element's content, as a policy has it (CSP Level 3 §2.3.1).
fn hash(content: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> &'static str {
        str::from_utf8(&PAGE).expect("UTF-8")
    }

    #[test]
    fn every_piece_is_in_its_place_and_known_by_its_hash() {
        let page = page();
        assert!(!page.contains("/* include"), "a piece is missing");
        assert!(page.len() > 40_000, "{} bytes", page.len());
        for tag in ["script", "style"] {
            let content = content_of(page, tag);
            assert!(content.len() > 1_000, "{tag}");
            assert_eq!(page.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(policy().contains(&format!("{tag}-src '{}'", hash(content))), "{tag}");
        }
        // As other programs make it: printf %s x | openssl dgst -sha256 -binary | base64
        assert_eq!(hash("x"), "sha256-LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=");
        assert_eq!(html().as_ptr(), html().as_ptr(), "made once");
    }

    #[test]
    fn nothing_in_it_breaks_the_policy() {
        let page = page();
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
