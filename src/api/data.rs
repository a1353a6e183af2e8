//! Messages as handlers see them: text or binary, in memory that goes on to the socket without a
//! copy where it can. Verbs give and take them; nothing here knows a connection.

use crate::engine::{Incoming, Payload};
use crate::proto::MessageKind;
use std::fmt;
use std::ops::Deref;

/// A message, or a part of one, that was read. Derefs to its bytes.
///
/// It owns them: it can be kept, sent to another thread, and given to
/// [`write`](super::WebSocket::write) as it is, which sends it from where it lies.
#[derive(Clone)]
pub struct Data(Incoming);

impl Data {
    pub(crate) fn new(incoming: Incoming) -> Self {
        Self(incoming)
    }

    /// Whether it came as text or as binary. Text is valid UTF-8.
    pub fn kind(&self) -> MessageKind {
        self.0.kind()
    }

    /// The text; `None` for binary data. The bytes are looked through once more; to compare with
    /// a known text, `data == "exit"` is quicker.
    pub fn as_text(&self) -> Option<&str> {
        match self.kind() {
            MessageKind::Text => simdutf8::basic::from_utf8(self.0.payload()).ok(),
            MessageKind::Binary => None,
        }
    }

    /// The bytes, of text as well.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.payload()
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.payload()
    }
}

/// Equal to a text if it is text and that text.
impl PartialEq<str> for Data {
    fn eq(&self, other: &str) -> bool {
        self.kind() == MessageKind::Text && self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Data {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({:?}, {} bytes)", self.kind(), self.len())
    }
}

/// What can be written as one message. Made by `into` from `&str` and `String` (text), from
/// `&[u8]`, byte arrays and `Vec<u8>` (binary), and from [`Data`] (as what it was read).
pub struct Message<'a> {
    pub(crate) kind: MessageKind,
    pub(crate) payload: Payload<'a>,
}

impl<'a> Message<'a> {
    fn borrowed(kind: MessageKind, bytes: &'a [u8]) -> Self {
        Self { kind, payload: Payload::Borrowed(bytes) }
    }

    /// Copied, because a `Vec` has no room in front for a header.
    fn owned(kind: MessageKind, bytes: Vec<u8>) -> Self {
        Self { kind, payload: Payload::Owned(Payload::Borrowed(&bytes).into_owned()) }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::borrowed(MessageKind::Text, text.as_bytes())
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        Self::borrowed(MessageKind::Text, text.as_bytes())
    }
}

impl From<String> for Message<'_> {
    fn from(text: String) -> Self {
        Self::owned(MessageKind::Text, text.into_bytes())
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::borrowed(MessageKind::Binary, bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::borrowed(MessageKind::Binary, bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::borrowed(MessageKind::Binary, bytes)
    }
}

impl From<Vec<u8>> for Message<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::owned(MessageKind::Binary, bytes)
    }
}

impl From<Data> for Message<'_> {
    fn from(data: Data) -> Self {
        Self { kind: data.kind(), payload: Payload::Owned(data.0.into_payload()) }
    }
}

impl<'a> From<&'a Data> for Message<'a> {
    fn from(data: &'a Data) -> Self {
        Self::borrowed(data.kind(), data)
    }
}
