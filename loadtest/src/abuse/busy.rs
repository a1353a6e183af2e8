//! Busy clients: whoever always has something to say, in good faith or not.
//!
//! `attack` calls [`Crowd::round`] again and again, on one thread for all of them: each says as much
//! as its socket takes and takes what comes. They break no rule of the protocol; what the server
//! owes the others is that these are heard beside them.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::Abuse;
use crate::connect::{self, Opened};
use crate::frames;
use crate::handshake::Target;

/// A message of those that echo large ones.
const LARGE_BYTES: usize = 1 << 20;
/// Frames that are said in one go.
const FRAMES: usize = 10_000;
/// After a round in which no socket took or had anything.
const PAUSE: Duration = Duration::from_micros(50);
/// Reads of one client in a round.
const READS_MAX: usize = 16;

/// What one of them says, again and again.
pub struct Speech {
    bytes: Vec<u8>,
    /// Frames in it.
    frames: u64,
    /// Bytes of the answer it waits for before it says it again; 0 for whoever does not wait.
    answer_bytes: usize,
}

impl Speech {
    /// `None` for those that are not busy but bad.
    pub fn of(abuse: Abuse) -> Option<Speech> {
        let frame = |opcode, payload: &[u8]| {
            let mut frame = Vec::new();
            frames::write_frame(&mut frame, opcode, Some([7; 4]), payload);
            frame
        };
        let many = |frame: Vec<u8>| Speech {
            bytes: frame.repeat(FRAMES),
            frames: FRAMES as u64,
            answer_bytes: 0,
        };
        match abuse {
            Abuse::PongFloods => Some(many(frame(frames::PONG, b""))),
            Abuse::TinyMessages => Some(many(frame(frames::TEXT, b""))),
            Abuse::LargeEchoes => Some(Speech {
                bytes: frame(frames::BINARY, &[1; LARGE_BYTES]),
                frames: 1,
                answer_bytes: frames::server_header_bytes(LARGE_BYTES) + LARGE_BYTES,
            }),
            _ => None,
        }
    }
}

/// All of them, on one thread.
pub struct Crowd {
    speech: Speech,
    members: Vec<Member>,
    scratch: Vec<u8>,
}

struct Member {
    opened: Opened,
    /// Said of the speech.
    said: usize,
    /// Bytes of the answer that have come.
    heard: usize,
}

impl Crowd {
    pub fn new(speech: Speech) -> Crowd {
        Crowd { speech, members: Vec::new(), scratch: vec![0; 256 * 1024] }
    }

    /// Opens those that are missing.
    pub fn fill(&mut self, target: &Target, wanted: u32, opened_before: u32) -> Result<u32> {
        let missing = wanted - self.members.len() as u32;
        for opened in connect::open_wave(target, opened_before, missing, false)? {
            opened.stream.set_nonblocking(true)?;
            self.members.push(Member { opened, said: 0, heard: 0 });
        }
        Ok(missing)
    }

    /// Everybody speaks and listens once: frames that were said, and members the server has ended.
    pub fn round(&mut self) -> (u64, u64) {
        let (speech, scratch) = (&self.speech, &mut self.scratch);
        let (mut spoken, mut moved, before) = (0, false, self.members.len());
        self.members.retain_mut(|member| match member.act(speech, scratch) {
            Some((speeches, some)) => {
                spoken += speeches * speech.frames;
                moved |= some;
                true
            }
            None => false,
        });
        if !moved {
            thread::sleep(PAUSE);
        }
        (spoken, (before - self.members.len()) as u64)
    }
}

impl Member {
    /// Speeches that it has ended, and whether anything moved; `None` when the connection is gone.
    fn act(&mut self, speech: &Speech, scratch: &mut [u8]) -> Option<(u64, bool)> {
        let mut moved = false;
        for _ in 0..READS_MAX {
            match self.opened.stream.read(scratch) {
                Ok(0) => return None,
                Ok(count) => (self.heard, moved) = (self.heard + count, true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        if self.said < speech.bytes.len() {
            match self.opened.stream.write(&speech.bytes[self.said..]) {
                Ok(count) => (self.said, moved) = (self.said + count, true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
        if self.said < speech.bytes.len() || self.heard < speech.answer_bytes {
            return Some((0, moved));
        }
        (self.said, self.heard) = (0, 0);
        Some((1, true))
    }
}
