//! The session against generated input: any split of the bytes gives the same events, what is
//! illegal is refused in every state, and the limits hold.

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

#[derive(Default)]
struct Recorder {
    events: Vec<Event>,
    data_bytes_max: usize,
    frame_remaining: u64,
    refuses: bool,
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

const KEY: [u8; 4] = [0x9A, 0x0F, 0x55, 0xE1];
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FIN: u8 = 0x80;

/// A masked header that declares `length`, in the shortest form.
fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ KEY[index % 4]));
    bytes
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
        result = result.and(handled);
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

/// The index of the first byte that no continuation can repair, by the standard library.
fn first_impossible(bytes: &[u8]) -> Option<usize> {
    let broken = |end: &usize| {
        std::str::from_utf8(&bytes[..*end]).is_err_and(|error| error.error_len().is_some())
    };
    (1..=bytes.len()).find(broken).map(|end| end - 1)
}

fn mutated_text() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        proptest::sample::select(vec![0x80, 0xC0, 0xC1, 0xE0, 0xED, 0xF0, 0xF4, 0xF5, 0xFF]),
    ];
    ("[a-zé€😀\u{7FF}\u{FFFF}]{0,80}", any::<prop::sample::Index>(), byte, any::<bool>()).prop_map(
        |(text, index, byte, insert)| {
            let mut bytes = text.into_bytes();
            let at = index.index(bytes.len() + 1);
            if insert || at == bytes.len() {
                bytes.insert(at, byte);
            } else {
                bytes[at] = byte;
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn text_fails_at_the_first_impossible_byte(bytes in mutated_text(), seed: usize) {
        let valid = std::str::from_utf8(&bytes).is_ok();
        let impossible = first_impossible(&bytes);
        // Without FIN: the failure must not wait for the end.
        let input = frame(TEXT, &bytes);
        let limits = SessionLimits::default();
        let mut session = Session::new();
        let mut failed_at = None;
        for (index, byte) in input.iter().enumerate() {
            let mut piece = [*byte];
            if session.handle_input(&mut piece, &limits, &mut Recorder::default()).is_err() {
                failed_at = Some(index - (input.len() - bytes.len()));
                break;
            }
        }
        prop_assert_eq!(failed_at, impossible);
        let cuts = cuts_of(input.len(), &[seed]);
        let expected = if impossible.is_some() { Err(ProtocolError::InvalidUtf8) } else { Ok(()) };
        prop_assert_eq!(run(&input, &cuts, &limits).1, expected);
        let ended = run(&frame(FIN | TEXT, &bytes), &cuts, &limits).1;
        prop_assert_eq!(ended.is_ok(), valid);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn utf8_agrees_with_std_at_every_split(bytes in mutated_text(), filler in 0usize..200) {
        let bytes = [vec![b'x'; filler], bytes].concat();
        let impossible = first_impossible(&bytes);
        for cut in 0..=bytes.len() {
            let (left, right) = bytes.split_at(cut);
            let mut validator = Utf8Validator::new();
            let first = validator.push(left);
            prop_assert_eq!(first.is_err(), impossible.is_some_and(|index| index < cut));
            if first.is_ok() {
                let second = validator.push(right);
                prop_assert_eq!(second.is_err(), impossible.is_some());
                let whole = second.is_ok() && validator.finish().is_ok();
                prop_assert_eq!(whole, std::str::from_utf8(&bytes).is_ok());
            }
        }
    }
}

/// Frames that are illegal in every state, each with its error.
fn illegal_frames() -> Vec<(Vec<u8>, FrameError)> {
    let mut frames = Vec::new();
    for rsv in 1..=7u8 {
        for opcode in [CONTINUATION, TEXT, PING] {
            frames.push((frame(FIN | rsv << 4 | opcode, b"x"), FrameError::ReservedBits(rsv)));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        frames.push((frame(FIN | opcode, b""), FrameError::ReservedOpcode(opcode)));
    }
    for opcode in [CLOSE, PING, PONG] {
        frames.push((frame(opcode, b""), FrameError::ControlFragmented));
        frames.push((frame(FIN | opcode, &[b'a'; 126]), FrameError::ControlTooLong));
        frames.push((header(FIN | opcode, 1 << 20), FrameError::ControlTooLong));
    }
    for first in [FIN | CONTINUATION, FIN | TEXT, FIN | BINARY, FIN | PING, FIN | CLOSE] {
        frames.push((vec![first, 0], FrameError::Unmasked));
        frames.push((vec![first, 5, b'h', b'e', b'l', b'l', b'o'], FrameError::Unmasked));
    }
    for first in [CONTINUATION, FIN | TEXT, FIN | BINARY] {
        for length in [0u8, 5, 125] {
            let short = [&[first, 0x80 | 126, 0, length][..], &KEY].concat();
            frames.push((short, FrameError::LengthNotMinimal));
        }
        for length in [5u64, 126, 65_535] {
            let long = [&[first, 0x80 | 127][..], &length.to_be_bytes(), &KEY].concat();
            frames.push((long, FrameError::LengthNotMinimal));
        }
        for length in [1u64 << 63, u64::MAX, 1 << 63 | 5] {
            let long = [&[first, 0x80 | 127][..], &length.to_be_bytes(), &KEY].concat();
            frames.push((long, FrameError::LengthTooLong));
        }
    }
    frames
}

/// What may have come before, all of it legal.
fn states() -> Vec<Vec<u8>> {
    vec![
        vec![],
        frame(FIN | TEXT, b"whole"),
        frame(TEXT, b"begun"),
        frame(BINARY, b""),
        [frame(TEXT, b"a"), frame(CONTINUATION, b"b")].concat(),
        [frame(BINARY, b"a"), frame(FIN | PING, b"p")].concat(),
        [frame(TEXT, b"a"), frame(FIN | CONTINUATION, b"b")].concat(),
    ]
}

#[test]
fn illegal_frames_are_refused_in_every_state() {
    let illegal = illegal_frames();
    assert!(illegal.len() >= 60, "{}", illegal.len());
    for state in states() {
        assert_eq!(error_of(&state), None);
        for (bytes, error) in &illegal {
            let input = [&state[..], bytes].concat();
            let found = error_of(&input).unwrap();
            assert_eq!(found, ProtocolError::Frame(*error), "{bytes:x?} after {state:x?}");
            assert_eq!(found.close_code(), CloseCode::PROTOCOL_ERROR);
            assert!(!found.reason().is_empty() && found.reason().len() <= 123);
        }
    }
}

#[test]
fn fragments_follow_their_rules() {
    for (state, open) in states().into_iter().zip([false, false, true, true, true, true, false]) {
        for first in [CONTINUATION, FIN | CONTINUATION, TEXT, FIN | TEXT, BINARY, FIN | BINARY] {
            let continues = first & 0x0F == CONTINUATION;
            let expected = match (open, continues) {
                (false, true) => Some(ProtocolError::ContinuationWithoutMessage),
                (true, false) => Some(ProtocolError::MessageInsideMessage),
                _ => None,
            };
            let input = [&state[..], &frame(first, b"z")].concat();
            assert_eq!(error_of(&input), expected, "{first:x} after {state:x?}");
            assert!(expected.is_none_or(|e| e.close_code() == CloseCode::PROTOCOL_ERROR));
        }
    }
}

/// Whether the frame's header alone, without a byte of payload, is refused as too long.
fn is_refused_by_header(before: &[u8], first: u8, length: u64, max: u64) -> bool {
    let limits = SessionLimits { message_bytes_max: max, ..SessionLimits::default() };
    let input = [before, &header(first, length)].concat();
    let (_, result) = run(&input, &[], &limits);
    let cuts: Vec<usize> = (1..input.len()).collect();
    assert_eq!(result, run(&input, &cuts, &limits).1);
    match result {
        Ok(()) => false,
        Err(error @ ProtocolError::MessageTooLong { declared_bytes }) => {
            assert_eq!(error.close_code(), CloseCode::TOO_BIG);
            assert!(declared_bytes > max);
            true
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_long_message_is_refused_by_its_header() {
    for first in [TEXT, FIN | TEXT, BINARY, FIN | BINARY] {
        for length in [1 << 31, 1 << 32, (1 << 63) - 1] {
            assert!(is_refused_by_header(b"", first, length, 16 << 20));
        }
        for max in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            assert!(!is_refused_by_header(b"", first, max, max));
            assert!(is_refused_by_header(b"", first, max + 1, max));
        }
        assert!(!is_refused_by_header(b"", first, (1 << 63) - 1, u64::MAX));
    }
    let begun = frame(BINARY, &[0; 100]);
    assert!(!is_refused_by_header(&begun, CONTINUATION, 28, 128));
    assert!(is_refused_by_header(&begun, CONTINUATION, 29, 128));
    assert!(is_refused_by_header(&begun, FIN | CONTINUATION, (1 << 63) - 1, 128));
    let ended = [begun, frame(FIN | CONTINUATION, b"")].concat();
    assert!(!is_refused_by_header(&ended, BINARY, 128, 128));
}

#[test]
fn a_message_over_the_limit_never_begins() {
    let limits = SessionLimits { message_bytes_max: 10, ..SessionLimits::default() };
    let (events, result) = run(&frame(FIN | BINARY, &[0; 11]), &[], &limits);
    assert_eq!((events.as_slice(), result.is_err()), (&[][..], true));
    let (events, result) = run(&frame(FIN | BINARY, &[0; 10]), &[], &limits);
    assert_eq!((events.len(), result), (3, Ok(())));
}

#[test]
fn empty_fragments_are_counted() {
    let limits = SessionLimits::default();
    let max = limits.message_fragments_max as usize;
    let flood = frame(CONTINUATION, b"").repeat(1_000);
    let mut session = Session::new();
    let mut recorder = Recorder::default();
    session.handle_input(&mut frame(BINARY, b""), &limits, &mut recorder).unwrap();
    let mut sent = 1;
    let error = loop {
        assert!(sent <= max, "the flood goes on");
        match session.handle_input(&mut flood.clone(), &limits, &mut recorder) {
            Ok(()) => sent += 1_000,
            Err(error) => break error,
        }
    };
    assert!(sent <= max && sent + 1_000 > max);
    assert_eq!(error, ProtocolError::TooManyFragments);
    assert_eq!(error.close_code(), CloseCode::POLICY);
    assert_eq!(recorder.events, [Event::Begin(MessageKind::Binary)]);
    assert_eq!(session.handle_input(&mut flood.clone(), &limits, &mut recorder), Ok(()));
}

#[test]
fn the_fragment_limit_is_exact() {
    let limits = SessionLimits { message_fragments_max: 3, ..SessionLimits::default() };
    let part = frame(CONTINUATION, b"");
    let end = frame(FIN | CONTINUATION, b"");
    let three = [&frame(TEXT, b"")[..], &part, &end].concat();
    assert_eq!(run(&three.repeat(5), &[], &limits).1, Ok(()));
    let four = [&frame(TEXT, b"")[..], &part, &part, &end].concat();
    assert_eq!(run(&four, &[], &limits).1, Err(ProtocolError::TooManyFragments));
}

#[test]
fn close_payloads_by_the_table() {
    for code in 0..=5_100u16 {
        let input = frame(FIN | CLOSE, &[&code.to_be_bytes()[..], b"why"].concat());
        let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let (events, result) = run_whole(&input);
        if valid {
            assert_eq!(events, [Event::Close(CloseCode(code), "why".to_owned())]);
        } else {
            assert_eq!(events, []);
            assert_eq!(result.unwrap_err().close_code(), CloseCode::PROTOCOL_ERROR, "{code}");
        }
        assert_eq!(result.is_ok(), valid);
    }
    let close = |payload: &[u8]| error_of(&frame(FIN | CLOSE, payload)).map(|e| e.close_code());
    assert_eq!(close(b"\x03"), Some(CloseCode::PROTOCOL_ERROR));
    assert_eq!(close(b"\x03\xE8\xFF"), Some(CloseCode::INVALID_PAYLOAD));
    assert_eq!(close(b"\x03\xE8\xE2\x82"), Some(CloseCode::INVALID_PAYLOAD));
    assert_eq!(close(&[b"\x03\xE8", &[b'r'; 123][..]].concat()), None);
    let (events, _) = run_whole(&frame(FIN | CLOSE, b""));
    assert_eq!(events, [Event::Close(CloseCode::NO_STATUS, String::new())]);
}

#[test]
fn nothing_counts_after_a_close() {
    let close = frame(FIN | CLOSE, b"\x03\xE9");
    for state in states() {
        let mut expected = run_whole(&state).0;
        expected.push(Event::Close(CloseCode::GOING_AWAY, String::new()));
        for after in [frame(FIN | TEXT, b"x"), close.clone(), vec![0xFF; 40]] {
            let input = [&state[..], &close, &after].concat();
            assert_eq!(run_whole(&input), (expected.clone(), Ok(())));
            assert_eq!(run_by_byte(&input), (expected.clone(), Ok(())));
        }
    }
}

#[test]
fn a_sink_without_room_ends_the_connection() {
    let mut session = Session::new();
    let mut recorder = Recorder { refuses: true, ..Recorder::default() };
    let limits = SessionLimits::default();
    let mut input = [frame(FIN | BINARY, b""), frame(FIN | BINARY, b"x")].concat();
    let result = session.handle_input(&mut input, &limits, &mut recorder);
    assert_eq!(result, Err(ProtocolError::Refused));
    assert_eq!(ProtocolError::Refused.close_code(), CloseCode::TRY_AGAIN_LATER);
    let mut more = frame(FIN | PING, b"");
    assert_eq!(session.handle_input(&mut more, &limits, &mut recorder), Ok(()));
    use MessageKind::Binary;
    assert_eq!(recorder.events, [Event::Begin(Binary), Event::End, Event::Begin(Binary)]);
}

#[test]
fn the_rest_of_a_frame_is_announced() {
    let payload: Vec<u8> = (0..50_000u32).map(|index| (index % 251) as u8).collect();
    let input = frame(FIN | BINARY, &payload);
    let mut session = Session::new();
    let mut recorder = Recorder::default();
    let mut fed = 0;
    for size in [1, 10, 20_000, 3, 16_384, 50_000] {
        let end = input.len().min(fed + size);
        let mut piece = input[fed..end].to_vec();
        session.handle_input(&mut piece, &SessionLimits::default(), &mut recorder).unwrap();
        fed = end;
        if recorder.data_bytes_max > 0 {
            assert_eq!(recorder.frame_remaining, (input.len() - fed) as u64);
        }
    }
    // The longest piece is cut into blocks that fit the first-level cache.
    assert_eq!(recorder.data_bytes_max, 16 * 1024);
    use Event::{Begin, Data, End};
    assert_eq!(recorder.events, [Begin(MessageKind::Binary), Data(payload), End]);
}
