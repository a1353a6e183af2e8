//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::floor::{self, Driver};
use crate::report::Run;
use crate::{abuse, churn, compare, control, echo, fanout, idle, page, suite};

/// Load generator for WebSocket servers, and raw TCP floors to compare them with.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Echoes: a closed loop that keeps messages in flight, or an open loop at a fixed rate.
    Echo(echo::Plan),
    /// Opens connections, holds them and leaves; tells what they cost the server.
    Idle(idle::Plan),
    /// Connections that come, upgrade, echo once and go, again and again.
    Churn(churn::Plan),
    /// What one member says, everybody hears: deliveries, and the time to the last of them.
    Fanout(fanout::Plan),
    /// Shared sockets read and written over the control plane.
    #[command(subcommand)]
    Control(control::Plan),
    /// Bad clients beside good ones: what the good ones feel.
    Abuse(abuse::Plan),
    /// A raw TCP echo server, single-threaded, until it is ended.
    Floor(Floor),
    /// Puts the JSON lines of many runs into one table of medians.
    Compare {
        /// A file of JSON lines, in any order.
        file: PathBuf,
    },
    /// Makes one page of HTML with pictures of the JSON lines of many runs: `report a.jsonl >
    /// report.html`.
    Report(page::Plan),
    /// Everything that BENCHMARKS.md tells, beside other servers; `scripts/bench.sh` builds and
    /// installs them and calls it. Runs in the root of the repository.
    Suite(Box<suite::Args>),
    /// Makes BENCHMARKS.md and docs/benchmarks.html of the figures that are kept, and measures
    /// nothing.
    Pages {
        /// What `suite` wrote.
        #[arg(default_value = suite::PUBLISHED)]
        book: PathBuf,
        /// The root of the repository.
        #[arg(long, default_value = ".")]
        root: PathBuf,
    },
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
    /// Whether others are to be started that are measured.
    pub fn starts_servers(&self) -> bool {
        matches!(self.command, Command::Suite(_))
    }

    /// Runs the chosen command.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Echo(plan) => Run::Echo(echo::run(&plan)?.into()).show(&plan.subject),
            Command::Idle(plan) => {
                idle::run(&plan, |report| Run::Idle(report.into()).show(&plan.subject))
            }
            Command::Churn(plan) => Run::Churn(churn::run(&plan)?.into()).show(&plan.subject),
            Command::Fanout(plan) => Run::Fanout(fanout::run(&plan)?.into()).show(&plan.subject),
            Command::Control(plan) => {
                Run::Control(control::run(&plan)?.into()).show(plan.subject())
            }
            Command::Abuse(plan) => Run::Abuse(abuse::run(&plan)?).show(&plan.subject),
            Command::Floor(floor) => floor::run(floor.listen, floor.driver, floor.buffers),
            Command::Compare { file } => compare::run(&file),
            Command::Report(plan) => page::run(&plan),
            Command::Suite(args) => suite::run(*args),
            Command::Pages { book, root } => suite::republish(&book, &root),
        }
    }
}

fn power_of_two(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(count) if count.is_power_of_two() => Ok(count),
        _ => Err(format!("{text} is not a power of two up to 32768")),
    }
}
