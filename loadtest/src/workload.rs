//! What a connection says and what it must hear: frames prepared once, before the clock starts.
//!
//! `echo` makes one [`Script`] per connection. Messages of one script differ from each other and
//! from those of other connections, so a server that swaps, doubles or mixes messages is found by
//! comparing bytes. The memory is leaked because the kernel sends straight from it.

use crate::frames;

/// The content of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// ASCII in text frames.
    Text,
    /// Any bytes in binary frames.
    Binary,
    /// Text frames of characters of one to four bytes.
    Utf8,
}

/// The shape of a run's messages.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub kind: Kind,
    pub payload_bytes: usize,
    /// Messages in flight per connection.
    pub depth: usize,
    /// No WebSocket: payloads of the frames' size on the wire, echoed as they are.
    pub raw: bool,
}

impl Shape {
    /// Bytes of one message to the server.
    pub fn send_bytes(&self) -> usize {
        frames::client_frame_bytes(self.payload_bytes)
    }

    /// Bytes of the header an echoed message begins with.
    pub fn echo_header_bytes(&self) -> usize {
        if self.raw { 0 } else { frames::server_header_bytes(self.payload_bytes) }
    }

    /// Bytes of one message from the server.
    pub fn echo_bytes(&self) -> usize {
        match self.raw {
            true => self.send_bytes(),
            false => self.echo_header_bytes() + self.payload_bytes,
        }
    }

    /// Different messages in a script: enough for all in flight, and more of small ones.
    pub fn period(&self) -> usize {
        let varied = if self.payload_bytes <= 8 * 1024 { 8 } else { 1 };
        self.depth.max(varied)
    }

    /// Memory of one connection's script.
    pub fn script_bytes(&self) -> usize {
        2 * self.period() * (self.send_bytes() + self.echo_bytes())
    }
}

/// The prepared bytes of one connection: every image holds its period twice, so that any run of up
/// to a period of messages is one piece.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub shape: Shape,
    pub send: &'static [u8],
    pub echo: &'static [u8],
}

impl Script {
    /// Prepares the messages of connection number `index`.
    pub fn leak(shape: Shape, index: u32) -> Script {
        let mut random = Random(u64::from(index).wrapping_mul(0x9E37_79B9) + 1);
        let key = (random.next() as u32 | 1).to_be_bytes();
        let (mut send, mut echo) = (Vec::new(), Vec::new());
        for _ in 0..shape.period() {
            if shape.raw {
                send.extend_from_slice(&random.payload(Kind::Binary, shape.send_bytes()));
                continue;
            }
            let payload = random.payload(shape.kind, shape.payload_bytes);
            let opcode = if shape.kind == Kind::Binary { frames::BINARY } else { frames::TEXT };
            frames::write_frame(&mut send, opcode, Some(key), &payload);
            frames::write_frame(&mut echo, opcode, None, &payload);
        }
        send.extend_from_within(..);
        echo.extend_from_within(..);
        let send: &'static [u8] = send.leak();
        Script { shape, send, echo: if shape.raw { send } else { echo.leak() } }
    }

    /// The expected bytes of message number `message` of the period.
    pub fn echo_message(&self, message: usize) -> &'static [u8] {
        let len = self.shape.echo_bytes();
        &self.echo[message * len..][..len]
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

    fn shape(kind: Kind, payload_bytes: usize, raw: bool) -> Shape {
        Shape { kind, payload_bytes, depth: 3, raw }
    }

    #[test]
    fn every_message_unmasks_to_its_echo() {
        for kind in [Kind::Text, Kind::Binary, Kind::Utf8] {
            let script = Script::leak(shape(kind, 300, false), 5);
            for message in 0..script.shape.period() {
                let sent = &script.send[message * 308..][..308];
                let echo = script.echo_message(message);
                assert_eq!(sent[0], echo[0]);
                assert_eq!(&sent[2..4], &echo[2..4]);
                let key = &sent[4..8];
                let plain: Vec<u8> =
                    sent[8..].iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
                assert_eq!(plain, echo[4..]);
                if kind != Kind::Binary {
                    assert!(std::str::from_utf8(&plain).is_ok());
                }
            }
        }
    }

    #[test]
    fn messages_differ_within_and_between_connections() {
        let first = Script::leak(shape(Kind::Text, 32, false), 0);
        let second = Script::leak(shape(Kind::Text, 32, false), 1);
        assert_ne!(first.echo_message(0), first.echo_message(1));
        assert_ne!(first.echo_message(0), second.echo_message(0));
    }

    #[test]
    fn raw_messages_have_the_size_of_the_masked_frame() {
        let raw = shape(Kind::Text, 32, true);
        assert_eq!((raw.send_bytes(), raw.echo_bytes()), (38, 38));
        let script = Script::leak(raw, 0);
        assert_eq!(script.send.len(), 38 * raw.period() * 2);
        assert_eq!(script.send, script.echo);
    }

    #[test]
    fn matching_wraps_and_finds_the_first_difference() {
        let script = Script::leak(shape(Kind::Binary, 10, false), 9);
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
