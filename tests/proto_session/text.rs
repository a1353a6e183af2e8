//! Text: UTF-8 is judged as the standard library does, at every split and as early as possible.

use super::*;

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
