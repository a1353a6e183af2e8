//! How long it takes to be told that an id is unknown says nothing about why.

use crate::{Leave, options};
use ringwire::engine::SimulatedEngine;
use ringwire::ring::sim::{PeerId, SimNet, SimOptions, SimRing};
use ringwire::{Engine, EngineHandle, MailboxPolicy, OpenError, Settings};
use std::hint::black_box;
use std::pin::pin;
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Samples of each class in one attempt, and attempts: a difference that is there is there in each,
/// and one that the machine has made is not.
const SAMPLES: usize = 10_000;
const ATTEMPTS: usize = 5;

/// Welch's t above which two classes differ; of classes that are alike it is passed once in about
/// 100,000 attempts.
const T_MAX: f64 = 4.5;

/// A difference that must be seen, at least once.
const DIFFERENCE_NS: f64 = 100.0;

/// A difference that is none: of a few instructions, and of where the code happens to lie.
const NOTHING_NS: f64 = 5.0;

/// The share of the fastest samples that is looked at: what the others waited for is the machine.
const KEPT: f64 = 0.75;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }

    /// `id` with what is behind its first `known` letters made up.
    fn made_up(&mut self, id: &str, known: usize) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let rest = (known..id.len()).map(|_| char::from(alphabet[self.below(alphabet.len())]));
        id.chars().take(known).chain(rest).collect()
    }
}

/// An engine in this thread, so that what is measured is its work and nobody's sleep.
struct Still {
    engine: SimulatedEngine,
    handle: EngineHandle,
    net: SimNet,
    ids: Receiver<String>,
}

impl Still {
    fn new() -> Self {
        let (ids, told) = channel();
        let (ends, _) = channel();
        let mut settings = Settings::default();
        settings.timeouts.ping_interval = std::time::Duration::ZERO;
        let ring = SimRing::new(1, SimOptions::default());
        let net = ring.net();
        let leave = move || Leave { ids: ids.clone(), ends: ends.clone() };
        let builder = Engine::builder().settings(settings);
        let builder = builder.route_with("/", options(MailboxPolicy::StopReading), leave);
        let engine = builder.simulate(ring);
        let handle = EngineHandle::of_simulated(&engine);
        Self { engine, handle, net, ids: told }
    }

    fn turn(&mut self) {
        self.engine.turn().expect("a simulated ring does not fail");
    }

    fn open(&mut self) -> (PeerId, String) {
        let peer = self.net.connect(0);
        self.net.peer_write(peer, support::raw::upgrade("/", "").as_bytes());
        loop {
            self.turn();
            if let Ok(id) = self.ids.try_recv() {
                return (peer, id);
            }
        }
    }

    /// Asks to open a socket, whose id is unknown or not, and says how long the answer takes.
    fn ask(&mut self, id: &str) -> (Option<OpenError>, f64) {
        let asked = Instant::now();
        let mut answer = pin!(self.handle.open_server(black_box(id)));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
                return (answer.err(), asked.elapsed().as_nanos() as f64);
            }
            self.engine.turn().expect("a simulated ring does not fail");
        }
    }

    fn refused_in_ns(&mut self, id: &str) -> f64 {
        let (answer, took_ns) = self.ask(id);
        assert_eq!(answer, Some(OpenError::Unknown), "{id}");
        took_ns
    }
}

/// By how many nanoseconds two classes differ, of their samples below a bound that is the same for
/// both; and Welch's t of it.
fn compare(first: &[f64], second: &[f64]) -> (f64, f64) {
    let mut all: Vec<f64> = [first, second].concat();
    all.sort_by(f64::total_cmp);
    let bound = all[(all.len() as f64 * KEPT) as usize];
    let moments = |samples: &[f64]| {
        let kept: Vec<f64> = samples.iter().copied().filter(|sample| *sample < bound).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let squares: f64 = kept.iter().map(|sample| (sample - mean).powi(2)).sum();
        (mean, squares / (count - 1.0) / count)
    };
    let ((mean, error), (other_mean, other_error)) = (moments(first), moments(second));
    let difference_ns = other_mean - mean;
    (difference_ns, difference_ns / (error + other_error).sqrt())
}

/// Whether each class differs from the first, its samples taken in turn and in an order that is
/// drawn.
fn attempt(still: &mut Still, classes: &[Vec<String>], dice: &mut Dice) -> Vec<bool> {
    let mut samples = vec![Vec::with_capacity(SAMPLES); classes.len() + 1];
    for index in 0..SAMPLES {
        let mut order: Vec<usize> = (0..samples.len()).collect();
        while !order.is_empty() {
            let class = order.swap_remove(dice.below(order.len()));
            let took_ns = match classes.get(class) {
                Some(ids) => still.refused_in_ns(&ids[index]),
                // What a difference looks like.
                None => still.refused_in_ns(&classes[0][index]) + DIFFERENCE_NS,
            };
            samples[class].push(took_ns);
        }
    }
    let compared: Vec<_> = samples[1..].iter().map(|class| compare(&samples[0], class)).collect();
    println!("ns and t of made up, made up of what is gone, gone, slower: {compared:.1?}");
    let differs = |(ns, t): &(f64, f64)| ns.abs() > NOTHING_NS && t.abs() > T_MAX;
    compared.iter().map(differs).collect()
}

#[test]
fn never_was_is_gone_and_made_up_take_the_same_time() {
    let mut still = Still::new();
    let gone: Vec<_> = (0..20).map(|_| still.open()).collect();
    for (peer, _) in &gone {
        still.net.peer_reset(*peer);
    }
    while still.engine.population().0 > 0 {
        still.turn();
    }
    let stale: Vec<String> = gone.into_iter().map(|(_, id)| id).collect();
    let live: Vec<String> = (0..20).map(|_| still.open().1).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut ids = |known: usize, of: &[String]| -> Vec<String> {
        (0..SAMPLES).map(|index| dice.made_up(&of[index % of.len()], known)).collect()
    };
    // Of 32 letters 14 say where a socket is, and the last 10 belong to the MAC alone.
    let classes = [ids(0, &live), ids(22, &live), ids(22, &stale), ids(32, &stale)];
    let mut dice = Dice(1);
    let mut differ = [0; 4];
    for _ in 0..ATTEMPTS {
        let found = attempt(&mut still, &classes, &mut dice);
        differ.iter_mut().zip(found).for_each(|(count, differs)| *count += u32::from(differs));
    }
    let attempts = ATTEMPTS as u32;
    assert!(differ[..3].iter().all(|count| *count < attempts), "they differ: {differ:?}");
    assert!(differ[3] > 0, "a difference is not seen");
    assert_eq!(still.ask(&live[0]).0, None);
}
