//! The results of runs: the figures, the verdict, how people and programs read them.
//!
//! The scenarios fill it in, `figures` takes what it needs of its JSON. It measures nothing.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::abuse::AbuseReport;
use crate::churn::ChurnReport;
use crate::control::ControlReport;
use crate::fanout::FanoutReport;
use crate::idle::IdleReport;
use crate::server_cpu::Usage;
use crate::subject::Subject;
use crate::workload::Kind;

/// The part of an offered rate that must get through.
const REACHED: f64 = 0.99;

/// Share of the time from which on a thread counts as saturated.
const SATURATED: f64 = 0.95;

/// Cores in line from which on a run counts as disturbed.
const CONTENDED: f64 = 0.1;

/// The version of the schema of a [`Line`]. It grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// One run of any scenario, as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub schema: u32,
    /// What the scenario is called, if it was given a name.
    #[serde(default)]
    pub title: Option<String>,
    /// Which round of a suite it was; runs of one round are compared with each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    #[serde(flatten)]
    pub run: Run,
}

/// What was run, by the field `scenario`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "scenario", rename_all = "snake_case")]
pub enum Run {
    Echo(Box<EchoReport>),
    Idle(Box<IdleReport>),
    Churn(Box<ChurnReport>),
    Fanout(Box<FanoutReport>),
    Control(Box<ControlReport>),
    Abuse(AbuseReport),
}

impl Run {
    /// Prints for people, or as a line of JSON.
    pub fn show(self, subject: &Subject) -> anyhow::Result<()> {
        if subject.json {
            let title = subject.title.clone();
            let line = Line { schema: SCHEMA, title, round: None, run: self };
            println!("{}", serde_json::to_string(&line)?);
            return Ok(());
        }
        match self {
            Run::Echo(report) => report.print(),
            Run::Idle(report) => report.print(),
            Run::Churn(report) => report.print(),
            Run::Fanout(report) => report.print(),
            Run::Control(report) => report.print(),
            Run::Abuse(report) => report.print(),
        }
        Ok(())
    }
}

impl Line {
    /// Reads a line. Fails on another version of the schema.
    pub fn read(text: &str) -> anyhow::Result<Line> {
        let line: Line = serde_json::from_str(text)?;
        anyhow::ensure!(line.schema == SCHEMA, "schema {} instead of {SCHEMA}", line.schema);
        Ok(line)
    }
}

/// One echo run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EchoReport {
    /// Whose figures these are, for `compare` and `report`.
    pub label: String,
    pub url: String,
    pub raw: bool,
    pub connections: u32,
    /// Of the generator; 0 in lines of when it had but one.
    #[serde(default)]
    pub threads: u32,
    pub depth: usize,
    pub kind: Kind,
    /// As it was asked for: `32`, `16-1024` or `32,512,4096`.
    pub payload: String,
    pub payload_mean_bytes: f64,
    pub seconds: f64,
    pub messages: u64,
    pub messages_per_second: f64,
    /// Payload in one direction, 10^6 bytes.
    pub megabytes_per_second: f64,
    pub latency_us: Latency,
    /// Of a run at a fixed rate.
    pub open_loop: Option<OpenLoop>,
    pub client: Cost,
    pub server: Option<Cost>,
    pub generator_bound: bool,
    pub verdict: String,
}

/// What became of a fixed rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenLoop {
    pub offered_per_second: f64,
    /// What the generator sent. Below the offered rate it could not keep up.
    #[serde(default)]
    pub sent_per_second: f64,
    /// As many came back as were offered, but for one in a hundred.
    pub reached: bool,
    /// Messages of the measured time that had not come back when the run gave up. Their latency
    /// up to then is in the percentiles.
    pub unanswered: u64,
    /// How much later than intended the generator sent. It is part of the latency.
    pub lateness_us: Latency,
}

/// Round trips as the client sees them, to the batch a message came back in. Closed loop: from the
/// submission of the batch it went out with; a slow server is asked less often. Open loop: from
/// the time it was to be sent at, so that what waits behind a stall counts in full.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
    /// Pairs of quantile and value, ascending.
    pub distribution: Vec<(f64, f64)>,
}

/// The quantiles of a [`Latency::distribution`].
const QUANTILES: [f64; 22] = [
    0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99,
    0.995, 0.999, 0.9995, 0.9999, 1.0,
];

/// A histogram of nanoseconds up to ten minutes, good to one in a thousand.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000_000, 3)?)
}

impl Latency {
    /// From a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let us = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p99_9: us(0.999),
            max: histogram.max() as f64 / 1e3,
            distribution: QUANTILES.map(|quantile| (quantile, us(quantile))).to_vec(),
        }
    }

    /// Prints for people.
    pub fn print(&self, what: &str) {
        println!(
            "{what:<10} {:>9.1} us p50, {:.1} p90, {:.1} p99, {:.1} p99.9, {:.1} max",
            self.p50, self.p90, self.p99, self.p99_9, self.max
        );
    }
}

/// What one side spent. A "message" is the unit of the scenario: an echo, a connection that came
/// and went, a delivery.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    pub cpu_ns_per_message: f64,
    /// Split by clock ticks, so coarse for short runs.
    pub user_ns_per_message: f64,
    pub kernel_ns_per_message: f64,
    /// CPU seconds per second; 1.0 is one core.
    pub cores_busy: f64,
    /// Seconds per second its threads stood in line for a core: somebody else used it.
    pub cores_queued: f64,
    /// The hungriest thread's share of the time, standing in line for a core included.
    pub busiest_thread: f64,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
}

impl Cost {
    /// Spreads `usage` over the messages and the wall time.
    pub fn of(usage: &Usage, messages: u64, seconds: f64) -> Cost {
        let each = usage.cpu_ns as f64 / messages.max(1) as f64;
        let ticks = (usage.user_ticks + usage.kernel_ticks).max(1) as f64;
        let user = each * usage.user_ticks as f64 / ticks;
        Cost {
            cpu_ns_per_message: each,
            user_ns_per_message: user,
            kernel_ns_per_message: each * usage.kernel_ticks as f64 / ticks,
            cores_busy: usage.cpu_ns as f64 / 1e9 / seconds,
            cores_queued: usage.queued_ns as f64 / 1e9 / seconds,
            busiest_thread: usage.busiest_thread_ns() as f64 / 1e9 / seconds,
            voluntary_switches: usage.voluntary_switches,
            involuntary_switches: usage.involuntary_switches,
        }
    }

    fn print(&self, who: &str) {
        println!(
            "{who:<10}{:>10.0} ns CPU/message (user {:.0}, kernel {:.0}), {:.0} % of a core and \
             {:.0} % in line for one, \
             switches {} voluntary, {} not",
            self.cpu_ns_per_message,
            self.user_ns_per_message,
            self.kernel_ns_per_message,
            self.cores_busy * 100.0,
            self.cores_queued * 100.0,
            self.voluntary_switches,
            self.involuntary_switches,
        );
    }
}

/// What became of an offered rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The generator sent as many messages as were due, but for one in a hundred.
    pub kept: bool,
    /// As many came back, or got through to everybody.
    pub reached: bool,
}

impl Pace {
    /// Of `offered` messages per second that were to be sent, and those that were and came back.
    pub fn of(offered: f64, sent_per_second: f64, back_per_second: f64) -> Pace {
        let enough = offered * REACHED;
        Pace { kept: sent_per_second >= enough, reached: back_per_second >= enough }
    }
}

/// The generator set the rate, not the server. At an offered rate, which is there in `pace`, a
/// server has time left by intention; there the generator is the limit only where it sends less
/// than that for want of CPU.
pub fn is_generator_bound(client: &Cost, server: Option<&Cost>, pace: Option<Pace>) -> bool {
    let keeps_pace = pace.is_some_and(|pace| pace.kept);
    !keeps_pace && is_full(client) && server.is_some_and(|server| !is_full(server))
}

/// Says which side the figures are about. `pace` is told of a run at a fixed rate.
pub fn verdict(client: &Cost, server: Option<&Cost>, pace: Option<Pace>) -> String {
    let reached = pace.map(|pace| pace.reached);
    let side = match server {
        _ if is_generator_bound(client, server, pace) => {
            "THE GENERATOR WAS THE BOTTLENECK: it was never idle, the server was"
        }
        None if is_full(client) => {
            "the generator was never idle: the rate may be the generator's, not the server's"
        }
        None => "without --server-pid nobody knows how busy the server was",
        Some(server) if is_full(server) => "a thread of the server was never idle",
        Some(_) if reached == Some(true) && is_full(client) => {
            "the schedule set the rate; the generator kept it, but was never idle"
        }
        Some(_) if reached == Some(true) => {
            "both sides were idle at times: the schedule set the rate"
        }
        Some(_) => "both sides were idle at times: round trips set the rate",
    };
    match reached {
        Some(false) => format!("the rate was not reached; {side}"),
        _ => side.to_owned(),
    }
}

fn is_full(cost: &Cost) -> bool {
    cost.busiest_thread >= SATURATED
}

/// Others used the cores of this run, so its figures are worth less.
pub fn is_contended(client: &Cost, server: Option<&Cost>) -> bool {
    [Some(client), server].into_iter().flatten().any(|cost| cost.cores_queued > CONTENDED)
}

/// Prints what both sides spent, for people.
pub fn print_costs(client: &Cost, server: Option<&Cost>, verdict: &str) {
    if let Some(server) = server {
        server.print("server");
    }
    client.print("client");
    println!("{:<10}{verdict}", "verdict");
    if is_contended(client, server) {
        println!("{:<10}other programs used the same cores; repeat the run", "disturbed");
    }
}

impl EchoReport {
    fn print(&self) {
        let mode = if self.raw { "raw TCP" } else { "WebSocket" };
        let in_flight = match self.open_loop {
            Some(_) => String::new(),
            None => format!(" x {} in flight", self.depth),
        };
        println!(
            "{mode} echo, {} connections{in_flight}, {} bytes, {:.2} s",
            self.connections, self.payload, self.seconds
        );
        println!(
            "{:<10}{:>10.0} messages/s, {:.1} MB/s, {} messages",
            "rate", self.messages_per_second, self.megabytes_per_second, self.messages
        );
        if let Some(open_loop) = &self.open_loop {
            let reached = if open_loop.reached { "reached" } else { "NOT REACHED" };
            println!(
                "{:<10}{:>10.0} messages/s: {reached}, {:.0} sent, {} unanswered",
                "offered",
                open_loop.offered_per_second,
                open_loop.sent_per_second,
                open_loop.unanswered
            );
            open_loop.lateness_us.print("sent late");
        }
        self.latency_us.print("latency");
        print_costs(&self.client, self.server.as_ref(), &self.verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(busiest_thread: f64) -> Cost {
        Cost { busiest_thread, ..Cost::of(&Usage::default(), 1000, 1.0) }
    }

    #[test]
    fn the_verdict_names_the_full_side() {
        assert!(verdict(&cost(0.99), Some(&cost(0.7)), None).starts_with("THE GENERATOR"));
        assert!(is_generator_bound(&cost(0.99), Some(&cost(0.7)), None));
        assert!(!is_generator_bound(&cost(0.99), Some(&cost(0.96)), None));
        assert!(
            verdict(&cost(0.99), Some(&cost(0.99)), None).starts_with("a thread of the server")
        );
        assert!(verdict(&cost(0.5), Some(&cost(0.5)), None).starts_with("both sides"));
        assert!(verdict(&cost(0.99), None, None).starts_with("the generator"));
    }

    #[test]
    fn at_an_offered_rate_only_a_generator_that_falls_behind_is_the_bottleneck() {
        let (busy, idle) = (cost(0.99), cost(0.5));
        let kept = Some(Pace::of(1_000.0, 999.0, 998.0));
        assert!(!is_generator_bound(&busy, Some(&idle), kept));
        assert!(verdict(&busy, Some(&idle), kept).starts_with("the schedule set the rate"));
        assert!(verdict(&idle, Some(&idle), kept).ends_with("the schedule set the rate"));
        let behind = Some(Pace::of(1_000.0, 900.0, 899.0));
        assert!(is_generator_bound(&busy, Some(&idle), behind));
        assert!(verdict(&busy, Some(&idle), behind).contains("THE GENERATOR"));
        assert!(!is_generator_bound(&idle, Some(&idle), behind), "it was not for want of CPU");
        assert!(!is_generator_bound(&busy, Some(&busy), behind));
        let slow_server = Some(Pace::of(1_000.0, 1_000.0, 500.0));
        assert!(!is_generator_bound(&busy, Some(&idle), slow_server));
        assert!(verdict(&idle, Some(&idle), slow_server).starts_with("the rate was not reached"));
    }

    #[test]
    fn costs_are_spread_by_ticks() {
        let mut usage = Usage::default();
        (usage.cpu_ns, usage.user_ticks, usage.kernel_ticks) = (1_000_000, 1, 3);
        let cost = Cost::of(&usage, 100, 0.001);
        assert_eq!(cost.cpu_ns_per_message, 10_000.0);
        assert_eq!(cost.user_ns_per_message, 2_500.0);
        assert_eq!(cost.kernel_ns_per_message, 7_500.0);
        assert_eq!(cost.cores_busy, 1.0);
    }
}
