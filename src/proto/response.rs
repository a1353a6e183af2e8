//! The answers in HTTP: refusals and pages, always the last thing on their connection.
//!
//! Every answer but the 101 says `Connection: close` and is followed by the close, whatever the
//! request asked for: a proxy that begins to tunnel when it sees an upgrade asked for must not be
//! given a connection on which a second request would be read. Nothing an application supplies can
//! break out of its header line.

use std::borrow::Cow;
use std::fmt::Write;

use thiserror::Error;

use super::request::{RequestError, is_token};

/// An answer that refuses a request: a status, one line of plain text, perhaps some headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: u16,
    reason: Cow<'static, str>,
    headers: Vec<(String, String)>,
    remedy: Option<&'static str>,
}

impl Refusal {
    /// A refusal with this status and this body. A status that is not 300 to 599 would not refuse;
    /// it becomes 500.
    pub fn new(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        let status = if matches!(status, 300..=599) { status } else { 500 };
        Self { status, reason: reason.into(), headers: Vec::new(), remedy: None }
    }

    /// Adds a header field, for example `Retry-After` or `Location`.
    pub fn header(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, HeaderError> {
        let (name, value) = (name.into(), value.into());
        check_header(&name, &value)?;
        self.headers.push((name, value));
        Ok(self)
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body, one line of plain text.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The header fields added to the usual ones.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// What the operator of the server is told, if the remedy is theirs. It has nothing of what the
    /// peer sent.
    pub fn remedy(&self) -> Option<&'static str> {
        self.remedy
    }

    /// The whole answer as it goes on the wire; the connection is to be closed after it.
    pub fn response(&self) -> Vec<u8> {
        let mut response = self.response_to_head();
        response.extend_from_slice(self.reason.as_bytes());
        response.push(b'\n');
        response
    }

    /// The same for a request whose method is HEAD: the length is declared, the body left out.
    ///
    /// Source: RFC 9110 §9.3.2.
    pub fn response_to_head(&self) -> Vec<u8> {
        let body_bytes = self.reason.len() + 1;
        let mut head = answer_head(self.status, "text/plain; charset=utf-8", body_bytes);
        for (name, value) in &self.headers {
            write_header(&mut head, name, value);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Adds what the operator is told.
    pub(super) fn with_remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Adds a header of our own making, which an application may not set.
    pub(crate) fn with_own_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl From<RequestError> for Refusal {
    /// The body says what is wrong and repeats nothing of the request.
    fn from(error: RequestError) -> Self {
        let refusal = Self::new(error.status(), error.to_string());
        Self { remedy: error.remedy(), ..refusal }
    }
}

/// Why a header field of the application was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name is not a token (RFC 9110 §5.6.2).
    #[error("header name is not a token")]
    Name,
    /// The value holds CR, LF, NUL or another control byte.
    #[error("control byte in a header value")]
    Value,
    /// The field belongs to the protocol: `Connection`, `Upgrade`, `Content-Length`,
    /// `Transfer-Encoding`, `Sec-WebSocket-*`.
    #[error("header belongs to the protocol")]
    Reserved,
}

/// Whether an application may send this header field in an answer. [`Refusal::header`] asks
/// itself; whoever collects headers for the 101 asks here, when the application sets them.
///
/// Source: RFC 9110 §5.1, §5.5.
pub fn check_header(name: &str, value: &str) -> Result<(), HeaderError> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeaderError::Name);
    }
    let control = |byte: u8| byte < 0x20 && byte != b'\t' || byte == 0x7F;
    if value.bytes().any(control) {
        return Err(HeaderError::Value);
    }
    let name = name.to_ascii_lowercase();
    let owned = ["connection", "upgrade", "content-length", "transfer-encoding"];
    if owned.contains(&name.as_str()) || name.starts_with("sec-websocket-") {
        return Err(HeaderError::Reserved);
    }
    Ok(())
}

/// What every page is told: nothing from elsewhere, inside nobody else's frame, and isolated, so
/// that its clock is fine enough to measure round trips.
const PAGE_HEADERS: [(&str, &str); 4] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
         connect-src 'self' ws: wss:; img-src data:; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Referrer-Policy", "no-referrer"),
];

/// The answer to a plain request: a page that is not cached, after which the connection closes.
///
/// `head_only` is for HEAD: the length is declared, the body left out. A `content_type` that
/// [`check_header`] would refuse becomes `application/octet-stream`.
pub fn page_response(status: u16, content_type: &str, body: &[u8], head_only: bool) -> Vec<u8> {
    let content_type = match check_header("Content-Type", content_type) {
        Ok(()) => content_type,
        Err(_) => "application/octet-stream",
    };
    let mut head = answer_head(status, content_type, body.len());
    for (name, value) in PAGE_HEADERS {
        write_header(&mut head, name, value);
    }
    head.push_str("\r\n");
    let mut response = head.into_bytes();
    if !head_only {
        response.extend_from_slice(body);
    }
    response
}

/// The answer to OPTIONS: the methods that are allowed.
///
/// Source: RFC 9110 §9.3.7.
pub fn options_response(allow: &str) -> Vec<u8> {
    let mut head = answer_head(200, "text/plain; charset=utf-8", 0);
    write_header(&mut head, "Allow", allow);
    head.push_str("\r\n");
    head.into_bytes()
}

/// The status line and the headers of every answer that is not a 101, without the empty line.
fn answer_head(status: u16, content_type: &str, body_bytes: usize) -> String {
    let mut head = String::with_capacity(256);
    // Writing to a `String` cannot fail.
    let _ = write!(
        head,
        "HTTP/1.1 {status} {}\r\n\
         Connection: close\r\n\
         Content-Type: {content_type}\r\n\
         Content-Length: {body_bytes}\r\n\
         Cache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\n",
        reason_phrase(status),
    );
    head
}

pub(super) fn write_header(head: &mut String, name: &str, value: &str) {
    head.push_str(name);
    head.push_str(": ");
    head.push_str(value);
    head.push_str("\r\n");
}

/// The phrase that goes with a status (RFC 9110 §15, RFC 6585).
const fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        // The phrase has no meaning (RFC 9112 §4), so the class will do for the others.
        _ => match status / 100 {
            2 => "Success",
            3 => "Redirection",
            4 => "Client Error",
            _ => "Server Error",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_cannot_inject_a_header() {
        for (name, value, error) in [
            ("", "x", HeaderError::Name),
            ("a b", "x", HeaderError::Name),
            ("a:", "x", HeaderError::Name),
            ("a\r\nb", "x", HeaderError::Name),
            ("é", "x", HeaderError::Name),
            ("a", "x\r\nSet-Cookie: y", HeaderError::Value),
            ("a", "x\ny", HeaderError::Value),
            ("a", "x\0", HeaderError::Value),
            ("a", "\x7F", HeaderError::Value),
            ("CONNECTION", "keep-alive", HeaderError::Reserved),
            ("Content-length", "0", HeaderError::Reserved),
            ("Transfer-Encoding", "chunked", HeaderError::Reserved),
            ("Sec-WebSocket-Accept", "x", HeaderError::Reserved),
        ] {
            assert_eq!(check_header(name, value), Err(error), "{name:?}");
            assert_eq!(Refusal::new(403, "no").header(name, value), Err(error));
        }
        assert_eq!(check_header("Set-Cookie", "a=b; Path=/"), Ok(()));
    }

    #[test]
    fn a_refusal_on_the_wire() {
        let refusal = Refusal::new(503, "full").header("Retry-After", "7").unwrap();
        let text = String::from_utf8(refusal.response()).unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Retry-After: 7\r\n\r\nfull\n"
        );
    }

    #[test]
    fn a_refusal_always_refuses() {
        for (status, sent) in [(101, 500), (200, 500), (0, 500), (600, 500), (302, 302), (418, 418)]
        {
            assert_eq!(Refusal::new(status, "").status(), sent);
        }
        let response = Refusal::new(101, "x").response();
        assert!(response.starts_with(b"HTTP/1.1 500 Internal Server Error\r\n"));
    }

    #[test]
    fn a_page_with_and_without_its_body() {
        let whole = page_response(200, "text/html", b"<p>", false);
        let head = page_response(200, "text/html", b"<p>", true);
        assert_eq!(whole, [&head[..], b"<p>"].concat());
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains("\r\nContent-Length: 3\r\n") && head.ends_with("\r\n\r\n"));
        let tricked = page_response(200, "text/html\r\nX: y", b"", true);
        assert!(!String::from_utf8(tricked).unwrap().contains("X: y"));
    }
}
