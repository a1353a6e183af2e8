//! The echo sessions for `scripts/icount.sh`, which counts the instructions of `measured`.
//!
//! For each scenario `measured` is called with two numbers of rounds, first for the ring alone and
//! then for the engine on it. The calls are told in this order: kind, scenario, messages.

mod support;

use crate::support::{RingAlone, SCENARIOS, Scenario, Session};

/// As the server has it, because what it costs is counted as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes that a call of `measured` should echo, apart from a minimum of rounds.
const BYTES: u64 = 64 * 1024;
const ROUNDS_MIN: u64 = 8;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let engine_only = match arguments.next().as_deref() {
        Some("--count") => false,
        Some("--engine") => true,
        _ => return println!("this is for scripts/icount.sh"),
    };
    let wanted: Vec<String> = arguments.collect();
    for scenario in SCENARIOS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == scenario.name) {
            continue;
        }
        if !engine_only {
            let mut ring = RingAlone::new(scenario);
            count("ring", scenario, |rounds| ring.run(rounds));
        }
        let mut session = Session::new(scenario);
        count("echo", scenario, |rounds| session.run(rounds));
    }
}

fn count(kind: &str, scenario: &Scenario, mut run: impl FnMut(u64)) {
    let few = (BYTES / scenario.round_bytes()).max(ROUNDS_MIN);
    // Once unseen, so that everything that grows has grown.
    run(few);
    for rounds in [few, 3 * few] {
        measured(&mut || run(rounds));
        println!("{kind} {} {}", scenario.name, rounds * scenario.messages());
    }
}

/// What is counted: found by its name.
#[inline(never)]
fn measured(run: &mut dyn FnMut()) {
    run();
}
