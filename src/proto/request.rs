//! The request head: bytes in, a [`Request`] out, or the status that refuses it.
//!
//! The reader is strict where leniency has let requests be smuggled past a proxy: lines end in
//! CR LF and nothing else, no control byte, no folded header, one `Host`. Only empty lines before
//! the request line may end in LF alone; they are ignored, and count as bytes of the head. It looks
//! at every byte once, however slowly they come, and parses once, when the head is whole. Bytes after
//! the head are not its business.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::limits::REQUEST_HEADERS_MAX;
use super::origin::Authority;

mod error;
mod scan;
mod target;

pub use error::RequestError;
use scan::HeadScan;
pub(super) use scan::is_token;
use target::Target;

/// What a request that wants no body in its answer begins with.
const HEAD: [u8; 5] = *b"HEAD ";

/// A request head, owned.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Method, target and the header names in lower case, one behind the other.
    text: Box<str>,
    /// The header values, one behind the other.
    values: Box<[u8]>,
    headers: Box<[Header]>,
    method_end: u32,
    target_end: u32,
    http_1_0: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct Header {
    name: Range<u32>,
    value: Range<u32>,
}

impl Request {
    /// The method, as sent.
    pub fn method(&self) -> &str {
        &self.text[..self.method_end as usize]
    }

    /// Whether it is one of HTTP/1.0, which knows no upgrade and need not have a `Host`.
    pub fn is_http_1_0(&self) -> bool {
        self.http_1_0
    }

    /// Path and query as sent: it begins with `/`, and nothing in it is decoded. `*` if it is about
    /// the server as a whole, which only OPTIONS asks (RFC 9112 §3.2.4). The host of an
    /// absolute-form target is in the field `host`, where it counts instead of what was sent there
    /// (RFC 9112 §3.2.2).
    pub fn target(&self) -> &str {
        &self.text[self.method_end as usize..self.target_end as usize]
    }

    /// The target up to the first `?`.
    pub fn path(&self) -> &str {
        self.target().split_once('?').map_or(self.target(), |(path, _)| path)
    }

    /// The target after the first `?`, `None` if there is none.
    pub fn query(&self) -> Option<&str> {
        self.target().split_once('?').map(|(_, query)| query)
    }

    /// All header fields in the order they came, names in lower case, values without the white
    /// space around them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|header| (self.name(header), self.value(header)))
    }

    /// The first header field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers_named(name).next()
    }

    /// The first header field of this name that is UTF-8. Those that the handshake interprets
    /// (`Host`, `Origin`, `Upgrade`, `Connection`, `Sec-WebSocket-*`) always are.
    pub fn header_str(&self, name: &str) -> Option<&str> {
        self.headers_named(name).find_map(|value| std::str::from_utf8(value).ok())
    }

    /// All header fields of this name, in any case, in the order they came.
    pub fn headers_named<'a, 'b>(
        &'a self,
        name: &'b str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'b> {
        self.headers()
            .filter(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn name(&self, header: &Header) -> &str {
        &self.text[header.name.start as usize..header.name.end as usize]
    }

    fn value(&self, header: &Header) -> &[u8] {
        &self.values[header.value.start as usize..header.value.end as usize]
    }

    fn from_parts(
        method: &str,
        target: &Target<'_>,
        http_1_0: bool,
        fields: &[httparse::Header<'_>],
    ) -> Self {
        let names_bytes: usize = fields.iter().map(|field| field.name.len()).sum();
        let values_bytes = fields.iter().map(|field| field.value.len()).sum();
        let mut text = String::with_capacity(method.len() + target.resource.len() + names_bytes);
        let mut values = Vec::with_capacity(values_bytes);
        let mut headers = Vec::with_capacity(fields.len());
        text.push_str(method);
        let method_end = text.len() as u32;
        text.push_str(&target.resource);
        let target_end = text.len() as u32;
        let mut push = |name: &str, value: &[u8]| {
            let (name_start, value_start) = (text.len() as u32, values.len() as u32);
            text.push_str(name);
            values.extend_from_slice(value);
            headers.push(Header {
                name: name_start..text.len() as u32,
                value: value_start..values.len() as u32,
            });
        };
        let mut authority = target.authority;
        for field in fields {
            match authority.filter(|_| field.name.eq_ignore_ascii_case("host")) {
                Some(host) => {
                    push(field.name, host.as_bytes());
                    authority = None;
                }
                None => push(field.name, field.value),
            }
        }
        // There was no Host for it to replace.
        if let Some(host) = authority {
            push("host", host.as_bytes());
        }
        text[target_end as usize..].make_ascii_lowercase();
        let (text, values, headers) = (text.into(), values.into(), headers.into());
        Self { text, values, headers, method_end, target_end, http_1_0 }
    }
}

/// Method and path only: queries and headers carry secrets, and this ends in logs.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// What some input gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head has not ended; all of the input was taken.
    Incomplete,
    /// The head has ended.
    Complete {
        /// The head.
        request: Request,
        /// Bytes of *this* input that belong to the head. What follows are frames.
        consumed: usize,
    },
}

/// Reads one request head that arrives in pieces. It holds no memory unless the head does.
#[derive(Debug, Default)]
pub struct RequestReader {
    scan: HeadScan,
    /// The head so far, if it did not come in one piece.
    pieces: Vec<u8>,
    /// The bytes it begins with, as far as they came.
    beginning: [u8; HEAD.len()],
    begun: usize,
    failed: Option<RequestError>,
}

impl RequestReader {
    /// A reader before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the method is HEAD, whose answer has no body: known before the head has ended, and
    /// after it was refused.
    pub fn is_head(&self) -> bool {
        self.beginning == HEAD
    }

    /// Takes the next bytes. `head_bytes_max` is the limit for the head with its empty line; the
    /// limit for header fields is [`REQUEST_HEADERS_MAX`].
    ///
    /// What is wrong with a byte by itself is reported with that byte, the rest at the end of the
    /// head. After an error every call returns it again.
    ///
    /// Source: RFC 9112 §2, §3, §5; RFC 9110 §7.2.
    pub fn handle_input(
        &mut self,
        input: &[u8],
        head_bytes_max: usize,
    ) -> Result<Progress, RequestError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.take_input(input, head_bytes_max).inspect_err(|error| {
            self.failed = Some(*error);
            self.pieces = Vec::new();
        })
    }

    fn take_input(
        &mut self,
        input: &[u8],
        head_bytes_max: usize,
    ) -> Result<Progress, RequestError> {
        let nothing_begun = self.begun == 0;
        let line = input.iter().skip_while(|byte| nothing_begun && is_line_end(byte));
        for (kept, byte) in self.beginning[self.begun..].iter_mut().zip(line) {
            *kept = *byte;
            self.begun += 1;
        }
        let room = head_bytes_max.saturating_sub(self.pieces.len());
        let allowed = &input[..input.len().min(room)];
        let Some(consumed) = self.scan.find_end(allowed)? else {
            if input.len() > room {
                return Err(RequestError::HeadTooLong);
            }
            self.pieces.extend_from_slice(input);
            return Ok(Progress::Incomplete);
        };
        let request = if self.pieces.is_empty() {
            parse_head(&input[..consumed])?
        } else {
            self.pieces.extend_from_slice(&input[..consumed]);
            parse_head(&self.pieces)?
        };
        *self = Self { beginning: self.beginning, ..Self::new() };
        Ok(Progress::Complete { request, consumed })
    }
}

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// `head` has been scanned: it has whole lines, no control bytes, and an empty line at its end.
fn parse_head(head: &[u8]) -> Result<Request, RequestError> {
    let empty_bytes = head.iter().take_while(|byte| is_line_end(byte)).count();
    let head = &head[empty_bytes..];
    if [&b"PROXY TCP4 "[..], b"PROXY TCP6 ", b"PROXY UNKNOWN"].iter().any(|it| head.starts_with(it))
    {
        return Err(RequestError::ProxyProtocol);
    }
    if head.starts_with(b"PRI * HTTP/2.0\r\n") {
        return Err(RequestError::Http2);
    }
    let mut fields = [const { MaybeUninit::uninit() }; REQUEST_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(RequestError::HeaderLine),
        Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooManyHeaders),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            return Err(RequestError::HeaderLine);
        }
        Err(httparse::Error::Version) if has_other_version(head) => {
            return Err(RequestError::Version);
        }
        Err(_) => return Err(RequestError::RequestLine),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(RequestError::RequestLine);
    };
    let target = target::parse(method, target)?;
    let http_1_0 = parsed.version == Some(0);
    if !http_1_0 && parsed.version != Some(1) {
        return Err(RequestError::Version);
    }
    check_headers(parsed.headers, http_1_0 || target.resource == "*")?;
    Ok(Request::from_parts(method, &target, http_1_0, parsed.headers))
}

/// Whether the first line is that of a request in a version that is not spoken here.
fn has_other_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let digits = matches!(version, Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit());
    let is_target = target.is_some_and(|target| target.starts_with(b"/"))
        || (method, target) == (Some(b"OPTIONS"), Some(b"*"));
    digits && parts.next().is_none() && is_target
}

fn check_headers(
    fields: &[httparse::Header<'_>],
    may_be_hostless: bool,
) -> Result<(), RequestError> {
    let mut hosts = 0;
    for httparse::Header { name, value } in fields {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let prefix = name.get(.."sec-websocket-".len()).unwrap_or_default();
        let interpreted = ["host", "origin", "upgrade", "connection"].into_iter().any(is)
            || prefix.eq_ignore_ascii_case("sec-websocket-");
        if interpreted && !value.is_ascii() {
            return Err(RequestError::HighByte);
        }
        if is("host") {
            hosts += 1;
            let host = std::str::from_utf8(value).ok().and_then(Authority::parse);
            host.ok_or(RequestError::Host)?;
        }
    }
    // There is one `Host`, which can be read (RFC 9112 §3.2). HTTP/1.0 may do without, and `OPTIONS *`,
    // which is about no host: health checks ask it in HTTP/1.1 without one.
    if hosts == 1 || hosts == 0 && may_be_hostless { Ok(()) } else { Err(RequestError::Host) }
}
