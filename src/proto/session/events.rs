//! What a session tells the engine, and what it is told to allow. The engine implements [`Events`]
//! and fills in [`SessionLimits`]; the session calls and reads them.

use crate::proto::close::CloseCode;
use crate::proto::limits::{MESSAGE_BYTES_MAX, MESSAGE_FRAGMENTS_MAX};

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Anything.
    Binary,
}

/// What one message of a peer may cost. The defaults are those of [`limits`](crate::proto::limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Bytes of all fragments together. Passed: 1009, from the header of the frame that would
    /// pass it.
    pub message_bytes_max: u64,
    /// Fragments of a message after the first; empty ones count. Passed: 1008.
    pub message_fragments_max: u32,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { message_bytes_max: MESSAGE_BYTES_MAX, message_fragments_max: MESSAGE_FRAGMENTS_MAX }
    }
}

/// The sink has no room for what a peer sent. Ends the connection with 1013.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Where a session delivers. Calls come in the order of the wire, during
/// [`Session::handle_input`](super::Session::handle_input).
pub trait Events {
    /// The first frame of a message has been seen, and its length allowed.
    fn message_begin(&mut self, kind: MessageKind);

    /// The next bytes of the message, never empty, at most 16 KiB, unmasked; text is valid as far
    /// as it goes and may end inside a character. `frame_remaining` are the bytes of the same
    /// frame that are still to come after these.
    fn message_data(&mut self, bytes: &[u8], frame_remaining: u64) -> Result<(), Refused>;

    /// The message is whole.
    fn message_end(&mut self);

    /// A message of at most 16 KiB that came in one frame and one input, as most do; stands for the
    /// three calls above, which is what it does unless a sink knows a shorter way.
    fn message(&mut self, kind: MessageKind, bytes: &[u8]) -> Result<(), Refused> {
        self.message_begin(kind);
        if !bytes.is_empty() {
            self.message_data(bytes, 0)?;
        }
        self.message_end();
        Ok(())
    }

    /// Whether it wants no more for now; asked after each message and each part of one. What was not
    /// taken in stays with who handed it in, who comes again with it.
    #[inline(always)]
    fn is_full(&mut self) -> bool {
        false
    }

    /// A Ping, which is to be answered by a Pong with the same payload of at most 125 bytes.
    fn ping(&mut self, payload: &[u8]);

    /// A Pong.
    fn pong(&mut self, payload: &[u8]);

    /// A valid Close frame; it is the last event. A message may have been left incomplete.
    fn close(&mut self, code: CloseCode, reason: &str);
}
