//! The short way of a message that comes in one frame and one input, as most do.

use super::{BLOCK_BYTES, Events, MessageKind, ProtocolError, Session, SessionLimits};
use crate::proto::frame::{FrameHeader, Opcode};
use crate::proto::mask::unmask_seeing_ascii;

impl Session {
    /// A message in one frame that is all there, the usual case: [`Session::handle_data`] in one
    /// step and with one event.
    #[inline(always)]
    pub(super) fn handle_whole(
        &mut self,
        kind: MessageKind,
        header: &FrameHeader,
        payload: &mut [u8],
        limits: &SessionLimits,
        events: &mut impl Events,
    ) -> Result<(), ProtocolError> {
        if header.payload_bytes > limits.message_bytes_max {
            return Err(ProtocolError::MessageTooLong { declared_bytes: header.payload_bytes });
        }
        let ascii = unmask_seeing_ascii(payload, header.mask.unwrap_or_default(), 0);
        if kind == MessageKind::Text && !ascii {
            self.check_whole(kind, payload, events)?;
        }
        Ok(events.message(kind, payload)?)
    }

    /// The same events as the long way has, also before an error.
    #[inline]
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

/// The kind of message that a frame carries from beginning to end.
#[inline(always)]
pub(super) fn whole_message(header: &FrameHeader) -> Option<MessageKind> {
    match header.opcode {
        Opcode::Text if header.fin => Some(MessageKind::Text),
        Opcode::Binary if header.fin => Some(MessageKind::Binary),
        _ => None,
    }
}

/// The payload of a frame, if it is all there and not more than a block.
#[inline(always)]
pub(super) fn payload_of<'a>(header: &FrameHeader, rest: &'a mut [u8]) -> Option<&'a mut [u8]> {
    let payload_bytes = usize::try_from(header.payload_bytes).ok()?;
    rest.get_mut(..payload_bytes).filter(|payload| payload.len() <= BLOCK_BYTES)
}
