//! What the members of a fan-out hear: frames, the texts in them, who still misses which.
//!
//! `room` feeds it bytes and takes pongs and finished messages from it. It reads no clock and
//! knows no socket.

use std::collections::VecDeque;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::frames;
use crate::report::histogram;

/// Bytes of the mark a text begins with.
pub const MARK_BYTES: usize = 16;
const DIGITS: usize = 12;
/// Larger frames are no deliveries, and nobody wants them kept.
const FRAME_BYTES_MAX: u64 = 64 << 20;

/// The texts of a run: a mark with a number, then always the same filler. A server may put
/// anything before a text (a name, say), so a text is looked for at the end of a message.
pub struct Texts {
    filler: Vec<u8>,
}

impl Texts {
    /// Texts of `text_bytes`, at least [`MARK_BYTES`].
    pub fn new(text_bytes: usize) -> Texts {
        let filler = (MARK_BYTES..text_bytes).map(|at| b'a' + (at % 26) as u8);
        Texts { filler: filler.collect() }
    }

    /// Text number `number`.
    pub fn write(&self, number: u64) -> Vec<u8> {
        let mut text = format!("rw:{number:0DIGITS$}:").into_bytes();
        text.extend_from_slice(&self.filler);
        text
    }

    /// The number of the text a message ends with.
    pub fn read(&self, message: &[u8]) -> Option<u64> {
        let start = message.len().checked_sub(MARK_BYTES + self.filler.len())?;
        let (mark, filler) = message[start..].split_at(MARK_BYTES);
        let digits = mark.strip_prefix(b"rw:")?.strip_suffix(b":")?;
        if filler != self.filler {
            return None;
        }
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// A message on its way.
struct UnderWay {
    publisher: u32,
    sent_ns: u64,
    missing: u32,
}

/// The state of all members and the figures so far.
pub struct Hearing {
    texts: Texts,
    /// The members below this number publish; the others subscribe.
    publishers: u32,
    subscribers: u32,
    /// Beginnings of frames, by member.
    partial: Vec<Vec<u8>>,
    under_way: VecDeque<UnderWay>,
    /// The number of the first message under way.
    first: u64,
    /// Only messages sent from here on are in the histograms.
    pub from_ns: u64,
    pub deliveries: u64,
    pub messages: u64,
    /// Messages that are no text of this run, and the last of them.
    pub others: u64,
    pub last_other: String,
    pub delivery_ns: Histogram<u64>,
    pub last_ns: Histogram<u64>,
    /// Pings to answer: member and payload.
    pub pings: Vec<(u32, Vec<u8>)>,
    /// Publishers whose message everybody has heard.
    pub finished: Vec<u32>,
}

impl Hearing {
    /// Nobody has heard anything.
    pub fn new(texts: Texts, publishers: u32, subscribers: u32) -> Result<Hearing> {
        Ok(Hearing {
            texts,
            publishers,
            subscribers,
            partial: vec![Vec::new(); (publishers + subscribers) as usize],
            under_way: VecDeque::new(),
            first: 0,
            from_ns: u64::MAX,
            deliveries: 0,
            messages: 0,
            others: 0,
            last_other: String::new(),
            delivery_ns: histogram()?,
            last_ns: histogram()?,
            pings: Vec::new(),
            finished: Vec::new(),
        })
    }

    /// Begins the measured time.
    pub fn begin(&mut self, now_ns: u64) {
        (self.from_ns, self.deliveries, self.messages) = (now_ns, 0, 0);
    }

    /// Registers the next message; returns its text.
    pub fn publish(&mut self, publisher: u32, sent_ns: u64) -> Vec<u8> {
        let number = self.published();
        self.under_way.push_back(UnderWay { publisher, sent_ns, missing: self.subscribers });
        self.texts.write(number)
    }

    /// Messages registered so far.
    pub fn published(&self) -> u64 {
        self.first + self.under_way.len() as u64
    }

    /// Messages somebody still misses, and how many deliveries are missing.
    pub fn missing(&self) -> (u64, u64) {
        let missing = self.under_way.iter().map(|message| u64::from(message.missing));
        let incomplete = self.under_way.iter().filter(|message| message.missing > 0).count();
        (incomplete as u64, missing.sum())
    }

    /// Bytes for `member`. Fails on a broken frame, a Close and a text nobody should hear.
    pub fn feed(&mut self, member: u32, bytes: &[u8], now_ns: u64) -> Result<(), String> {
        let index = member as usize;
        let mut pending = std::mem::take(&mut self.partial[index]);
        if pending.is_empty() {
            let done = self.read_frames(member, bytes, now_ns)?;
            pending.extend_from_slice(&bytes[done..]);
        } else {
            pending.extend_from_slice(bytes);
            let done = self.read_frames(member, &pending, now_ns)?;
            pending.drain(..done);
        }
        self.partial[index] = pending;
        Ok(())
    }

    /// Reads whole frames; returns their bytes.
    fn read_frames(&mut self, member: u32, bytes: &[u8], now_ns: u64) -> Result<usize, String> {
        let mut done = 0;
        while let Some(header) = frames::read_header(&bytes[done..])? {
            if header.payload_bytes > FRAME_BYTES_MAX {
                return Err(format!("a frame of {} bytes", header.payload_bytes));
            }
            let start = done + header.header_bytes;
            let end = start + header.payload_bytes as usize;
            let Some(payload) = bytes.get(start..end) else { break };
            match header.opcode {
                frames::CLOSE => {
                    return Err(format!("the server closed: {}", frames::describe_close(payload)));
                }
                frames::PING => self.pings.push((member, payload.to_vec())),
                frames::PONG => {}
                _ if !header.fin => return Err("the server fragments its messages".to_owned()),
                _ => self.hear(member, payload, now_ns)?,
            }
            done = end;
        }
        Ok(done)
    }

    fn hear(&mut self, member: u32, message: &[u8], now_ns: u64) -> Result<(), String> {
        let Some(number) = self.texts.read(message) else {
            self.others += 1;
            let shown = &message[..message.len().min(60)];
            self.last_other = String::from_utf8_lossy(shown).escape_debug().to_string();
            return Ok(());
        };
        self.deliveries += 1;
        if member < self.publishers {
            return Ok(());
        }
        let index = number.checked_sub(self.first).map(|index| index as usize);
        let heard = index.and_then(|index| self.under_way.get_mut(index));
        let Some(heard) = heard.filter(|heard| heard.missing > 0) else {
            return Err(format!("message {number} was delivered to somebody twice"));
        };
        heard.missing -= 1;
        let (last, publisher) = (heard.missing == 0, heard.publisher);
        if heard.sent_ns >= self.from_ns {
            let latency_ns = now_ns.saturating_sub(heard.sent_ns).max(1);
            self.delivery_ns.saturating_record(latency_ns);
            if last {
                self.last_ns.saturating_record(latency_ns);
            }
        }
        if last {
            self.messages += 1;
            self.finished.push(publisher);
            while self.under_way.front().is_some_and(|message| message.missing == 0) {
                self.under_way.pop_front();
                self.first += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(prefix: &str, text: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let payload = [prefix.as_bytes(), text].concat();
        frames::write_frame(&mut frame, frames::TEXT, None, &payload);
        frame
    }

    /// Member 0 publishes, 1 and 2 subscribe.
    fn hearing() -> Hearing {
        Hearing::new(Texts::new(40), 1, 2).unwrap()
    }

    #[test]
    fn texts_are_found_behind_any_prefix() {
        let texts = Texts::new(40);
        let text = texts.write(123);
        assert_eq!(text.len(), 40);
        assert_eq!(texts.read(&text), Some(123));
        assert_eq!(texts.read(&[b"m7: ", &text[..]].concat()), Some(123));
        assert_eq!(texts.read(&text[1..]), None);
        assert_eq!(texts.read(b"* m7 has joined"), None);
        let mut wrong = text;
        wrong[39] ^= 1;
        assert_eq!(texts.read(&wrong), None);
    }

    #[test]
    fn a_message_is_over_when_the_last_subscriber_has_it() {
        let mut hearing = hearing();
        hearing.begin(0);
        let frame = delivery("m0: ", &hearing.publish(0, 100));
        for chunk in frame.chunks(3) {
            hearing.feed(1, chunk, 400).unwrap();
        }
        hearing.feed(0, &frame, 500).unwrap();
        assert_eq!((hearing.deliveries, hearing.messages), (2, 0));
        assert_eq!(hearing.missing(), (1, 1));
        hearing.feed(2, &frame, 900).unwrap();
        assert_eq!((hearing.deliveries, hearing.messages), (3, 1));
        assert_eq!(hearing.finished, [0]);
        assert_eq!(hearing.missing(), (0, 0));
        assert_eq!((hearing.delivery_ns.min(), hearing.delivery_ns.len()), (300, 2));
        assert_eq!((hearing.last_ns.max(), hearing.last_ns.len()), (800, 1));
    }

    #[test]
    fn messages_may_finish_out_of_order() {
        let mut hearing = hearing();
        let (one, two) = (hearing.publish(0, 1), hearing.publish(0, 2));
        for (member, text) in [(1, &two), (2, &two), (1, &one), (2, &one)] {
            hearing.feed(member, &delivery("", text), 9).unwrap();
        }
        assert_eq!(hearing.messages, 2);
        assert_eq!(hearing.delivery_ns.len(), 0, "sent before the measured time");
        assert_eq!(hearing.publish(0, 3), Texts::new(40).write(2));
    }

    #[test]
    fn doubles_closes_pings_and_other_talk_are_told_apart() {
        let mut hearing = hearing();
        let frame = delivery("", &hearing.publish(0, 1));
        hearing.feed(1, &delivery("* m1 has joined", b""), 5).unwrap();
        assert_eq!((hearing.others, hearing.last_other.as_str()), (1, "* m1 has joined"));
        hearing.feed(2, b"\x89\x02hi", 5).unwrap();
        assert_eq!(hearing.pings, [(2, b"hi".to_vec())]);
        hearing.feed(1, &frame, 5).unwrap();
        hearing.feed(1, &frame, 5).unwrap();
        assert!(hearing.feed(1, &frame, 5).unwrap_err().contains("twice"));
        assert!(hearing.feed(2, b"\x88\x02\x03\xF0", 5).unwrap_err().contains("close 1008"));
    }
}
