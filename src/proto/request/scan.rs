//! The search for the end of a request head, one look at each byte. Called by the reader of
//! requests with whatever came; keeps its place between two calls, and no byte.

use super::RequestError;
use crate::proto::limits::REQUEST_HEADERS_MAX;

/// How far the search has come.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    place: Place,
    /// Empty lines before the request line.
    empty_lines: usize,
    /// Header lines begun.
    headers: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the request line: nothing but empty lines has come.
    #[default]
    Start,
    /// After the CR of an empty line before the request line.
    StartCr,
    /// In the request line or in a header line.
    Line,
    /// After the CR of a line.
    LineCr,
    /// Between two lines.
    Between,
    /// After the CR of the empty line.
    LastCr,
}

impl HeadScan {
    /// Looks at the next bytes. The number of them that belong to the head if it ends in them.
    pub(super) fn find_end(&mut self, input: &[u8]) -> Result<Option<usize>, RequestError> {
        let mut index = 0;
        while let Some(&byte) = input.get(index) {
            index += 1;
            self.place = match (self.place, byte) {
                (Place::Start, _) if is_token(byte) => Place::Line,
                // Some clients end a body with a line too many (RFC 9112 §2.2).
                (Place::Start, b'\r') => Place::StartCr,
                (Place::Start | Place::StartCr, b'\n') => {
                    self.empty_lines += 1;
                    Place::Start
                }
                (Place::Start, _) => return Err(not_http(byte, self.empty_lines)),
                (Place::Line, b'\r') => Place::LineCr,
                (Place::Line, b'\n') => return Err(RequestError::LineEnd),
                (Place::Line, _) if is_control(byte) => return Err(RequestError::ControlByte),
                (Place::Line, _) => {
                    let rest = &input[index..];
                    index += rest.iter().position(|byte| is_control(*byte)).unwrap_or(rest.len());
                    Place::Line
                }
                (Place::LineCr, b'\n') => Place::Between,
                (Place::Between, b'\r') => Place::LastCr,
                (Place::Between, b' ' | b'\t') => return Err(RequestError::FoldedHeader),
                (Place::Between, b'\n') => return Err(RequestError::LineEnd),
                (Place::Between, _) => {
                    self.begin_header(byte)?;
                    Place::Line
                }
                (Place::LastCr, b'\n') => return Ok(Some(index)),
                (Place::StartCr | Place::LineCr | Place::LastCr, _) => {
                    return Err(RequestError::LineEnd);
                }
            };
        }
        Ok(None)
    }

    fn begin_header(&mut self, byte: u8) -> Result<(), RequestError> {
        if !is_token(byte) {
            return Err(RequestError::HeaderLine);
        }
        if self.headers == REQUEST_HEADERS_MAX {
            return Err(RequestError::TooManyHeaders);
        }
        self.headers += 1;
        Ok(())
    }
}

/// What the bytes are that begin so after empty lines: a record of TLS with its handshake (RFC 8446
/// §5.1), the signature of the PROXY protocol's version 2 (`\r\n\r\n\0\r\nQUIT\n`), or nothing known.
const fn not_http(byte: u8, empty_lines: usize) -> RequestError {
    match (byte, empty_lines) {
        (0x16, 0) => RequestError::Tls,
        (0, 2) => RequestError::ProxyProtocol,
        _ => RequestError::NotHttp,
    }
}

/// Tab is allowed in header values; a request line with one is refused when it is parsed.
const fn is_control(byte: u8) -> bool {
    byte < 0x20 && byte != b'\t' || byte == 0x7F
}

/// Whether the byte may stand in a method or in a header's name (RFC 9110 §5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
