//! The short way of messages that come in one frame and one input, as most do.

use super::{BLOCK_BYTES, Events, MessageKind, ProtocolError, Session, SessionLimits};
use crate::proto::mask::unmask_seeing_ascii;

/// First bytes of a frame that is a message: FIN, no reserved bit, Text or Binary.
const WHOLE_TEXT: u8 = 0x81;
const WHOLE_BINARY: u8 = 0x82;

/// What the second byte of a frame says beside the length: that there is a mask.
const MASKED: u8 = 0x80;

impl Session {
    /// Takes whole messages of up to 16 KiB from the beginning of `input`, one frame each, for as
    /// long as they follow each other and the sink is not full, and says how many bytes they were.
    /// Stops in front of anything else, a mistake included: [`Session::handle_part`] knows all that
    /// can come.
    ///
    /// To be called between two messages only.
    #[inline(always)]
    pub(super) fn handle_whole_messages(
        &mut self,
        input: &mut [u8],
        limits: &SessionLimits,
        events: &mut impl Events,
    ) -> Result<usize, ProtocolError> {
        let payload_bytes_max =
            usize::try_from(limits.message_bytes_max).map_or(BLOCK_BYTES, |m| m.min(BLOCK_BYTES));
        let all_bytes = input.len();
        let (mut rest, mut rest_bytes) = (input, all_bytes);
        while let Some(message) = split_whole(rest, payload_bytes_max) {
            let Whole { kind, key, payload, after } = message;
            let ascii = unmask_seeing_ascii(payload, key, 0);
            if kind == MessageKind::Text && !ascii {
                self.check_whole(kind, payload, events)?;
            }
            events.message(kind, payload)?;
            (rest_bytes, rest) = (after.len(), after);
            if events.is_full() {
                break;
            }
        }
        Ok(all_bytes - rest_bytes)
    }

    /// The same events as the long way has, also before an error.
    #[cold]
    fn check_whole(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        events: &mut impl Events,
    ) -> Result<(), ProtocolError> {
        let checked = self.utf8.push(payload).and_then(|()| self.utf8.finish());
        checked.map_err(|error| {
            events.message_begin(kind);
            error.into()
        })
    }
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
