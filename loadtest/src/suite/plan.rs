//! What is done in which order: a list of steps, made of the table and of who takes part.
//!
//! A pure function. `mod` makes it fit into its time with `fit`, `runner` walks it.
//!
//! Rounds are interleaved (A B C, A B C, ...), so that a noisy minute weighs on all alike.

use super::contender::{Contender, Cores, Policy, Program, Setup};
use super::load::{Cost, IDLE_MANY, Load, Pace};
use super::table::{BUSY, Echo, SHARDS, SHARED, Table};
use crate::figures::measures::Family;

/// Rounds of what takes long.
const ROUNDS_OF_LONG: u32 = 3;
/// Fewer are not worth it: a plan that does not fit gets fewer rounds, but these.
pub const ROUNDS_LEAST: u32 = 3;
/// A plan that does not fit gets shorter runs, but these.
pub const SECONDS_LEAST_MS: u64 = 400;
/// More idle connections than this need so much memory.
const IDLE_OF_MEMORY: u32 = 500_000;
const MEMORY_KIB: u64 = 14 << 20;
const MICRO_MS: u64 = 6000;

/// What there is to do it with.
pub struct Means {
    pub contenders: Vec<Contender>,
    /// Those of them that can be measured, by number.
    pub usable: Vec<usize>,
    /// Descriptors that a process may have.
    pub files_max: u32,
    /// Available memory.
    pub memory_kib: u64,
}

/// One thing to do. Steps of rounds that are left out fall away.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub family: Family,
    pub round: u32,
    pub act: Act,
}

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Contender number `of` is measured, as `label`.
    Measure {
        of: usize,
        label: String,
        load: Load,
        server: Setup,
    },
    /// The servers that all rounds of the first part had end.
    EndAll,
    /// A server of contender number `of` is started for what follows, and ended after it.
    Start {
        of: usize,
        setup: Setup,
    },
    End {
        of: usize,
    },
    /// `cargo bench` of the sessions in memory.
    Micro,
}

/// The steps, and what is left out and why.
pub struct Plan {
    pub steps: Vec<Step>,
    pub left_out: Vec<String>,
}

/// How long runs and how many rounds fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    pub seconds_ms: u64,
    pub rounds: u32,
    pub planned_ms: u64,
}

impl Step {
    /// What it takes.
    pub fn cost(&self) -> Cost {
        match &self.act {
            Act::Measure { load, .. } => load.cost(),
            Act::Micro => Cost { fixed_ms: MICRO_MS, stretches: 0 },
            // It is in the cost of what is measured.
            Act::EndAll | Act::Start { .. } | Act::End { .. } => Cost::default(),
        }
    }
}

/// All steps of so many rounds.
pub fn plan(table: &Table, means: &Means, rounds: u32) -> Plan {
    let mut draft = Draft { means, steps: Vec::new(), left_out: Vec::new() };
    let has = |family: Family| table.families.contains(&family);
    for round in 1..=rounds {
        for family in [Family::Echo, Family::Churn, Family::Fanout, Family::Busy] {
            if has(family) {
                draft.beside_each_other(table, family, round);
            }
        }
    }
    if has(Family::Open) {
        draft.open(table, rounds);
    }
    draft.put(Family::Open, 1, Act::EndAll);
    for (family, rounds) in [
        (Family::Shards, rounds),
        (Family::Shared, rounds),
        (Family::Control, rounds.min(ROUNDS_OF_LONG)),
    ] {
        for round in (1..=rounds).filter(|_| has(family)) {
            draft.of_ours(table, family, round);
        }
    }
    if has(Family::Idle) {
        for connections in &table.idle {
            draft.idle(*connections, rounds.min(ROUNDS_OF_LONG));
        }
    }
    if has(Family::Micro) {
        (1..=rounds).for_each(|round| draft.put(Family::Micro, round, Act::Micro));
    }
    Plan { steps: draft.steps, left_out: draft.left_out }
}

/// The measured time, then the rounds, with which everything fits into `budget_ms`; 0 is any time.
pub fn fit(table: &Table, means: &Means, budget_ms: u64) -> Fit {
    let (mut rounds, mut most_ms) = (table.rounds, table.seconds_ms);
    loop {
        let steps = plan(table, means, rounds).steps;
        let all = steps.iter().map(Step::cost).fold(Cost::default(), |sum, cost| Cost {
            fixed_ms: sum.fixed_ms + cost.fixed_ms,
            stretches: sum.stretches + cost.stretches,
        });
        let fitting = (budget_ms.saturating_sub(all.fixed_ms) * 1000).checked_div(all.stretches);
        let fitting = fitting.filter(|_| budget_ms > 0).unwrap_or(most_ms);
        let seconds_ms = fitting.max(SECONDS_LEAST_MS).min(most_ms);
        let fit = Fit { seconds_ms, rounds, planned_ms: all.ms(seconds_ms) };
        if budget_ms == 0 || fit.planned_ms <= budget_ms || rounds <= ROUNDS_LEAST {
            return fit;
        }
        (rounds, most_ms) = (rounds - 1, seconds_ms);
    }
}

struct Draft<'a> {
    means: &'a Means,
    steps: Vec<Step>,
    left_out: Vec<String>,
}

impl Draft<'_> {
    fn put(&mut self, family: Family, round: u32, act: Act) {
        self.steps.push(Step { family, round, act });
    }

    /// Who takes part in a family, by number.
    fn who(&self, family: Family) -> Vec<(usize, Contender)> {
        let all = self.means.contenders.iter().cloned().enumerate();
        let is_usable = |of: &usize| self.means.usable.contains(of);
        all.filter(|(of, one)| is_usable(of) && one.takes_part(family)).collect()
    }

    fn measure(&mut self, round: u32, of: usize, load: Load, server: &Setup) {
        let label = self.means.contenders[of].name.clone();
        self.measure_as(round, (of, label), load, server);
    }

    fn measure_as(&mut self, round: u32, whom: (usize, String), load: Load, server: &Setup) {
        let (of, label) = whom;
        let act = Act::Measure { of, label, load: load.clone(), server: server.clone() };
        self.put(load.family(), round, act);
    }

    fn beside_each_other(&mut self, table: &Table, family: Family, round: u32) {
        let loads: Vec<Load> = match family {
            Family::Echo => table.echoes.iter().copied().map(Load::Echo).collect(),
            Family::Fanout => table.fanouts.iter().copied().map(Load::Fanout).collect(),
            Family::Busy => BUSY.map(Load::Busy).into(),
            _ => vec![Load::Churn],
        };
        for load in loads {
            for (of, _) in self.who(family) {
                self.measure(round, of, load.clone(), &Setup::PLAIN);
            }
        }
    }

    fn open(&mut self, table: &Table, rounds: u32) {
        let millis = table.open_ms;
        let shares = table.shares.iter().map(|percent| Pace::OwnPeak { percent: *percent, millis });
        let paces: Vec<Pace> = shares.chain([Pace::Same { millis }]).collect();
        for round in 1..=rounds {
            for pace in &paces {
                for (of, contender) in self.who(Family::Open) {
                    // The floors only say what this machine does to everybody at that rate.
                    if !contender.is_raw() || matches!(pace, Pace::Same { .. }) {
                        self.measure(round, of, Load::Paced(*pace), &Setup::PLAIN);
                    }
                }
            }
        }
    }

    /// What only servers of ours do, each just started.
    fn of_ours(&mut self, table: &Table, family: Family, round: u32) {
        for (of, contender) in self.who(family) {
            match family {
                Family::Shards => self.shards(round, of, &contender.name),
                Family::Shared => self.shared(round, of, &contender.name),
                _ => self.control(table, round, of),
            }
        }
    }

    fn started(&mut self, round: u32, of: usize, setup: &Setup, runs: Vec<(String, Load)>) {
        let Some(family) = runs.first().map(|(_, load)| load.family()) else { return };
        self.put(family, round, Act::Start { of, setup: setup.clone() });
        for (label, load) in runs {
            self.measure_as(round, (of, label), load, setup);
        }
        self.put(family, round, Act::End { of });
    }

    /// Whether two shards do nearly twice as much as one. Two cores cannot carry two shards and a
    /// generator that keeps both busy, so what counts is the CPU time per message: both cores
    /// divided by it, beside one core divided by that of one shard.
    fn shards(&mut self, round: u32, of: usize, name: &str) {
        for (shards, cores, label) in
            [(1, Cores::First, name.to_owned()), (2, Cores::Both, format!("{name} (2 shards)"))]
        {
            let setup = Setup { shards, cores, ..Setup::PLAIN };
            let runs = SHARDS.map(|echo| (label.clone(), Load::Shards(echo)));
            self.started(round, of, &setup, runs.into());
        }
    }

    /// What an echo costs through a shared socket in the hands of a worker on another thread, beside
    /// one by a handler of the same program. Shard and worker together have the core that a shard has
    /// otherwise. How much one worker echoes at most is asked with both cores for all.
    fn shared(&mut self, round: u32, of: usize, name: &str) {
        let by_worker = |label: &str, echo: Echo| {
            (format!("{name} ({label})"), Load::Shared { echo, path: "/" })
        };
        let by_handler = |echo| (name.to_owned(), Load::Shared { echo, path: "/dedicated" });
        let setup = Setup { program: Program::SharedEcho, ..Setup::PLAIN };
        let beside = SHARED.map(|echo| [by_worker("shared", echo), by_handler(echo)]);
        self.started(round, of, &setup, beside.into_iter().flatten().collect());
        let both = Setup { cores: Cores::Both, ..setup };
        self.started(round, of, &both, vec![by_worker("shared, both cores", SHARED[1])]);
    }

    /// Both cores for the server, its control clients and the WebSocket clients together; a server
    /// for each, so that there are fewer goodbyes to wait for.
    fn control(&mut self, table: &Table, round: u32, of: usize) {
        let sockets = table.control_sockets;
        // A ring holds as many as a process may open; several rings hold more.
        let many = (sockets + 2000) / self.means.files_max.saturating_sub(1000).max(1) + 1;
        let name = self.means.contenders[of].name.clone();
        for (shards, load) in [(0, Load::Pairs), (many, Load::Writes { sockets })] {
            let (cores, program) = (Cores::Both, Program::Control);
            let setup = Setup { shards, cores, program, ..Setup::PLAIN };
            self.started(round, of, &setup, vec![(name.clone(), load)]);
        }
    }

    /// A server that has held connections before has their memory still, so all are new ones.
    fn idle(&mut self, connections: u32, rounds: u32) {
        if connections > IDLE_OF_MEMORY && self.means.memory_kib < MEMORY_KIB {
            let why = "less than 14 GiB of memory available";
            self.left_out.push(format!("left out: idle: {connections} connections ({why})"));
            return;
        }
        let files = self.means.files_max;
        let (setup, openers) = idle_setup(connections, files);
        let takes_part = |contender: &Contender| contender.is_ours() || connections + 100 <= files;
        let (inside, outside): (Vec<_>, Vec<_>) =
            self.who(Family::Idle).into_iter().partition(|(_, contender)| takes_part(contender));
        for round in 1..=if connections < IDLE_MANY { rounds } else { 1 } {
            for (of, contender) in &inside {
                let destinations = setup.destinations;
                let load = Load::Idle { connections, destinations, openers };
                self.started(round, *of, &setup, vec![(contender.name.clone(), load)]);
            }
        }
        if !outside.is_empty() {
            let names: Vec<&str> = outside.iter().map(|(_, one)| one.name.as_str()).collect();
            self.left_out.push(format!(
                "left out, since a process may open {files} files here: idle: {connections} \
                 connections to {}",
                names.join(" ")
            ));
        }
    }
}

/// A ring holds at most as many connections as a process may open files, less a reserve; several
/// hold more. The kernel throws dice for the ring of each connection, and one that is full refuses
/// it though others have room, so all have room to spare. Each address has its own dice. Many threads
/// on one core would wait for each other, and the last of them for long: all may have both. A server
/// whose threads wait for their turn finds many connections when it comes; otherwise each of these
/// would push the generator off its core, and be the only one.
fn idle_setup(connections: u32, files_max: u32) -> (Setup, u32) {
    if connections + 1100 <= files_max {
        return (Setup::PLAIN, 4);
    }
    let shards = (u64::from(connections) * 5 / (u64::from(files_max) * 4) + 2) as u32;
    let (cores, policy) = (Cores::Both, Policy::Batch);
    (Setup { shards, destinations: shards, cores, policy, ..Setup::PLAIN }, 16)
}

#[cfg(test)]
mod tests {
    use super::super::contender::ALL;
    use super::*;

    fn means(names: &[&str]) -> Means {
        let contenders: Vec<_> = names.iter().map(|name| Contender::parse(name).unwrap()).collect();
        let usable = (0..contenders.len()).collect();
        Means { contenders, usable, files_max: 20_000, memory_kib: 20 << 20 }
    }

    fn only(families: &[Family]) -> Table {
        Table { families: families.to_vec(), ..Table::whole() }
    }

    /// Round and label of everything that is measured.
    fn order(plan: &Plan) -> Vec<String> {
        let runs = plan.steps.iter().filter_map(|step| match &step.act {
            Act::Measure { label, .. } => Some(format!("{} {label}", step.round)),
            _ => None,
        });
        runs.collect()
    }

    #[test]
    fn rounds_are_interleaved() {
        let table = Table { echoes: Table::whole().echoes[..1].to_vec(), ..only(&[Family::Echo]) };
        let plan = plan(&table, &means(&["floor-epoll", "nchan", "ringwire", "bun"]), 2);
        let wanted =
            ["1 floor-epoll", "1 ringwire", "1 bun", "2 floor-epoll", "2 ringwire", "2 bun"];
        assert_eq!(order(&plan), wanted);
        assert_eq!(plan.steps.last().map(|step| &step.act), Some(&Act::EndAll));
    }

    #[test]
    fn floors_are_asked_at_the_same_rate_alone() {
        let plan = plan(&only(&[Family::Open]), &means(&["floor-uring", "before=x"]), 1);
        assert_eq!(order(&plan), ["1 before", "1 before", "1 floor-uring", "1 before"]);
    }

    #[test]
    fn two_shards_have_both_cores_and_a_label() {
        let plan = plan(&only(&[Family::Shards]), &means(&["bun", "ringwire"]), 1);
        let wanted = ["1 ringwire", "1 ringwire", "1 ringwire (2 shards)", "1 ringwire (2 shards)"];
        assert_eq!(order(&plan), wanted);
        let starts = plan.steps.iter().filter_map(|step| match &step.act {
            Act::Start { setup, .. } => Some((setup.shards, setup.cores)),
            _ => None,
        });
        assert_eq!(starts.collect::<Vec<_>>(), [(1, Cores::First), (2, Cores::Both)]);
    }

    #[test]
    fn every_server_that_is_started_ends_before_the_next() {
        let plan = plan(&Table::whole(), &means(&ALL), 3);
        let mut running = None;
        let mut has_ended_all = false;
        for step in &plan.steps {
            match &step.act {
                Act::EndAll => has_ended_all = true,
                Act::Start { of, setup } => {
                    assert!(has_ended_all, "the first servers are in the way");
                    assert_eq!(running.replace((*of, setup.clone())), None);
                }
                Act::End { of } => assert_eq!(running.take().map(|one| one.0), Some(*of)),
                Act::Measure { of, server, .. } if has_ended_all => {
                    assert_eq!(running, Some((*of, server.clone())));
                }
                Act::Measure { server, .. } => assert_eq!(*server, Setup::PLAIN),
                Act::Micro => assert_eq!(running, None),
            }
        }
        assert_eq!(running, None);
    }

    #[test]
    fn who_cannot_hold_that_many_is_left_out_with_a_reason() {
        let table = Table { idle: vec![10_000, 1_000_000], ..only(&[Family::Idle]) };
        let mut means = means(&["bun", "ringwire"]);
        let one = plan(&table, &means, 5);
        let wanted = ["1 bun", "1 ringwire", "2 bun", "2 ringwire", "3 bun", "3 ringwire"];
        assert_eq!(order(&one)[..6], wanted, "three rounds");
        assert_eq!(order(&one)[6..], ["1 ringwire"], "one of a million");
        assert!(one.left_out[0].ends_with("idle: 1000000 connections to bun"));
        let (setup, openers) = idle_setup(1_000_000, 20_000);
        assert_eq!((setup.shards, setup.destinations, openers), (64, 64, 16));
        assert_eq!((setup.cores, setup.policy), (Cores::Both, Policy::Batch));
        assert_eq!(idle_setup(100_000, 20_000).0.shards, 8);
        assert_eq!(idle_setup(10_000, 20_000), (Setup::PLAIN, 4));
        means.memory_kib = 1 << 20;
        assert_eq!(order(&plan(&table, &means, 5)).len(), 6);
    }

    #[test]
    fn rings_enough_for_the_sockets_of_the_control_plane() {
        let plan = plan(&only(&[Family::Control]), &means(&["ringwire"]), 5);
        let shards = plan.steps.iter().filter_map(|step| match &step.act {
            Act::Start { setup, .. } => Some(setup.shards),
            _ => None,
        });
        assert_eq!(shards.collect::<Vec<_>>(), [0, 6, 0, 6, 0, 6], "three rounds");
    }

    #[test]
    fn shorter_runs_first_and_then_fewer_rounds() {
        let (table, means) = (Table::whole(), means(&ALL));
        let any = fit(&table, &means, 0);
        assert_eq!((any.seconds_ms, any.rounds), (1000, 5));
        let some = fit(&table, &means, any.planned_ms - 60_000);
        assert!((SECONDS_LEAST_MS..1000).contains(&some.seconds_ms), "{some:?}");
        assert_eq!(some.rounds, 5);
        assert!(some.planned_ms <= any.planned_ms - 60_000);
        let shortest = fit(&table, &means, 1);
        assert_eq!((shortest.seconds_ms, shortest.rounds), (SECONDS_LEAST_MS, ROUNDS_LEAST));
        let published = fit(&table, &means, 31 * 60_000);
        assert_eq!(
            (published.seconds_ms, published.rounds),
            (SECONDS_LEAST_MS, 4),
            "as it was run"
        );
        let fixed = Table { rounds: 5, ..only(&[Family::Control]) };
        assert_eq!(fit(&fixed, &means, 1).seconds_ms, 1000, "nothing of it can be shorter");
    }

    #[test]
    fn one_round_is_asked_for_and_given() {
        let table = Table { rounds: 1, ..Table::quick() };
        assert_eq!(fit(&table, &means(&["ringwire"]), 60_000).rounds, 1);
    }
}
