//! Whom a run is about: the arguments every scenario has, and how it ends when the server does.
//!
//! The scenarios flatten [`Subject`] into their arguments. It opens no connection.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::handshake::Target;
use crate::report::Cost;
use crate::server_cpu::{self, Usage};

/// The server under test, and how its figures are to be told.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Subject {
    /// ws://host:port/path
    pub url: String,
    /// Whose CPU time and memory to report, with all threads and child processes.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// One JSON object on one line.
    #[arg(long)]
    pub json: bool,
    /// Whose figures these are, for `compare` and `report`; names of raw floors begin with
    /// "floor".
    #[arg(long, default_value = "")]
    pub label: String,
    /// What `compare` and `report` are to call the scenario, instead of what they make of the
    /// arguments. Runs of one title are compared.
    #[arg(long)]
    pub title: Option<String>,
}

impl Subject {
    /// Where to connect to. Fails also if there is no process to watch.
    pub fn target(&self) -> Result<Target> {
        if let Some(pid) = self.server_pid {
            Usage::of_tree(pid).context("--server-pid")?;
        }
        Target::parse(&self.url)
    }

    /// Names the end of the server as the cause of `error` if it has ended.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match self.server_pid {
            Some(pid) if server_cpu::has_ended(pid) => {
                error.context(format!("the server (process {pid}) has ended"))
            }
            _ => error,
        }
    }

    /// What both sides have spent so far.
    pub fn spent(&self) -> Result<Spent> {
        Ok(Spent {
            client: Usage::of_tree(std::process::id())?,
            server: self.server_pid.map(Usage::of_tree).transpose()?,
        })
    }
}

/// What both sides had spent at a moment, or spent between two.
pub struct Spent {
    pub client: Usage,
    pub server: Option<Usage>,
}

impl Spent {
    /// What both sides have spent since then.
    pub fn since_then(&self, subject: &Subject) -> Result<Spent> {
        let now = subject.spent()?;
        let server = now.server.zip(self.server.as_ref());
        Ok(Spent {
            client: now.client.since(&self.client),
            server: server.map(|(now, then)| now.since(then)),
        })
    }

    /// The costs since then, spread over `messages` and `seconds`: the client's, the server's.
    pub fn costs(
        &self,
        subject: &Subject,
        messages: u64,
        seconds: f64,
    ) -> Result<(Cost, Option<Cost>)> {
        Ok(self.since_then(subject)?.spread(messages, seconds))
    }

    /// As the costs of `messages` in `seconds`: the client's, the server's.
    pub fn spread(&self, messages: u64, seconds: f64) -> (Cost, Option<Cost>) {
        let of = |usage: &Usage| Cost::of(usage, messages, seconds);
        (of(&self.client), self.server.as_ref().map(of))
    }
}

/// Reads seconds from the command line.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text} is not a number of seconds"))?;
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if value <= 86_400.0 => Ok(duration),
        _ => Err(format!("{text} is not between 0 and 86400 seconds")),
    }
}

/// Reads a rate per second from the command line.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err(format!("{text} is not a rate per second between 0.001 and 1000000000")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_rates_have_limits() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(rate("2.5"), Ok(2.5));
        for bad in ["x", "-1", "1e9", "NaN"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        for bad in ["x", "-1", "0", "NaN", "inf"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
