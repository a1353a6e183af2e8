//! What is measured, as a table: the families of scenarios, the measures of a run, and which of
//! them are told under which heading.
//!
//! `book` takes the measures of runs, the writers of pages walk the table. It computes nothing.

use serde::{Deserialize, Serialize};

use crate::report::{Cost, Latency, Line, Run, is_contended};

/// A family of scenarios: what a title says before its colon. Runs of two families are not compared.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Echoes in a closed loop.
    Echo,
    /// Connect, upgrade, echo, close.
    Churn,
    /// What one says, everybody hears.
    Fanout,
    /// Quiet clients beside busy ones.
    Busy,
    /// Echoes at a fixed rate.
    Open,
    /// One shard on one core, two on two.
    Shards,
    /// Through a shared socket by a worker on another thread.
    Shared,
    /// Shared sockets over the control plane.
    Control,
    /// Connections that are only held.
    Idle,
    /// Sessions on a ring in memory, without the kernel.
    Micro,
}

impl Family {
    /// All of them, in the order in which they are run.
    pub const ALL: [Family; 10] = [
        Family::Echo,
        Family::Churn,
        Family::Fanout,
        Family::Busy,
        Family::Open,
        Family::Shards,
        Family::Shared,
        Family::Control,
        Family::Idle,
        Family::Micro,
    ];

    /// What titles begin with.
    pub fn name(self) -> &'static str {
        match self {
            Family::Echo => "echo",
            Family::Churn => "churn",
            Family::Fanout => "fanout",
            Family::Busy => "busy",
            Family::Open => "open",
            Family::Shards => "shards",
            Family::Shared => "shared",
            Family::Control => "control",
            Family::Idle => "idle",
            Family::Micro => "micro",
        }
    }

    /// By its title, or by what was run.
    pub fn of(line: &Line) -> Family {
        let prefix = line.title.as_deref().and_then(|title| title.split_once(": "));
        let named =
            prefix.and_then(|(prefix, _)| Family::ALL.into_iter().find(|f| f.name() == prefix));
        named.unwrap_or(match &line.run {
            Run::Echo(run) if run.open_loop.is_some() => Family::Open,
            Run::Echo(_) => Family::Echo,
            Run::Idle(_) => Family::Idle,
            Run::Churn(_) => Family::Churn,
            Run::Fanout(_) => Family::Fanout,
            Run::Control(_) => Family::Control,
            Run::Abuse(_) => Family::Busy,
        })
    }

    /// The measure by which its runs are compared at first sight, and its unit.
    pub fn cost(self) -> (Measure, &'static str) {
        match self {
            Family::Churn => (Measure::Cpu, "server CPU ns/connection"),
            Family::Fanout => (Measure::Cpu, "server CPU ns/delivery"),
            Family::Busy => (Measure::Cpu, "server CPU ns/frame"),
            Family::Control => (Measure::Cpu, "server CPU ns/operation"),
            Family::Idle => (Measure::Rss, "server RSS bytes/connection"),
            _ => (Measure::Cpu, "server CPU ns/message"),
        }
    }

    /// What its rates count.
    pub fn rate(self) -> &'static str {
        match self {
            Family::Churn => "connections/s",
            Family::Fanout => "deliveries/s",
            Family::Busy => "frames/s",
            Family::Control => "operations/s",
            Family::Idle => "handshakes/s",
            _ => "messages/s",
        }
    }
}

/// One figure of a run. What it counts depends on the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Server CPU per message, delivery, connection, operation or frame, ns.
    Cpu,
    /// The same of the runs in which nobody else used the cores.
    QuietCpu,
    /// How many of these per second; handshakes of idle connections.
    Rate,
    /// Latency in µs; of fan-out to the last delivery.
    P50,
    P99,
    P999,
    /// How late the generator sent, p99, µs.
    Lateness,
    /// Of other clients before the load and beside it, µs.
    BeforeP50,
    BeforeP99,
    MeanwhileP50,
    MeanwhileP99,
    /// Resident memory of the server per idle connection.
    Rss,
    /// Memory of the machine per idle connection: less MemAvailable; objects in slabs; less MemFree;
    /// slabs.
    Machine,
    Objects,
    Used,
    Slabs,
    /// Thousandths of a core while nobody speaks.
    HoldCores,
    /// Of active clients among the idle, µs.
    ActiveP99,
    Pings,
    Established,
}

/// Who is ahead of whom by a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Less,
    More,
    /// It is told, and nobody loses by it. An idle server that happens to be pinged in the few
    /// seconds of a run is no worse than one that is not. The machine's memory is small for whoever
    /// finds the slabs of those before; what is in use in these, and the RSS, are compared. How late
    /// the generator sent is not the server's.
    Neither,
}

/// A measure of a family that has a table of its own.
#[derive(Debug)]
pub struct Metric {
    pub family: Family,
    pub measure: Measure,
    pub heading: &'static str,
    pub better: Better,
}

const fn metric(family: Family, measure: Measure, better: Better, heading: &'static str) -> Metric {
    Metric { family, measure, heading, better }
}

/// All tables, in their order.
pub const METRICS: [Metric; 29] = {
    use Better::{Less, More, Neither};
    use Family::{Busy, Churn, Control, Echo, Fanout, Idle, Open, Shards, Shared};
    use Measure as M;
    [
        metric(Echo, M::Cpu, Less, "Server CPU per echoed message, ns"),
        metric(Echo, M::Rate, More, "Messages per second"),
        metric(Echo, M::P99, Less, "Latency p99, µs (closed loop)"),
        metric(Open, M::P50, Less, "Open loop: latency p50, µs, from the intended time of sending"),
        metric(Open, M::P99, Less, "Open loop: latency p99, µs"),
        metric(Open, M::P999, Less, "Open loop: latency p99.9, µs"),
        metric(
            Open,
            M::Lateness,
            Neither,
            "Open loop: how late the generator sent, p99, µs; it is part of the latency",
        ),
        metric(Churn, M::Rate, More, "Connections per second: connect, upgrade, echo, close"),
        metric(Churn, M::Cpu, Less, "Server CPU per connection, ns"),
        metric(
            Shards,
            M::Cpu,
            Less,
            "Server CPU per echoed message, ns: one shard on one core, two on two",
        ),
        metric(
            Shared,
            M::Cpu,
            Less,
            "Server CPU per echoed message, ns: by a handler, and through a shared socket by a \
             worker on another thread (examples/shared_echo.rs)",
        ),
        metric(Shared, M::Rate, More, "Messages per second: by a handler, and by one worker"),
        metric(Control, M::Rate, More, "Operations of the control plane per second"),
        metric(Control, M::Cpu, Less, "Server CPU per operation of the control plane, ns"),
        metric(Fanout, M::Cpu, Less, "Server CPU per delivery, ns"),
        metric(Fanout, M::Rate, More, "Deliveries per second"),
        metric(Fanout, M::P50, Less, "Time to the last delivery p50, µs"),
        metric(Fanout, M::P99, Less, "Time to the last delivery p99, µs"),
        metric(Fanout, M::MeanwhileP99, Less, "Latency p99 of echoes meanwhile, µs"),
        metric(Busy, M::MeanwhileP99, Less, "Latency p99 of quiet clients beside busy ones, µs"),
        metric(Busy, M::BeforeP99, Less, "Latency p99 of the same clients before, µs"),
        metric(Busy, M::Cpu, Less, "Server CPU per frame of the busy ones, ns"),
        metric(Idle, M::Rss, Less, "Server memory (RSS) per idle connection, bytes"),
        metric(
            Idle,
            M::Machine,
            Neither,
            "Memory of the whole machine per idle connection, both ends, bytes",
        ),
        metric(
            Idle,
            M::Objects,
            Less,
            "Kernel memory in use per idle connection (objects in slabs), both ends, bytes",
        ),
        metric(
            Idle,
            M::HoldCores,
            Neither,
            "Server CPU while nobody speaks, pings answered, thousandths of a core",
        ),
        metric(Idle, M::Rate, More, "Handshakes per second"),
        metric(Idle, M::Cpu, Less, "Server CPU per handshake, ns"),
        metric(Idle, M::ActiveP99, Less, "Latency p99 of 1,000 active clients among the idle, µs"),
    ]
};

/// Every figure of a run.
pub fn measures(run: &Run) -> Vec<(Measure, f64)> {
    let mut out = Vec::new();
    match run {
        Run::Echo(run) => {
            costs(&mut out, &run.client, run.server.as_ref());
            out.push((Measure::Rate, run.messages_per_second));
            latency(&mut out, &run.latency_us);
            let open = run.open_loop.as_ref();
            out.extend(open.map(|open| (Measure::Lateness, open.lateness_us.p99)));
        }
        Run::Churn(run) => {
            costs(&mut out, &run.client, run.server.as_ref());
            out.push((Measure::Rate, run.connections_per_second));
            latency(&mut out, &run.wave_us);
        }
        Run::Fanout(run) => {
            costs(&mut out, &run.client, run.server.as_ref());
            out.push((Measure::Rate, run.deliveries_per_second));
            latency(&mut out, &run.last_delivery_us);
            others(&mut out, run.echo_before_us.as_ref(), run.echo_meanwhile_us.as_ref());
        }
        Run::Control(run) => {
            costs(&mut out, &run.client, run.server.as_ref());
            out.push((Measure::Rate, run.operations_per_second));
            latency(&mut out, &run.latency_us);
        }
        Run::Abuse(run) => {
            if let Some(kind) = run.kinds.first() {
                costs(&mut out, &kind.client, kind.server.as_ref());
                others(&mut out, Some(&kind.echo_before_us), Some(&kind.echo_meanwhile_us));
            }
        }
        Run::Idle(run) => {
            costs(&mut out, &run.opening_client, run.opening_server.as_ref());
            out.push((Measure::Rate, run.handshakes_per_second));
            out.extend(run.server.map(|own| (Measure::Rss, own.rss_bytes_per_connection)));
            let hold = run.hold_server.as_ref();
            out.extend(hold.map(|hold| (Measure::HoldCores, hold.cores_busy * 1000.0)));
            let active = run.active.as_ref();
            out.extend(active.map(|active| (Measure::ActiveP99, active.latency_us.p99)));
            out.extend([
                (Measure::Machine, run.system.unavailable_bytes_per_connection),
                (Measure::Objects, run.system.object_bytes_per_connection),
                (Measure::Used, run.system.used_bytes_per_connection),
                (Measure::Slabs, run.system.slab_bytes_per_connection),
                (Measure::Pings, f64::from(run.pings_answered)),
                (Measure::Established, f64::from(run.connections)),
            ]);
        }
    }
    out
}

fn costs(out: &mut Vec<(Measure, f64)>, client: &Cost, server: Option<&Cost>) {
    let Some(own) = server else { return };
    out.push((Measure::Cpu, own.cpu_ns_per_message));
    if !is_contended(client, server) {
        out.push((Measure::QuietCpu, own.cpu_ns_per_message));
    }
}

fn latency(out: &mut Vec<(Measure, f64)>, latency: &Latency) {
    out.extend([
        (Measure::P50, latency.p50),
        (Measure::P99, latency.p99),
        (Measure::P999, latency.p99_9),
    ]);
}

fn others(out: &mut Vec<(Measure, f64)>, before: Option<&Latency>, meanwhile: Option<&Latency>) {
    let before = before.map(|one| [(Measure::BeforeP50, one.p50), (Measure::BeforeP99, one.p99)]);
    let meanwhile =
        meanwhile.map(|one| [(Measure::MeanwhileP50, one.p50), (Measure::MeanwhileP99, one.p99)]);
    out.extend(before.into_iter().chain(meanwhile).flatten());
}

/// What was run, in a few words. Runs of one scenario can be compared.
pub fn scenario(line: &Line) -> String {
    if let Some(title) = &line.title {
        return title.clone();
    }
    match &line.run {
        Run::Echo(run) => {
            let (connections, payload, kind) = (run.connections, &run.payload, run.kind.name());
            match &run.open_loop {
                Some(open) => {
                    let rate = open.offered_per_second;
                    format!("{connections} connections at {rate:.0}/s, {payload} B {kind}")
                }
                None => format!("{connections} connections x {}, {payload} B {kind}", run.depth),
            }
        }
        Run::Fanout(run) => {
            let offered = run.offered_per_second;
            let pace = offered.map_or(String::new(), |offered| format!(" at {offered:.0}/s"));
            format!("{} to {}{pace}, {} B", run.publishers, run.subscribers, run.payload_bytes)
        }
        Run::Churn(run) => {
            let end = if run.rst { "reset" } else { "close" };
            format!("{} at a time, {} B, {end}", run.concurrency, run.payload)
        }
        Run::Idle(run) => format!("{} idle", run.connections),
        Run::Control(run) => {
            let what = run.verbs.name();
            format!("{what}: {} sockets, {} requests at once", run.sockets, run.requests)
        }
        Run::Abuse(run) => format!("{} bad clients", run.attackers),
    }
}

/// Whose run it is.
pub fn contender(run: &Run) -> &str {
    let label = match run {
        Run::Echo(run) => &run.label,
        Run::Idle(run) => &run.label,
        Run::Churn(run) => &run.label,
        Run::Fanout(run) => &run.label,
        Run::Control(run) => &run.label,
        Run::Abuse(run) => &run.label,
    };
    if label.is_empty() { "(no label)" } else { label }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_told_once() {
        for (place, one) in METRICS.iter().enumerate() {
            let again = METRICS[..place].iter();
            let is_known = |two: &Metric| (two.family, two.measure) == (one.family, one.measure);
            assert!(!again.clone().any(is_known), "{one:?}");
        }
    }

    #[test]
    fn a_title_says_its_family() {
        let line = |title: &str| {
            let text = format!(
                "{{\"schema\":1,\"title\":\"{title}\",\"scenario\":\"abuse\",\"label\":\"\",\
                 \"url\":\"\",\"attackers\":1,\"kinds\":[]}}"
            );
            Line::read(&text).unwrap()
        };
        assert_eq!(Family::of(&line("shards: 1 x 1")), Family::Shards);
        assert_eq!(Family::of(&line("whatever: else")), Family::Busy, "by what was run");
        assert_eq!(contender(&line("x").run), "(no label)");
        assert_eq!(scenario(&line("x: y")), "x: y");
    }
}
