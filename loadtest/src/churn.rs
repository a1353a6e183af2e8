//! The churn run: connections that come, say one thing and go, again and again.
//!
//! `cli` calls [`run`], `abuse` borrows [`Churner`] for its storms. It works in waves of plain
//! blocking sockets like every other opening of connections here (`connect`): while one side of
//! a wave is asked, the server works on the other.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::sockopt::set_socket_linger;
use serde::{Deserialize, Serialize};

use crate::connect;
use crate::frames;
use crate::handshake::Target;
use crate::report::{Cost, Latency, histogram, is_generator_bound, print_costs, verdict};
use crate::subject::{self, Subject};
use crate::workload::{Kind, Payload, Script, Shape};

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    #[command(flatten)]
    pub subject: Subject,
    /// Connections open at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub concurrency: u32,
    /// Payload bytes of the one message: 32, or evenly from 16-1024, or one of 32,512,4096.
    #[arg(long, default_value = "32", value_parser = Payload::parse)]
    pub bytes: Payload,
    /// Time to measure.
    #[arg(long, default_value = "5", value_parser = subject::seconds)]
    pub seconds: Duration,
    /// Time before measuring, in seconds.
    #[arg(long, default_value = "0.5", value_parser = subject::seconds)]
    pub warmup: Duration,
    /// Leave without goodbye: SO_LINGER 0 makes the close a reset.
    #[arg(long)]
    pub rst: bool,
    /// No WebSocket: connect, one raw echo, close.
    #[arg(long)]
    pub raw: bool,
}

/// What it came to. Costs are per connection: connect, upgrade, one echo, close.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChurnReport {
    pub label: String,
    pub url: String,
    pub raw: bool,
    pub rst: bool,
    pub concurrency: u32,
    pub payload: String,
    pub seconds: f64,
    pub connections: u64,
    pub connections_per_second: f64,
    /// One wave of `concurrency` connections, from the first connect to the last close.
    pub wave_us: Latency,
    pub client: Cost,
    pub server: Option<Cost>,
    pub generator_bound: bool,
    pub verdict: String,
}

/// Runs the plan.
pub fn run(plan: &Plan) -> Result<ChurnReport> {
    let target = plan.subject.target()?;
    measure(plan, &target).map_err(|error| plan.subject.explain(error))
}

fn measure(plan: &Plan, target: &Target) -> Result<ChurnReport> {
    let shape = Shape { kind: Kind::Text, payload: plan.bytes, depth: 1, raw: plan.raw };
    let mut churner = Churner::new(target.clone(), Script::leak(shape, 0), plan.rst);
    let begin = Instant::now();
    while begin.elapsed() < plan.warmup {
        churner.wave(plan.concurrency)?;
    }
    let progress = crate::progress::timer(plan.seconds, false);
    let spent = plan.subject.spent()?;
    let (started, mut connections) = (Instant::now(), 0_u64);
    let mut wave_ns = histogram()?;
    while started.elapsed() < plan.seconds {
        let wave = Instant::now();
        churner.wave(plan.concurrency)?;
        wave_ns.saturating_record(wave.elapsed().as_nanos() as u64);
        connections += u64::from(plan.concurrency);
        let elapsed = started.elapsed();
        let rate = connections as f64 / elapsed.as_secs_f64();
        progress.set_message(format!("{rate:.0} connections/s"));
        progress.set_position(elapsed.as_millis() as u64);
    }
    let seconds = started.elapsed().as_secs_f64();
    progress.finish_and_clear();
    ensure!(connections > 0, "no connection came and went within the measured time");
    let (client, server) = spent.costs(&plan.subject, connections, seconds)?;
    Ok(ChurnReport {
        label: plan.subject.label.clone(),
        url: plan.subject.url.clone(),
        raw: plan.raw,
        rst: plan.rst,
        concurrency: plan.concurrency,
        payload: plan.bytes.to_string(),
        seconds,
        connections,
        connections_per_second: connections as f64 / seconds,
        wave_us: Latency::of(&wave_ns),
        generator_bound: is_generator_bound(&client, server.as_ref(), None),
        verdict: verdict(&client, server.as_ref(), None),
        client,
        server,
    })
}

/// Opens and ends connections, wave after wave.
pub struct Churner {
    target: Target,
    script: Script,
    rst: bool,
    opened: u32,
}

impl Churner {
    /// Says the messages of `script` in turn; leaves by reset if `rst`.
    pub fn new(target: Target, script: Script, rst: bool) -> Churner {
        Churner { target, script, rst, opened: 0 }
    }

    /// `count` connections from the first connect to the last close.
    pub fn wave(&mut self, count: u32) -> Result<()> {
        let (raw, first) = (self.script.shape.raw, self.opened);
        let mut wave = connect::open_wave(&self.target, first, count, raw)?;
        self.opened = self.opened.wrapping_add(count);
        let period = self.script.shape.period();
        for (message, opened) in wave.iter_mut().enumerate() {
            let bytes = self.script.send_run(message % period, 1);
            opened.stream.write_all(bytes).context("the connection was lost while sending")?;
        }
        for (message, opened) in wave.iter_mut().enumerate() {
            ensure!(opened.early.is_empty(), "the server speaks first, so it is no echo server");
            connect::be_patient(&opened.stream)?;
            expect(&mut opened.stream, self.script.echo_message(message % period))?;
        }
        if self.rst {
            for opened in &wave {
                set_socket_linger(&opened.stream, Some(Duration::ZERO))?;
            }
        } else if !raw {
            say_goodbye(&mut wave)?;
        }
        Ok(())
    }
}

fn expect(stream: &mut TcpStream, wanted: &[u8]) -> Result<()> {
    let mut seen = vec![0; wanted.len()];
    match stream.read_exact(&mut seen) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("no echo within 20 s"),
        Err(error) => return Err(error).context("the connection was lost before the echo"),
    }
    ensure!(
        seen == wanted,
        "wrong content: the first bytes are {:02x?}",
        &seen[..seen.len().min(8)]
    );
    Ok(())
}

/// The closing handshake; the server closes the TCP connection first (RFC 6455 §7.1.1).
fn say_goodbye(wave: &mut [connect::Opened]) -> Result<()> {
    let mut goodbye = Vec::new();
    frames::write_frame(&mut goodbye, frames::CLOSE, Some([1; 4]), &1000_u16.to_be_bytes());
    for opened in wave.iter_mut() {
        opened.stream.write_all(&goodbye).context("the connection was lost before the goodbye")?;
    }
    let mut answer = Vec::new();
    for opened in wave {
        answer.clear();
        opened.stream.read_to_end(&mut answer).context("no end after the goodbye")?;
        let is_close = answer.first() == Some(&(0x80 | frames::CLOSE));
        ensure!(is_close, "the goodbye was not answered with a Close frame");
    }
    Ok(())
}

impl ChurnReport {
    /// Prints for people.
    pub fn print(&self) {
        let end = if self.rst { "reset" } else { "close" };
        let upgrade = if self.raw { "" } else { "upgrade, " };
        println!(
            "connect, {upgrade}one echo of {} bytes, {end}; {} at a time, {:.2} s",
            self.payload, self.concurrency, self.seconds
        );
        println!(
            "{:<10}{:>10.0} connections/s, {} connections; costs are per connection",
            "rate", self.connections_per_second, self.connections
        );
        self.wave_us.print("wave");
        print_costs(&self.client, self.server.as_ref(), &self.verdict);
    }
}
