//! Owners of a socket that are killed at any moment: on the wire there is never half a frame or two
//! in one, and nothing that the peer has said is lost.

use super::size;
use super::stand::{ROUTE, Running, Stand, ids_of};
use ringwire::client::{Client, OpenOptions, ReadError, RemoteSocket, WriteError};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::load::Random;
use support::raw::{FIN, Frame, Raw, TEXT, frame};
use support::{LONG, quick};

/// An answer has so many bytes: more than one system call takes, so that a kill falls into it.
const ANSWER_BYTES: usize = 300_000;

/// Messages that the peer has said and not heard of.
const AHEAD: u64 = 4;

/// The owner, when this test program is started by the test below; nothing otherwise.
#[tokio::test]
async fn owner() {
    let Ok(address) = std::env::var("OWNER_OF_ADDRESS") else { return };
    let id = std::env::var("OWNER_OF_ID").expect("set with the address");
    let client = Client::connect(&address).await.expect("it listens");
    loop {
        let options = OpenOptions { steal: true, ..OpenOptions::default() };
        let socket = client.open_server_with(&id, options).await.expect("it lives");
        if !answers_until_fenced(socket).await {
            return;
        }
    }
}

/// `false`: it ended otherwise. The one who fences is an owner before this one that was killed on
/// its way: its request to open may still be in the control plane's socket, and be the later one.
async fn answers_until_fenced(mut socket: RemoteSocket) -> bool {
    loop {
        let data = match socket.read(99, LONG).await {
            Ok(data) => data,
            Err(error) => return matches!(error, ReadError::Fenced),
        };
        let number = data.as_text().expect("text").parse().expect("a number");
        if let Err(error) = socket.write(answer_to(number)).await {
            return matches!(error, WriteError::Fenced);
        }
    }
}

/// A text that cannot be part of another one: `[number` and then only letters of that number, `]`.
fn answer_to(number: u64) -> String {
    let mut text = format!("[{number}:");
    let letter = char::from(b'a' + (number % 26) as u8);
    text.extend(std::iter::repeat_n(letter, ANSWER_BYTES));
    text.push(']');
    text
}

/// The number that a whole answer is to.
fn number_of(frame: &Frame) -> u64 {
    assert_eq!(frame.first, FIN | TEXT, "not a whole text");
    let text = std::str::from_utf8(&frame.payload).expect("text");
    let number = text[1..].split(':').next().and_then(|number| number.parse().ok());
    let number = number.unwrap_or_else(|| panic!("{}", &text[..text.len().min(40)]));
    assert!(text == answer_to(number), "the answer to {number} is not whole");
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_owners_leave_whole_frames_and_lose_nothing() {
    let kills = size("KILLS", 25);
    let stand = Stand::new(quick());
    let peer = Raw::open(stand.address(), ROUTE);
    let client = stand.client().await;
    let id = ids_of(&client, 1).await.remove(0);
    let (heard, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let address = format!("unix:{}", stand.socket.display());
    let doubled = thread::scope(|scope| {
        let listening = scope.spawn(|| converse(peer, &heard, &is_over));
        kill_owners(&address, &id, kills, &heard);
        is_over.store(true, Ordering::Relaxed);
        // The last owner answers what is left.
        let last = start(&address, &id);
        let doubled = listening.join();
        last.kill();
        doubled.unwrap_or_else(|failed| std::panic::resume_unwind(failed))
    });
    let heard = heard.load(Ordering::Relaxed);
    println!("{kills} owners killed, {heard} answers, {doubled} of them twice");
    assert!(doubled <= kills as u64, "more were given twice than owners were killed");
    drop(client);
    stand.server.finish();
}

/// Starts owners and kills them, each at another moment of its work. Some never get to it.
fn kill_owners(address: &str, id: &str, kills: usize, heard: &AtomicU64) {
    let mut random = Random::new(0x6b69_6c6c);
    for number in 0..kills {
        let before = heard.load(Ordering::Relaxed);
        let owner = start(address, id);
        // Every fourth is killed on its way, the others while they answer.
        let waits_for = if number % 4 == 0 { 0 } else { 1 + random.below(3) as u64 };
        let started = Instant::now();
        while heard.load(Ordering::Relaxed) < before + waits_for {
            assert!(started.elapsed() < Duration::from_secs(60), "owner {number} answers nothing");
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(Duration::from_micros(random.below(8_000) as u64));
        owner.kill();
    }
}

fn start(address: &str, id: &str) -> Running {
    let mut command = Command::new(std::env::current_exe().expect("this test is a file"));
    command.args(["--exact", "killing::owner"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("OWNER_OF_ADDRESS", address).env("OWNER_OF_ID", id);
    Running(command.spawn().expect("it runs"))
}

/// The peer: says numbers and hears the answers, in order, each once or, after a kill, again. How
/// many came again.
fn converse(mut peer: Raw, heard: &AtomicU64, is_over: &AtomicBool) -> u64 {
    let patience = Some(Duration::from_secs(60));
    peer.stream.set_read_timeout(patience).expect("a TCP socket");
    let (mut said, mut next, mut doubled) = (0, 0, 0);
    loop {
        while said < next + AHEAD && !is_over.load(Ordering::Relaxed) {
            peer.send(&frame(FIN | TEXT, said.to_string().as_bytes()));
            said += 1;
        }
        if next == said {
            return doubled;
        }
        let frame = peer.read_frame().expect("the socket outlives its owners");
        let number = number_of(&frame);
        if number == next {
            next += 1;
        } else {
            assert_eq!(number + 1, next, "an answer is missing or out of order");
            doubled += 1;
        }
        heard.fetch_add(1, Ordering::Relaxed);
    }
}
