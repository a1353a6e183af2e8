//! The abuse run: what good clients feel while others misbehave.
//!
//! `cli` calls [`run`]. The good clients are those of `bystander`; the bad ones (`attack`) work on
//! a thread for each kind beside them, one kind after the other or all at once. Some of these are
//! not bad but busy.

mod attack;
mod busy;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

pub use self::attack::Abuse;
use self::attack::{Attack, Toll};
use crate::bystander::Bystanders;
use crate::handshake::Target;
use crate::report::{Cost, Latency};
use crate::server_cpu::Memory;
use crate::subject::{self, Subject};

/// What the abuse has ahead of the good clients.
const LEAD: Duration = Duration::from_millis(300);

/// Time the good clients are measured alone, at most, before all kinds at once.
const ALONE_MAX: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// The URL is an echo route.
    #[command(flatten)]
    pub subject: Subject,
    /// Kinds of abuse, one after the other; all of them by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub kinds: Vec<Abuse>,
    /// All kinds at the same time. The latencies and costs are then those of all together.
    #[arg(long)]
    pub at_once: bool,
    /// Bad clients of a kind.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub attackers: u32,
    /// Busy clients of a kind, of those that flood.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub busy: u32,
    /// Time to measure the good clients, before every kind and meanwhile.
    #[arg(long, default_value = "3", value_parser = subject::seconds)]
    pub seconds: Duration,
    #[command(flatten)]
    pub bystanders: Bystanders,
}

/// What it came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AbuseReport {
    pub label: String,
    pub url: String,
    pub attackers: u32,
    pub kinds: Vec<KindReport>,
}

/// One kind of abuse.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KindReport {
    pub abuse: Abuse,
    /// Bad or busy clients at a time; 0 in runs of old: as many as the run says.
    #[serde(default)]
    pub clients: u32,
    /// Connections reset or killed, large messages pushed or echoed, requests begun, frames sent.
    pub acts: u64,
    /// Connections the server refused, or ended of its own.
    pub refused: u64,
    pub echo_before_us: Latency,
    pub echo_meanwhile_us: Latency,
    /// Per act; with all kinds at once, per act of any.
    pub client: Cost,
    pub server: Option<Cost>,
    pub server_rss_before_bytes: Option<u64>,
    /// At the end of the abuse, before the bad clients have left.
    pub server_rss_meanwhile_bytes: Option<u64>,
}

impl KindReport {
    /// How many clients there were, in runs of old too.
    pub fn clients_of(&self, attackers: u32) -> u32 {
        if self.clients == 0 { attackers } else { self.clients }
    }
}

/// Runs the plan. Fails if a good client does.
pub fn run(plan: &Plan) -> Result<AbuseReport> {
    let target = plan.subject.target()?;
    let kinds = match plan.kinds[..] {
        [] => Abuse::ALL.to_vec(),
        _ => plan.kinds.clone(),
    };
    let (together, alone) = match plan.at_once {
        true => (kinds.len(), plan.seconds.min(ALONE_MAX)),
        false => (1, plan.seconds),
    };
    let progress = crate::progress::bar(kinds.len() as u64, "abusing", false);
    let mut reports = Vec::new();
    for kinds in kinds.chunks(together) {
        let measured = measure(plan, &target, kinds, alone);
        reports.extend(measured.map_err(|error| plan.subject.explain(error))?);
        progress.inc(kinds.len() as u64);
    }
    progress.finish_and_clear();
    Ok(AbuseReport {
        label: plan.subject.label.clone(),
        url: plan.subject.url.clone(),
        attackers: plan.attackers,
        kinds: reports,
    })
}

/// Measures the good clients for the time `alone`, and then beside these kinds.
fn measure(
    plan: &Plan,
    target: &Target,
    kinds: &[Abuse],
    alone: Duration,
) -> Result<Vec<KindReport>> {
    let url = &plan.subject.url;
    let rss_bytes = || -> Result<Option<u64>> {
        let memory = plan.subject.server_pid.map(Memory::of_tree).transpose()?;
        Ok(memory.map(|memory| memory.rss_bytes))
    };
    let echo_before_us = plan.bystanders.watch(url, alone)?;
    let server_rss_before_bytes = rss_bytes()?;
    let (spent, started) = (plan.subject.spent()?, Instant::now());
    let clients_of = |abuse: Abuse| if abuse.is_busy() { plan.busy } else { plan.attackers };
    let start = |abuse: &Abuse| Abuser::start(*abuse, target, clients_of(*abuse));
    let abusers = kinds.iter().map(start).collect::<Result<Vec<Abuser>>>()?;
    thread::sleep(LEAD);
    let watched = plan.bystanders.watch(url, plan.seconds);
    let server_rss_meanwhile_bytes = rss_bytes();
    let tolls = abusers.into_iter().map(Abuser::stop).collect::<Result<Vec<Toll>>>()?;
    let (echo_meanwhile_us, seconds) = (watched?, started.elapsed().as_secs_f64());
    let acts = tolls.iter().map(|toll| toll.acts).sum();
    let (client, server) = spent.costs(&plan.subject, acts, seconds)?;
    let server_rss_meanwhile_bytes = server_rss_meanwhile_bytes?;
    let report = |(abuse, toll): (&Abuse, &Toll)| KindReport {
        abuse: *abuse,
        clients: clients_of(*abuse),
        acts: toll.acts,
        refused: toll.refused,
        echo_before_us: echo_before_us.clone(),
        echo_meanwhile_us: echo_meanwhile_us.clone(),
        client,
        server,
        server_rss_before_bytes,
        server_rss_meanwhile_bytes,
    };
    Ok(kinds.iter().zip(&tolls).map(report).collect())
}

/// Abuse on a thread of its own.
struct Abuser {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Toll>,
}

impl Abuser {
    fn start(abuse: Abuse, target: &Target, attackers: u32) -> Result<Abuser> {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, mut attack) =
            (Arc::clone(&stop), Attack::new(abuse, target.clone(), attackers));
        let run = move || {
            while !until.load(Ordering::Relaxed) {
                attack.round();
            }
            attack.toll
        };
        let thread = thread::Builder::new().name("abuse".to_owned()).spawn(run)?;
        Ok(Abuser { stop, thread })
    }

    fn stop(self) -> Result<Toll> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the thread of the bad clients failed"))
    }
}

impl AbuseReport {
    /// Prints for people.
    pub fn print(&self) {
        for kind in &self.kinds {
            println!(
                "{}: {} clients, {} acts, {} refused or ended by the server",
                kind.abuse.name(),
                kind.clients_of(self.attackers),
                kind.acts,
                kind.refused
            );
            kind.echo_before_us.print("before");
            kind.echo_meanwhile_us.print("meanwhile");
            let rss = kind.server_rss_before_bytes.zip(kind.server_rss_meanwhile_bytes);
            if let (Some(server), Some((before, meanwhile))) = (&kind.server, rss) {
                println!(
                    "{:<10} {:>9.0} % of a core, RSS {} -> {} KiB",
                    "server",
                    server.cores_busy * 100.0,
                    before >> 10,
                    meanwhile >> 10
                );
            }
        }
    }
}
