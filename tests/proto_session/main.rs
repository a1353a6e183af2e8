//! The session against generated input: any split of the bytes gives the same events, what is
//! illegal is refused in every state, and the limits hold.

#[path = "../support/frames.rs"]
mod frames;
mod rules;
mod text;

use frames::{BINARY, CLOSE, CONTINUATION, FIN, KEY, PING, PONG, TEXT, frame, header};
use proptest::prelude::*;
use ringwire::proto::close;
use ringwire::proto::frame::FrameError;
use ringwire::proto::mask::unmask;
use ringwire::proto::utf8::Utf8Validator;
use ringwire::proto::{
    CloseCode, Events, MessageKind, ProtocolError, Refused, Session, SessionLimits,
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Begin(MessageKind),
    /// Neighbours are joined, because where data is cut is not part of the contract.
    Data(Vec<u8>),
    End,
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(CloseCode, String),
}

struct Recorder {
    events: Vec<Event>,
    /// Messages, or parts of one, that it takes before it is full.
    room: usize,
    data_bytes_max: usize,
    frame_remaining: u64,
    refuses: bool,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            room: usize::MAX,
            data_bytes_max: 0,
            frame_remaining: 0,
            refuses: false,
        }
    }
}

impl Events for Recorder {
    fn message_begin(&mut self, kind: MessageKind) {
        self.events.push(Event::Begin(kind));
    }

    fn message_data(&mut self, bytes: &[u8], frame_remaining: u64) -> Result<(), Refused> {
        assert!(!bytes.is_empty());
        if self.refuses {
            return Err(Refused);
        }
        self.room -= 1;
        self.data_bytes_max = self.data_bytes_max.max(bytes.len());
        self.frame_remaining = frame_remaining;
        if let Some(Event::Data(data)) = self.events.last_mut() {
            data.extend_from_slice(bytes);
        } else {
            self.events.push(Event::Data(bytes.to_vec()));
        }
        Ok(())
    }

    fn message_end(&mut self) {
        self.events.push(Event::End);
    }

    fn is_full(&mut self) -> bool {
        self.room == 0
    }

    fn ping(&mut self, payload: &[u8]) {
        self.events.push(Event::Ping(payload.to_vec()));
    }

    fn pong(&mut self, payload: &[u8]) {
        self.events.push(Event::Pong(payload.to_vec()));
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.events.push(Event::Close(code, reason.to_owned()));
    }
}

type Outcome = (Vec<Event>, Result<(), ProtocolError>);

/// Feeds the pieces of `input` between the `cuts`.
fn run(input: &[u8], cuts: &[usize], limits: &SessionLimits) -> Outcome {
    let mut session = Session::new();
    let mut recorder = Recorder::default();
    let mut result = Ok(());
    let mut start = 0;
    for end in cuts.iter().copied().chain([input.len()]) {
        let mut piece = input[start..end].to_vec();
        let handled = session.handle_input(&mut piece, limits, &mut recorder);
        assert!(result.is_ok() || handled.is_ok(), "an error is reported once");
        result = result.and(handled.map(drop));
        start = end;
    }
    assert!(recorder.data_bytes_max <= 16 * 1024);
    if result.is_err() && matches!(recorder.events.last(), Some(Event::Data(_))) {
        // How much of a message was passed on before it failed depends on the cuts.
        recorder.events.pop();
    }
    (recorder.events, result)
}

fn run_whole(input: &[u8]) -> Outcome {
    run(input, &[], &SessionLimits::default())
}

fn run_by_byte(input: &[u8]) -> Outcome {
    let cuts: Vec<usize> = (1..input.len()).collect();
    run(input, &cuts, &SessionLimits::default())
}

fn error_of(input: &[u8]) -> Option<ProtocolError> {
    let whole = run_whole(input);
    assert_eq!(whole, run_by_byte(input));
    whole.1.err()
}

/// A conversation with every kind of frame and every form of length.
fn script() -> Vec<u8> {
    let mut bytes = Vec::new();
    for length in [0, 1, 2, 3, 4, 5, 7, 8, 31, 32, 33, 63, 64, 124, 125, 126, 127, 255, 256, 300] {
        bytes.extend(frame(FIN | BINARY, &vec![length as u8; length]));
        bytes.extend(frame(TEXT, "aé€😀".repeat(length / 10).as_bytes()));
        bytes.extend(frame(FIN | PING, &vec![b'p'; length.min(125)]));
        bytes.extend(frame(CONTINUATION, &"😀".as_bytes()[..2]));
        bytes.extend(frame(FIN | PONG, b""));
        bytes.extend(frame(CONTINUATION, b""));
        bytes.extend(frame(FIN | CONTINUATION, &"😀".as_bytes()[2..]));
    }
    bytes.extend(frame(FIN | CLOSE, b"\x03\xE8bye"));
    bytes.extend(frame(FIN | TEXT, b"after the end"));
    bytes
}

#[test]
fn every_single_cut_gives_the_same_events() {
    let input = script();
    let whole = run_whole(&input);
    assert_eq!(whole.1, Ok(()));
    let begun = whole.0.iter().filter(|event| matches!(event, Event::Begin(_))).count();
    assert_eq!(begun, 40);
    assert_eq!(whole.0.last(), Some(&Event::Close(CloseCode::NORMAL, "bye".to_owned())));
    assert_eq!(whole, run_by_byte(&input));
    for cut in 0..=input.len() {
        assert_eq!(whole, run(&input, &[cut], &SessionLimits::default()), "cut at {cut}");
    }
}

/// Frames that are mostly legal, in an order that mostly is.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => any::<String>().prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ];
    let first = prop_oneof![
        8 => proptest::sample::select(vec![TEXT, BINARY, CONTINUATION, FIN | TEXT, FIN | BINARY]),
        8 => proptest::sample::select(vec![FIN | CONTINUATION, FIN | PING, FIN | PONG]),
        1 => any::<u8>(),
    ];
    let frame = (first, payload).prop_map(|(first, mut payload)| {
        if first & 0x08 != 0 && first & 0x03 != 3 {
            payload.truncate(125);
        }
        frame(first, &payload)
    });
    proptest::collection::vec(frame, 0..12).prop_map(|frames| frames.concat())
}

fn cuts_of(length: usize, seeds: &[usize]) -> Vec<usize> {
    let mut cuts: Vec<usize> = seeds.iter().map(|seed| seed % (length + 1)).collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_split_gives_the_same_events(
        input in frames(),
        seeds in proptest::collection::vec(any::<usize>(), 0..20),
    ) {
        let limits = SessionLimits { message_bytes_max: 700, message_fragments_max: 4 };
        let whole = run(&input, &[], &limits);
        prop_assert_eq!(&whole, &run(&input, &cuts_of(input.len(), &seeds), &limits));
        let every: Vec<usize> = (0..input.len()).collect();
        prop_assert_eq!(&whole, &run(&input, &every, &limits));
    }

    #[test]
    fn random_bytes_never_panic_and_never_depend_on_the_split(
        input in proptest::collection::vec(any::<u8>(), 0..200),
        seeds in proptest::collection::vec(any::<usize>(), 0..10),
    ) {
        let limits = SessionLimits::default();
        let whole = run(&input, &[], &limits);
        prop_assert_eq!(whole, run(&input, &cuts_of(input.len(), &seeds), &limits));
    }

    #[test]
    fn a_message_in_any_fragments_arrives_whole(
        text: String,
        seeds in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let cuts = cuts_of(text.len(), &seeds);
        let mut input = Vec::new();
        let mut start = 0;
        for cut in &cuts {
            let opcode = if start == 0 && input.is_empty() { TEXT } else { CONTINUATION };
            input.extend(frame(opcode, &text.as_bytes()[start..*cut]));
            start = *cut;
        }
        let opcode = if input.is_empty() { TEXT } else { CONTINUATION };
        input.extend(frame(FIN | opcode, &text.as_bytes()[start..]));
        let mut expected = vec![Event::Begin(MessageKind::Text)];
        if !text.is_empty() {
            expected.push(Event::Data(text.clone().into_bytes()));
        }
        expected.push(Event::End);
        prop_assert_eq!(run_whole(&input), (expected, Ok(())));
    }

    #[test]
    fn unmasking_twice_is_nothing(bytes: Vec<u8>, key: [u8; 4], offset: usize) {
        let mut copy = bytes.clone();
        unmask(&mut copy, key, offset);
        unmask(&mut copy, key, offset);
        prop_assert_eq!(bytes, copy);
    }

    #[test]
    fn a_close_payload_reads_back(code in 3_000u16..5_000, reason: String) {
        let payload = close::encode(CloseCode(code), &reason);
        let (read, kept) = close::parse(payload.as_bytes()).unwrap();
        prop_assert_eq!(read, CloseCode(code));
        prop_assert!(reason.starts_with(kept) && kept.len() <= 123);
        let next = reason[kept.len()..].chars().next().map_or(usize::MAX, char::len_utf8);
        prop_assert!(kept.len().saturating_add(next) > 123);
    }
}
