//! The `ringwire` program.
//!
//! Owns what a process has once: the allocator, the command line, the log, the exit code. Called
//! by the system. It may not know how a connection works.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | ended as asked; every connection was closed in time |
//! | 2 | the command line is wrong |
//! | 3 | the drain deadline passed and connections were cut |
//! | 4 | nothing came in time |
//! | 5 | the WebSocket is closed, or there is none of this id |
//! | 6 | somebody else holds the WebSocket, or has taken it over |
//! | 65 | the message or the query is not what the control plane takes |
//! | 69 | an address is in use or not available, or the control plane cannot be reached |
//! | 71 | no thread can be started, or there are too few descriptors |
//! | 74 | the output could not be written |
//! | 76 | the answer was lost, or is not one of a control plane |
//! | 77 | permission denied, or the token is missing or wrong |
//! | 78 | the configuration is wrong, or this host cannot carry the server (`ringwire doctor`) |
//!
//! Every failure is one line on standard error, `ringwire: <cause>; <remedy>`. The codes from 64
//! on are those of sysexits.h.

mod cli;
mod doctor;
mod log;
mod shell;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command, CompletionsCommand, ConfigCommand, DoctorCommand, ServeCommand};
use ringwire::LogQueue;
use ringwire::config::{self, Config};
use ringwire::ring::probe::{self, Blocked, Plan, Report};
use ringwire::serve::{self, Outcome, ServeError};
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

// Without huge pages: thousands of small idle connections scattered over them would hold three
// times their memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_USAGE: u8 = 2;
const EXIT_CUT: u8 = 3;
const EXIT_THREADS: u8 = 71;
const EXIT_OUTPUT: u8 = 74;
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render();
            let code = if error.use_stderr() {
                log::say(&text.to_string());
                Ok(EXIT_USAGE)
            } else {
                print(&text.to_string()).map(|()| 0)
            };
            return exit(code);
        }
    };
    exit(match &cli.command {
        Command::Serve(command) => return serve(command),
        Command::Doctor(command) => run_doctor(command),
        Command::Config(command) => run_config(command),
        Command::Completions(command) => print_completions(command),
        remote => shell::run(remote),
    })
}

/// Why the program ends, as it is told to people and to the parent process.
struct Failure {
    code: u8,
    message: String,
}

impl From<config::ConfigError> for Failure {
    fn from(error: config::ConfigError) -> Self {
        Self { code: error.exit_code(), message: error.to_string() }
    }
}

impl From<Blocked> for Failure {
    fn from(blocked: Blocked) -> Self {
        Self { code: blocked.exit_code, message: blocked.to_string() }
    }
}

fn exit(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(code) => code.into(),
        Err(failure) => {
            log::say(&format!("{failure}\n"));
            failure.code.into()
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ringwire: {}", one_line(&self.message))
    }
}

/// `message` with line breaks and control characters escaped: a path or a value may have them.
fn one_line(message: &str) -> String {
    let escaped = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    message.chars().map(escaped).collect()
}

/// Writes `text` to standard output. A reader that has gone has seen enough: no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure {
            code: EXIT_OUTPUT,
            message: format!(
                "standard output cannot be written: {error}; free the disk or redirect it"
            ),
        }),
    }
}

/// Serves, with a log that keeps nobody waiting: neither while it serves nor at its end.
fn serve(command: &ServeCommand) -> ExitCode {
    let log = match log::queue() {
        Ok(log) => log,
        Err(failure) => return exit(Err(failure)),
    };
    let code = run_server(command, &log).unwrap_or_else(|failure| {
        log.push(&failure.to_string());
        failure.code
    });
    log.flush(log::LAST_LINES_TIMEOUT);
    code.into()
}

fn run_server(command: &ServeCommand, log: &LogQueue) -> Result<u8, Failure> {
    let config = config_of(command)?;
    log::start(&config.log, log)?;
    let injected = config::set_by_runtime(std::env::vars_os());
    if !injected.is_empty() {
        let names = injected.join(", ");
        tracing::info!("ignored, because a container runtime has set them for a service: {names}");
    }
    let report = probed(&config);
    if let Some(blocked) = report.fatal() {
        return Err(blocked.clone().into());
    }
    tracing::debug!(limits = ?report.limits, allowance = ?report.allowance, "host");
    match serve::run(&config, log) {
        Ok(Outcome::Drained) => Ok(0),
        Ok(Outcome::Cut) => Ok(EXIT_CUT),
        Err(error) => Err(blocked_by(&error).into()),
    }
}

/// Does what `serve` does up to the moment when it serves.
fn run_doctor(command: &DoctorCommand) -> Result<u8, Failure> {
    let log = log::queue()?;
    let config = config_of(&command.serve)?;
    let mut report = probed(&config);
    if report.fatal().is_none() {
        report.add_start(serve::rehearse(&config, &log).map_err(|error| blocked_by(&error)));
    }
    print(&if command.json { doctor::json(&report) } else { doctor::table(&report) })?;
    match report.fatal() {
        None => Ok(0),
        Some(blocked) => Err(blocked.clone().into()),
    }
}

fn config_of(command: &ServeCommand) -> Result<Config, Failure> {
    Ok(config::load(command.config.as_deref(), std::env::vars_os(), &command.flags())?)
}

fn probed(config: &Config) -> Report {
    probe::raise_nofile();
    probe::probe_for(plan_of(config))
}

fn blocked_by(error: &ServeError) -> Blocked {
    let text = error.to_string();
    let (cause, remedy) = text.split_once("; ").unwrap_or((&text, "see ringwire doctor"));
    Blocked { cause: cause.into(), remedy: remedy.into(), exit_code: error.exit_code() }
}

fn print_completions(command: &CompletionsCommand) -> Result<u8, Failure> {
    let mut script = Vec::new();
    let shell = clap_complete::Shell::from(command.shell);
    clap_complete::generate(shell, &mut Cli::command(), "ringwire", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

fn plan_of(config: &Config) -> Plan {
    let ring = &config.ring;
    let entries = if ring.buffer_count > 0 {
        ring.buffer_count
    } else {
        // Classic buffers of 4 KiB are the most that can be asked for.
        u16::try_from(ring.buffer_pool_bytes / 4_096).unwrap_or(u16::MAX / 2 + 1)
    };
    Plan {
        shards: config.shards,
        submission_entries: ring.submission_entries,
        completion_entries: ring.completion_entries,
        buffer_entries: entries.max(1),
    }
}

fn run_config(command: &ConfigCommand) -> Result<u8, Failure> {
    if command.print_default {
        print(&config::default_toml())?;
    }
    if let Some(path) = &command.check {
        // The file alone: what it says must not depend on who checks it.
        config::load(Some(path), [], &[])?;
    }
    Ok(0)
}
