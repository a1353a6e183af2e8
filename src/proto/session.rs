//! One connection after the 101, from the server's side: bytes of frames in, [`Events`] out.
//!
//! The engine hands in whatever a receive brought, cut anywhere; the session unmasks it in place,
//! checks it and passes it on, without keeping a byte of a message. It holds the place it has
//! reached and the rules between frames; it writes nothing, so Pongs and Close frames are the
//! engine's to send.
//!
//! ```text
//!             Text or Binary without FIN
//!        ┌─────────────────────────────────┐
//!        │                                 ▼
//!   ┌── idle ◀───────────────────────── message ──┐
//!   └──▶       Continuation with FIN           ◀──┘
//!   Text or Binary                     Continuation
//!   with FIN                           without FIN
//! ```
//!
//! Ping and Pong change neither. Close, and any error, end both: what follows is ignored.

use super::close;
use super::close::ControlPayload;
use super::frame::{FRAME_HEADER_BYTES_MAX, FrameHeader, Opcode, Parsed};
use super::mask::{unmask, unmask_seeing_ascii};
use super::utf8::Utf8Validator;

mod error;
mod events;
mod whole;

pub use error::ProtocolError;
pub use events::{Events, MessageKind, Refused, SessionLimits};

/// A payload is worked through in blocks of this size: unmasked, checked and copied by the sink
/// while they are in the first-level cache. A multiple of the mask's four bytes.
const BLOCK_BYTES: usize = 16 * 1024;

/// The receiving side of one connection: 48 bytes, and no memory beside them but for a control
/// frame that is cut between two inputs.
#[derive(Debug)]
pub struct Session {
    place: Place,
    /// Bytes of the message's frames so far, the current one counted whole.
    message_bytes: u64,
    /// A control payload of which a part has arrived.
    control: Option<Box<ControlPayload>>,
    continuations: u32,
    utf8: Utf8Validator,
    /// The message that is open between the first frame and the one with FIN.
    message: Option<MessageKind>,
    /// After a Close frame or an error.
    ended: bool,
}

/// Where in a frame the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum Place {
    Header(PartialHeader),
    /// The fields of [`OpenFrame`], not the struct, so that they share a word with the tag.
    Payload {
        opcode: Opcode,
        fin: bool,
        key: [u8; 4],
        remaining_bytes: u64,
    },
}

/// The beginning of a header of which the end has not arrived. Empty between frames.
#[derive(Clone, Copy, Debug)]
struct PartialHeader {
    bytes: [u8; FRAME_HEADER_BYTES_MAX - 1],
    length: u8,
}

/// A frame whose header has been accepted.
#[derive(Clone, Copy, Debug)]
struct OpenFrame {
    opcode: Opcode,
    fin: bool,
    /// Turned so that its first byte is for the next byte of payload.
    key: [u8; 4],
    remaining_bytes: u64,
}

const _: () = assert!(size_of::<Session>() <= 48);
const _: () = assert!(BLOCK_BYTES.is_multiple_of(4));

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session whose handshake is done and whose first frame has not begun.
    pub const fn new() -> Self {
        Self {
            place: Place::BETWEEN_FRAMES,
            message_bytes: 0,
            control: None,
            continuations: 0,
            utf8: Utf8Validator::new(),
            message: None,
            ended: false,
        }
    }

    /// Whether it is as a new one: between two messages, with nothing kept.
    pub fn is_idle(&self) -> bool {
        self.is_between_messages() && !self.ended
    }

    /// Whether no message or frame has begun of which the end has not come.
    pub fn is_between_messages(&self) -> bool {
        let between_frames = matches!(self.place, Place::Header(PartialHeader { length: 0, .. }));
        between_frames && self.message.is_none()
    }

    /// Takes in the next bytes from the peer, cut anywhere, and says how many: all of them, unless
    /// the sink [is full](Events::is_full); the others are to come again. They are unmasked in
    /// place, so what was taken is of no use afterwards.
    ///
    /// An error is reported once; after it, and after a Close frame, input is ignored.
    ///
    /// Source: RFC 6455 §5, §7.1, §8.1.
    #[inline]
    pub fn handle_input(
        &mut self,
        input: &mut [u8],
        limits: &SessionLimits,
        events: &mut impl Events,
    ) -> Result<usize, ProtocolError> {
        let all_bytes = input.len();
        let mut rest = input;
        while !rest.is_empty() && !self.ended && !events.is_full() {
            let mut refused = Ok(());
            let whole = self.take_whole_messages(rest, limits, |kind, bytes| {
                refused = events.message(kind, bytes);
                refused.is_ok() && !events.is_full()
            });
            let taken = match refused {
                Ok(()) if whole == 0 => self.handle_part(rest, limits, events),
                refused => refused.map_or_else(|refused| Err(refused.into()), |()| Ok(whole)),
            };
            match taken {
                Ok(taken) => rest = &mut rest[taken..],
                Err(error) => {
                    self.end();
                    return Err(error);
                }
            }
        }
        Ok(if self.ended { all_bytes } else { all_bytes - rest.len() })
    }

    /// The reserved bits that the extensions of this connection use, RSV1 being 4. The one place
    /// where permessage-deflate (RFC 7692 §6) will have a say in framing; today there is none.
    const fn reserved_bits(&self) -> u8 {
        0
    }

    /// Takes one frame, or the part of it that is there, and says how many bytes that was.
    #[inline(never)]
    fn handle_part(
        &mut self,
        input: &mut [u8],
        limits: &SessionLimits,
        events: &mut impl Events,
    ) -> Result<usize, ProtocolError> {
        let (mut frame, header_bytes) = match self.place {
            Place::Payload { opcode, fin, key, remaining_bytes } => {
                (OpenFrame { opcode, fin, key, remaining_bytes }, 0)
            }
            Place::Header(partial) => {
                let Some((header, header_bytes)) = self.parse_header(partial, input)? else {
                    return Ok(input.len());
                };
                (self.begin_frame(&header, limits, events)?, header_bytes)
            }
        };
        let rest = &mut input[header_bytes..];
        let mut payload_bytes = usize::try_from(frame.remaining_bytes)
            .map_or(rest.len(), |bytes| bytes.min(rest.len()));
        let payload = &mut rest[..payload_bytes];
        if frame.opcode.is_control() {
            frame.remaining_bytes -= payload_bytes as u64;
            self.handle_control(frame, payload, events)?;
        } else {
            payload_bytes = self.handle_data(frame, payload, events)?;
            frame.remaining_bytes -= payload_bytes as u64;
        }
        self.place = if frame.remaining_bytes == 0 {
            Place::BETWEEN_FRAMES
        } else {
            frame.key.rotate_left(payload_bytes % 4);
            let OpenFrame { opcode, fin, key, remaining_bytes } = frame;
            Place::Payload { opcode, fin, key, remaining_bytes }
        };
        Ok(header_bytes + payload_bytes)
    }

    /// The header that ends in `input`, and how many bytes of `input` belong to it. `None`: all of
    /// `input` does, and is kept.
    #[inline(always)]
    fn parse_header(
        &mut self,
        partial: PartialHeader,
        input: &[u8],
    ) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        if partial.length == 0
            && let Parsed::Complete(header, length) =
                FrameHeader::parse(input, self.reserved_bits())?
        {
            return Ok(Some((header, length)));
        }
        self.parse_partial_header(partial, input)
    }

    #[cold]
    fn parse_partial_header(
        &mut self,
        partial: PartialHeader,
        input: &[u8],
    ) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        let kept = usize::from(partial.length);
        let new = input.len().min(FRAME_HEADER_BYTES_MAX - kept);
        let mut bytes = [0; FRAME_HEADER_BYTES_MAX];
        bytes[..kept].copy_from_slice(&partial.bytes[..kept]);
        bytes[kept..kept + new].copy_from_slice(&input[..new]);
        match FrameHeader::parse(&bytes[..kept + new], self.reserved_bits())? {
            Parsed::Complete(header, length) => Ok(Some((header, length - kept))),
            Parsed::Incomplete => {
                // 14 bytes are always a whole header, so these are fewer.
                let mut partial = PartialHeader::EMPTY;
                partial.bytes[..kept + new].copy_from_slice(&bytes[..kept + new]);
                partial.length = (kept + new) as u8;
                self.place = Place::Header(partial);
                Ok(None)
            }
        }
    }

    /// Judges a header by what came before it and by the limits.
    #[inline(always)]
    fn begin_frame(
        &mut self,
        header: &FrameHeader,
        limits: &SessionLimits,
        events: &mut impl Events,
    ) -> Result<OpenFrame, ProtocolError> {
        match header.opcode {
            Opcode::Text => self.begin_message(MessageKind::Text, header, limits, events)?,
            Opcode::Binary => self.begin_message(MessageKind::Binary, header, limits, events)?,
            Opcode::Continuation => self.continue_message(header, limits)?,
            // They may come between the fragments of a message (RFC 6455 §5.4).
            Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
        Ok(OpenFrame {
            opcode: header.opcode,
            fin: header.fin,
            // `parse` lets no frame through without one.
            key: header.mask.unwrap_or_default(),
            remaining_bytes: header.payload_bytes,
        })
    }

    /// One message ends before the next begins (RFC 6455 §5.4).
    #[inline(always)]
    fn begin_message(
        &mut self,
        kind: MessageKind,
        header: &FrameHeader,
        limits: &SessionLimits,
        events: &mut impl Events,
    ) -> Result<(), ProtocolError> {
        if self.message.is_some() {
            return Err(ProtocolError::MessageInsideMessage);
        }
        if header.payload_bytes > limits.message_bytes_max {
            return Err(ProtocolError::MessageTooLong { declared_bytes: header.payload_bytes });
        }
        self.message = Some(kind);
        self.message_bytes = header.payload_bytes;
        self.continuations = 0;
        events.message_begin(kind);
        Ok(())
    }

    fn continue_message(
        &mut self,
        header: &FrameHeader,
        limits: &SessionLimits,
    ) -> Result<(), ProtocolError> {
        if self.message.is_none() {
            return Err(ProtocolError::ContinuationWithoutMessage);
        }
        let declared_bytes = self.message_bytes.saturating_add(header.payload_bytes);
        if declared_bytes > limits.message_bytes_max {
            return Err(ProtocolError::MessageTooLong { declared_bytes });
        }
        if self.continuations >= limits.message_fragments_max {
            return Err(ProtocolError::TooManyFragments);
        }
        self.message_bytes = declared_bytes;
        self.continuations += 1;
        Ok(())
    }

    /// `frame.remaining_bytes` are those from `payload` on. Says how many of `payload` were taken.
    #[inline(always)]
    fn handle_data(
        &mut self,
        frame: OpenFrame,
        payload: &mut [u8],
        events: &mut impl Events,
    ) -> Result<usize, ProtocolError> {
        let text = self.message == Some(MessageKind::Text);
        let mut remaining_bytes = frame.remaining_bytes;
        for block in payload.chunks_mut(BLOCK_BYTES) {
            let ascii = unmask_seeing_ascii(block, frame.key, 0);
            // Text that is not UTF-8 fails the connection (RFC 6455 §8.1).
            if text && !(ascii && self.utf8.is_between_characters()) {
                self.utf8.push(block)?;
            }
            remaining_bytes -= block.len() as u64;
            events.message_data(block, remaining_bytes)?;
            if remaining_bytes > 0 && events.is_full() {
                break;
            }
        }
        if frame.fin && remaining_bytes == 0 {
            if text {
                self.utf8.finish()?;
            }
            self.message = None;
            events.message_end();
        }
        // As many as the payload has.
        Ok((frame.remaining_bytes - remaining_bytes) as usize)
    }

    fn handle_control(
        &mut self,
        frame: OpenFrame,
        payload: &mut [u8],
        events: &mut impl Events,
    ) -> Result<(), ProtocolError> {
        unmask(payload, frame.key, 0);
        if frame.remaining_bytes == 0 && self.control.is_none() {
            return self.end_control(frame.opcode, payload, events);
        }
        let mut kept = self.control.take().unwrap_or_else(|| Box::new(ControlPayload::EMPTY));
        // The header allowed 125 bytes, so they fit.
        let whole = kept.append(payload);
        debug_assert!(whole);
        if frame.remaining_bytes == 0 {
            return self.end_control(frame.opcode, kept.as_bytes(), events);
        }
        self.control = Some(kept);
        Ok(())
    }

    fn end_control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        events: &mut impl Events,
    ) -> Result<(), ProtocolError> {
        match opcode {
            Opcode::Ping => events.ping(payload),
            Opcode::Pong => events.pong(payload),
            _ => {
                let (code, reason) = close::parse(payload)?;
                self.end();
                events.close(code, reason);
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        self.ended = true;
        self.control = None;
    }
}

impl Place {
    const BETWEEN_FRAMES: Self = Self::Header(PartialHeader::EMPTY);
}

impl PartialHeader {
    const EMPTY: Self = Self { bytes: [0; FRAME_HEADER_BYTES_MAX - 1], length: 0 };
}
