//! What the clients of a run do, drawn from its seed.

use crate::wire;
use ringwire::ring::sim::{Dice, PeerRate};
use std::collections::VecDeque;

/// The life of one client.
pub struct Script {
    pub start_ms: u64,
    pub handshake: Handshake,
    /// How the handler reads; of no matter if there is none.
    pub reading: Reading,
    pub rate: PeerRate,
    pub steps: VecDeque<Step>,
    pub end: End,
    /// Its socket is left to the control peer.
    pub shared: bool,
    /// Does not wait for the answer to its handshake.
    pub eager: bool,
    /// Does not answer a Close frame of the server.
    pub never_closes: bool,
    /// Does not answer a FIN of the server.
    pub never_shuts: bool,
}

#[derive(Clone, Debug)]
pub enum Step {
    Message {
        text: bool,
        bytes: usize,
        fragments: usize,
    },
    /// So many small messages at once.
    Flood(usize),
    Ping(usize),
    /// Goes on when every message and the last ping are answered.
    AwaitEchoes,
    Pause(u64),
    Rate(PeerRate),
}

/// How a client ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A Close frame.
    Close(Option<u16>),
    Violate(Violation),
    /// Asks the handler to end the conversation, to fail, to panic.
    Exit,
    Fail,
    Panic,
    /// FIN without a Close frame.
    Fin,
    Reset,
    /// Says and hears nothing more.
    Silence,
    /// The same, and takes nothing more: not even the network knows that it is gone.
    Vanish,
}

#[derive(Clone)]
pub enum Handshake {
    /// With this query.
    Good(String),
    /// Nothing at all, or only a beginning.
    Silent(&'static str),
    /// These bytes, and the status they earn.
    Bad(String, u16),
}

impl Handshake {
    pub fn request(&self) -> Vec<u8> {
        match self {
            Self::Good(query) => request(&format!("/echo?{query}"), "13").into_bytes(),
            Self::Silent(begun) => begun.as_bytes().to_vec(),
            Self::Bad(request, _) => request.clone().into_bytes(),
        }
    }

    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Bad(..))
    }

    /// The beginning of the request, for messages.
    pub fn first_line(&self) -> String {
        let request = String::from_utf8_lossy(&self.request()).into_owned();
        request.lines().next().unwrap_or_default().chars().take(60).collect()
    }

    /// Statuses that may be answered.
    pub fn statuses(&self) -> Vec<u16> {
        match self {
            Self::Good(_) => vec![101],
            Self::Silent(_) => vec![408],
            Self::Bad(_, status) => vec![*status],
        }
    }

    fn from_dice(dice: &mut Dice, reading: &Reading, client: usize) -> Self {
        let long = "x".repeat(9_000);
        match dice.below(40) {
            0 => Self::Silent(""),
            1 => Self::Silent("GET /echo HTTP/1.1\r\nHost: a"),
            2 => Self::Bad(request("/echo", "12"), 426),
            3 => Self::Bad(request("/nowhere", "13"), 404),
            4 => Self::Bad("\u{1}\u{2} nonsense\r\n\r\n".into(), 400),
            5 => Self::Bad(format!("GET /{long} HTTP/1.1\r\n\r\n"), 431),
            6 => Self::Bad("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n".into(), 426),
            7 => Self::Bad(request("/echo?refuse=1", "13"), 403),
            _ => Self::Good(reading.query(client)),
        }
    }
}

/// How the handler shall read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    len: usize,
    pub timeout_ms: u64,
    fickle: bool,
    /// Echoes nothing, and tells the tally when asked for it.
    pub sink: bool,
    /// Says so whenever a read times out.
    pub nag: bool,
    /// Does nothing before that much time has passed since the client connected.
    pub gate_ms: Option<u64>,
}

impl Reading {
    fn from_dice(dice: &mut Dice) -> Self {
        let nag = dice.chance(150);
        let timeouts = if nag { [100, 1_000, 1_000, 300] } else { [86_400_000, 10_000, 100, 3] };
        Self {
            len: dice.pick(&[1_000_000, 32_656, 32_656, 1_000, 100]),
            timeout_ms: dice.pick(&timeouts),
            fickle: dice.chance(300),
            sink: dice.chance(200),
            nag,
            gate_ms: dice.chance(150).then(|| dice.pick(&[10, 3_000, 3_000, 15_000])),
        }
    }

    fn query(&self, client: usize) -> String {
        let mut query = format!("len={}&timeout={}", self.len, self.timeout_ms);
        let gated = self.gate_ms.is_some();
        for (wanted, name) in [(self.fickle, "fickle"), (self.sink, "sink"), (self.nag, "nag")] {
            query += &if wanted { format!("&{name}=1") } else { String::new() };
        }
        query + &if gated { format!("&gate={client}") } else { String::new() }
    }
}

fn request(target: &str, version: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: sim.example\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: {version}\r\n\r\n"
    )
}

impl Script {
    /// Leaves the socket to the control peer, after some messages, if its handler is to do nothing
    /// special. From dice of its own, so that the seeds of old still take their course.
    pub fn share(&mut self, dice: &mut Dice) {
        let reading = &self.reading;
        let plain = !reading.nag && !reading.sink && reading.gate_ms.is_none();
        if let Handshake::Good(query) = &mut self.handshake
            && plain
            && dice.chance(400)
        {
            self.shared = true;
            *query += &format!("&shared={}", dice.pick(&[0, 0, 0, 1, 5]));
        }
    }

    pub fn from_dice(dice: &mut Dice, client: usize) -> Self {
        let reading = Reading::from_dice(dice);
        let mut steps = VecDeque::new();
        for _ in 0..dice.pick(&[0, 1, 3, 8, 20]) {
            steps.push_back(step(dice));
        }
        if reading.gate_ms.is_some() && dice.chance(500) {
            steps.push_front(Step::Flood(300));
        }
        if dice.chance(100) {
            steps.push_back(Step::Rate(PeerRate::Stalled));
            steps.extend((0..5).map(|_| message(dice)));
            steps.push_back(Step::Pause(dice.between(1, 20_000) as u64));
        }
        // Who has stalled reads on before it ends.
        let rate = dice.pick(&[
            PeerRate::Instant,
            PeerRate::Instant,
            PeerRate::BytesPerMs(20),
            PeerRate::BytesPerMs(100),
            PeerRate::BytesPerMs(2_000),
        ]);
        steps.push_back(Step::Rate(rate));
        if dice.chance(500) {
            steps.push_back(Step::AwaitEchoes);
        }
        let handshake = Handshake::from_dice(dice, &reading, client);
        Self {
            start_ms: dice.pick(&[0, 0, 1, 50, 3_000]),
            eager: dice.chance(200) && matches!(handshake, Handshake::Good(_)),
            handshake,
            reading,
            rate,
            steps,
            end: end(dice),
            shared: false,
            never_closes: dice.chance(100),
            never_shuts: dice.chance(100),
        }
    }
}

fn step(dice: &mut Dice) -> Step {
    match dice.below(20) {
        0..=2 => Step::Ping(dice.between(8, 125)),
        3..=5 => Step::AwaitEchoes,
        7..=8 => Step::Flood(dice.between(5, 200)),
        6 => Step::Pause(dice.pick(&[1, 100, 2_000, 2_000, 60_000])),
        _ => message(dice),
    }
}

fn message(dice: &mut Dice) -> Step {
    let bytes = match dice.below(30) {
        0 => dice.between(65_000, 200 * 1_024),
        1 => dice.pick(&[65_535, 65_536]),
        2..=5 => dice.between(1_000, 20_000),
        6..=9 => dice.pick(&[0, 1, 125, 126, 127]),
        _ => dice.between(0, 600),
    };
    let fragments = dice.pick(&[1, 1, 1, 2, 5, 30]);
    Step::Message { text: dice.chance(400), bytes, fragments }
}

fn end(dice: &mut Dice) -> End {
    match dice.below(16) {
        0 => End::Exit,
        1 => End::Fail,
        2 => End::Panic,
        3 => End::Fin,
        4 => End::Reset,
        5 => End::Silence,
        6 => End::Vanish,
        7..=8 => End::Violate(dice.pick(&Violation::ALL)),
        9 => End::Close(None),
        _ => End::Close(Some(dice.pick(&[1000, 1001, 1011, 3000, 4999]))),
    }
}

/// What a client may not send, and the close code that it earns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    Unmasked,
    ReservedBit,
    ReservedOpcode,
    FragmentedPing,
    LongPing,
    StrayContinuation,
    MessageInMessage,
    LengthNotMinimal,
    LengthWithSign,
    TooLong,
    TextNotUtf8,
    TextCutShort,
    CloseOfOneByte,
    CloseCodeInvalid,
    CloseReasonNotUtf8,
}

impl Violation {
    pub const ALL: [Self; 15] = [
        Self::Unmasked,
        Self::ReservedBit,
        Self::ReservedOpcode,
        Self::FragmentedPing,
        Self::LongPing,
        Self::StrayContinuation,
        Self::MessageInMessage,
        Self::LengthNotMinimal,
        Self::LengthWithSign,
        Self::TooLong,
        Self::TextNotUtf8,
        Self::TextCutShort,
        Self::CloseOfOneByte,
        Self::CloseCodeInvalid,
        Self::CloseReasonNotUtf8,
    ];

    /// RFC 6455 §7.4.1.
    pub fn code(self) -> u16 {
        match self {
            Self::TooLong => 1009,
            Self::TextNotUtf8 | Self::TextCutShort | Self::CloseReasonNotUtf8 => 1007,
            _ => 1002,
        }
    }

    pub fn bytes(self, dice: &mut Dice) -> Vec<u8> {
        let key = (dice.bits() as u32).to_be_bytes();
        let frame = |first, payload: &[u8]| wire::frame(first, payload, key);
        let fin = wire::FIN;
        let mut bytes = match self {
            Self::Unmasked => vec![fin | wire::BINARY, 2, 7, 7],
            Self::ReservedBit => {
                frame(fin | wire::BINARY | dice.pick(&[0x10, 0x20, 0x40]), b"reserved")
            }
            Self::ReservedOpcode => frame(fin | dice.pick(&[3, 7, 11, 15]), b""),
            Self::FragmentedPing => frame(wire::PING, b"half"),
            Self::LongPing => frame(fin | wire::PING, &[7; 126]),
            Self::StrayContinuation => frame(fin, b"stray"),
            Self::MessageInMessage => {
                [frame(wire::TEXT, b"first"), frame(fin | wire::TEXT, b"second")].concat()
            }
            Self::LengthNotMinimal => [&[fin | wire::BINARY, 0xfe, 0, 125][..], &key].concat(),
            Self::LengthWithSign => wire::header(fin | wire::BINARY, 1 << 63, key),
            Self::TooLong => wire::header(fin | wire::BINARY, (16 << 20) + 1, key),
            Self::TextNotUtf8 => frame(fin | wire::TEXT, b"not \xed\xa0\x80 UTF-8"),
            Self::TextCutShort => frame(fin | wire::TEXT, b"cut \xe6\xbc"),
            Self::CloseOfOneByte => frame(fin | wire::CLOSE, b"\x03"),
            Self::CloseCodeInvalid => {
                let code = dice.pick(&[0, 999, 1004, 1005, 1006, 1015, 2_999, 5_000]);
                frame(fin | wire::CLOSE, &wire::close_payload(code, b""))
            }
            Self::CloseReasonNotUtf8 => frame(fin | wire::CLOSE, b"\x03\xe8\xff"),
        };
        // What follows does not matter any more.
        bytes.extend((0..dice.pick(&[0, 0, 3, 500])).map(|_| 0x81));
        bytes
    }
}
