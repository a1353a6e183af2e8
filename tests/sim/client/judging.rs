//! What the server said, and how the connection ended: was that right?

use super::{ACCEPT, Client, PATIENCE_MS, SOON_MS, Stage};
use crate::script::End;
use crate::wire;
use ringwire::ring::sim::{PeerId, PeerRate, PeerState, SimNet};

impl Client {
    pub(super) fn answered(&mut self, status: u16, head: &str, now_ms: u64) {
        let name = &self.name;
        let late = now_ms - self.connected_ms >= self.rules.head_timeout_ms;
        match status {
            503 if self.rules.over_capacity || self.draining => {}
            408 => assert!(late, "{name}: 408 too soon"),
            _ => {
                let wanted = self.script.handshake.statuses();
                assert!(wanted.contains(&status), "{name}: {wanted:?}, got {head}");
            }
        }
        self.answer = Some(status);
        if status == 101 {
            assert!(head.contains(ACCEPT), "{name}: {head}");
            if self.stage == Stage::Opening {
                self.stage = Stage::Open;
                self.waiting_since_ms = None;
                self.next_step_ms = now_ms;
            }
        } else {
            assert!(head.to_lowercase().contains("connection: close"), "{name}: {head}");
            self.end(now_ms);
        }
    }

    pub(super) fn echoed(&mut self, kind: u8, payload: &[u8], now_ms: u64) {
        if self.script.reading.nag && payload == b"nag" {
            self.nags += 1;
            let most = (now_ms - self.connected_ms) / self.script.reading.timeout_ms + 1;
            assert!(self.nags <= most, "{}: {} time-outs of {most}", self.name, self.nags);
            return;
        }
        let Some((wanted, expected)) = self.expected.pop_front() else {
            panic!("{}: {} bytes that nobody wrote", self.name, payload.len());
        };
        let differs = payload.iter().zip(&expected).position(|(a, b)| a != b);
        let equal = kind == wanted && payload.len() == expected.len() && differs.is_none();
        let lengths = (payload.len(), expected.len());
        assert!(equal, "{}: kind {kind}/{wanted}, bytes {lengths:?}, {differs:?}", self.name);
        self.echoes += 1;
        self.last_progress_ms = now_ms;
    }

    pub(super) fn closed(&mut self, code: u16, now_ms: u64) {
        let allowed = match &self.script.end {
            _ if code == 1001 && self.draining => true,
            _ if self.ended_ms.is_none() => false,
            End::Close(wanted) => code == wanted.unwrap_or(1005),
            End::Violate(violation) => code == violation.code(),
            End::Exit => code == 1000,
            End::Fail | End::Panic => code == 1011,
            End::Fin | End::Reset | End::Silence | End::Vanish => false,
        };
        let name = &self.name;
        assert!(allowed, "{name}: closed with {code}: {self:?}");
        let by_handler = matches!(self.script.end, End::Exit | End::Fail | End::Panic);
        if (by_handler || self.answers_owed) && !self.draining {
            assert!(self.expected.is_empty(), "{name}: echoes lost: {self:?}");
        }
        self.close_received = Some(code);
        self.closed_ms = now_ms;
        if !self.close_sent && !self.mute && !self.script.never_closes {
            let close = self.frame(wire::FIN | wire::CLOSE, &wire::close_payload(code, b""));
            self.outgoing.push_back((0, close));
            self.close_sent = true;
        }
        self.end(now_ms);
    }

    /// Whether it takes everything it is sent, however slowly, and the server can see that.
    fn takes_all(&self) -> bool {
        !self.is_stalled && !self.mute && self.rules.sees_progress
    }

    /// The connection is over: was that right?
    pub(super) fn conclude(&mut self, state: PeerState, now_ms: u64) {
        self.stage = Stage::Over;
        // A fault did it, or an accept for which there was no slot.
        if state.broken.is_some() || !state.accepted || self.draining {
            return;
        }
        let name = &self.name;
        let silent_ms = now_ms - self.last_write_ms;
        let open_ms = now_ms - self.connected_ms;
        let ended_ms = self.ended_ms.map_or(0, |ended_ms| now_ms - ended_ms);
        let refused = self.answer.is_some_and(|status| status != 101);
        let right = match (self.answer, self.close_received, &self.script.end) {
            _ if refused => state.finished || open_ms >= self.rules.linger_timeout_ms,
            (_, None, End::Fin) if self.shut => true,
            // It may have been told something that it does not see.
            (None, None, End::Vanish) if self.mute => open_ms >= self.rules.linger_timeout_ms,
            // The server counts from what it has read of it, which may be less than it wrote.
            (Some(_), None, End::Vanish) if self.mute && state.unread_bytes > 0 => {
                open_ms >= self.rules.silence_timeout_ms
            }
            (Some(_), None, End::Vanish) if self.mute => silent_ms >= self.rules.silence_timeout_ms,
            (None, ..) if self.script.handshake.is_bad() => open_ms >= self.rules.linger_timeout_ms,
            // Told that the server is full, and cut before it could take that.
            (None, ..) if self.rules.over_capacity => open_ms >= self.rules.linger_timeout_ms,
            (None, ..) => open_ms >= self.rules.head_timeout_ms,
            (Some(_), Some(_), _) => state.finished || ended_ms >= self.rules.close_timeout_ms,
            (Some(_), None, End::Silence) => silent_ms >= self.rules.silence_timeout_ms,
            // Who answers every Ping and takes what it is sent is never cut for silence.
            (Some(_), None, _) if self.ended_ms.is_none() => {
                !self.takes_all() && silent_ms >= self.rules.silence_timeout_ms
            }
            // Who takes what it is sent gets all of it, the Close included.
            (Some(_), None, _) if self.takes_all() => ended_ms >= self.rules.close_timeout_max_ms,
            (Some(_), None, _) => ended_ms >= self.rules.close_timeout_ms,
        };
        let polite =
            !self.script.never_closes && !self.mute && self.script.rate == PeerRate::Instant;
        if self.rules.prompt && polite && self.close_received.is_some() {
            let soon = now_ms - self.closed_ms < SOON_MS;
            assert!(soon, "{name}: FIN at {now_ms} ms, late after {} ms: {self:?}", self.closed_ms);
        }
        let owed = self.answers_owed && self.script.end == End::Fin && state.finished;
        assert!(!owed || self.expected.is_empty(), "{name}: echoes lost at FIN: {self:?}");
        assert!(right, "{name}: cut at {now_ms} ms: {state:?} {self:?}");
    }

    /// Waits until the server has given up the slot, which it should do soon.
    pub(super) fn leave(&mut self, net: &SimNet, peer: PeerId, now_ms: u64) -> Option<u64> {
        let state = net.peer_state(peer);
        if state.slot.is_none() || self.draining {
            self.stage = Stage::Over;
            return None;
        }
        let limit_ms = if self.rules.prompt { SOON_MS } else { PATIENCE_MS };
        let soon = now_ms - self.left_ms < limit_ms;
        assert!(soon, "{}: keeps its slot: {state:?} {self:?}", self.name);
        Some(self.left_ms + limit_ms)
    }
}
