//! `/broadcast` of `ringwire serve`: who hears what, in which order, and who is too slow for it.

use ringwire::{Settings, serve};
use std::time::Duration;
use support::raw::{BINARY, CLOSE, CONTINUATION, FIN, Raw, TEXT, close_payload, frame};
use support::{Server, quick};

const PATH: &str = "/broadcast";

/// On two shards, so that members are on both.
fn start(mut settings: Settings) -> Server {
    settings.shards = 2;
    Server::start(settings.clone(), |_| serve::builder(settings))
}

/// Members that have joined for certain: each has heard somebody.
fn members(server: &Server, count: usize) -> Vec<Raw> {
    let mut members: Vec<Raw> = (0..count).map(|_| Raw::open(server.address, PATH)).collect();
    // Joining follows the handshake, so a member may miss what is said at once; not its own words.
    for (number, member) in members.iter_mut().enumerate() {
        let hello = format!("hello {number}");
        member.send(&frame(FIN | TEXT, hello.as_bytes()));
        while member.read_frame().expect("its own").payload != hello.as_bytes() {}
    }
    members[0].send(&frame(FIN | TEXT, b"all here"));
    for member in &mut members {
        while member.read_frame().expect("the last of the hellos").payload != b"all here" {}
    }
    members
}

#[test]
fn everybody_hears_everything_as_it_was_said() {
    let server = start(quick());
    let mut members = members(&server, 9);
    let long = vec![0xfe; 64 * 1024];
    for (opcode, payload) in [(TEXT, "häkchen ✓".as_bytes()), (BINARY, &long), (BINARY, b"")] {
        members[3].send(&frame(FIN | opcode, payload));
        for member in &mut members {
            let heard = member.read_frame().expect("a message");
            assert_eq!((heard.first, heard.payload.as_slice()), (FIN | opcode, payload));
        }
    }
    members[4].send(&frame(TEXT, b"in two "));
    members[4].send(&frame(FIN | CONTINUATION, b"parts"));
    for member in &mut members {
        assert_eq!(member.read_frame().expect("a message").payload, b"in two parts");
    }
    drop(members);
    server.finish();
}

#[test]
fn what_is_said_before_a_close_or_a_fin_is_heard() {
    let cases = [(false, 1, 500), (false, 10, 500), (false, 900, 500), (true, 10, 500)];
    // More than an outbox takes at once.
    let more = [(true, 900, 500), (false, 10, 60_000), (true, 10, 60_000)];
    for (fin, said, bytes) in cases.into_iter().chain(more) {
        for others_say in [0, 300] {
            say_and_leave(fin, said, bytes, others_say);
        }
    }
}

/// One says so many messages of `bytes` and ends; two of four others say something meanwhile. All
/// hear all of the one, who says it included.
fn say_and_leave(fin: bool, said: usize, bytes: usize, others_say: usize) {
    let server = start(quick());
    let mut members = members(&server, 5);
    let mut last = members.pop().expect("five");
    let others = frame(FIN | TEXT, &[b'o'; 2_000]).repeat(others_say);
    members[..2].iter_mut().for_each(|member| member.send(&others));
    let frames = frame(FIN | TEXT, &vec![b's'; bytes]).repeat(said);
    let close = frame(FIN | CLOSE, &close_payload(1000, b""));
    last.send(&if fin { frames } else { [frames, close].concat() });
    if fin {
        last.say_fin();
    }
    let speaker = std::thread::spawn(move || {
        let heard =
            std::iter::from_fn(|| last.read_frame()).take_while(|one| one.close_code().is_none());
        heard.filter(|one| one.payload[0] == b's').count()
    });
    let listeners: Vec<_> = members
        .into_iter()
        .map(|mut member| {
            std::thread::spawn(move || {
                let mut heard = (0, 0);
                while heard != (said, 2 * others_say) {
                    let payload = member.read_frame().expect("a message").payload;
                    match payload[0] {
                        b's' => heard.0 += 1,
                        _ => heard.1 += 1,
                    }
                }
                member
            })
        })
        .collect();
    let stayed: Vec<_> =
        listeners.into_iter().map(|one| one.join().expect("it hears all")).collect();
    let heard = speaker.join().expect("it reads");
    assert_eq!(heard, said, "who has said it; {bytes} bytes, FIN: {fin}, others: {others_say}");
    drop(stayed);
    server.finish();
}

#[test]
fn many_who_speak_at_once_are_all_heard_in_one_order_for_all() {
    const EACH: usize = 500;
    let server = start(quick());
    let mut members = members(&server, 8);
    // At once from each, and more than any queue holds: those who speak wait, nobody is cut.
    for (number, member) in members.iter_mut().enumerate() {
        let said: Vec<u8> = (0..EACH)
            .flat_map(|turn| frame(FIN | TEXT, format!("{number} {turn}").as_bytes()))
            .collect();
        member.send(&said);
    }
    let mut orders = Vec::new();
    for member in &mut members {
        let heard = (0..8 * EACH).map(|_| member.read_frame().expect("a message").payload);
        orders.push(heard.collect::<Vec<_>>());
    }
    for order in &orders {
        assert!(*order == orders[0], "another order");
    }
    for number in 0..8 {
        let own = orders[0].iter().filter(|said| said.starts_with(format!("{number} ").as_bytes()));
        let wanted = (0..EACH).map(|turn| format!("{number} {turn}").into_bytes());
        assert!(own.cloned().eq(wanted), "what {number} said");
    }
    drop(members);
    server.finish();
}

#[test]
fn who_does_not_listen_is_closed_and_nobody_waits_for_it() {
    const MESSAGE_BYTES: usize = 64 * 1024;
    let mut settings = quick();
    settings.limits.socket_send_buffer_bytes = 64 * 1024;
    settings.timeouts.close = Duration::from_secs(600);
    let server = start(settings);
    let mut members = members(&server, 4);
    let mut slow = members.pop().expect("one of them");
    // More than it may fall behind, and the buffers of its kernel.
    let rounds = 400;
    for round in 0..rounds {
        members[0].send(&frame(FIN | BINARY, &[round as u8; MESSAGE_BYTES]));
        for member in &mut members {
            let heard = member.read_frame().expect("a message").payload;
            assert_eq!((heard.len(), heard[0]), (MESSAGE_BYTES, round as u8));
        }
    }
    let mut heard = 0;
    let close = loop {
        let frame = slow.read_frame().expect("a Close frame at the end");
        if let Some(code) = frame.close_code() {
            break code;
        }
        assert_eq!(frame.payload[0], heard as u8, "nothing is left out before the end");
        heard += 1;
    };
    assert_eq!(close, 1008);
    assert!(heard < rounds, "it was never too far behind");
    drop((slow, members));
    server.finish();
}

#[test]
fn a_message_too_long_for_the_route_ends_its_speaker_alone() {
    let mut settings = quick();
    settings.timeouts.close = Duration::from_millis(100);
    let server = start(settings);
    let mut members = members(&server, 2);
    members[0].send(&frame(FIN | BINARY, &[1; 64 * 1024 + 1]));
    assert_eq!(members[0].close_code(), Some(1009));
    members[1].send(&frame(FIN | TEXT, b"still here"));
    assert_eq!(members[1].read_frame().expect("its own").payload, b"still here");
    drop(members);
    server.finish();
}

#[test]
fn who_leaves_is_not_waited_for() {
    let server = start(quick());
    let mut members = members(&server, 12);
    let mut speaker = members.pop().expect("one of them");
    for (number, member) in members.into_iter().enumerate() {
        speaker.send(&frame(FIN | TEXT, b"one more"));
        // By reset and in the middle of a round, or in order.
        if number % 2 == 0 {
            member.reset();
        } else {
            drop(member);
        }
        assert_eq!(speaker.read_frame().expect("its own").payload, b"one more");
    }
    server.finish();
}
