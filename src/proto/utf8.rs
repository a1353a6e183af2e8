//! Text that arrives in pieces: is it UTF-8 so far, and where do its characters end.
//!
//! The session asks with every block, `read` asks where to cut. A message is refused at the first
//! byte that no continuation could repair, not at its end. The bulk is left to `simdutf8`, or to
//! `wide` where it is long and the CPU has AVX-512: a character cut by the end of a block is taken
//! off before and carried over as three bytes of state.

#[cfg(target_arch = "x86_64")]
mod wide;

use thiserror::Error;

/// The bytes are not UTF-8, whatever may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Error)]
#[error("invalid UTF-8")]
pub struct Utf8Error;

/// Checks a text that arrives in pieces, cut anywhere.
///
/// Source: RFC 6455 §8.1, RFC 3629 §4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8Validator {
    /// Bytes that the character at the end still lacks: 0 to 3.
    missing: u8,
    /// What the next byte may be, while one is missing.
    low: u8,
    high: u8,
}

impl Utf8Validator {
    /// A validator at the start of a text.
    pub const fn new() -> Self {
        Self { missing: 0, low: 0, high: 0 }
    }

    /// Checks the next bytes of the text.
    ///
    /// Fails if they contain a byte that cannot follow what came before, even when the character
    /// it stands in is not complete. After a failure the validator is of no more use.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Utf8Error> {
        let mut rest = bytes;
        while self.missing > 0 {
            let Some((&byte, after)) = rest.split_first() else { return Ok(()) };
            self.push_continuation(byte)?;
            rest = after;
        }
        let (whole, tail) = rest.split_at(rest.len() - incomplete_tail_bytes(rest));
        if !is_utf8(whole) {
            return Err(Utf8Error);
        }
        if let Some((&lead, continuations)) = tail.split_first() {
            self.push_lead(lead)?;
            for &byte in continuations {
                self.push_continuation(byte)?;
            }
        }
        Ok(())
    }

    /// Whether no character is open. ASCII alone need not be pushed then.
    #[inline]
    pub const fn is_between_characters(&self) -> bool {
        self.missing == 0
    }

    /// Ends the text and makes the validator ready for the next one. Fails if the text ends inside
    /// a character.
    #[inline]
    pub fn finish(&mut self) -> Result<(), Utf8Error> {
        let complete = self.is_between_characters();
        *self = Self::new();
        if complete { Ok(()) } else { Err(Utf8Error) }
    }

    /// Opens a character of more than one byte (the table of RFC 3629 §4).
    fn push_lead(&mut self, lead: u8) -> Result<(), Utf8Error> {
        let (missing, low, high) = match lead {
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return Err(Utf8Error),
        };
        *self = Self { missing, low, high };
        Ok(())
    }

    fn push_continuation(&mut self, byte: u8) -> Result<(), Utf8Error> {
        if byte < self.low || byte > self.high {
            return Err(Utf8Error);
        }
        *self = Self { missing: self.missing - 1, low: 0x80, high: 0xBF };
        Ok(())
    }
}

/// Whether the piece is UTF-8 and ends with a whole character. Where it is not is not asked for,
/// because the error ends the connection.
#[inline]
fn is_utf8(bytes: &[u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= wide::BYTES_MIN {
        return wide::is_utf8(bytes);
    }
    // Below 64 bytes this is the standard library's check.
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// Length in bytes of the first `chars` characters of `bytes`.
///
/// `bytes` must be valid UTF-8 but for its end, where a character may be incomplete; that one does
/// not count. `None` if there are fewer than `chars` complete characters. For invalid input the
/// answer is some number not above `bytes.len()`.
pub fn char_boundary_prefix(bytes: &[u8], chars: usize) -> Option<usize> {
    if bytes.len() < chars {
        return None;
    }
    let complete = &bytes[..bytes.len() - incomplete_tail_bytes(bytes)];
    // The answer is where character number `chars`, counted from 0, begins.
    let mut chars_before = chars;
    let mut position = 0;
    for block in complete.chunks(COUNT_BLOCK_BYTES) {
        let starts = count_starts(block);
        if starts > chars_before {
            let mut indexes = block.iter().enumerate().filter(|(_, byte)| is_start(**byte));
            return indexes.nth(chars_before).map(|(index, _)| position + index);
        }
        chars_before -= starts;
        position += block.len();
    }
    (chars_before == 0).then_some(complete.len())
}

/// So few that a `u8` counts them, which lets the compiler count 16 or 32 at a time.
const COUNT_BLOCK_BYTES: usize = 192;

#[inline]
fn count_starts(block: &[u8]) -> usize {
    debug_assert!(block.len() <= usize::from(u8::MAX));
    usize::from(block.iter().fold(0u8, |sum, &byte| sum.wrapping_add(u8::from(is_start(byte)))))
}

/// Whether a character begins with this byte: it is not of the form `10xxxxxx`.
#[inline(always)]
const fn is_start(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

/// Bytes at the end that begin a character and do not complete it: 0 to 3. Bytes that can begin no
/// character are not counted; the check of the whole finds them.
#[inline]
fn incomplete_tail_bytes(bytes: &[u8]) -> usize {
    for (index, &byte) in bytes.iter().rev().take(3).enumerate() {
        let length = match byte {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return 0,
        };
        return if index + 1 < length { index + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `bytes` could be the beginning of a valid text, by the standard library.
    fn is_prefix_of_text(bytes: &[u8]) -> bool {
        std::str::from_utf8(bytes).map_or_else(|e| e.error_len().is_none(), |_| true)
    }

    fn push_by_byte(bytes: &[u8]) -> Result<(), usize> {
        let mut validator = Utf8Validator::new();
        for (index, byte) in bytes.iter().enumerate() {
            validator.push(&[*byte]).map_err(|_| index)?;
        }
        validator.finish().map_err(|_| bytes.len())
    }

    #[test]
    fn every_sequence_of_two_bytes_and_leads_of_four_agree_with_std() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                for bytes in [vec![first, second], vec![first, second, 0x80]] {
                    let mut validator = Utf8Validator::new();
                    let pushed = validator.push(&bytes);
                    assert_eq!(pushed.is_ok(), is_prefix_of_text(&bytes), "{bytes:x?}");
                    if pushed.is_ok() {
                        assert_eq!(validator.finish().is_ok(), std::str::from_utf8(&bytes).is_ok());
                    }
                    assert_eq!(push_by_byte(&bytes).is_ok(), std::str::from_utf8(&bytes).is_ok());
                }
            }
        }
    }

    #[test]
    fn the_first_impossible_byte_is_where_it_ends() {
        for (bytes, index) in [
            (&b"\xF4\x90\x80\x80"[..], 1),
            (b"\xED\xA0\x80", 1),
            (b"a\xC0\xAF", 1),
            (b"\xF5", 0),
            (b"\xE0\x80\x80", 1),
            (b"\xF0\x80\x80\x80", 1),
            (b"\xC3(", 1),
            (b"\xE2\x82(", 2),
            (b"\xF0\x9F\x98(", 3),
            (b"\x80", 0),
            (b"\xE2\x82", 2),
        ] {
            assert_eq!(push_by_byte(bytes), Err(index), "{bytes:x?}");
        }
    }

    #[test]
    fn finish_resets() {
        let mut validator = Utf8Validator::new();
        validator.push(b"\xE2\x82").unwrap();
        assert_eq!(validator.finish(), Err(Utf8Error));
        assert_eq!(validator.push(b"\xAC"), Err(Utf8Error));
        assert!(size_of::<Utf8Validator>() <= 8);
    }

    #[test]
    fn a_prefix_counts_complete_characters() {
        let text = "aé€😀".repeat(100);
        let indexes: Vec<usize> = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
        for (chars, index) in indexes.iter().enumerate() {
            assert_eq!(char_boundary_prefix(text.as_bytes(), chars), Some(*index));
        }
        assert_eq!(char_boundary_prefix(text.as_bytes(), indexes.len()), None);
        for cut in 0..text.len() {
            let part = &text.as_bytes()[..cut];
            let complete = indexes.iter().rposition(|i| *i <= cut).unwrap();
            assert_eq!(char_boundary_prefix(part, complete), Some(indexes[complete]));
            assert_eq!(char_boundary_prefix(part, complete + 1), None);
        }
    }
}
