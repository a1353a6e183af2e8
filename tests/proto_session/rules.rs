//! What is illegal is refused in every state, and the limits hold.

use super::*;

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
    let mut sent = 0;
    let error = loop {
        assert!(sent <= max, "the flood goes on");
        match session.handle_input(&mut flood.clone(), &limits, &mut recorder) {
            Ok(_) => sent += 1_000,
            Err(error) => break error,
        }
    };
    assert!(sent <= max && sent + 1_000 > max);
    assert_eq!(error, ProtocolError::TooManyFragments);
    assert_eq!(error.close_code(), CloseCode::POLICY);
    assert_eq!(recorder.events, [Event::Begin(MessageKind::Binary)]);
    assert_eq!(session.handle_input(&mut flood.clone(), &limits, &mut recorder).map(drop), Ok(()));
}

#[test]
fn the_fragment_limit_is_exact() {
    let limits = SessionLimits { message_fragments_max: 3, ..SessionLimits::default() };
    let part = frame(CONTINUATION, b"");
    let end = frame(FIN | CONTINUATION, b"");
    let three = [&frame(TEXT, b"")[..], &part, &part, &end].concat();
    assert_eq!(run(&three.repeat(5), &[], &limits).1, Ok(()));
    let four = [&frame(TEXT, b"")[..], &part, &part, &part, &end].concat();
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
    assert_eq!(session.handle_input(&mut more, &limits, &mut recorder).map(drop), Ok(()));
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

#[test]
fn a_full_sink_takes_one_thing_at_a_time_and_the_rest_comes_again() {
    let long: Vec<u8> = (0..70_000u32).map(|index| (index % 251) as u8).collect();
    let script = [frame(FIN | BINARY, &long), script()].concat();
    let (expected, _) = run_whole(&script);
    for cut in [1, 20_000, 20_001, script.len() - 1] {
        let mut session = Session::new();
        let mut recorder = Recorder::default();
        for mut rest in [script[..cut].to_vec(), script[cut..].to_vec()] {
            let mut calls = 0;
            while !rest.is_empty() {
                recorder.room = 1;
                let limits = SessionLimits::default();
                let taken = session.handle_input(&mut rest, &limits, &mut recorder).unwrap();
                assert!(taken > 0 && recorder.data_bytes_max <= 16 * 1024);
                rest.drain(..taken);
                calls += 1;
            }
            assert!(calls > 1 || cut == 1 || cut == script.len() - 1);
        }
        assert_eq!(recorder.events, expected, "{cut}");
    }
    let mut full = Recorder { room: 0, ..Recorder::default() };
    let taken = Session::new().handle_input(
        &mut frame(FIN | PING, b""),
        &SessionLimits::default(),
        &mut full,
    );
    assert_eq!((taken, full.events), (Ok(0), vec![]));
}
