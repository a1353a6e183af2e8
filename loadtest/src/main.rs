//! `ringwire-loadtest`: a load generator for WebSocket servers, and the raw floors they are
//! measured against.
//!
//! `cli` names the commands; `echo`, `churn`, `fanout`, `idle`, `control` and `abuse` run against a server
//! (`connect`, `handshake`, `client`, `workload`, `frames`, `schedule`, `bystander`, `interrupt`), `floor` is a
//! server, `ring` holds all unsafe code, `subject`, `server_cpu`, `system_memory` and `report`
//! do the accounts of a run, `figures`, `compare` and `page` those of many, and `suite` makes many.

mod abuse;
mod bystander;
mod churn;
mod cli;
mod client;
mod compare;
mod connect;
mod control;
mod echo;
mod fanout;
mod figures;
mod floor;
mod frame_check;
mod frames;
mod handshake;
mod idle;
mod interrupt;
mod operation;
mod page;
mod progress;
mod report;
mod ring;
mod schedule;
mod server_cpu;
mod subject;
mod suite;
mod system_memory;
mod workload;

use std::num::NonZeroU64;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if !cli.starts_servers() {
        // The default of 50 us would make every timed message late, see PR_SET_TIMERSLACK(2const).
        // Threads inherit it, and children would, too: servers are to have what a shell would give
        // them. Without permission the lateness shows in the report.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    }
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringwire-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
