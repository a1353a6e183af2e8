//! The results of an echo run: the figures, the verdict, how people and programs read them.
//!
//! `echo` fills it in, `compare` reads its JSON. It measures nothing.

use serde::{Deserialize, Serialize};

use crate::server_cpu::Usage;

/// Share of the time from which on a thread counts as saturated.
const SATURATED: f64 = 0.95;

/// Cores in line from which on a run counts as disturbed.
const CONTENDED: f64 = 0.1;

/// One echo run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Whose figures these are, for `compare`.
    pub label: String,
    pub url: String,
    pub raw: bool,
    pub connections: u32,
    pub depth: usize,
    pub payload_bytes: usize,
    pub sent_message_bytes: usize,
    pub seconds: f64,
    pub messages: u64,
    pub messages_per_second: f64,
    /// Payload in one direction, 10^6 bytes.
    pub megabytes_per_second: f64,
    pub latency_us: Latency,
    pub client: Cost,
    pub server: Option<Cost>,
    pub generator_bound: bool,
    pub verdict: String,
}

/// Round trips as the client sees them: from the submission of the batch a message went out with to
/// the batch it came back in. Closed loop: a slow server is asked less often.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl Latency {
    /// From a histogram of nanoseconds.
    pub fn of(histogram: &hdrhistogram::Histogram<u64>) -> Latency {
        let us = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p99_9: us(0.999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

/// What one side spent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    pub cpu_ns_per_message: f64,
    /// Split by clock ticks, so coarse for short runs.
    pub user_ns_per_message: f64,
    pub kernel_ns_per_message: f64,
    /// CPU seconds per second; 1.0 is one core.
    pub cores_busy: f64,
    /// Seconds per second its threads stood in line for a core: somebody else used it.
    pub cores_queued: f64,
    /// The hungriest thread's share of the time, standing in line for a core included.
    pub busiest_thread: f64,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
}

impl Cost {
    /// Spreads `usage` over the messages and the wall time.
    pub fn of(usage: &Usage, messages: u64, seconds: f64) -> Cost {
        let each = usage.cpu_ns as f64 / messages.max(1) as f64;
        let ticks = (usage.user_ticks + usage.kernel_ticks).max(1) as f64;
        let user = each * usage.user_ticks as f64 / ticks;
        Cost {
            cpu_ns_per_message: each,
            user_ns_per_message: user,
            kernel_ns_per_message: each * usage.kernel_ticks as f64 / ticks,
            cores_busy: usage.cpu_ns as f64 / 1e9 / seconds,
            cores_queued: usage.queued_ns as f64 / 1e9 / seconds,
            busiest_thread: usage.busiest_thread_ns() as f64 / 1e9 / seconds,
            voluntary_switches: usage.voluntary_switches,
            involuntary_switches: usage.involuntary_switches,
        }
    }

    fn print(&self, who: &str) {
        println!(
            "{who:<10}{:>10.0} ns CPU/message (user {:.0}, kernel {:.0}), {:.0} % of a core and \
             {:.0} % in line for one, \
             switches {} voluntary, {} not",
            self.cpu_ns_per_message,
            self.user_ns_per_message,
            self.kernel_ns_per_message,
            self.cores_busy * 100.0,
            self.cores_queued * 100.0,
            self.voluntary_switches,
            self.involuntary_switches,
        );
    }
}

/// The generator set the rate, not the server.
pub fn is_generator_bound(client: &Cost, server: Option<&Cost>) -> bool {
    is_full(client) && server.is_some_and(|server| !is_full(server))
}

/// Says which side the figures are about.
pub fn verdict(client: &Cost, server: Option<&Cost>) -> String {
    match server {
        _ if is_generator_bound(client, server) => {
            "THE GENERATOR WAS THE BOTTLENECK: it was never idle, the server was"
        }
        None if is_full(client) => {
            "the generator was never idle: the rate may be the generator's, not the server's"
        }
        None => "without --server-pid nobody knows how busy the server was",
        Some(server) if is_full(server) => "a thread of the server was never idle",
        Some(_) => "both sides were idle at times: round trips set the rate",
    }
    .to_owned()
}

fn is_full(cost: &Cost) -> bool {
    cost.busiest_thread >= SATURATED
}

impl Report {
    /// Others used the cores of this run, so its figures are worth less.
    pub fn is_contended(&self) -> bool {
        let sides = [Some(&self.client), self.server.as_ref()];
        sides.into_iter().flatten().any(|cost| cost.cores_queued > CONTENDED)
    }

    /// Prints for people.
    pub fn print(&self) {
        let mode = if self.raw { "raw TCP" } else { "WebSocket" };
        println!(
            "{mode} echo, {} connections x {} in flight, {} bytes, {:.2} s",
            self.connections, self.depth, self.payload_bytes, self.seconds
        );
        println!(
            "{:<10}{:>10.0} messages/s, {:.1} MB/s, {} messages",
            "rate", self.messages_per_second, self.megabytes_per_second, self.messages
        );
        let latency = self.latency_us;
        println!(
            "{:<10}{:>10.1} us p50, {:.1} p90, {:.1} p99, {:.1} p99.9, {:.1} max",
            "latency", latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max
        );
        if let Some(server) = &self.server {
            server.print("server");
        }
        self.client.print("client");
        println!("{:<10}{}", "verdict", self.verdict);
        if self.is_contended() {
            println!("{:<10}other programs used the same cores; repeat the run", "disturbed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(busiest_thread: f64) -> Cost {
        Cost { busiest_thread, ..Cost::of(&Usage::default(), 1000, 1.0) }
    }

    #[test]
    fn the_verdict_names_the_full_side() {
        assert!(verdict(&cost(0.99), Some(&cost(0.7))).starts_with("THE GENERATOR"));
        assert!(is_generator_bound(&cost(0.99), Some(&cost(0.7))));
        assert!(!is_generator_bound(&cost(0.99), Some(&cost(0.96))));
        assert!(verdict(&cost(0.99), Some(&cost(0.99))).starts_with("a thread of the server"));
        assert!(verdict(&cost(0.5), Some(&cost(0.5))).starts_with("both sides"));
        assert!(verdict(&cost(0.99), None).starts_with("the generator"));
    }

    #[test]
    fn costs_are_spread_by_ticks() {
        let mut usage = Usage::default();
        (usage.cpu_ns, usage.user_ticks, usage.kernel_ticks) = (1_000_000, 1, 3);
        let cost = Cost::of(&usage, 100, 0.001);
        assert_eq!(cost.cpu_ns_per_message, 10_000.0);
        assert_eq!(cost.user_ns_per_message, 2_500.0);
        assert_eq!(cost.kernel_ns_per_message, 7_500.0);
        assert_eq!(cost.cores_busy, 1.0);
    }
}
