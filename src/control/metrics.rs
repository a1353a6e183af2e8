//! Metrics in the text format of Prometheus, version 0.0.4.
//!
//! Labels come from fixed sets: shards, declared routes, HTTP statuses, classes of close codes.
//! Nothing that a peer chooses becomes one.

use super::error::ApiError;
use super::memory;
use super::plane::Plane;
use super::query::Query;
use super::status::refusal_name;
use crate::{EngineStatus, Histogram, LogQueue, MemoryClass, RouteStatus, ShardStatus};
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`
pub(super) async fn metrics(
    State(plane): State<Arc<Plane>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    Query::parse(query.as_deref(), &[])?;
    let status = plane.ask(plane.engine.status()).await?;
    let mut text = Exposition::default();
    text.engine(&status);
    text.shards(&status.shards);
    text.memory(&memory::classes(&status, &plane));
    text.ring(&status.shards);
    text.routes(&status.routes);
    text.histogram(&status.read_to_write);
    text.plane(&plane);
    text.process();
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text.0).into_response())
}

/// The text as far as it is written.
#[derive(Default)]
struct Exposition(String);

/// What a metric is.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Exposition {
    fn engine(&mut self, status: &EngineStatus) {
        use Kind::{Counter, Gauge};
        self.family("build_info", Gauge, "Always 1; the version is a label.");
        self.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let uptime_s = status.uptime.as_secs_f64();
        self.single("uptime_seconds", Gauge, "Time since the engine started.", uptime_s);
        let most = status.connections_max;
        self.single("connections_max", Gauge, "Connections taken at most.", most);
        let ready = u8::from(status.ready);
        self.single("ready", Gauge, "Whether connections are accepted.", ready);
        let healthy = u8::from(status.healthy);
        self.single("healthy", Gauge, "Whether every shard does its work.", healthy);
        let draining = u8::from(status.draining);
        self.single("draining", Gauge, "Whether the engine is being drained.", draining);
        self.family("refusals_total", Counter, "Requests refused, by HTTP status.");
        for (code, count) in &status.refusals {
            self.sample("refusals_total", &[("status", &refusal_name(*code))], count);
        }
        self.family("closes_total", Counter, "WebSockets ended, by close code.");
        for (code, count) in &status.closes {
            self.sample("closes_total", &[("code", code)], count);
        }
    }

    fn shards(&mut self, shards: &[ShardStatus]) {
        use Kind::{Counter, Gauge};
        let mut each = |name, kind, help, of: fn(&ShardStatus) -> u64| {
            self.per_shard(name, kind, help, shards, of);
        };
        each("connections", Gauge, "Connections there are.", |shard| shard.connections);
        each("handlers", Gauge, "Handlers that run.", |shard| shard.handlers);
        each("accepted_total", Counter, "Connections accepted.", |shard| shard.totals.accepted);
        each("opened_total", Counter, "WebSockets opened.", |shard| shard.totals.opened);
        each("refused_total", Counter, "Requests refused.", |shard| shard.totals.refused);
        each("closed_total", Counter, "Connections gone.", |shard| shard.totals.closed);
        each("panics_total", Counter, "Handlers that panicked.", |shard| shard.totals.panics);
        each(
            "websockets_truncated_total",
            Counter,
            "WebSockets that ended before every message written was sent.",
            |shard| shard.totals.truncated,
        );
        each("messages_in_total", Counter, "Whole messages received.", |shard| {
            shard.totals.messages_in
        });
        each("messages_out_total", Counter, "Messages written.", |shard| shard.totals.messages_out);
        each("in_bytes_total", Counter, "Bytes received.", |shard| shard.totals.bytes_in);
        each("out_bytes_total", Counter, "Bytes sent.", |shard| shard.totals.bytes_out);
        let help = "Shared WebSockets that are gone and have left something to read.";
        each("remains", Gauge, help, |shard| shard.remains);
        each("remains_bytes", Gauge, "What it costs.", |shard| shard.remains_bytes);
        let help = "Those of which it was given up and not read.";
        each("remains_lost_total", Counter, help, |shard| shard.totals.remains_lost);
        each("shed_total", Counter, "Connections cut for want of memory.", |s| s.totals.shed);
        each("memory_growth_bytes", Gauge, "What connections hold beyond their limits.", |shard| {
            shard.memory.growth_bytes
        });
        self.family("tick_age_seconds", Gauge, "Time since the shard last went round.");
        for shard in shards {
            let number = shard.shard.to_string();
            let age_s = shard.tick_age.as_secs_f64();
            self.sample("tick_age_seconds", &[("shard", &number)], age_s);
        }
    }

    fn memory(&mut self, classes: &[(&str, MemoryClass)]) {
        use Kind::{Counter, Gauge};
        let mut each = |name, kind, help, of: fn(&MemoryClass) -> u64| {
            self.family(name, kind, help);
            for (class, memory) in classes {
                self.sample(name, &[("class", class)], of(memory));
            }
        };
        each("memory_used_bytes", Gauge, "Memory in use, by what for.", |class| class.used_bytes);
        let help = "Memory that is free and kept for its next use.";
        each("memory_kept_bytes", Gauge, help, |class| class.kept_bytes);
        let help = "Memory given back since the start.";
        each("memory_returned_bytes_total", Counter, help, |class| class.returned_bytes);
    }

    fn ring(&mut self, shards: &[ShardStatus]) {
        use Kind::{Counter, Gauge};
        let mut each = |name, help, of: fn(&ShardStatus) -> u64| {
            self.per_shard(name, Counter, help, shards, of);
        };
        each("ring_enters_total", "Entries into the kernel: batches.", |shard| {
            shard.totals.ring.enters
        });
        each("ring_submissions_total", "Operations submitted.", |shard| {
            shard.totals.ring.submissions
        });
        each("ring_completions_total", "Completions taken.", |shard| shard.totals.ring.completions);
        each("ring_submission_queue_full_total", "Times the submission queue was full.", |shard| {
            shard.totals.ring.submission_queue_full
        });
        each("ring_overflows_total", "Times the completion queue overflowed.", |shard| {
            shard.totals.ring.overflows
        });
        each("ring_out_of_buffers_total", "Receives ended for want of buffers.", |shard| {
            shard.totals.ring.out_of_buffers
        });
        each("ring_short_sends_total", "Sends that sent less than asked for.", |shard| {
            shard.totals.ring.short_sends
        });
        each("ring_stale_completions_total", "Completions for connections gone.", |shard| {
            shard.totals.stale_completions
        });
        each("ring_rearmed_total", "Receives armed again.", |shard| shard.totals.rearmed);
        self.family("ring_free_buffers_ratio", Gauge, "Share of receive buffers that are free.");
        for shard in shards {
            let number = shard.shard.to_string();
            let ratio = f64::from(shard.free_buffer_eighths) / 8.0;
            self.sample("ring_free_buffers_ratio", &[("shard", &number)], ratio);
        }
    }

    fn routes(&mut self, routes: &[RouteStatus]) {
        use Kind::{Counter, Gauge};
        let mut each = |name, kind, help, of: fn(&RouteStatus) -> u64| {
            self.family(name, kind, help);
            for route in routes.iter().filter(|route| !route.page) {
                self.sample(name, &[("route", &route.path)], of(route));
            }
        };
        each("route_open", Gauge, "WebSockets that are open.", |route| route.open);
        each("route_shared", Gauge, "Those of them that are shared.", |route| route.shared);
        each("route_unattended", Gauge, "Those of them that nobody holds.", |route| {
            route.unattended
        });
        each("route_opened_total", Counter, "WebSockets opened.", |route| route.opened);
    }

    fn histogram(&mut self, histogram: &Histogram) {
        let name = "read_to_write_seconds";
        let help =
            "Time from a completion to what follows from it being submitted; one batch in 64.";
        self.family(name, Kind::Histogram, help);
        let mut count = 0;
        for (index, in_bucket) in histogram.buckets.iter().enumerate() {
            count += in_bucket;
            let bound = Histogram::bound_us(index)
                .map_or_else(|| "+Inf".to_owned(), |bound_us| (bound_us as f64 / 1e6).to_string());
            self.sample("read_to_write_seconds_bucket", &[("le", &bound)], count);
        }
        self.sample("read_to_write_seconds_sum", &[], histogram.sum_ns as f64 / 1e9);
        self.sample("read_to_write_seconds_count", &[], count);
    }

    fn plane(&mut self, plane: &Plane) {
        use Kind::{Counter, Gauge};
        let name = "control_answers_total";
        self.family(name, Counter, "Answers of the control plane, by class of status.");
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        for (class, count) in classes.iter().zip(&plane.counts.answers) {
            self.sample(name, &[("class", class)], count.load(Ordering::Relaxed));
        }
        let refused = plane.counts.connections_refused.load(Ordering::Relaxed);
        let help = "Connections that the control plane refused, because there were too many.";
        self.single("control_connections_refused_total", Counter, help, refused);
        let displaced = plane.counts.connections_displaced.load(Ordering::Relaxed);
        let help = "Connections that made room for others.";
        self.single("control_connections_displaced_total", Counter, help, displaced);
        let stuck = plane.counts.connections_stuck.load(Ordering::Relaxed);
        let help = "Connections closed because their clients did not take an answer.";
        self.single("control_connections_stuck_total", Counter, help, stuck);
        let used = plane.answers.used_bytes();
        let help = "Bytes of answers that wait to be taken.";
        self.single("control_answers_bytes", Gauge, help, used);
        let streams = super::limits::EVENT_STREAMS_MAX - plane.event_streams.available_permits();
        self.single("control_event_streams", Gauge, "Streams of events that are open.", streams);
        let Some(log) = plane.log.as_ref().map(LogQueue::counts) else { return };
        self.single("log_lines_total", Counter, "Lines of the log that were written.", log.written);
        let help = "Lines of the log that were dropped: too many, or nobody takes them.";
        self.single("log_lines_dropped_total", Counter, help, log.dropped);
        let help = "Bytes of the log that wait to be written.";
        self.single("log_waiting_bytes", Gauge, help, log.waiting_bytes);
    }

    /// What the system says of the whole process, if it does.
    fn process(&mut self) {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // proc_pid_stat(5): the name in parentheses may have spaces; what follows it has none.
        let Some((_, rest)) = stat.rsplit_once(") ") else { return };
        let field = |number: usize| rest.split(' ').nth(number - 3)?.parse::<u64>().ok();
        if let (Some(user), Some(system)) = (field(14), field(15)) {
            let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
            let help = "Processor time that the process has used.";
            let used_s = (user + system) as f64 / ticks_per_s;
            self.single("process_cpu_seconds_total", Kind::Counter, help, used_s);
        }
        if let Some(pages) = field(24) {
            let bytes = pages * rustix::param::page_size() as u64;
            let help = "Memory of the process that is resident.";
            self.single("process_resident_bytes", Kind::Gauge, help, bytes);
        }
    }

    fn per_shard(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        shards: &[ShardStatus],
        of: fn(&ShardStatus) -> u64,
    ) {
        self.family(name, kind, help);
        for shard in shards {
            self.sample(name, &[("shard", &shard.shard.to_string())], of(shard));
        }
    }

    fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// What the samples of this name are.
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP ringwire_{name} {help}"));
        self.line(format_args!("# TYPE ringwire_{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        match labels.is_empty() {
            true => self.line(format_args!("ringwire_{name} {value}")),
            false => self.line(format_args!("ringwire_{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = writeln!(self.0, "{line}");
    }
}

/// The value of a label between its quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_cumulative_and_labels_are_escaped() {
        let mut text = Exposition::default();
        let mut histogram = Histogram::default();
        histogram.buckets[0] = 2;
        histogram.buckets[Histogram::BUCKETS - 1] = 3;
        histogram.sum_ns = 1_500_000_000;
        text.histogram(&histogram);
        let lines: Vec<&str> = text.0.lines().collect();
        assert_eq!(lines[2], "ringwire_read_to_write_seconds_bucket{le=\"0.000001\"} 2");
        for line in [
            "ringwire_read_to_write_seconds_bucket{le=\"+Inf\"} 5",
            "ringwire_read_to_write_seconds_sum 1.5",
            "ringwire_read_to_write_seconds_count 5",
        ] {
            assert!(lines.contains(&line), "{line}");
        }
        let mut text = Exposition::default();
        text.sample("route_open", &[("route", "/a\"\\\n")], 1);
        assert_eq!(text.0, "ringwire_route_open{route=\"/a\\\"\\\\\\n\"} 1\n");
    }

    #[test]
    fn the_process_is_measured() {
        let mut text = Exposition::default();
        text.process();
        let value = |name: &str| -> f64 {
            let line = text.0.lines().find_map(|line| line.strip_prefix(name));
            line.expect(name).trim().parse().expect("a number")
        };
        assert!(value("ringwire_process_resident_bytes") > 1e6);
        assert!(value("ringwire_process_cpu_seconds_total") >= 0.0);
    }
}
