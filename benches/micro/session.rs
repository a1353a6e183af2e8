//! Sessions: the protocol by itself, and whole echoes in memory.

use crate::support::{RingAlone, SCENARIOS, Scenario, Session};
use criterion::{Criterion, Throughput};
use ringwire::MessageKind;
use ringwire::proto::{self, CloseCode, Events, Refused, SessionLimits};
use std::hint::black_box;

pub fn benches(criterion: &mut Criterion) {
    protocol(criterion);
    echoes(criterion);
}

/// What a session finds, counted and forgotten.
#[derive(Default)]
struct Found {
    messages: usize,
    bytes: usize,
}

impl Events for Found {
    fn message_begin(&mut self, _kind: MessageKind) {}
    fn message_data(&mut self, bytes: &[u8], _frame_remaining: u64) -> Result<(), Refused> {
        self.bytes += black_box(bytes).len();
        Ok(())
    }
    fn message_end(&mut self) {
        self.messages += 1;
    }
    fn ping(&mut self, _payload: &[u8]) {}
    fn pong(&mut self, _payload: &[u8]) {}
    fn close(&mut self, _code: CloseCode, _reason: &str) {}
}

/// The session alone, with the copy of its input that each round needs: it unmasks in place.
fn protocol(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session alone");
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.connections == 1) {
        group.throughput(throughput(scenario));
        let frames = scenario.frames();
        let mut input = frames.clone();
        let mut session = proto::Session::new();
        let limits = SessionLimits::default();
        group.bench_function(scenario.name, |b| {
            b.iter(|| {
                input.copy_from_slice(&frames);
                let mut found = Found::default();
                let result = session.handle_input(black_box(&mut input), &limits, &mut found);
                assert_eq!((result.map(drop), found.messages), (Ok(()), scenario.depth));
                found.bytes
            });
        });
    }
}

/// `ring alone` is what the ring in memory costs: its share of each echo.
fn echoes(criterion: &mut Criterion) {
    for scenario in SCENARIOS {
        let mut group = criterion.benchmark_group(format!("echo/{}", scenario.name));
        group.throughput(throughput(scenario));
        let mut ring = RingAlone::new(scenario);
        group.bench_function("ring alone", |b| b.iter(|| ring.run(1)));
        let mut session = Session::new(scenario);
        group.bench_function("engine", |b| b.iter(|| session.run(1)));
    }
}

/// Messages of a round, or bytes where these say more.
fn throughput(scenario: &Scenario) -> Throughput {
    if scenario.payload_bytes < 16 * 1024 {
        Throughput::Elements(scenario.messages())
    } else {
        Throughput::Bytes(scenario.round_bytes())
    }
}
