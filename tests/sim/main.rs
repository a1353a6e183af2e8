//! The engine on the simulated ring: real shard, real handlers, invented kernel, clients from a
//! seed.
//!
//! Every byte a client sends comes from dice of its own, so that one foreign byte in an echo is
//! seen. What a client may be answered, and how it may end, is in `client/judging.rs`; what must
//! be zero at the end, in `run.rs`; what the engine must never do to a ring, in the simulator.
//!
//! Some sockets are shared, and a control peer (`control.rs`) does their handlers' work.
//!
//! `RINGWIRE_SIM_SEEDS=from..to` chooses other seeds than the first 2,000. A seed that fails is
//! printed with the command that repeats it, and belongs into `tests/sim_regressions.txt`.

mod client;
mod companions;
mod control;
mod drains;
mod ends;
mod fairness;
mod floods;
mod handler;
mod rests;
mod run;
mod script;
mod wire;

use std::panic;
use std::sync::Mutex;
use support::frames;

/// Failures after which a search ends.
const FAILURES_MAX: usize = 5;

/// Keeps quiet about panics that handlers were asked for, and remembers the others' words.
fn quiet_hook() {
    panic::set_hook(Box::new(|info| {
        if !info.payload().is::<handler::Asked>() {
            eprintln!("{info}");
        }
    }));
}

/// Seeds that failed once, each with what it found: `seed # reason`.
fn regressions() -> Vec<u64> {
    let lines = include_str!("../sim_regressions.txt").lines();
    let seeds = lines.map(|line| line.split('#').next().unwrap_or_default().trim());
    seeds.filter(|seed| !seed.is_empty()).map(|seed| seed.parse().unwrap()).collect()
}

/// The seeds asked for, if any were.
fn asked_for() -> Option<std::ops::Range<u64>> {
    let range = std::env::var("RINGWIRE_SIM_SEEDS").ok()?;
    let (from, to) = range.split_once("..").expect("RINGWIRE_SIM_SEEDS=from..to");
    Some(from.parse().unwrap()..to.parse().unwrap())
}

/// Runs a seed; what went wrong, if something did. On a thread of its own, because a thread keeps
/// memory for its next connections, and a run must not depend on those before it.
fn attempt(seed: u64) -> Result<run::Report, String> {
    std::thread::spawn(move || run::run(seed)).join().map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic without words".into())
    })
}

/// Runs seeds on two threads and fails with those that failed.
fn search(seeds: impl Iterator<Item = u64> + Send) -> run::Report {
    let seeds = Mutex::new(seeds);
    let failures = Mutex::new(Vec::new());
    let total = Mutex::new(run::Report::default());
    let work = || {
        while failures.lock().unwrap().len() < FAILURES_MAX {
            let Some(seed) = seeds.lock().unwrap().next() else { return };
            match attempt(seed) {
                Ok(report) => total.lock().unwrap().add(&report),
                Err(why) => failures.lock().unwrap().push((seed, why)),
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let failures = failures.into_inner().unwrap();
    let repeat = |(seed, why): &(u64, String)| {
        let range = format!("{seed}..{}", seed + 1);
        format!("{why}\n  RINGWIRE_SIM_SEEDS={range} cargo test --test sim seeds")
    };
    let lines: Vec<String> = failures.iter().map(repeat).collect();
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), lines.join("\n"));
    total.into_inner().unwrap()
}

#[test]
fn seeds() {
    quiet_hook();
    let started = std::time::Instant::now();
    let report = match asked_for() {
        Some(range) => search(range),
        None => search(regressions().into_iter().chain(0..2_000)),
    };
    println!("{report:#?} in {:?}", started.elapsed());
    // Of these nothing is known at the end.
    assert!(report.cut_short <= report.runs / 100, "{} runs are cut short", report.cut_short);
}

#[test]
fn the_same_seed_takes_the_same_course() {
    quiet_hook();
    for seed in 100_000..100_020 {
        let course = attempt(seed);
        assert!(course.is_ok(), "{course:?}");
        assert_eq!(course, attempt(seed), "seed {seed}");
    }
}
