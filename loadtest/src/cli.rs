//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::floor::{self, Driver};
use crate::workload::{Kind, Shape};
use crate::{compare, echo, idle};

/// Load generator for WebSocket servers, and raw TCP floors to compare them with.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Closed loop: every connection keeps its messages in flight and checks what comes back.
    Echo(Echo),
    /// Opens connections, holds them and leaves; tells what they cost the server.
    Idle(Idle),
    /// A raw TCP echo server, single-threaded, until it is ended.
    Floor(Floor),
    /// Puts the JSON lines of many runs into one table of medians.
    Compare {
        /// A file of JSON lines, in any order.
        file: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Verify {
    /// Every byte of every message.
    Full,
    /// Every length and header; content of small messages always, of large ones sampled.
    Length,
}

#[derive(Debug, Args)]
struct Echo {
    /// ws://host:port/path
    url: String,
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Messages in flight per connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    depth: u32,
    /// Payload bytes of a message.
    #[arg(long, default_value_t = 125, value_parser = clap::value_parser!(u32).range(..=1 << 28))]
    bytes: u32,
    #[arg(long, value_enum, default_value_t = Kind::Text)]
    kind: Kind,
    /// Time to measure.
    #[arg(long, default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Time before measuring, in seconds.
    #[arg(long, default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// Whose CPU time to report, with all threads and child processes.
    #[arg(long)]
    server_pid: Option<u32>,
    #[arg(long, value_enum, default_value_t = Verify::Length)]
    verify: Verify,
    /// No WebSocket: payloads as large as the masked frames, echoed as they are.
    #[arg(long)]
    raw: bool,
    /// One JSON object on one line.
    #[arg(long)]
    json: bool,
    /// Whose figures these are, for `compare`; names of raw floors begin with "floor".
    #[arg(long, default_value = "")]
    label: String,
}

#[derive(Debug, Args)]
struct Idle {
    /// ws://host:port/path
    url: String,
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Time to hold the connections, in seconds; pings are answered.
    #[arg(long, default_value = "1", value_parser = seconds)]
    hold: Duration,
    /// Whose memory to report, with all child processes.
    #[arg(long)]
    server_pid: Option<u32>,
    /// No WebSocket: TCP connections only.
    #[arg(long)]
    raw: bool,
    /// One JSON object on one line.
    #[arg(long)]
    json: bool,
    /// Whose figures these are, for `compare`; names of raw floors begin with "floor".
    #[arg(long, default_value = "")]
    label: String,
}

#[derive(Debug, Args)]
struct Floor {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long, value_enum, default_value_t = Driver::Epoll)]
    driver: Driver,
    /// Provided buffers of 256 KiB for io_uring; a power of two.
    #[arg(long, default_value_t = 16, value_parser = power_of_two)]
    buffers: u16,
}

impl Cli {
    /// Runs the chosen command.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Echo(echo) => echo.run(),
            Command::Idle(idle) => idle.run(),
            Command::Floor(floor) => floor::run(floor.listen, floor.driver, floor.buffers),
            Command::Compare { file } => compare::run(&file),
        }
    }
}

impl Echo {
    fn run(self) -> Result<()> {
        let report = echo::run(&echo::Plan {
            label: self.label,
            url: self.url,
            connections: self.connections,
            shape: Shape {
                kind: self.kind,
                payload_bytes: self.bytes as usize,
                depth: self.depth as usize,
                raw: self.raw,
            },
            verify_all: matches!(self.verify, Verify::Full),
            warmup: self.warmup,
            measure: self.seconds,
            server_pid: self.server_pid,
        })?;
        match self.json {
            true => println!("{}", serde_json::to_string(&report)?),
            false => report.print(),
        }
        Ok(())
    }
}

impl Idle {
    fn run(self) -> Result<()> {
        let report = idle::run(&idle::Plan {
            label: self.label,
            url: self.url,
            connections: self.connections,
            hold: self.hold,
            raw: self.raw,
            server_pid: self.server_pid,
        })?;
        match self.json {
            true => println!("{}", serde_json::to_string(&report)?),
            false => report.print(),
        }
        Ok(())
    }
}

fn power_of_two(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(count) if count.is_power_of_two() => Ok(count),
        _ => Err(format!("{text} is not a power of two up to 32768")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text} is not a number of seconds"))?;
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if value <= 86_400.0 => Ok(duration),
        _ => Err(format!("{text} is not between 0 and 86400 seconds")),
    }
}
