//! What is asked for, as the query of a URL. Called by those who make requests; sends none.

use std::fmt::Display;
use std::fmt::Write as _;

/// Which WebSockets to list, in which order, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketQuery {
    /// Of this route only.
    pub route: Option<String>,
    /// Of this status only: `handshake`, `websocket`, `shared`, `unattended` or `closing`.
    pub status: Option<String>,
    /// Whose id, peer, route or session has this text.
    pub search: Option<String>,
    /// By this column, such as `idle_ms`. Default: as they lie in memory, which is the only order
    /// in which all of very many can be paged through.
    pub sort: Option<String>,
    /// Largest first. Only with `sort`.
    pub descending: bool,
    /// So many in a page, 1 to 1,000. Default: 100.
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// So many left out. Only with `sort`.
    pub offset: Option<u32>,
}

impl SocketQuery {
    pub(super) fn target(&self) -> String {
        let order = self.sort.as_ref().map(|_| if self.descending { "desc" } else { "asc" });
        Target::new("/v1/websockets")
            .with("route", self.route.as_ref())
            .with("status", self.status.as_ref())
            .with("q", self.search.as_ref())
            .with("sort", self.sort.as_ref())
            .with("order", order)
            .with("limit", self.limit)
            .with("cursor", self.cursor.as_ref())
            .with("offset", self.offset)
            .finish()
    }
}

/// A path with a query, encoded while it is put together.
pub(super) struct Target {
    text: String,
    has_query: bool,
}

impl Target {
    pub(super) fn new(path: &str) -> Self {
        Self { text: path.into(), has_query: false }
    }

    /// A verb of one WebSocket, or nothing for itself.
    pub(super) fn of_socket(id: &str, verb: &str) -> Self {
        Self::of("/v1/websockets/", id, verb)
    }

    /// A verb of one session.
    pub(super) fn of_session(id: &str, verb: &str) -> Self {
        Self::of("/v1/sessions/", id, verb)
    }

    fn of(collection: &str, id: &str, verb: &str) -> Self {
        let mut text = String::from(collection);
        // Without an id it would be the collection; this is no id either.
        encode(if id.is_empty() { "-" } else { id }, &mut text);
        if !verb.is_empty() {
            text.push('/');
            text.push_str(verb);
        }
        Self { text, has_query: false }
    }

    pub(super) fn with(mut self, name: &str, value: Option<impl Display>) -> Self {
        if let Some(value) = value {
            self.text.push(if self.has_query { '&' } else { '?' });
            self.text.push_str(name);
            self.text.push('=');
            encode(&value.to_string(), &mut self.text);
            self.has_query = true;
        }
        self
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// Appends `value` with everything but unreserved letters in percent (RFC 3986 §2.3).
fn encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Formatting into a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_from_its_place() {
        let target = Target::of_socket("../a?b=c#d", "read").with("len", Some(1));
        assert_eq!(target.finish(), "/v1/websockets/..%2Fa%3Fb%3Dc%23d/read?len=1");
        let query = SocketQuery {
            route: Some("/a b&status=x".into()),
            search: Some("é\r\n".into()),
            sort: Some("idle_ms".into()),
            descending: true,
            limit: Some(5),
            ..SocketQuery::default()
        };
        assert_eq!(
            query.target(),
            "/v1/websockets?route=%2Fa%20b%26status%3Dx&q=%C3%A9%0D%0A&sort=idle_ms&order=desc&limit=5"
        );
        assert_eq!(SocketQuery::default().target(), "/v1/websockets");
    }
}
