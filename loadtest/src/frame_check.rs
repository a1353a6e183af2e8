//! Checks a server that answers right but not byte for byte: fragments, pings in between.
//!
//! `client` turns to it when the bytes first differ from the expected image; it compares content
//! all the same, and costs more. It does no input or output.

use crate::frames::{self, Header};
use crate::workload::Script;

/// What the connection has to do about a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// One whole message came back right.
    Message,
    /// Answer with these bytes.
    Ping(Vec<u8>),
}

/// The place in the stream of frames and in the expected message.
#[derive(Debug, Default)]
pub struct FrameCheck {
    /// An incomplete header, or a control frame up to its end.
    partial: Vec<u8>,
    /// The data frame under way and its missing bytes.
    open: Option<(Header, u64)>,
    in_message: bool,
    payload_at: usize,
    message: usize,
}

impl FrameCheck {
    /// Starts before message number `message` of the period.
    pub fn new(message: usize) -> FrameCheck {
        FrameCheck { message, ..FrameCheck::default() }
    }

    /// Takes the next bytes of the stream. Fails on a broken frame, on wrong content and on Close.
    pub fn feed(
        &mut self,
        script: &Script,
        mut bytes: &[u8],
        mut act: impl FnMut(Event),
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            match self.open {
                Some((header, missing)) => {
                    let take = missing.min(bytes.len() as u64) as usize;
                    self.check_payload(script, &bytes[..take])?;
                    bytes = &bytes[take..];
                    self.open = Some((header, missing - take as u64));
                    self.finish_frame(script, &mut act)?;
                }
                None => {
                    self.partial.push(bytes[0]);
                    bytes = &bytes[1..];
                    self.begin_frame(script, &mut act)?;
                }
            }
        }
        Ok(())
    }

    fn begin_frame(&mut self, script: &Script, act: &mut impl FnMut(Event)) -> Result<(), String> {
        let Some(header) = frames::read_header(&self.partial)? else { return Ok(()) };
        if header.is_control() {
            let whole = header.header_bytes + header.payload_bytes as usize;
            if self.partial.len() < whole {
                return Ok(());
            }
            let payload = self.partial.split_off(header.header_bytes);
            self.partial.clear();
            return match header.opcode {
                frames::CLOSE => {
                    Err(format!("the server closed: {}", frames::describe_close(&payload)))
                }
                frames::PING => {
                    act(Event::Ping(payload));
                    Ok(())
                }
                _ => Ok(()),
            };
        }
        self.partial.clear();
        let wanted = if self.in_message { 0 } else { script.echo_message(self.message)[0] & 0x0F };
        if header.opcode != wanted {
            return Err(format!("a frame with opcode {} instead of {wanted}", header.opcode));
        }
        self.in_message = true;
        self.open = Some((header, header.payload_bytes));
        self.finish_frame(script, act)
    }

    fn check_payload(&mut self, script: &Script, seen: &[u8]) -> Result<(), String> {
        let payload = &script.echo_message(self.message)[script.echo_header_bytes(self.message)..];
        let wanted = payload.get(self.payload_at..self.payload_at + seen.len());
        if wanted != Some(seen) {
            return Err(format!("wrong content at or after byte {} of a message", self.payload_at));
        }
        self.payload_at += seen.len();
        Ok(())
    }

    fn finish_frame(&mut self, script: &Script, act: &mut impl FnMut(Event)) -> Result<(), String> {
        let Some((header, 0)) = self.open else { return Ok(()) };
        self.open = None;
        if !header.fin {
            return Ok(());
        }
        let wanted_bytes =
            script.echo_message(self.message).len() - script.echo_header_bytes(self.message);
        if self.payload_at != wanted_bytes {
            return Err(format!("a message of {} bytes, not {wanted_bytes}", self.payload_at));
        }
        self.in_message = false;
        self.payload_at = 0;
        self.message = (self.message + 1) % script.shape.period();
        act(Event::Message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Kind, Payload, Shape};

    fn script() -> Script {
        let payload = Payload::Between(20, 20);
        let shape = Shape { kind: Kind::Text, payload, depth: 2, raw: false };
        Script::leak(shape, 1)
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first, payload.len() as u8];
        out.extend_from_slice(payload);
        out
    }

    fn run(bytes: &[u8], step: usize) -> Result<Vec<Event>, String> {
        let (script, mut check, mut events) = (script(), FrameCheck::new(0), Vec::new());
        for chunk in bytes.chunks(step) {
            check.feed(&script, chunk, |event| events.push(event))?;
        }
        Ok(events)
    }

    #[test]
    fn takes_fragments_and_pings_at_any_cut() {
        let script = script();
        let payload = &script.echo_message(0)[2..];
        let mut bytes = frame(0x01, &payload[..7]);
        bytes.extend(frame(0x89, b"ping"));
        bytes.extend(frame(0x00, &[]));
        bytes.extend(frame(0x80, &payload[7..]));
        bytes.extend_from_slice(script.echo_message(1));
        for step in [1, 2, 3, bytes.len()] {
            let events = run(&bytes, step).unwrap();
            assert_eq!(events, [Event::Ping(b"ping".to_vec()), Event::Message, Event::Message]);
        }
    }

    #[test]
    fn refuses_wrong_content_length_order_and_close() {
        let script = script();
        let mut wrong = script.echo_message(0).to_vec();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(run(&wrong, 5).unwrap_err().contains("wrong content"));
        let short = frame(0x81, &script.echo_message(0)[2..12]);
        assert!(run(&short, 5).unwrap_err().contains("10 bytes, not 20"));
        assert!(run(script.echo_message(1), 5).unwrap_err().contains("wrong content"));
        assert!(run(&frame(0x88, b"\x03\xEA"), 5).unwrap_err().contains("close 1002"));
        assert!(run(&frame(0x82, b"x"), 5).unwrap_err().contains("opcode 2"));
    }
}
