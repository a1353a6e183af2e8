//! One stream of bytes on a ring: what waits to be sent, and what of the beginning of a frame or an
//! answer has arrived.
//!
//! `pairs` and `receivers` have one for each connection and call [`Channel::flush`] once a batch.

use std::io;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::io::Errno;

use crate::frames::{self, Header};
use crate::operation::{Completion, Op, Token};
use crate::ring::Ring;

const MASK: [u8; 4] = [0x5A, 0xC3, 0x17, 0x88];

/// A connection in a slot of the ring.
pub struct Channel {
    slot: u32,
    /// Bytes to be sent.
    pub outgoing: Vec<u8>,
    /// Bytes of the send under way.
    sending_bytes: Option<usize>,
    /// What arrived and is not complete.
    partial: Vec<u8>,
}

impl Channel {
    /// A connection that has been installed in `slot`; arms its receive.
    pub fn start(slot: u32, ring: &mut Ring) -> io::Result<Channel> {
        ring.recv_stream(Token { op: Op::Stream, slot, generation: 0 })?;
        Ok(Channel { slot, outgoing: Vec::new(), sending_bytes: None, partial: Vec::new() })
    }

    /// Adds a masked frame to what is to be sent.
    pub fn say(&mut self, opcode: u8, payload: &[u8]) {
        frames::write_frame(&mut self.outgoing, opcode, Some(MASK), payload);
    }

    /// Sends everything, unless a send is under way.
    pub fn flush(&mut self, ring: &mut Ring) -> io::Result<()> {
        if self.sending_bytes.is_some() || self.outgoing.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.outgoing).into_boxed_slice();
        self.sending_bytes = Some(bytes.len());
        let token = Token { op: Op::SendOwned, slot: self.slot, generation: 0 };
        ring.send_owned(bytes, token).map(|_| ())
    }

    /// A send has ended; more may wait.
    pub fn on_sent(&mut self, ring: &mut Ring, result: Result<u32, Errno>) -> Result<()> {
        let count = result.context("the connection was lost while sending")? as usize;
        ensure!(self.sending_bytes.take() == Some(count), "a send ended early");
        Ok(self.flush(ring)?)
    }

    /// Bytes have arrived: `take` gets all that are not dealt with, and says how many it has dealt
    /// with.
    pub fn on_received(
        &mut self,
        ring: &mut Ring,
        completion: Completion,
        mut take: impl FnMut(&mut Vec<u8>, &[u8]) -> Result<usize>,
    ) -> Result<()> {
        if let Some(lease) = completion.lease {
            let Channel { outgoing, partial, .. } = self;
            let bytes = ring.bytes(&lease);
            let outcome = if partial.is_empty() {
                take(outgoing, bytes).map(|taken| partial.extend_from_slice(&bytes[taken..]))
            } else {
                partial.extend_from_slice(bytes);
                take(outgoing, partial).map(|taken| drop(partial.drain(..taken)))
            };
            ring.release(lease);
            outcome?;
        }
        match completion.result {
            Ok(0) => return Err(anyhow!("the server has closed the connection")),
            Ok(_) | Err(Errno::NOBUFS) => {}
            Err(error) => return Err(error).context("the connection was lost"),
        }
        if !completion.more {
            ring.recv_stream(completion.token)?;
        }
        Ok(())
    }
}

/// Goes through the frames in `bytes`: pings are answered, texts are given to `hear`. Says how many
/// bytes are dealt with.
pub fn take_frames(
    outgoing: &mut Vec<u8>,
    bytes: &[u8],
    mut hear: impl FnMut(&mut Vec<u8>, &[u8]) -> Result<()>,
) -> Result<usize> {
    let mut taken = 0;
    while let Some(header) = frames::read_header(&bytes[taken..]).map_err(|wrong| anyhow!(wrong))? {
        let Header { fin, opcode, payload_bytes, header_bytes } = header;
        let whole = header_bytes + payload_bytes as usize;
        let Some(frame) = bytes.get(taken..taken + whole) else { break };
        let payload = &frame[header_bytes..];
        match opcode {
            frames::TEXT if fin => hear(outgoing, payload)?,
            frames::PING => frames::write_frame(outgoing, frames::PONG, Some(MASK), payload),
            frames::PONG => {}
            frames::CLOSE => return Err(anyhow!("a {}", frames::describe_close(payload))),
            _ => return Err(anyhow!("a frame of opcode {opcode:#x} that is no whole text")),
        }
        taken += whole;
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_when_they_are_whole() {
        let mut bytes = Vec::new();
        frames::write_frame(&mut bytes, frames::TEXT, None, b"one");
        frames::write_frame(&mut bytes, frames::PING, None, b"p");
        frames::write_frame(&mut bytes, frames::TEXT, None, b"two");
        for cut in 0..=bytes.len() {
            let (mut heard, mut outgoing) = (Vec::new(), Vec::new());
            let taken = take_frames(&mut outgoing, &bytes[..cut], |_, text| {
                heard.push(text.to_vec());
                Ok(())
            });
            let whole = [bytes.len(), 8, 5, 0].into_iter().find(|end| *end <= cut).unwrap();
            assert_eq!(taken.unwrap(), whole);
            assert_eq!(heard.len(), usize::from(cut >= 5) + usize::from(cut >= bytes.len()));
            assert_eq!(outgoing.is_empty(), cut < 8);
        }
        let mut close = Vec::new();
        frames::write_frame(&mut close, frames::CLOSE, None, &1001_u16.to_be_bytes());
        let error = take_frames(&mut Vec::new(), &close, |_, _| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "a close 1001 ");
    }
}
