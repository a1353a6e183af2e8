//! The control plane's own load: workers that read and write shared WebSockets over HTTP.
//!
//! `cli` calls [`run`]. `pairs` echoes over HTTP/1.1, `writes` writes by id over one HTTP/2
//! connection; `rest` and `channel` are the bytes of both, `receivers` the clients of the second.

mod channel;
mod pairs;
mod receivers;
mod rest;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::report::{Cost, Latency, is_generator_bound, print_costs, verdict};
use crate::subject::{self, Subject};

/// Bytes of the mark that every text begins with.
const MARK_BYTES: usize = 18;

/// What to run.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Plan {
    /// Workers on kept-alive HTTP/1.1 connections: each reads a message and writes it back.
    Pairs(PairsPlan),
    /// Writes by id, round the sockets, through one HTTP/2 connection.
    Writes(WritesPlan),
}

/// What both have. The URL is of a shared route whose handler does nothing.
#[derive(Clone, Debug, clap::Args)]
pub struct RunPlan {
    #[command(flatten)]
    pub subject: Subject,
    /// The Unix socket of the control plane.
    #[arg(long)]
    pub control: PathBuf,
    /// Bytes of a text.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(MARK_BYTES as i64..=16_384))]
    pub bytes: u32,
    /// Time to measure.
    #[arg(long, default_value = "5", value_parser = subject::seconds)]
    pub seconds: Duration,
    /// Time before measuring, in seconds.
    #[arg(long, default_value = "1", value_parser = subject::seconds)]
    pub warmup: Duration,
}

/// Reading and writing.
#[derive(Clone, Debug, clap::Args)]
pub struct PairsPlan {
    #[command(flatten)]
    pub run: RunPlan,
    /// Connections to the control plane.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pub workers: u32,
    /// WebSocket clients; each worker answers its share of them in turn.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub sockets: u32,
    /// Messages that each client has under way.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub depth: u32,
}

/// Writing by id.
#[derive(Clone, Debug, clap::Args)]
pub struct WritesPlan {
    #[command(flatten)]
    pub run: RunPlan,
    /// WebSocket clients.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sockets: u32,
    /// Requests at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pub streams: u32,
    /// Loopback addresses to connect to, from that of the URL on; the server must listen on all.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub destinations: u32,
}

impl Plan {
    /// Whom it is about.
    pub fn subject(&self) -> &Subject {
        match self {
            Plan::Pairs(plan) => &plan.run.subject,
            Plan::Writes(plan) => &plan.run.subject,
        }
    }
}

/// What a scenario has measured.
struct Measured {
    operations: u64,
    seconds: f64,
    latency_ns: Histogram<u64>,
    client: Cost,
    server: Option<Cost>,
}

/// Which verbs were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verbs {
    /// A read and the write that answers it.
    Pairs,
    /// A write by id.
    Writes,
}

/// What it came to. Costs are per operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ControlReport {
    pub label: String,
    pub url: String,
    pub verbs: Verbs,
    pub sockets: u32,
    /// Connections to the control plane.
    pub connections: u32,
    /// Requests at once, of all connections.
    pub requests: u32,
    pub payload_bytes: u32,
    pub seconds: f64,
    pub operations: u64,
    pub operations_per_second: f64,
    /// Of pairs: from a client's sending to its hearing the answer. Of writes: of the request.
    pub latency_us: Latency,
    pub client: Cost,
    pub server: Option<Cost>,
    pub generator_bound: bool,
    pub verdict: String,
}

/// Runs the plan. Everything that was written must have arrived, once, in order and unchanged.
pub fn run(plan: &Plan) -> Result<ControlReport> {
    let subject = plan.subject();
    let mut target = subject.target()?;
    let (measured, run, verbs, sockets, connections, requests) = match plan {
        Plan::Pairs(plan) => {
            let measured = pairs::run(plan, &target);
            (measured, &plan.run, Verbs::Pairs, plan.sockets, plan.workers, plan.workers)
        }
        Plan::Writes(plan) => {
            target.destinations = plan.destinations;
            let measured = writes::run(plan, &target);
            (measured, &plan.run, Verbs::Writes, plan.sockets, 1, plan.streams)
        }
    };
    let measured = measured.map_err(|error| subject.explain(error))?;
    let Measured { operations, seconds, latency_ns, client, server } = measured;
    Ok(ControlReport {
        label: subject.label.clone(),
        url: subject.url.clone(),
        verbs,
        sockets,
        connections,
        requests,
        payload_bytes: run.bytes,
        seconds,
        operations,
        operations_per_second: operations as f64 / seconds,
        latency_us: Latency::of(&latency_ns),
        generator_bound: is_generator_bound(&client, server.as_ref(), None),
        verdict: verdict(&client, server.as_ref(), None),
        client,
        server,
    })
}

impl ControlReport {
    /// Prints for people.
    pub fn print(&self) {
        let what = self.verbs.name();
        println!(
            "{what} of {} bytes over {} control connections, {} requests at once, {} sockets, {:.2} s",
            self.payload_bytes, self.connections, self.requests, self.sockets, self.seconds
        );
        println!("{:<10}{:>10.0} {what}/s; costs are per one", "rate", self.operations_per_second);
        self.latency_us.print("latency");
        print_costs(&self.client, self.server.as_ref(), &self.verdict);
    }
}

impl Verbs {
    /// Several of them.
    pub fn name(self) -> &'static str {
        match self {
            Verbs::Pairs => "read+write pairs",
            Verbs::Writes => "writes",
        }
    }
}

/// Message number `turn` of `subject`, a client or a socket.
fn text(subject: u32, turn: u32, bytes: usize) -> Vec<u8> {
    let mut text = format!("{subject:08x}:{turn:08x}:").into_bytes();
    text.extend((text.len()..bytes).map(|at| b'a' + (at % 26) as u8));
    text
}

/// Which message it is, if it is one.
fn read_text(payload: &[u8], bytes: usize) -> Option<(u32, u32)> {
    let number =
        |range| u32::from_str_radix(std::str::from_utf8(payload.get(range)?).ok()?, 16).ok();
    let (subject, turn) = (number(0..8)?, number(9..17)?);
    (payload == text(subject, turn, bytes)).then_some((subject, turn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_whose_it_is() {
        let text = text(7, 0x1234, 40);
        assert_eq!(text.len(), 40);
        assert_eq!(read_text(&text, 40), Some((7, 0x1234)));
        for at in 0..text.len() {
            let mut wrong = text.clone();
            wrong[at] ^= 1;
            assert_ne!(read_text(&wrong, 40), Some((7, 0x1234)), "byte {at}");
        }
        assert_eq!(read_text(&text, 39), None);
    }
}
