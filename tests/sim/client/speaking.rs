//! What a client says: messages in fragments and pieces, control frames, the end.

use super::{Client, Stage};
use crate::script::End;
use crate::wire;
use ringwire::ring::sim::{PeerId, PeerRate, SimNet};

impl Client {
    pub(super) fn finish(&mut self, net: &SimNet, peer: PeerId, now_ms: u64) {
        self.end(now_ms);
        let last_words = self.last_words();
        // What comes before a Close or FIN is answered before these are; behind a violation only what
        // is so little that nothing keeps the handler from answering it at once.
        let bytes: usize = self.expected.iter().map(|(_, payload)| payload.len() + 10).sum();
        let waited_for = matches!(self.script.end, End::Close(_) | End::Fin);
        let taken = !self.is_stalled && self.rules.sees_progress;
        let at_once = bytes < 500 && self.script.rate == PeerRate::Instant;
        let easy = (waited_for || at_once) && !self.script.reading.nag && self.gate.is_none();
        // Who holds a shared socket is elsewhere, and may come too late.
        let prompt = self.rules.punctual && !self.script.shared;
        self.answers_owed = easy && taken && prompt;
        match self.script.end.clone() {
            End::Close(code) => {
                let payload = code.map_or(vec![], |code| wire::close_payload(code, b"bye"));
                let close = self.frame(wire::FIN | wire::CLOSE, &payload);
                self.close_sent = true;
                self.outgoing.push_back((0, [last_words, close].concat()));
            }
            End::Violate(violation) => {
                let bytes = violation.bytes(&mut self.dice);
                self.close_sent = true;
                self.write_pieces([last_words, bytes].concat());
            }
            End::Exit => self.command("exit"),
            End::Fail => self.command("fail"),
            End::Panic => self.command("panic"),
            End::Fin => {
                self.begin_a_message(net, peer);
                net.peer_shutdown(peer);
                self.shut = true;
            }
            End::Reset => {
                self.begin_a_message(net, peer);
                net.peer_reset(peer);
                self.stage = Stage::Leaving;
                self.left_ms = now_ms;
            }
            End::Silence => self.mute = true,
            End::Vanish => {
                self.mute = true;
                net.peer_set_rate(peer, PeerRate::Stalled);
            }
        }
    }

    /// A message that arrives together with the end, or nothing.
    fn last_words(&mut self) -> Vec<u8> {
        let speaks = matches!(self.script.end, End::Close(_) | End::Violate(_));
        if !speaks || self.dice.chance(500) {
            return Vec::new();
        }
        let payload = self.payload(true, 40);
        let frame = self.frame(wire::FIN | wire::TEXT, &payload);
        self.expect(wire::TEXT, payload);
        frame
    }

    pub(super) fn command(&mut self, command: &str) {
        let frame = self.frame(wire::FIN | wire::TEXT, command.as_bytes());
        self.write_pieces(frame);
    }

    /// Writes the beginning of a frame, cut anywhere.
    pub(super) fn begin_a_message(&mut self, net: &SimNet, peer: PeerId) {
        if self.dice.chance(500) {
            let frame = self.frame(wire::FIN | wire::BINARY, &[1; 300]);
            let cut = self.dice.below(frame.len());
            net.peer_write(peer, &frame[..cut]);
        }
    }

    pub(super) fn pause_ms(&mut self) -> u64 {
        self.dice.pick(&[0, 0, 1, 7, 60])
    }

    pub(super) fn key(&mut self) -> [u8; 4] {
        (self.dice.bits() as u32).to_be_bytes()
    }

    pub(super) fn frame(&mut self, first: u8, payload: &[u8]) -> Vec<u8> {
        wire::frame(first, payload, self.key())
    }

    pub(super) fn ping(&mut self, bytes: usize) -> Vec<u8> {
        let payload = self.payload(false, bytes);
        self.pings.push_back(payload.clone());
        self.frame(wire::FIN | wire::PING, &payload)
    }

    /// Bytes that only this client sends, and only at this place.
    pub(super) fn payload(&mut self, text: bool, bytes: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(bytes + 8);
        while payload.len() < bytes {
            let word = self.dice.bits();
            if text {
                // Nothing with fewer than six characters is a command.
                let characters = ['a', 'z', 'Q', '~', 'ß', '漢', '😀', '\u{7f}'];
                let character = characters[(word % 8) as usize];
                payload.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                payload.extend(word.to_le_bytes());
            }
        }
        if !text {
            payload.truncate(bytes);
        }
        payload
    }

    /// Writes a message in fragments, with pings between them.
    pub(super) fn message(&mut self, text: bool, payload: Vec<u8>, fragments: usize) {
        let mut bytes = Vec::with_capacity(payload.len() + 64);
        let kind = if text { wire::TEXT } else { wire::BINARY };
        let mut rest = &payload[..];
        for index in 0..fragments {
            let last = index + 1 == fragments;
            let count = if last { rest.len() } else { self.dice.below(rest.len() + 1) };
            let opcode = if index == 0 { kind } else { wire::CONTINUATION };
            let fin = if last { wire::FIN } else { 0 };
            bytes.extend(self.frame(fin | opcode, &rest[..count]));
            rest = &rest[count..];
            if !last && self.dice.chance(200) {
                let ping = self.ping(5);
                bytes.extend(ping);
            }
        }
        self.expect(kind, payload);
        self.write_pieces(bytes);
    }

    /// A small message in one piece.
    pub(super) fn flood(&mut self) {
        let bytes = self.dice.below(300);
        let payload = self.payload(false, bytes);
        let frame = self.frame(wire::FIN | wire::BINARY, &payload);
        self.outgoing.push_back((0, frame));
        self.expect(wire::BINARY, payload);
    }

    /// The handler must answer this message.
    pub(super) fn expect(&mut self, kind: u8, payload: Vec<u8>) {
        match &mut self.tally {
            Some(tally) => tally.add(&payload),
            None => self.expected.push_back((kind, payload)),
        }
    }

    /// Cuts bytes anywhere and queues the pieces.
    pub(super) fn write_pieces(&mut self, bytes: Vec<u8>) {
        let mut rest = &bytes[..];
        let most = self.dice.pick(&[1, 50, 2_000, usize::MAX]).max(bytes.len() / 60);
        while !rest.is_empty() {
            let count = self.dice.part(rest.len().min(most));
            let count = count.max(bytes.len() / 200).min(rest.len());
            let pause_ms = self.dice.pick(&[0, 0, 0, 1, 3]);
            self.outgoing.push_back((pause_ms, rest[..count].to_vec()));
            rest = &rest[count..];
        }
    }
}
