//! The short way of messages that come in one frame and one input, as most do.
//!
//! Called by the session, and by the engine where there is room for all that has come. At the first
//! frame that is anything else it stops, and the session goes on as always; what it takes, the
//! session would have taken as well.

use super::{BLOCK_BYTES, MessageKind, Session, SessionLimits};
use crate::proto::mask::{unmask, unmask_seeing_ascii};
use crate::proto::utf8::Utf8Validator;

/// First bytes of a frame that is a message: FIN, no reserved bit, Text or Binary.
const WHOLE_TEXT: u8 = 0x81;
const WHOLE_BINARY: u8 = 0x82;

/// What the second byte of a frame says beside the length: that there is a mask.
const MASKED: u8 = 0x80;

impl Session {
    /// Takes whole messages of up to 16 KiB from the beginning of `input`, one frame each, for as
    /// long as they follow each other and `message`, which gets them, says so; and says how many
    /// bytes they were. Stops in front of anything else, a mistake included, and takes nothing where
    /// a message or a frame has begun: [`Session::handle_input`] knows all that can come.
    #[inline(always)]
    pub fn take_whole_messages(
        &mut self,
        input: &mut [u8],
        limits: &SessionLimits,
        mut message: impl FnMut(MessageKind, &[u8]) -> bool,
    ) -> usize {
        if !self.is_idle() {
            return 0;
        }
        let payload_bytes_max =
            usize::try_from(limits.message_bytes_max).map_or(BLOCK_BYTES, |m| m.min(BLOCK_BYTES));
        let all_bytes = input.len();
        let (mut rest, mut rest_bytes) = (input, all_bytes);
        while let Some(whole) = split_whole(rest, payload_bytes_max) {
            let Whole { kind, key, payload, after } = whole;
            let ascii = unmask_seeing_ascii(payload, key, 0);
            if kind == MessageKind::Text && !ascii && !is_text(payload) {
                // As it came, for who says what is wrong with it.
                unmask(payload, key, 0);
                break;
            }
            let goes_on = message(kind, payload);
            (rest_bytes, rest) = (after.len(), after);
            if !goes_on {
                break;
            }
        }
        all_bytes - rest_bytes
    }
}

/// Whether a whole message is UTF-8.
#[cold]
fn is_text(payload: &[u8]) -> bool {
    let mut utf8 = Utf8Validator::new();
    utf8.push(payload).and_then(|()| utf8.finish()).is_ok()
}

/// A message at the beginning of an input.
struct Whole<'a> {
    kind: MessageKind,
    key: [u8; 4],
    payload: &'a mut [u8],
    /// What follows it.
    after: &'a mut [u8],
}

/// The message that `input` begins with. `None` if it begins with something else, or with a part
/// of a message.
#[inline(always)]
fn split_whole(input: &mut [u8], payload_bytes_max: usize) -> Option<Whole<'_>> {
    let (&mut [first, second], rest) = input.split_first_chunk_mut()?;
    let kind = match first {
        WHOLE_TEXT => MessageKind::Text,
        WHOLE_BINARY => MessageKind::Binary,
        _ => return None,
    };
    // Without a mask this is over 127.
    let (payload_bytes, rest) = match second ^ MASKED {
        short @ 0..126 => (usize::from(short), rest),
        126 => {
            let (&mut length, rest) = rest.split_first_chunk_mut()?;
            let length = usize::from(u16::from_be_bytes(length));
            // Shorter ones have the other form (RFC 6455 §5.2).
            (Some(length).filter(|length| *length >= 126)?, rest)
        }
        _ => return None,
    };
    let (&mut key, rest) = rest.split_first_chunk_mut()?;
    if payload_bytes > payload_bytes_max {
        return None;
    }
    let (payload, after) = rest.split_at_mut_checked(payload_bytes)?;
    Some(Whole { kind, key, payload, after })
}
