//! One client: what it does, what it knows that the server must answer, and how it may end.

mod judging;
mod speaking;

use crate::handler::{Gate, Tally};
use crate::script::{End, Script, Step};
use crate::wire::{self, Parser, Said};
use ringwire::ring::sim::{Dice, PeerId, PeerRate, SimNet};
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
    pub close_timeout_max_ms: u64,
    pub silence_timeout_ms: u64,
    pub head_timeout_ms: u64,
    pub linger_timeout_ms: u64,
    /// Time passes only where somebody waits: the thread does not stall.
    pub prompt: bool,
    /// Completions are not delayed.
    pub punctual: bool,
    /// The server can see what its peers have taken.
    pub sees_progress: bool,
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
    /// All messages before the end must be answered.
    answers_owed: bool,
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
            answers_owed: false,
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
