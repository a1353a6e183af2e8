//! What a connection says and what it must hear: frames prepared once, before the clock starts.
//!
//! `echo` makes one [`Script`] per connection. Messages of one script differ from each other and
//! from those of other connections, so a server that swaps, doubles or mixes messages is found by
//! comparing bytes. The memory is leaked because the kernel sends straight from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::frames;

/// The longest payload of a run.
const PAYLOAD_BYTES_MAX: u32 = 1 << 28;

/// The content of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// ASCII in text frames.
    Text,
    /// Any bytes in binary frames.
    Binary,
    /// Text frames of characters of one to four bytes.
    Utf8,
}

impl Kind {
    /// Its name on the command line and in the lines of JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Binary => "binary",
            Kind::Utf8 => "utf8",
        }
    }
}

/// How long payloads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Every length from the first to the second equally often.
    Between(u32, u32),
    /// Every one of these equally often.
    OneOf(&'static [u32]),
}

impl Payload {
    /// Reads `32`, `16-1024` or `32,512,4096`. The list is leaked; a command line has one.
    pub fn parse(text: &str) -> Result<Payload, String> {
        let number = |part: &str| match part.trim().parse::<u32>() {
            Ok(bytes) if bytes <= PAYLOAD_BYTES_MAX => Ok(bytes),
            Ok(bytes) => Err(format!("{bytes} bytes are more than {PAYLOAD_BYTES_MAX}")),
            Err(_) => Err(format!("{text} is none of 32, 16-1024 and 32,512,4096")),
        };
        if let Some((low, high)) = text.split_once('-') {
            let (low, high) = (number(low)?, number(high)?);
            return match low <= high {
                true => Ok(Payload::Between(low, high)),
                false => Err(format!("{low} is more than {high}")),
            };
        }
        let list = text.split(',').map(number).collect::<Result<Vec<u32>, String>>()?;
        match list[..] {
            [one] => Ok(Payload::Between(one, one)),
            _ => Ok(Payload::OneOf(list.leak())),
        }
    }

    /// One length for all.
    pub fn is_fixed(self) -> bool {
        self.min_bytes() == self.max_bytes()
    }

    /// The longest.
    pub fn max_bytes(self) -> usize {
        match self {
            Payload::Between(_, high) => high as usize,
            Payload::OneOf(list) => list.iter().copied().max().unwrap_or(0) as usize,
        }
    }

    fn min_bytes(self) -> usize {
        match self {
            Payload::Between(low, _) => low as usize,
            Payload::OneOf(list) => list.iter().copied().min().unwrap_or(0) as usize,
        }
    }

    /// The mean length.
    pub fn mean_bytes(self) -> f64 {
        match self {
            Payload::Between(low, high) => f64::midpoint(f64::from(low), f64::from(high)),
            Payload::OneOf(list) => {
                list.iter().copied().map(f64::from).sum::<f64>() / list.len().max(1) as f64
            }
        }
    }

    fn pick(self, random: &mut Random) -> usize {
        let word = random.next();
        match self {
            Payload::Between(low, high) => {
                (u64::from(low) + word % u64::from(high - low + 1)) as usize
            }
            Payload::OneOf(list) => list[(word % list.len() as u64) as usize] as usize,
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Between(low, high) if low == high => write!(out, "{low}"),
            Payload::Between(low, high) => write!(out, "{low}-{high}"),
            Payload::OneOf(list) => {
                let list: Vec<String> = list.iter().map(u32::to_string).collect();
                write!(out, "{}", list.join(","))
            }
        }
    }
}

/// The shape of a run's messages.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub kind: Kind,
    pub payload: Payload,
    /// Messages in flight per connection.
    pub depth: usize,
    /// No WebSocket: payloads of the frames' size on the wire, echoed as they are.
    pub raw: bool,
}

impl Shape {
    /// Bytes of the longest message from the server.
    pub fn echo_bytes_max(&self) -> usize {
        let payload_bytes = self.payload.max_bytes();
        match self.raw {
            true => frames::client_frame_bytes(payload_bytes),
            false => frames::server_header_bytes(payload_bytes) + payload_bytes,
        }
    }

    /// Different messages in a script: enough for all in flight, and more of small ones and of
    /// mixed lengths.
    pub fn period(&self) -> usize {
        let varied = match (self.payload.is_fixed(), self.payload.max_bytes() <= 8 * 1024) {
            (true, true) | (false, false) => 8,
            (true, false) => 1,
            (false, true) => 64,
        };
        self.depth.max(varied)
    }

    /// Memory of one connection's script, about.
    pub fn script_bytes(&self) -> usize {
        4 * self.period() * frames::client_frame_bytes(self.payload.mean_bytes() as usize)
    }
}

/// Where a message begins in the images.
#[derive(Clone, Copy, Debug)]
struct Start {
    send: usize,
    echo: usize,
}

/// The prepared bytes of one connection: every image holds its period twice, so that any run of up
/// to a period of messages is one piece.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub shape: Shape,
    send: &'static [u8],
    echo: &'static [u8],
    /// Of every message in the doubled images, and their ends.
    starts: &'static [Start],
}

impl Script {
    /// Prepares the messages of connection number `index`.
    pub fn leak(shape: Shape, index: u32) -> Script {
        let mut random = Random(u64::from(index).wrapping_mul(0x9E37_79B9) + 1);
        let key = (random.next() as u32 | 1).to_be_bytes();
        let opcode = if shape.kind == Kind::Binary { frames::BINARY } else { frames::TEXT };
        let (mut send, mut echo) = (Vec::new(), Vec::new());
        let mut starts = vec![Start { send: 0, echo: 0 }];
        for _ in 0..shape.period() {
            let payload_bytes = shape.payload.pick(&mut random);
            if shape.raw {
                let frame_bytes = frames::client_frame_bytes(payload_bytes);
                send.extend_from_slice(&random.payload(Kind::Binary, frame_bytes));
                starts.push(Start { send: send.len(), echo: send.len() });
                continue;
            }
            let payload = random.payload(shape.kind, payload_bytes);
            frames::write_frame(&mut send, opcode, Some(key), &payload);
            frames::write_frame(&mut echo, opcode, None, &payload);
            starts.push(Start { send: send.len(), echo: echo.len() });
        }
        let period = if shape.raw { (send.len(), send.len()) } else { (send.len(), echo.len()) };
        let again: Vec<Start> = starts[1..]
            .iter()
            .map(|start| Start { send: start.send + period.0, echo: start.echo + period.1 })
            .collect();
        starts.extend(again);
        send.extend_from_within(..);
        echo.extend_from_within(..);
        let send: &'static [u8] = send.leak();
        let echo = if shape.raw { send } else { echo.leak() };
        Script { shape, send, echo, starts: starts.leak() }
    }

    /// The bytes that send `count` messages from number `message` of the period on.
    pub fn send_run(&self, message: usize, count: usize) -> &'static [u8] {
        &self.send[self.starts[message].send..self.starts[message + count].send]
    }

    /// The expected bytes of message number `message` of the period.
    pub fn echo_message(&self, message: usize) -> &'static [u8] {
        &self.echo[self.starts[message].echo..self.starts[message + 1].echo]
    }

    /// Bytes of the header the echo of `message` begins with.
    pub fn echo_header_bytes(&self, message: usize) -> usize {
        match (self.shape.raw, self.echo_message(message).get(1)) {
            (false, Some(127)) => 10,
            (false, Some(126)) => 4,
            (false, _) => 2,
            (true, _) => 0,
        }
    }

    /// How many of `bytes` are what must follow `position` bytes into the period.
    pub fn matching(&self, position: usize, bytes: &[u8]) -> usize {
        let period_bytes = self.echo.len() / 2;
        let mut done = 0;
        while done < bytes.len() {
            let at = (position + done) % period_bytes;
            let take = (bytes.len() - done).min(self.echo.len() - at);
            let (seen, wanted) = (&bytes[done..done + take], &self.echo[at..at + take]);
            if seen != wanted {
                return done + seen.iter().zip(wanted).take_while(|(a, b)| a == b).count();
            }
            done += take;
        }
        done
    }
}

/// SplitMix64: reproducible bytes, no quality needed beyond "different".
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn payload(&mut self, kind: Kind, len: usize) -> Vec<u8> {
        const MIXED: [&str; 8] = ["a", "Z", " ", "é", "ß", "世", "界", "🙂"];
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            let word = self.next();
            match kind {
                Kind::Binary => out.extend_from_slice(&word.to_le_bytes()),
                Kind::Text => out.extend(word.to_le_bytes().map(|byte| b' ' + byte % 95)),
                Kind::Utf8 => {
                    let next = MIXED[(word % 8) as usize].as_bytes();
                    let fits = out.len() + next.len() <= len;
                    out.extend_from_slice(if fits { next } else { b"." });
                }
            }
        }
        out.truncate(len);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: Kind, payload: &str, raw: bool) -> Shape {
        Shape { kind, payload: Payload::parse(payload).unwrap(), depth: 3, raw }
    }

    #[test]
    fn every_message_unmasks_to_its_echo() {
        for (kind, payload) in
            [(Kind::Text, "300"), (Kind::Binary, "0-70000"), (Kind::Utf8, "7,125,126,3000")]
        {
            let script = Script::leak(shape(kind, payload, false), 5);
            for message in 0..script.shape.period() {
                let sent = script.send_run(message, 1);
                let echo = script.echo_message(message);
                let header = script.echo_header_bytes(message);
                assert_eq!(sent.len(), echo.len() + 4);
                assert_eq!(sent[0], echo[0]);
                assert_eq!(sent[1], echo[1] | 0x80);
                assert_eq!(&sent[2..header], &echo[2..header]);
                let (key, masked) = sent[header..].split_at(4);
                let plain: Vec<u8> =
                    masked.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
                assert_eq!(plain, echo[header..]);
                if kind != Kind::Binary {
                    assert!(std::str::from_utf8(&plain).is_ok());
                }
            }
        }
    }

    #[test]
    fn lengths_follow_the_distribution() {
        let lengths = |payload| {
            let script = Script::leak(shape(Kind::Binary, payload, false), 3);
            let messages = 0..script.shape.period();
            let bytes =
                messages.map(|m| script.echo_message(m).len() - script.echo_header_bytes(m));
            let mut sorted: Vec<usize> = bytes.collect();
            sorted.sort_unstable();
            sorted.dedup();
            sorted
        };
        assert_eq!(lengths("32"), [32]);
        assert_eq!(lengths("9,200,70"), [9, 70, 200]);
        let range = lengths("16-1024");
        assert!(range.len() > 40 && range[0] < 200 && *range.last().unwrap() > 800, "{range:?}");
        assert!(range[0] >= 16 && *range.last().unwrap() <= 1024, "{range:?}");
    }

    #[test]
    fn distributions_are_read_and_written() {
        for text in ["32", "16-1024", "32,512,4096"] {
            assert_eq!(Payload::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Payload::parse("10-20").unwrap().mean_bytes(), 15.0);
        assert_eq!(Payload::parse("1,2,9").unwrap().mean_bytes(), 4.0);
        for bad in ["", "x", "9-3", "1,,2", "999999999", "-5"] {
            assert!(Payload::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn messages_differ_within_and_between_connections() {
        let first = Script::leak(shape(Kind::Text, "32", false), 0);
        let second = Script::leak(shape(Kind::Text, "32", false), 1);
        assert_ne!(first.echo_message(0), first.echo_message(1));
        assert_ne!(first.echo_message(0), second.echo_message(0));
    }

    #[test]
    fn raw_messages_have_the_size_of_the_masked_frame() {
        let raw = shape(Kind::Text, "32", true);
        assert_eq!(raw.echo_bytes_max(), 38);
        let script = Script::leak(raw, 0);
        assert_eq!(script.send.len(), 38 * raw.period() * 2);
        assert_eq!(script.send, script.echo);
        assert_eq!(script.send_run(7, 8).len(), 38 * 8);
        assert_eq!(script.echo_header_bytes(0), 0);
    }

    #[test]
    fn matching_wraps_and_finds_the_first_difference() {
        let script = Script::leak(shape(Kind::Binary, "10", false), 9);
        let period_bytes = script.echo.len() / 2;
        let mut long = script.echo[7..].to_vec();
        long.extend_from_slice(script.echo);
        long.extend_from_slice(script.echo);
        assert_eq!(script.matching(7, &long), long.len());
        assert_eq!(script.matching(7 + 3 * period_bytes, &long), long.len());
        let at = period_bytes * 2 + 3;
        long[at] ^= 1;
        assert_eq!(script.matching(7, &long), at);
    }
}
