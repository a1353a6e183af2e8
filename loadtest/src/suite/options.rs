//! The words and the environment of `suite`, and what they come to.
//!
//! `scripts/bench.sh` hands its own on; everything it documents is here.

use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};

use super::contender::{ALL, Contender, Kind, Programs};
use super::runner::Places;
use super::table::{Echo, Fanout, Table};
use crate::figures::measures::Family;

const CONTENDERS_MAX: usize = 64;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// floor-epoll floor-uring ringwire bun node-ws nginx-proxy nchan fastwebsockets sockudo-ws
    /// tokio-tungstenite tokio-uring (default: all), or NAME=PATH: another ringwire program, such as
    /// before=/tmp/ringwire after=target/release/ringwire
    #[arg(value_name = "CONTENDER")]
    contenders: Vec<String>,
    /// 3 rounds of 0.5 s and few scenarios, for trying
    #[arg(long)]
    quick: bool,
    /// How often everything is measured (default: 5, with --quick 3)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// What the runs may take, without what is installed and built; 0: any time. Runs become
    /// shorter, down to 0.4 s, until they fit by the plan; if they do not fit then either, or prove
    /// slower, there are fewer rounds, but 3 at least
    #[arg(long, value_name = "MINUTES", default_value_t = 35)]
    time_budget: u32,
    /// Starts and checks everybody, says how long it would take, and ends
    #[arg(long)]
    plan: bool,
    /// Says who would be measured, a name a line, and ends
    #[arg(long)]
    pub list: bool,
    /// The parts to measure: echo churn fanout busy open shards shared control idle micro
    #[arg(long, env = "ONLY", value_parser = families)]
    only: Option<List<Family>>,
    /// Echoes: connections,depth,bytes,kind; separated by spaces
    #[arg(long, env = "SCENARIOS", value_parser = echoes)]
    scenarios: Option<List<Echo>>,
    /// Fan-outs: subscribers,bytes; separated by spaces
    #[arg(long, env = "FANOUTS", value_parser = fanouts)]
    fanouts: Option<List<Fanout>>,
    /// Idle connections, each with servers just started; empty for none
    #[arg(long, env = "IDLE", value_parser = counts)]
    idle: Option<List<u32>>,
    /// Measured seconds of a run, at most; those at a fixed rate take 2
    #[arg(long, env = "SECONDS_EACH", value_parser = crate::subject::seconds)]
    seconds_each: Option<std::time::Duration>,
    /// The program of `ringwire` (default: the one that cargo has built)
    #[arg(long, env = "RINGWIRE")]
    ringwire: Option<PathBuf>,
    /// The example of that name (default: the one that cargo has built)
    #[arg(long, env = "SHARED_ECHO")]
    shared_echo: Option<PathBuf>,
    /// The generator and the floors (default: this program)
    #[arg(long, env = "LOADTEST")]
    loadtest: Option<PathBuf>,
    /// Further arguments of `serve`, separated by spaces
    #[arg(long, env = "SERVE_ARGS", default_value = "--log warn", allow_hyphen_values = true)]
    serve_args: String,
    /// Where the runs, the servers' logs and, unless everything is measured, the report go
    #[arg(long, env = "OUT", default_value = "target/bench")]
    out: PathBuf,
    /// First of two ports for each contender
    #[arg(long, env = "PORT", default_value_t = 7400)]
    port: u16,
    /// What cargo builds into
    #[arg(long, env = "CARGO_TARGET_DIR", default_value = "target")]
    target: PathBuf,
}

/// Words of one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
struct List<T>(Vec<T>);

/// How much of what is published a run covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of it: its report takes the place of the last one.
    Whole,
    /// Somebody chose.
    Part,
}

/// What the words come to.
pub struct Options {
    pub places: Places,
    pub contenders: Vec<Contender>,
    pub table: Table,
    /// 0 is any time.
    pub budget_ms: u64,
    pub reach: Reach,
    pub plan_only: bool,
}

impl Args {
    /// Who was chosen.
    pub fn names(&self) -> Vec<String> {
        match self.contenders.is_empty() {
            true => ALL.map(str::to_owned).into(),
            false => self.contenders.clone(),
        }
    }

    fn reach(&self) -> Reach {
        let chosen = [
            self.quick,
            !self.contenders.is_empty(),
            self.only.is_some(),
            self.scenarios.is_some(),
            self.fanouts.is_some(),
            self.idle.is_some(),
            self.seconds_each.is_some(),
        ];
        if chosen.contains(&true) { Reach::Part } else { Reach::Whole }
    }

    fn table(&self) -> Table {
        let whole = if self.quick { Table::quick() } else { Table::whole() };
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).ok();
        Table {
            rounds: self.rounds.unwrap_or(whole.rounds),
            seconds_ms: self.seconds_each.and_then(millis).unwrap_or(whole.seconds_ms),
            families: self.only.clone().map_or(whole.families, |only| only.0),
            echoes: self.scenarios.clone().map_or(whole.echoes, |echoes| echoes.0),
            fanouts: self.fanouts.clone().map_or(whole.fanouts, |fanouts| fanouts.0),
            idle: self.idle.clone().map_or(whole.idle, |idle| idle.0),
            ..whole
        }
    }
}

impl Options {
    /// Reads the words. Fails if two contenders have one name.
    pub fn of(args: Args) -> Result<Options> {
        let contenders = args.names();
        let contenders = contenders.iter().map(|name| Contender::parse(name));
        let contenders: Vec<Contender> =
            contenders.collect::<Result<_, _>>().map_err(|why| anyhow!(why))?;
        ensure!(contenders.len() <= CONTENDERS_MAX, "{} are too many", contenders.len());
        for (place, one) in contenders.iter().enumerate() {
            let again = contenders[..place].iter().any(|known| known.name == one.name);
            ensure!(!again, "two contenders are called {}", one.name);
        }
        if let Some(Kind::Other(path)) = contenders
            .iter()
            .map(|one| &one.kind)
            .find(|kind| matches!(kind, Kind::Other(path) if !path.is_file()))
        {
            return Err(anyhow!("there is no program at {}", path.display()));
        }
        let (reach, table) = (args.reach(), args.table());
        let loadtest = match args.loadtest {
            Some(path) => path,
            None => std::env::current_exe()?,
        };
        let built = |name: &str| args.target.join("release").join(name);
        let programs = Programs {
            loadtest,
            ringwire: args.ringwire.unwrap_or_else(|| built("ringwire")),
            shared_echo: args.shared_echo.unwrap_or_else(|| built("examples/shared_echo")),
            target: args.target,
        };
        let serve_args = args.serve_args.split_whitespace().map(str::to_owned).collect();
        let (out, port) = (args.out, args.port);
        Ok(Options {
            places: Places { programs, out, port, serve_args },
            contenders,
            table,
            budget_ms: u64::from(args.time_budget) * 60_000,
            reach,
            plan_only: args.plan,
        })
    }
}

fn list<T>(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<List<T>, String> {
    text.split_whitespace().map(one).collect::<Result<_, _>>().map(List)
}

fn echoes(text: &str) -> Result<List<Echo>, String> {
    list(text, Echo::parse)
}

fn fanouts(text: &str) -> Result<List<Fanout>, String> {
    list(text, Fanout::parse)
}

fn counts(text: &str) -> Result<List<u32>, String> {
    list(text, |word| match word.parse::<u32>() {
        Ok(count) if (1..=20_000_000).contains(&count) => Ok(count),
        _ => Err(format!("{word} is no count of connections")),
    })
}

fn families(text: &str) -> Result<List<Family>, String> {
    list(text, |word| {
        let family = Family::ALL.into_iter().find(|family| family.name() == word);
        family.ok_or_else(|| format!("{word} is no part of the suite"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Line::try_parse_from([&["suite"], words].concat()).unwrap().args
    }

    #[test]
    fn without_words_it_is_everything() {
        let all = args(&[]);
        assert_eq!(all.reach(), Reach::Whole);
        let options = Options::of(all).unwrap();
        assert_eq!(options.contenders.len(), ALL.len());
        assert_eq!((options.table.rounds, options.budget_ms), (5, 35 * 60_000));
        assert_eq!(options.places.serve_args, ["--log", "warn"]);
        assert_eq!(args(&["--rounds", "7"]).reach(), Reach::Whole);
    }

    #[test]
    fn a_choice_is_not_published() {
        for words in [
            &["--quick"][..],
            &["bun"],
            &["--only", "echo churn"],
            &["--idle", ""],
            &["--seconds-each", "0.5"],
        ] {
            assert_eq!(args(words).reach(), Reach::Part, "{words:?}");
        }
        let some = args(&["--only", "busy idle", "--idle", "1000 20000", "--seconds-each", "2"]);
        let table = some.table();
        assert_eq!(table.families, [Family::Busy, Family::Idle]);
        assert_eq!((table.idle.as_slice(), table.seconds_ms), ([1000, 20_000].as_slice(), 2000));
        assert!(args(&["--idle", ""]).table().idle.is_empty());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for words in [&["--only", "lunch"][..], &["--idle", "many"], &["--scenarios", "1,2"]] {
            assert!(Line::try_parse_from([&["suite"], words].concat()).is_err(), "{words:?}");
        }
        let wrong = |words: &[&str]| Options::of(args(words)).err().map(|why| why.to_string());
        assert!(wrong(&["bun", "bun"]).unwrap().contains("two contenders are called bun"));
        assert!(wrong(&["a=/nonexistent"]).unwrap().contains("no program at /nonexistent"));
        assert!(wrong(&["apache"]).unwrap().contains("none of floor-epoll"));
    }
}
