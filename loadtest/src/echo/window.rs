//! The measured time of an echo run: its figures, and the report they make.
//!
//! Each session of `echo` fills one in; `echo` makes the report of all.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use super::Plan;
use crate::report::{EchoReport, Latency, OpenLoop, Pace, histogram, is_generator_bound, verdict};
use crate::subject::Spent;

/// The figures of the measured time of one thread.
pub struct Window {
    pub started: Instant,
    /// On the clock of the session.
    pub from_ns: u64,
    /// Messages that came back.
    pub messages: u64,
    /// Messages handed to the kernel.
    pub sent: u64,
    /// Messages that had not come back when the run gave up.
    pub unanswered: u64,
    pub latency_ns: Histogram<u64>,
    pub lateness_ns: Histogram<u64>,
    /// What both sides had spent before.
    before: Spent,
    /// How long it was, in seconds, and what both sides spent in it.
    measured: Option<(f64, Spent)>,
}

impl Window {
    /// Begins to measure; the clock of the session shows `from_ns`.
    pub fn begin(plan: &Plan, from_ns: u64) -> Result<Window> {
        Ok(Window {
            from_ns,
            messages: 0,
            sent: 0,
            unanswered: 0,
            latency_ns: histogram()?,
            lateness_ns: histogram()?,
            before: plan.subject.spent()?,
            measured: None,
            started: Instant::now(),
        })
    }

    /// Ends the measured time. What is in flight may still come back and add its latency.
    pub fn end(&mut self, plan: &Plan) -> Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.measured = Some((seconds, self.before.since_then(&plan.subject)?));
        Ok(())
    }
}

/// The report of all threads, which measured at the same time. What was spent is that of the whole
/// processes, so the first one's reading of it is good for all.
pub fn report(plan: &Plan, windows: &[Window]) -> Result<EchoReport> {
    let (mut latency_ns, mut lateness_ns) = (histogram()?, histogram()?);
    let (mut messages, mut sent, mut unanswered) = (0, 0, 0);
    for window in windows {
        latency_ns.add(&window.latency_ns)?;
        lateness_ns.add(&window.lateness_ns)?;
        messages += window.messages;
        sent += window.sent;
        unanswered += window.unanswered;
    }
    ensure!(messages > 0, "no message came back within the measured time");
    let first = windows.first().and_then(|window| window.measured.as_ref());
    let (seconds, spent) = first.context("the run ended without having measured")?;
    let (client, server) = spent.spread(messages, *seconds);
    let rate = messages as f64 / seconds;
    let sent_per_second = sent as f64 / seconds;
    let pace = plan.rate.map(|offered| Pace::of(offered, sent_per_second, rate));
    let open_loop = plan.rate.zip(pace).map(|(offered, pace)| OpenLoop {
        offered_per_second: offered,
        sent_per_second,
        reached: pace.reached,
        unanswered,
        lateness_us: Latency::of(&lateness_ns),
    });
    Ok(EchoReport {
        label: plan.subject.label.clone(),
        url: plan.subject.url.clone(),
        raw: plan.raw,
        connections: plan.connections,
        threads: plan.threads,
        depth: plan.depth as usize,
        kind: plan.kind,
        payload: plan.bytes.to_string(),
        payload_mean_bytes: plan.bytes.mean_bytes(),
        seconds: *seconds,
        messages,
        messages_per_second: rate,
        megabytes_per_second: rate * plan.bytes.mean_bytes() / 1e6,
        latency_us: Latency::of(&latency_ns),
        open_loop,
        generator_bound: is_generator_bound(&client, server.as_ref(), pace),
        verdict: verdict(&client, server.as_ref(), pace),
        client,
        server,
    })
}
