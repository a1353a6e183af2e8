//! UTF-8 and close codes, exhaustively.

use support::load::{Random, in_threads};
use support::raw::{CLOSE, CONTINUATION, FIN, Raw, TEXT, close_payload, frame};
use support::{Server, echo, quick};

const THREADS: usize = 4;
const STRINGS: usize = 10_000;

/// Some characters of every length.
fn valid(random: &mut Random) -> String {
    let ranges = [0..0x80, 0x80..0x800, 0x800..0xd800, 0xe000..0x1_0000, 0x1_0000..0x11_0000_u32];
    let letters = 1 + random.below(20);
    let mut letter = |_| {
        let range = ranges[random.below(ranges.len())].clone();
        let code = range.start + random.below(range.len()) as u32;
        char::from_u32(code).expect("no surrogate")
    };
    (0..letters).map(&mut letter).collect()
}

/// Text with something in it that cannot be.
fn invalid(random: &mut Random) -> Vec<u8> {
    const IMPOSSIBLE: [&[u8]; 16] = [
        b"\x80",
        b"\xbf",
        b"\xc0",
        b"\xc1\xbf",
        b"\xf5",
        b"\xff",
        b"\xfe",
        b"\xe0\x80",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf",
        b"\xf0\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90",
        b"\xe2\x82\x41",
        b"\xf0\x9f\x98\x41",
    ];
    let mut bytes = valid(random).into_bytes();
    match random.below(4) {
        0 => {
            let at = random.below(bytes.len());
            bytes[at] = random.bits() as u8;
        }
        1 => bytes.truncate(random.below(bytes.len())),
        _ => bytes.extend(IMPOSSIBLE[random.below(IMPOSSIBLE.len())]),
    }
    if random.below(2) == 0 {
        bytes.extend(valid(random).into_bytes());
    }
    bytes
}

/// How many bytes it takes to see that no text begins so; `None` if only the end can tell.
fn impossible_after(bytes: &[u8]) -> Option<usize> {
    let hopeless = |length: &usize| {
        std::str::from_utf8(&bytes[..*length]).is_err_and(|error| error.error_len().is_some())
    };
    (1..=bytes.len()).find(hopeless)
}

/// A text in frames cut at random: all of it, or no more than the first bytes.
fn fragments(bytes: &[u8], said: Option<usize>, random: &mut Random) -> Vec<u8> {
    let (mut frames, mut at, mut opcode) = (Vec::new(), 0, TEXT);
    loop {
        let length = random.below(bytes.len() - at + 1);
        let fin = at + length == bytes.len();
        let first = opcode | if fin { FIN } else { 0 };
        frames.extend(frame(first, &bytes[at..at + length]));
        if let Some(unsaid) = said.and_then(|said| (at + length).checked_sub(said)) {
            frames.truncate(frames.len() - unsaid);
            return frames;
        }
        if fin {
            return frames;
        }
        (at, opcode) = (at + length, CONTINUATION);
    }
}

#[test]
fn bar_07_invalid_text_is_1007_at_the_first_impossible_byte() {
    let server = Server::with(quick(), echo);
    in_threads(THREADS, |thread| {
        let mut random = Random::new(7 + thread as u64);
        let mut left = STRINGS / THREADS;
        while left > 0 {
            let bytes = invalid(&mut random);
            if std::str::from_utf8(&bytes).is_ok() {
                continue;
            }
            left -= 1;
            let mut raw = Raw::open(server.address, "/");
            raw.send(&fragments(&bytes, impossible_after(&bytes), &mut random));
            assert_eq!(raw.close_code(), Some(1007), "{bytes:x?}");
        }
    });
    server.finish();
}

#[test]
fn bar_07_valid_text_is_echoed_however_it_is_cut() {
    let server = Server::with(quick(), echo);
    in_threads(THREADS, |thread| {
        let mut random = Random::new(77 + thread as u64);
        let mut raw = Raw::open(server.address, "/");
        for _ in 0..STRINGS / THREADS / 10 {
            let texts: Vec<_> = (0..10).map(|_| valid(&mut random)).collect();
            for text in &texts {
                let cut = fragments(text.as_bytes(), None, &mut random);
                raw.send(&cut);
            }
            for text in &texts {
                let echo = raw.read_frame().expect("an echo");
                assert_eq!((echo.first, &echo.payload[..]), (FIN | TEXT, text.as_bytes()));
            }
        }
    });
    server.finish();
}

#[test]
fn bar_08_every_close_code_gets_the_answer_of_the_table() {
    let server = Server::with(quick(), echo);
    in_threads(THREADS, |thread| {
        for code in (0..=5_100_u16).skip(thread).step_by(THREADS) {
            let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let mut raw = Raw::open(server.address, "/");
            let reason: &[u8] = if code % 2 == 0 { b"" } else { "weil".as_bytes() };
            raw.send(&frame(FIN | CLOSE, &close_payload(code, reason)));
            let answer = if allowed { code } else { 1002 };
            assert_eq!(raw.close_code(), Some(answer), "{code}");
        }
    });
    let full = close_payload(1000, &[b'x'; 123]);
    for (payload, answer) in [
        (&b""[..], 1005),
        (b"\x03", 1002),
        (b"\x03\xe8\xff", 1007),
        (b"\x03\xe8\xc3", 1007),
        (&full, 1000),
        (b"\x03\xe8", 1000),
    ] {
        let mut raw = Raw::open(server.address, "/");
        // What follows a Close frame is not heard.
        raw.send(&[frame(FIN | CLOSE, payload), frame(FIN | TEXT, b"late")].concat());
        assert_eq!(raw.close_code(), Some(answer), "{payload:?}");
    }
    server.finish();
}
