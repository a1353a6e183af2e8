//! Memory: what the process may have of it, and that it comes back.

use std::io::Write;
use std::net::Shutdown;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use support::load::Descriptors;
use support::program::Program;
use support::raw::{BINARY, FIN, Raw, TEXT, frame};

const MIB: u64 = 1 << 20;

/// How long memory may take to come back; more than what is promised, because the machine may be
/// busy with other tests.
const BACK: Duration = Duration::from_secs(60);

fn limited(memory_max: u64) -> Program {
    let set = format!("export RINGWIRE_LIMITS_MEMORY_MAX={memory_max}");
    Program::limited(&set, &["--shards=1", "--log=warn,ringwire::serve=info"])
}

/// A peer that sends what it can, and reads nothing.
struct Greedy {
    raw: Raw,
    sending: JoinHandle<()>,
}

impl Greedy {
    fn start(program: &Program, messages: &[u8]) -> Option<Self> {
        let mut raw = Raw::connect(program.address);
        if !raw.try_send(support::raw::upgrade("/echo", "").as_bytes()) {
            return None;
        }
        let mut sender = raw.stream.try_clone().unwrap();
        sender.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        let messages = messages.to_vec();
        let sending = thread::spawn(move || drop(sender.write_all(&messages)));
        Some(Self { raw, sending })
    }

    fn end(self) {
        let _ = self.raw.stream.shutdown(Shutdown::Both);
        self.sending.join().unwrap();
    }
}

fn is_served(raw: &mut Raw) {
    raw.send(&frame(FIN | TEXT, b"still there"));
    assert_eq!(raw.read_frame().expect("an echo").payload, b"still there");
}

/// Waits until the program has no more than `before` and 32 MiB.
fn comes_back(program: &Program, before: u64) {
    let started = Instant::now();
    let mut now = program.rss_bytes();
    while now > before + 32 * MIB {
        assert!(started.elapsed() < BACK, "{} MiB of {}", now / MIB, before / MIB);
        thread::sleep(Duration::from_millis(250));
        now = program.rss_bytes();
    }
    println!("{before} before, {now} after {:?}", started.elapsed());
}

#[test]
fn bar_30_memory_max_holds_and_the_honest_are_served() {
    const MAX: u64 = 96 * MIB;
    let mut program = limited(MAX);
    let mut honest: Vec<_> = (0..20).map(|_| Raw::open(program.address, "/echo")).collect();
    let before = program.rss_bytes();
    let messages = frame(FIN | BINARY, &vec![1; 8 << 20]).repeat(2);
    let mut greedy = Vec::new();
    let mut most = 0;
    for _ in 0..40 {
        greedy.extend(Greedy::start(&program, &messages));
        honest.iter_mut().for_each(is_served);
        most = most.max(program.rss_bytes());
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        honest.iter_mut().for_each(is_served);
        most = most.max(program.rss_bytes());
    }
    println!("at most {} MiB of {}", most / MIB, MAX / MIB);
    assert!(most <= MAX + MAX / 10, "{} MiB", most / MIB);
    greedy.into_iter().for_each(Greedy::end);
    comes_back(&program, before);
    honest.iter_mut().for_each(is_served);
    drop(honest);
    assert!(program.stop().code().is_some());
}

#[test]
fn bar_23_a_crowd_that_reads_nothing_is_shed_before_memory_is_gone() {
    const MAX: u64 = 64 * MIB;
    const CROWD: usize = 900;
    let _reserved = Descriptors::take(CROWD);
    let mut program = limited(MAX);
    let mut honest = Raw::open(program.address, "/echo");
    let before = program.rss_bytes();
    let messages = frame(FIN | BINARY, &vec![1; 60_000]).repeat(40);
    let mut crowd = Vec::new();
    let (mut most, mut refused) = (0, 0);
    for number in 0..CROWD {
        let mut raw = Raw::connect(program.address);
        raw.stream.set_nonblocking(true).unwrap();
        raw.try_send(support::raw::upgrade("/echo", "").as_bytes());
        crowd.push((raw, 0));
        if number % 30 == 0 {
            most = most.max(program.rss_bytes());
            is_served(&mut honest);
        }
    }
    for _ in 0..40 {
        refused = 0;
        for (raw, sent) in &mut crowd {
            match raw.stream.write(&messages[*sent..]) {
                Ok(more) => *sent += more,
                Err(_) => refused += 1,
            }
        }
        most = most.max(program.rss_bytes());
        is_served(&mut honest);
    }
    println!("at most {} MiB of {}, {refused} full or cut", most / MIB, MAX / MIB);
    assert!(most <= MAX + MAX / 10, "{} MiB", most / MIB);
    drop(crowd);
    comes_back(&program, before);
    is_served(&mut honest);
    drop(honest);
    assert!(program.stop().code().is_some());
}

#[test]
fn memory_comes_back_after_a_peak_of_long_messages() {
    let program = Program::serve(&["--shards=2", "--log=warn,ringwire::serve=info"]);
    let before = program.rss_bytes();
    let messages = frame(FIN | BINARY, &vec![1; 16 << 20]);
    let peers: Vec<_> = (0..10).filter_map(|_| Greedy::start(&program, &messages)).collect();
    let started = Instant::now();
    while program.rss_bytes() < before + 96 * MIB {
        assert!(started.elapsed() < BACK, "no peak");
        thread::sleep(Duration::from_millis(50));
    }
    peers.into_iter().for_each(Greedy::end);
    comes_back(&program, before);
}

#[test]
fn memory_comes_back_after_a_peak_of_many_connections() {
    const SOCKETS: usize = 900;
    let _reserved = Descriptors::take(SOCKETS);
    let program = Program::serve(&["--shards=2", "--log=warn,ringwire::serve=info"]);
    let before = program.rss_bytes();
    let messages = frame(FIN | BINARY, &vec![1; 60_000]).repeat(40);
    let open = |_| (Raw::open(program.address, "/echo"), 0);
    let mut crowd: Vec<(Raw, usize)> = (0..SOCKETS).map(open).collect();
    crowd.iter().for_each(|(raw, _)| raw.stream.set_nonblocking(true).unwrap());
    for _ in 0..60 {
        for (raw, sent) in &mut crowd {
            *sent += raw.stream.write(&messages[*sent..]).unwrap_or(0);
        }
    }
    let peak = program.rss_bytes();
    println!("{} MiB", peak / MIB);
    assert!(peak > before + 40 * MIB, "no peak: {} MiB", peak / MIB);
    drop(crowd);
    comes_back(&program, before);
}
