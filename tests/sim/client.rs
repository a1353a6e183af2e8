//! One client: what it does, what it knows that the server must answer, and how it may end.

use crate::handler::{Gate, Tally};
use crate::script::{End, Script, Step};
use crate::wire::{self, Parser, Said};
use ringwire::ring::sim::{Dice, PeerId, PeerRate, PeerState, SimNet};
use std::collections::VecDeque;
use std::sync::Arc;

/// The `Sec-WebSocket-Accept` for the key of every request here (RFC 6455 §1.3).
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Longer than any wait that the server may impose on a client.
const PATIENCE_MS: u64 = 300_000;

/// Longer than the server takes for what it can do at once, however late completions come; shorter
/// than the close timeout, which would cover up what it forgot.
const SOON_MS: u64 = 3_000;

/// Longer than the server may take to go on while nothing is in its way. Below its timers, which
/// would cover up a receive that it forgot to arm or a doorbell that it did not hear.
const PROMPT_MS: u64 = 4_000;

/// What the server may do at all, in this run.
#[derive(Clone, Debug)]
pub struct Rules {
    pub close_timeout_ms: u64,
    pub silence_timeout_ms: u64,
    pub head_timeout_ms: u64,
    pub linger_timeout_ms: u64,
    /// Time passes only where somebody waits: the thread does not stall.
    pub prompt: bool,
    /// Some may be told that the server is full.
    pub over_capacity: bool,
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The answer to the handshake has not come.
    Opening,
    Open,
    /// It has ended, by `End`, or because the server did.
    Ending,
    /// Both ends are closed; the server should give up its slot.
    Leaving,
    /// The connection is over.
    Over,
}

pub struct Client {
    name: String,
    script: Script,
    dice: Dice,
    rules: Rules,
    peer: Option<PeerId>,
    stage: Stage,
    parser: Parser,
    /// Bytes to write, with the pause before each piece; never ends inside a frame.
    outgoing: VecDeque<(u64, Vec<u8>)>,
    next_write_ms: u64,
    next_step_ms: u64,
    /// Since when it waits for the server.
    waiting_since_ms: Option<u64>,
    connected_ms: u64,
    last_write_ms: u64,
    /// When the server last took or said something that is worth waiting for.
    last_progress_ms: u64,
    unread_bytes: usize,
    /// When it did what must end the connection.
    ended_ms: Option<u64>,
    /// Messages whose echo has not come.
    expected: VecDeque<(u8, Vec<u8>)>,
    /// Pings whose Pong has not come.
    pings: VecDeque<Vec<u8>>,
    /// Answers nothing.
    mute: bool,
    shut: bool,
    close_sent: bool,
    answer: Option<u16>,
    close_received: Option<u16>,
    /// The server drains: it may say 1001 or 503 to anybody.
    draining: bool,
    echoes: u64,
    is_stalled: bool,
    nags: u64,
    /// Nags there were when a pause began in which there must be another.
    nags_before_pause: Option<u64>,
    /// Lets the handler begin; `None` once it may.
    gate: Option<Arc<Gate>>,
    closed_ms: u64,
    left_ms: u64,
    /// What a handler that echoes nothing should have counted.
    tally: Option<Tally>,
}

impl Client {
    pub fn new(name: String, script: Script, rules: Rules, dice: Dice, gate: Arc<Gate>) -> Self {
        Self {
            name,
            dice,
            rules,
            peer: None,
            stage: Stage::Opening,
            parser: Parser::default(),
            outgoing: VecDeque::new(),
            next_write_ms: 0,
            next_step_ms: script.start_ms,
            tally: script.reading.sink.then(Tally::default),
            gate: script.reading.gate_ms.map(|_| gate),
            is_stalled: false,
            nags: 0,
            nags_before_pause: None,
            closed_ms: 0,
            left_ms: 0,
            script,
            waiting_since_ms: None,
            connected_ms: 0,
            last_write_ms: 0,
            last_progress_ms: 0,
            unread_bytes: 0,
            ended_ms: None,
            expected: VecDeque::new(),
            pings: VecDeque::new(),
            mute: false,
            shut: false,
            close_sent: false,
            answer: None,
            close_received: None,
            draining: false,
            echoes: 0,
        }
    }

    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over && self.gate.is_none()
    }

    /// Echoes that came.
    pub fn echoes(&self) -> u64 {
        self.echoes
    }

    /// The server drains. Who has not come yet stays away.
    pub fn drain_started(&mut self) {
        self.draining = true;
        if self.peer.is_none() {
            self.stage = Stage::Over;
        }
    }

    /// Whether the server has nothing of it: never had, or not any more, though bytes and FIN
    /// may still be on their way.
    pub fn is_left_alone(&self, net: &SimNet) -> bool {
        self.peer.is_none_or(|peer| net.peer_state(peer).slot.is_none())
    }

    /// Acts, if it is time; answers when it wants to act next.
    pub fn step(&mut self, net: &SimNet) -> Option<u64> {
        let now_ms = net.now().as_millis();
        if let Some(gate) = &self.gate
            && let Some(gate_ms) = self.script.reading.gate_ms
        {
            let opens_ms = self.script.start_ms + gate_ms;
            if now_ms < opens_ms && !self.draining {
                return self.step_on(net, now_ms).into_iter().chain([opens_ms]).min();
            }
            gate.open();
            self.gate = None;
            self.last_progress_ms = now_ms;
        }
        self.step_on(net, now_ms)
    }

    fn step_on(&mut self, net: &SimNet, now_ms: u64) -> Option<u64> {
        if self.stage == Stage::Over {
            return None;
        }
        if self.peer.is_none() && now_ms < self.script.start_ms {
            return Some(self.script.start_ms);
        }
        let peer = self.peer.unwrap_or_else(|| self.connect(net, now_ms));
        if self.stage == Stage::Leaving {
            return self.leave(net, peer, now_ms);
        }
        self.listen(&net.peer_read(peer), now_ms);
        let state = net.peer_state(peer);
        if std::mem::replace(&mut self.unread_bytes, state.unread_bytes) != state.unread_bytes {
            self.last_progress_ms = now_ms;
        }
        // Who has vanished sees nothing; that the server gave up its slot must do.
        let vanished = self.script.end == End::Vanish && self.mute;
        let given_up = vanished && state.accepted && state.slot.is_none();
        if state.finished || state.reset || given_up {
            self.conclude(state, now_ms);
            if state.finished && !self.shut && !self.script.never_shuts {
                net.peer_shutdown(peer);
                self.stage = Stage::Leaving;
                self.left_ms = now_ms;
                return self.leave(net, peer, now_ms);
            }
            return None;
        }
        self.write(net, peer, now_ms);
        if self.is_free() && self.next_step_ms <= now_ms {
            self.go_on(net, peer, now_ms);
        }
        self.next_ms(net, now_ms)
    }

    /// Waits until the server has given up the slot, which it should do soon.
    fn leave(&mut self, net: &SimNet, peer: PeerId, now_ms: u64) -> Option<u64> {
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

    fn connect(&mut self, net: &SimNet, now_ms: u64) -> PeerId {
        let peer = net.connect(0);
        net.peer_set_rate(peer, self.script.rate);
        self.peer = Some(peer);
        self.connected_ms = now_ms;
        self.waiting_since_ms = Some(now_ms);
        let request = self.script.handshake.request();
        self.write_pieces(request);
        peer
    }

    /// Whether it may go on in its script.
    fn is_free(&self) -> bool {
        let open = self.stage == Stage::Open && self.waiting_since_ms.is_none();
        let eager = self.stage == Stage::Opening && self.script.eager;
        (open || eager) && self.outgoing.is_empty()
    }

    fn next_ms(&self, net: &SimNet, now_ms: u64) -> Option<u64> {
        let next_ms = match self.stage {
            Stage::Over => return None,
            _ if !self.outgoing.is_empty() => self.next_write_ms,
            _ if self.is_free() => self.next_step_ms,
            _ => now_ms + PROMPT_MS,
        };
        if let (Some(since_ms), Some(peer)) = (self.waiting_since_ms, self.peer) {
            let waited_ms = now_ms - since_ms.max(self.last_progress_ms);
            let prompt = self.rules.prompt && self.stage == Stage::Open && self.gate.is_none();
            let patient = waited_ms < if prompt { PROMPT_MS } else { PATIENCE_MS };
            assert!(patient, "{}: no answer: {:?} {self:?}", self.name, net.peer_state(peer));
        }
        Some(next_ms)
    }

    /// Takes in what the server said.
    fn listen(&mut self, bytes: &[u8], now_ms: u64) {
        self.parser.feed(bytes);
        while let Some(said) = self.parser.next() {
            match said {
                Said::Answer(status, head) => self.answered(status, &head, now_ms),
                Said::Message(kind, payload) => self.echoed(kind, &payload, now_ms),
                Said::Ping(payload) if !self.mute && !self.close_sent => {
                    let pong = self.frame(wire::FIN | wire::PONG, &payload);
                    self.outgoing.push_back((0, pong));
                }
                Said::Ping(_) => {}
                Said::Pong(payload) => {
                    // Of several pings the last one must be answered.
                    let place = self.pings.iter().position(|ping| *ping == payload);
                    let place = place.unwrap_or_else(|| panic!("{}: a stray Pong", self.name));
                    self.pings.drain(..=place);
                    self.last_progress_ms = now_ms;
                }
                Said::Close(code) => self.closed(code, now_ms),
            }
        }
        if !bytes.is_empty() && self.parser.is_inside_a_frame() {
            self.last_progress_ms = now_ms;
        }
        if self.stage == Stage::Open && self.awaited() {
            self.waiting_since_ms = None;
        }
    }

    fn awaited(&self) -> bool {
        self.expected.is_empty() && self.pings.is_empty()
    }

    fn answered(&mut self, status: u16, head: &str, now_ms: u64) {
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

    fn echoed(&mut self, kind: u8, payload: &[u8], now_ms: u64) {
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

    fn closed(&mut self, code: u16, now_ms: u64) {
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
        if matches!(self.script.end, End::Exit | End::Fail | End::Panic) && code != 1001 {
            assert!(self.expected.is_empty(), "{name}: {} echoes lost", self.expected.len());
        }
        self.close_received = Some(code);
        self.closed_ms = now_ms;
        if !self.close_sent && !self.mute && !self.script.never_closes {
            let close = self.frame(wire::FIN | wire::CLOSE, &wire::close_payload(code, ""));
            self.outgoing.push_back((0, close));
            self.close_sent = true;
        }
        self.end(now_ms);
    }

    /// From now on the server must end the connection.
    fn end(&mut self, now_ms: u64) {
        self.stage = Stage::Ending;
        self.ended_ms.get_or_insert(now_ms);
        self.waiting_since_ms = Some(now_ms);
    }

    /// Writes the pieces whose time has come.
    fn write(&mut self, net: &SimNet, peer: PeerId, now_ms: u64) {
        while self.next_write_ms <= now_ms
            && let Some((_, piece)) = self.outgoing.pop_front()
        {
            if !self.shut && net.peer_write(peer, &piece) {
                self.last_write_ms = now_ms;
            }
            self.next_write_ms = now_ms + self.outgoing.front().map_or(0, |(pause, _)| *pause);
        }
    }

    /// The next step of the script, or its end.
    fn go_on(&mut self, net: &SimNet, peer: PeerId, now_ms: u64) {
        if let Some(before) = self.nags_before_pause.take() {
            assert!(self.nags > before, "{}: no time-out in a long pause: {self:?}", self.name);
        }
        self.next_step_ms = now_ms + self.pause_ms();
        match self.script.steps.pop_front() {
            Some(Step::Message { text, bytes, fragments }) => {
                let payload = self.payload(text, bytes);
                self.message(text, payload, fragments);
            }
            Some(Step::Ping(bytes)) => {
                let ping = self.ping(bytes);
                self.write_pieces(ping);
            }
            Some(Step::AwaitEchoes) if self.stage == Stage::Opening => {
                self.script.steps.push_front(Step::AwaitEchoes);
                self.script.eager = false;
            }
            Some(Step::AwaitEchoes) => {
                if let Some(tally) = self.tally {
                    self.command("tally");
                    self.expected.push_back((wire::TEXT, tally.text().into_bytes()));
                }
                self.waiting_since_ms = (!self.awaited()).then_some(now_ms);
            }
            Some(Step::Flood(count)) => (0..count).for_each(|_| self.flood()),
            Some(Step::Pause(pause_ms)) => {
                self.next_step_ms = now_ms + pause_ms;
                let nags = self.script.reading.nag && self.gate.is_none() && self.awaited();
                let open = self.stage == Stage::Open && self.rules.prompt;
                let watched = nags && pause_ms >= 2_000 && open;
                self.nags_before_pause = (watched && !self.is_stalled).then_some(self.nags);
            }
            Some(Step::Rate(rate)) => {
                self.is_stalled = rate == PeerRate::Stalled;
                net.peer_set_rate(peer, rate);
            }
            None => self.finish(net, peer, now_ms),
        }
        self.write(net, peer, now_ms);
    }

    fn finish(&mut self, net: &SimNet, peer: PeerId, now_ms: u64) {
        self.end(now_ms);
        match self.script.end.clone() {
            End::Close(code) => {
                let payload = code.map_or(vec![], |code| wire::close_payload(code, "bye"));
                let close = self.frame(wire::FIN | wire::CLOSE, &payload);
                self.close_sent = true;
                self.write_pieces(close);
            }
            End::Violate(violation) => {
                let bytes = violation.bytes(&mut self.dice);
                self.close_sent = true;
                self.write_pieces(bytes);
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

    fn command(&mut self, command: &str) {
        let frame = self.frame(wire::FIN | wire::TEXT, command.as_bytes());
        self.write_pieces(frame);
    }

    /// Writes the beginning of a frame, cut anywhere.
    fn begin_a_message(&mut self, net: &SimNet, peer: PeerId) {
        if self.dice.chance(500) {
            let frame = self.frame(wire::FIN | wire::BINARY, &[1; 300]);
            let cut = self.dice.below(frame.len());
            net.peer_write(peer, &frame[..cut]);
        }
    }

    /// The connection is over: was that right?
    fn conclude(&mut self, state: PeerState, now_ms: u64) {
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
            (Some(_), None, End::Vanish) if self.mute => silent_ms >= self.rules.silence_timeout_ms,
            (None, ..) if self.script.handshake.is_bad() => open_ms >= self.rules.linger_timeout_ms,
            // Told that the server is full, and cut before it could take that.
            (None, ..) if self.rules.over_capacity => open_ms >= self.rules.linger_timeout_ms,
            (None, ..) => open_ms >= self.rules.head_timeout_ms,
            (Some(_), Some(_), _) => state.finished || ended_ms >= self.rules.close_timeout_ms,
            (Some(_), None, End::Silence) => silent_ms >= self.rules.silence_timeout_ms,
            (Some(_), None, _) if self.ended_ms.is_none() => {
                silent_ms >= self.rules.silence_timeout_ms
            }
            (Some(_), None, _) => ended_ms >= self.rules.close_timeout_ms,
        };
        let polite =
            !self.script.never_closes && !self.mute && self.script.rate == PeerRate::Instant;
        if self.rules.prompt && polite && self.close_received.is_some() {
            let soon = now_ms - self.closed_ms < SOON_MS;
            assert!(soon, "{name}: FIN at {now_ms} ms, late after {} ms: {self:?}", self.closed_ms);
        }
        assert!(right, "{name}: cut at {now_ms} ms: {state:?} {self:?}");
    }

    fn pause_ms(&mut self) -> u64 {
        self.dice.pick(&[0, 0, 1, 7, 60])
    }

    fn key(&mut self) -> [u8; 4] {
        (self.dice.bits() as u32).to_be_bytes()
    }

    fn frame(&mut self, first: u8, payload: &[u8]) -> Vec<u8> {
        wire::frame(first, payload, self.key())
    }

    fn ping(&mut self, bytes: usize) -> Vec<u8> {
        let payload = self.payload(false, bytes);
        self.pings.push_back(payload.clone());
        self.frame(wire::FIN | wire::PING, &payload)
    }

    /// Bytes that only this client sends, and only at this place.
    fn payload(&mut self, text: bool, bytes: usize) -> Vec<u8> {
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
    fn message(&mut self, text: bool, payload: Vec<u8>, fragments: usize) {
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
    fn flood(&mut self) {
        let bytes = self.dice.below(300);
        let payload = self.payload(false, bytes);
        let frame = self.frame(wire::FIN | wire::BINARY, &payload);
        self.outgoing.push_back((0, frame));
        self.expect(wire::BINARY, payload);
    }

    /// The handler must answer this message.
    fn expect(&mut self, kind: u8, payload: Vec<u8>) {
        match &mut self.tally {
            Some(tally) => tally.add(&payload),
            None => self.expected.push_back((kind, payload)),
        }
    }

    /// Cuts bytes anywhere and queues the pieces.
    fn write_pieces(&mut self, bytes: Vec<u8>) {
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

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("stage", &self.stage)
            .field("handshake", &self.script.handshake.first_line())
            .field("end", &self.script.end)
            .field("steps_left", &self.script.steps.len())
            .field("rate", &self.script.rate)
            .field("ended_ms", &self.ended_ms)
            .field("last_write_ms", &self.last_write_ms)
            .field("close_received", &self.close_received)
            .field("echoes", &self.echoes)
            .field("echoes_missing", &self.expected.len())
            .field("pongs_missing", &self.pings.len())
            .finish_non_exhaustive()
    }
}
