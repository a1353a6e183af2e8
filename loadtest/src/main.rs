//! `ringwire-loadtest`: a load generator for WebSocket servers, and the raw floors they are
//! measured against.
//!
//! `cli` names the commands; `echo` and `idle` run against a server (`connect`, `handshake`,
//! `client`, `workload`, `frames`), `floor` is a server, `ring` holds all unsafe code,
//! `server_cpu`, `report` and `compare` do the accounts.

mod abuse;
mod bystander;
mod churn;
mod cli;
mod client;
mod compare;
mod connect;
mod echo;
mod fanout;
mod figure;
mod floor;
mod frame_check;
mod frames;
mod handshake;
mod idle;
mod operation;
mod page;
mod progress;
mod report;
mod ring;
mod schedule;
mod server_cpu;
mod subject;
mod system_memory;
mod workload;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringwire-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
