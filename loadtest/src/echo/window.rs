//! The measured time of an echo run: its figures, and the report they make.
//!
//! The session of `echo` fills it in.

use std::time::Instant;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use super::Plan;
use crate::report::{EchoReport, Latency, OpenLoop, Pace, histogram, is_generator_bound, verdict};
use crate::subject::Spent;

/// The figures of the measured time.
pub struct Window {
    pub started: Instant,
    /// On the clock of the session.
    pub from_ns: u64,
    /// Messages that came back.
    pub messages: u64,
    /// Messages handed to the kernel.
    pub sent: u64,
    pub latency_ns: Histogram<u64>,
    pub lateness_ns: Histogram<u64>,
    pub spent: Spent,
}

impl Window {
    /// Begins to measure; the clock of the session shows `from_ns`.
    pub fn begin(plan: &Plan, from_ns: u64) -> Result<Window> {
        Ok(Window {
            from_ns,
            messages: 0,
            sent: 0,
            latency_ns: histogram()?,
            lateness_ns: histogram()?,
            spent: plan.subject.spent()?,
            started: Instant::now(),
        })
    }

    /// The report of the measured time, which ends now. Its latency is known after the drain.
    pub fn report(&self, plan: &Plan) -> Result<EchoReport> {
        let seconds = self.started.elapsed().as_secs_f64();
        ensure!(self.messages > 0, "no message came back within the measured time");
        let (client, server) = self.spent.costs(&plan.subject, self.messages, seconds)?;
        let rate = self.messages as f64 / seconds;
        let sent_per_second = self.sent as f64 / seconds;
        let pace = plan.rate.map(|offered| Pace::of(offered, sent_per_second, rate));
        let open_loop = plan.rate.zip(pace).map(|(offered, pace)| OpenLoop {
            offered_per_second: offered,
            sent_per_second,
            reached: pace.reached,
            unanswered: 0,
            lateness_us: Latency::of(&self.lateness_ns),
        });
        Ok(EchoReport {
            label: plan.subject.label.clone(),
            url: plan.subject.url.clone(),
            raw: plan.raw,
            connections: plan.connections,
            depth: plan.depth as usize,
            kind: plan.kind,
            payload: plan.bytes.to_string(),
            payload_mean_bytes: plan.bytes.mean_bytes(),
            seconds,
            messages: self.messages,
            messages_per_second: rate,
            megabytes_per_second: rate * plan.bytes.mean_bytes() / 1e6,
            latency_us: Latency::default(),
            open_loop,
            generator_bound: is_generator_bound(&client, server.as_ref(), pace),
            verdict: verdict(&client, server.as_ref(), pace),
            client,
            server,
        })
    }
}
