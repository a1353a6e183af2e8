//! Good clients beside a load: a few echo connections at a low fixed rate, before and meanwhile.
//!
//! `fanout`, `idle` and `abuse` ask it what their load does to others. It is the open loop of
//! `echo` on a thread of its own.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::echo::{self, Verify};
use crate::report::{EchoReport, Latency};
use crate::subject::{self, Subject};
use crate::workload::{Kind, Payload};

const WARMUP: Duration = Duration::from_millis(200);
const PAYLOAD: Payload = Payload::Between(32, 32);

/// How many good clients there are and how much they say.
#[derive(Clone, Debug, clap::Args)]
pub struct Bystanders {
    /// Good clients that echo beside the load.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub echo_connections: u32,
    /// Messages of all good clients per second.
    #[arg(long, default_value = "400", value_parser = subject::rate)]
    pub echo_rate: f64,
}

impl Bystanders {
    /// Runs them for `seconds` on this thread.
    pub fn watch(&self, url: &str, seconds: Duration) -> Result<Latency> {
        let report = echo::run(&self.plan(url, seconds)).context("the good clients")?;
        Ok(report.latency_us)
    }

    /// Runs them for `seconds` on another thread.
    pub fn start(&self, url: &str, seconds: Duration) -> Result<Watch> {
        let plan = self.plan(url, seconds);
        let run = move || echo::run(&plan).context("the good clients");
        Ok(Watch(thread::Builder::new().name("bystanders".to_owned()).spawn(run)?))
    }

    fn plan(&self, url: &str, seconds: Duration) -> echo::Plan {
        echo::Plan {
            subject: Subject { url: url.to_owned(), ..Subject::default() },
            connections: self.echo_connections,
            threads: 1,
            depth: 1,
            rate: Some(self.echo_rate),
            bytes: PAYLOAD,
            kind: Kind::Text,
            seconds,
            warmup: WARMUP,
            verify: Verify::Full,
            raw: url.starts_with("tcp://"),
            quiet: true,
        }
    }
}

/// Good clients that are running.
pub struct Watch(JoinHandle<Result<EchoReport>>);

impl Watch {
    /// Waits for their end.
    pub fn finish(self) -> Result<Latency> {
        let outcome =
            self.0.join().map_err(|_| anyhow!("the thread of the good clients failed"))?;
        Ok(outcome?.latency_us)
    }
}
