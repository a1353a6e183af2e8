//! Walks the plan: starts servers, measures one while the others are stopped, collects the lines.
//!
//! `mod` calls [`Runner::prepare`] and [`Runner::walk`]. What does not work is one line and not the
//! end; Ctrl-C is the end, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::contender::{Contender, Kind, Program, Programs, Setup};
use super::facts;
use super::generator::Generator;
use super::load::{Load, Peaks, Setting};
use super::micro;
use super::plan::{Act, ROUNDS_LEAST, Step};
use super::progress::Progress;
use super::server::{Server, end_all};
use super::table::{PEAK, VERIFIED};
use crate::figures::measures::{Family, Measure, contender, measures, scenario};
use crate::figures::series::median;
use crate::interrupt;
use crate::report::Line;

/// After so many failures a contender is not asked in that scenario any more.
const FAILURES_MAX: u32 = 2;
/// The longer ones are for a machine that is too busy for the others.
const VERIFY_MS: [u64; 2] = [500, 8000];
/// Those up to it are measured beside each other, round by round; the others after that.
const LAST_OF_ROUND: Family = Family::Busy;

/// Where things are and go.
pub struct Places {
    pub programs: Programs,
    pub out: PathBuf,
    pub port: u16,
    pub serve_args: Vec<String>,
}

/// What was found.
#[derive(Default)]
pub struct Found {
    pub lines: Vec<Line>,
    /// Title, round and value.
    pub micro: Vec<(&'static str, (u32, f64))>,
    pub commands: Vec<(String, String)>,
    pub failures: Vec<String>,
}

/// Everything under way.
pub struct Runner {
    pub places: Places,
    pub contenders: Vec<Contender>,
    pub found: Found,
    pub progress: Progress,
    /// Those that run, by number.
    servers: BTreeMap<usize, Server>,
    /// Those that started and echo correctly.
    usable: BTreeSet<usize>,
    failed: BTreeMap<(String, String), u32>,
    /// Measured time of a run.
    seconds_ms: u64,
}

/// A run that is about to be made.
struct Run<'a> {
    of: usize,
    label: &'a str,
    round: u32,
    load: &'a Load,
    server: &'a Setup,
}

impl Runner {
    /// Nothing runs yet.
    pub fn new(places: Places, contenders: Vec<Contender>, progress: Progress) -> Runner {
        Runner {
            places,
            contenders,
            found: Found::default(),
            progress,
            servers: BTreeMap::new(),
            usable: BTreeSet::new(),
            failed: BTreeMap::new(),
            seconds_ms: 0,
        }
    }

    /// Starts everybody and looks whether all echo correctly.
    pub fn prepare(&mut self) -> Result<()> {
        for of in 0..self.contenders.len() {
            if interrupt::is_asked() {
                bail!("interrupted before the first run");
            }
            if self.start(of, &Setup::PLAIN) && self.verify(of) {
                self.usable.insert(of);
            }
        }
        ensure!(!self.usable.is_empty(), "there is nothing to measure");
        Ok(())
    }

    /// Who is worth measuring.
    pub fn usable(&self) -> Vec<usize> {
        self.usable.iter().copied().collect()
    }

    /// One line about what did not work.
    pub fn note(&mut self, line: String) {
        self.progress.say(&line);
        self.found.failures.push(line);
    }

    /// Takes the steps, until the last or Ctrl-C. If it gets late, there are fewer rounds.
    pub fn walk(&mut self, steps: &[Step], rounds: u32, seconds_ms: u64) {
        self.seconds_ms = seconds_ms;
        let (mut round, mut rounds_kept) = (0, rounds);
        for step in steps {
            if interrupt::is_asked() {
                break;
            }
            let is_new = step.family <= LAST_OF_ROUND && step.round > round;
            if is_new && step.round <= rounds_kept {
                round = step.round;
                rounds_kept = self.begin_round(round, rounds_kept);
            }
            let cost_ms = step.cost().ms(seconds_ms);
            match step.round > rounds_kept {
                true => self.progress.skip(cost_ms),
                false => self.take(step, cost_ms),
            }
        }
        self.end_servers();
    }

    /// How many rounds there will be.
    fn begin_round(&mut self, round: u32, rounds: u32) -> u32 {
        if round > ROUNDS_LEAST && self.progress.is_late() {
            let kept = round - 1;
            let budget = self.progress.budget();
            self.note(format!(
                "{kept} rounds instead of {rounds}, since the time is limited to {budget}"
            ));
            return kept;
        }
        self.progress.say(&format!("round {round} of {rounds}"));
        rounds
    }

    fn take(&mut self, step: &Step, cost_ms: u64) {
        match &step.act {
            Act::Measure { of, label, load, server } => {
                let run = Run { of: *of, label, round: step.round, load, server };
                self.progress.begin(&load.title(self.peaks(label)), cost_ms);
                self.measure(&run);
            }
            Act::Start { of, setup } => {
                if self.usable.contains(of) {
                    self.start(*of, setup);
                }
            }
            Act::End { of } => drop(self.servers.remove(of)),
            Act::EndAll => self.end_servers(),
            Act::Micro => {
                self.progress.begin("micro: sessions in memory", cost_ms);
                self.micro(step.round);
            }
        }
    }

    /// All servers end.
    pub fn end_servers(&mut self) {
        end_all(std::mem::take(&mut self.servers).into_values().collect());
    }

    fn micro(&mut self, round: u32) {
        let log = self.places.out.join("logs/micro.log");
        match micro::run(&self.places.programs.target, &log) {
            Ok(figures) => {
                let figures = figures.into_iter().map(|(title, ns)| (title, (round, ns)));
                self.found.micro.extend(figures);
                self.command("micro".to_owned(), micro::COMMAND.to_owned());
            }
            Err(_) if interrupt::is_asked() => {}
            Err(error) => self.note(format!("failed: {error:#}")),
        }
    }

    fn command(&mut self, title: String, command: String) {
        if !self.found.commands.iter().any(|known| known.0 == title) {
            self.found.commands.push((title, command));
        }
    }

    /// Starts a server; false, with a line, if that does not work.
    fn start(&mut self, of: usize, setup: &Setup) -> bool {
        let contender = self.contenders[of].clone();
        let name = &contender.name;
        let port = self.places.port + 2 * u16::try_from(of).unwrap_or(0);
        let folder = self.places.out.join("servers").join(name);
        let log = self.places.out.join("logs").join(format!("{name}.log"));
        let serve_args = match setup.program {
            Program::Control => self.control_args(),
            Program::Serve | Program::SharedEcho => self.places.serve_args.clone(),
        };
        let words = contender.command(
            &self.places.programs,
            setup,
            ("127.0.0.1", port),
            &folder,
            &serve_args,
        );
        let outcome = fs::create_dir_all(&folder)
            .map_err(Into::into)
            .and_then(|()| Server::start(&words, setup, format!("127.0.0.1:{port}"), &log));
        match outcome {
            Ok(server) => {
                self.servers.insert(of, server);
                true
            }
            Err(_) if interrupt::is_asked() => false,
            Err(error) => {
                self.note(format!("left out: {name} ({error:#})"));
                false
            }
        }
    }

    /// A shared route for the control plane.
    fn control_args(&self) -> Vec<String> {
        let file = self.places.out.join("control.toml");
        // If it cannot be written, the server says so.
        let _ = fs::write(&file, "[[route]]\npath = \"/feed\"\nmode = \"shared\"\n");
        let (file, socket) = (file.to_string_lossy().into_owned(), self.control_socket());
        ["--log", "warn", "--config", &file, "--control", &socket].map(str::to_owned).into()
    }

    fn control_socket(&self) -> String {
        self.places.out.join("control.sock").to_string_lossy().into_owned()
    }

    fn verify(&mut self, of: usize) -> bool {
        let name = self.contenders[of].name.clone();
        if self.contenders[of].kind == Kind::Nchan {
            return true;
        }
        for echo in VERIFIED {
            let is_right = VERIFY_MS.into_iter().any(|millis| {
                let load = Load::Verify { echo, millis };
                let server = &Setup::PLAIN;
                self.attempt(&Run { of, label: &name, round: 0, load: &load, server }).is_some()
            });
            if !is_right {
                self.note(format!("left out: {name} (does not echo correctly)"));
                self.servers.remove(&of);
                return false;
            }
        }
        true
    }

    /// Rates of the closed loop: a contender's own, and the slowest one's.
    fn peaks(&self, label: &str) -> Peaks {
        let title = Load::Echo(PEAK).title(Peaks::default());
        let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for line in self.found.lines.iter().filter(|line| scenario(line) == title) {
            let rate = measures(&line.run).into_iter().find(|one| one.0 == Measure::Rate);
            rates.entry(contender(&line.run)).or_default().extend(rate.map(|one| one.1));
        }
        let middle = |rates: &Vec<f64>| median(rates) as u64;
        let own = rates.get(label).map_or(0, middle);
        Peaks { own, slowest: rates.values().map(middle).min().unwrap_or(0) }
    }

    fn measure(&mut self, run: &Run<'_>) {
        let title = run.load.title(self.peaks(run.label));
        let key = (run.label.to_owned(), title);
        if self.failed.get(&key).is_some_and(|count| *count >= FAILURES_MAX) {
            return;
        }
        let Some(mut line) = self.attempt(run) else {
            if !interrupt::is_asked() && self.servers.contains_key(&run.of) {
                *self.failed.entry(key).or_insert(0) += 1;
            }
            return;
        };
        line.round = Some(run.round);
        if let Err(error) = self.keep(&line) {
            self.note(format!("cannot keep a line: {error:#}"));
        }
        self.found.lines.push(line);
    }

    /// The lines are in a file at once, whatever comes.
    fn keep(&self, line: &Line) -> Result<()> {
        let file = self.places.out.join("results.jsonl");
        let mut file = OpenOptions::new().create(true).append(true).open(file)?;
        Ok(writeln!(file, "{}", serde_json::to_string(line)?)?)
    }

    /// A run; `None`, with a line, if it does not work. Afterwards the server is stopped again.
    fn attempt(&mut self, run: &Run<'_>) -> Option<Line> {
        let server = self.servers.get(&run.of)?;
        let peaks = self.peaks(run.label);
        let contender = &self.contenders[run.of];
        let (title, address, pid) = (run.load.title(peaks), server.address.clone(), server.pid());
        let raw = contender.is_raw();
        let words = run.load.arguments(&Setting {
            address: &address,
            raw,
            seconds_ms: self.seconds_ms,
            peaks,
            control: &self.control_socket(),
            echoes: contender.kind != Kind::Nchan,
        })?;
        if !raw && !matches!(run.load, Load::Verify { .. }) {
            let place = words.iter().position(|word| word.contains("://")).map_or(0, |at| at + 1);
            let (verb, rest) = words.split_at(place);
            let command =
                format!("ringwire-loadtest {} --server-pid PID {}", verb.join(" "), rest.join(" "));
            let beside = format!("{title} (");
            let is_known = |one: &(String, String)| one.0 == title || one.0.starts_with(&beside);
            let is_new = !self.found.commands.iter().any(is_known);
            if is_new {
                self.command(format!("{title}{}", run.server.words()), command);
            }
        }
        self.servers.get(&run.of)?.resume();
        let cores = run.load.client_cores(run.server.cores);
        let outcome = self.generator().run(cores, &words, pid, (run.label, &title));
        let line = match outcome {
            Ok(line) => Some(line),
            Err(_) if interrupt::is_asked() => None,
            Err(error) => {
                self.note(format!("failed: {}, {title}: {error:#}", run.label));
                None
            }
        };
        thread::sleep(Duration::from_millis(run.load.settle_ms()));
        self.suspend(run, &title);
        line
    }

    fn suspend(&mut self, run: &Run<'_>, title: &str) {
        let Some(server) = self.servers.get_mut(&run.of) else { return };
        if server.is_alive() {
            server.suspend();
            return;
        }
        self.servers.remove(&run.of);
        let name = run.label;
        self.note(format!("ended: the server of {name}, during {title}; it is started again"));
        self.start(run.of, run.server);
    }

    fn generator(&self) -> Generator<'_> {
        Generator { program: &self.places.programs.loadtest, out: &self.places.out }
    }

    /// Versions of those who take part.
    pub fn versions(&self) -> Vec<(String, String)> {
        let usable = self.usable.iter().map(|of| &self.contenders[*of]);
        let of = |contender: &Contender| {
            let version = facts::version(contender, &self.places.programs);
            (format!("version {}", contender.name), version)
        };
        usable.map(of).collect()
    }
}
