//! One seed: a ring, an engine, clients; turned until all is over, and looked over then.

use crate::client::{Client, Rules};
use crate::control::Control;
use crate::handler::{Echo, Ledger};
use crate::script::Script;
use ringwire::clock::Moment;
use ringwire::engine::SimulatedEngine;
use ringwire::ring::Ring;
use ringwire::ring::sim::{Dice, SimNet, SimOptions, SimRing};
use ringwire::{Engine, EngineHandle, Settings, Totals};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Batches that no seed needs.
const TURNS_MAX: u64 = 3_000_000;

/// Batches in a row without a completion in one millisecond.
const IDLE_TURNS_MAX: u64 = 100;

/// What a run has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub trace: u64,
    pub runs: u64,
    pub turns: u64,
    pub echoes: u64,
    pub virtual_ms: u64,
    pub deaths: u64,
    pub leases: u64,
    /// Runs whose drain was at its last limit before everything was quiet.
    pub cut_short: u64,
    pub totals: Totals,
}

impl Report {
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.turns += other.turns;
        self.echoes += other.echoes;
        self.virtual_ms += other.virtual_ms;
        self.deaths += other.deaths;
        self.leases += other.leases;
        self.cut_short += other.cut_short;
        self.totals += other.totals;
    }
}

struct Run {
    seed: u64,
    engine: SimulatedEngine,
    net: SimNet,
    clients: Rc<RefCell<Vec<Client>>>,
    control: Control,
    ledger: Arc<Ledger>,
    turns: u64,
    idle_turns: u64,
    drain_timeout: Duration,
    /// When a drain ends, come what may.
    drain_limit: Moment,
}

/// Runs a seed to its end.
pub fn run(seed: u64) -> Report {
    let mut dice = Dice::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 0x5eed);
    let options = SimOptions::from_seed(seed);
    let mut settings = settings(&mut dice, options.slots);
    let mut growth = Dice::new(seed ^ 0x6b0f_7ac3);
    settings.limits.inbox_growth_bytes_max = growth.pick(&[256 << 20, 256 << 20, 1 << 20]);
    // All peers have one address, and half of the slots are enough for them.
    if options.slots >= 32 && growth.chance(500) {
        settings.limits.trusted_addresses.clear();
    }
    let drains_at_ms = dice.chance(200).then(|| dice.between(1, 8_000) as u64);
    let mut run = Run::new(seed, options, settings, &mut dice);
    let drained = run.until_all_are_over(drains_at_ms);
    run.net.stop_faults();
    run.settle(drained);
    let cut_short = run.is_cut_short();
    if !cut_short {
        run.check();
    }
    let echoes = run.clients.borrow().iter().map(Client::echoes).sum();
    let mut report = Report {
        trace: run.net.trace_hash(),
        runs: 1,
        turns: run.turns,
        echoes,
        virtual_ms: run.net.now().as_millis(),
        deaths: 0,
        leases: 0,
        cut_short: cut_short.into(),
        totals: run.engine.totals(),
    };
    (report.deaths, report.leases) = run.end().counts();
    report
}

/// Limits that are sometimes tight.
fn settings(dice: &mut Dice, slots: u32) -> Settings {
    let connections_max = Some(dice.pick(&[slots, slots, slots - 1]));
    let mut settings = Settings { connections_max, ..Settings::default() };
    settings.limits.inbox_bytes_max = dice.pick(&[64 * 1024, 4 * 1024, 4 * 1024]);
    settings.limits.inbox_messages_max = dice.pick(&[1_024, 4, 4]);
    settings.limits.outbox_high_water_bytes = dice.pick(&[64 * 1024, 64 * 1024, 1_024]);
    settings.timeouts.drain = Duration::from_millis(dice.pick(&[10_000, 3_000]));
    settings
}

impl Run {
    fn new(seed: u64, options: SimOptions, settings: Settings, dice: &mut Dice) -> Self {
        let count = dice.pick(&[1, 2, 4, 10]);
        let millis = |duration: Duration| duration.as_millis() as u64;
        let timeouts = &settings.timeouts;
        let rules = Rules {
            close_timeout_ms: millis(timeouts.close),
            close_timeout_max_ms: millis(timeouts.close_max),
            silence_timeout_ms: millis(timeouts.ping_interval) + millis(timeouts.pong),
            head_timeout_ms: millis(timeouts.request_head),
            linger_timeout_ms: millis(timeouts.linger),
            prompt: options.faults.stall == 0 && options.faults.pause == 0,
            punctual: options.faults.delay == 0,
            sees_progress: options.faults.unacknowledged_unknown == 0,
            over_capacity: settings.connections_max.is_some_and(|most| most < count as u32),
        };
        let ledger = Arc::new(Ledger::default());
        let mut sharing = Dice::new(seed ^ 0x5a4e_d50c);
        let clients = (0..count).map(|index| {
            let mut script = Script::from_dice(dice, index);
            script.share(&mut sharing);
            let name = format!("seed {seed}, client {index}");
            let gate = ledger.gate(index);
            Client::new(name, script, rules.clone(), Dice::new(dice.bits()), gate)
        });
        let clients = Rc::new(RefCell::new(clients.collect::<Vec<_>>()));
        let mut ring = SimRing::new(seed, options);
        let net = ring.net();
        let driven = Rc::clone(&clients);
        let control_ms = Rc::new(Cell::new(u64::MAX));
        let of_control = Rc::clone(&control_ms);
        let bell = ring.doorbell();
        ring.set_driver(move |net| {
            let mut clients = driven.borrow_mut();
            // The control peer acts between batches: one has to end when its time has come.
            if of_control.get() <= net.now().as_millis() {
                of_control.set(u64::MAX);
                bell.ring();
            }
            let next = clients.iter_mut().filter_map(|client| client.step(net));
            let of_control = Some(of_control.get()).filter(|next_ms| *next_ms < u64::MAX);
            next.chain(of_control).min().map(Moment::from_millis)
        });
        let drain_timeout = settings.timeouts.drain;
        let drain_limit = Moment::from_millis(u64::MAX);
        let of_handlers = Arc::clone(&ledger);
        let engine = Engine::builder()
            .settings(settings)
            .route("/echo", move || Echo::new(Arc::clone(&of_handlers)))
            .simulate(ring);
        let handle = EngineHandle::of_simulated(&engine);
        let control = Control::new(handle, control_ms, Dice::new(sharing.bits()));
        Self {
            seed,
            engine,
            net,
            clients,
            control,
            ledger,
            turns: 0,
            idle_turns: 0,
            drain_timeout,
            drain_limit,
        }
    }

    /// What changes with whatever is done: a batch may have nothing to do but to take in what had to
    /// wait for room.
    fn progress(&self) -> (Moment, u64, u64) {
        let totals = self.engine.totals();
        (self.net.now(), totals.ring.completions, totals.messages_in)
    }

    /// One batch; `false` once a drain is complete.
    fn turn(&mut self) -> bool {
        self.turns += 1;
        let before = self.progress();
        assert!(self.turns < TURNS_MAX, "seed {}: does not end", self.seed);
        let goes_on = self.engine.turn().unwrap();
        let (accounted, held) = self.engine.growth_bytes();
        assert_eq!(accounted, held, "seed {}: the growth account", self.seed);
        assert!(self.engine.growing_addresses() <= accounted.min(1), "seed {}", self.seed);
        assert_eq!(self.engine.forgotten(), None, "seed {}", self.seed);
        for id in self.ledger.take_left() {
            self.control.attend(id);
        }
        self.control.step(self.net.now().as_millis());
        // A wait may end for nothing now and then, but not for ever.
        let idle = before == self.progress();
        self.idle_turns = if idle { self.idle_turns + 1 } else { 0 };
        assert!(self.idle_turns < IDLE_TURNS_MAX, "seed {}: spins", self.seed);
        goes_on
    }

    /// Whether the engine has drained meanwhile.
    fn until_all_are_over(&mut self, drains_at_ms: Option<u64>) -> bool {
        let mut drains_at_ms = drains_at_ms;
        while !self.clients.borrow().iter().all(Client::is_over) {
            if drains_at_ms.is_some_and(|at_ms| at_ms <= self.net.now().as_millis()) {
                drains_at_ms = None;
                self.drain();
            }
            if !self.turn() {
                return true;
            }
        }
        false
    }

    fn drain(&mut self) {
        self.clients.borrow_mut().iter_mut().for_each(Client::drain_started);
        self.engine.drain();
        self.drain_limit = self.net.now() + self.drain_timeout + Duration::from_secs(1);
    }

    /// Time for everything to end that ends by itself, then a drain.
    fn settle(&mut self, drained: bool) {
        if drained {
            return;
        }
        let limit_ms = self.net.now().as_millis() + 120_000;
        // What is left is the accept, unless it pauses.
        while self.engine.population() != (0, 0) || self.net.quiescent().operations_in_flight > 1 {
            let left = (self.engine.population(), self.net.quiescent());
            assert!(self.net.now().as_millis() < limit_ms, "seed {}: {left:?}", self.seed);
            self.turn();
        }
        self.drain();
        while self.turn() {}
    }

    /// Whether the drain's last limit has passed before everything was quiet: the thread stalled.
    fn is_cut_short(&self) -> bool {
        self.net.now() >= self.drain_limit
    }

    /// Everything is zero.
    fn check(&mut self) {
        let seed = self.seed;
        let totals = self.engine.totals();
        assert_eq!(self.engine.population(), (0, 0), "seed {seed}");
        for client in self.clients.borrow_mut().iter_mut() {
            client.step(&self.net);
            assert!(client.is_over() || client.is_left_alone(&self.net), "{client:?}");
        }
        assert_eq!(self.engine.growth_bytes(), (0, 0), "seed {seed}");
        let [opened, panicked, ended] =
            [&self.ledger.opened, &self.ledger.panicked, &self.ledger.ended]
                .map(|count| count.load(Ordering::Relaxed));
        assert_eq!(totals.accepted, totals.closed, "seed {seed}");
        assert_eq!(totals.panics, u64::from(panicked), "seed {seed}");
        assert!(u64::from(opened) <= totals.opened, "seed {seed}");
        if totals.cut == 0 {
            assert_eq!(opened, panicked + ended, "seed {seed}: OnPostServer");
        }
        assert!(self.net.quiescent().is_zero(), "seed {seed}: {:?}", self.net.quiescent());
    }

    /// Nobody waits for an engine that is no more.
    fn end(self) -> Control {
        let Self { seed, engine, mut control, net, .. } = self;
        drop(engine);
        let now_ms = net.now().as_millis();
        // Some read what is left, a few bytes at a time.
        for more_ms in 0..100_000 {
            if control.len() == 0 {
                break;
            }
            control.step(now_ms + more_ms);
        }
        assert_eq!(control.len(), 0, "seed {seed}: somebody still waits");
        control
    }
}
