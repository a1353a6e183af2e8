//! The one figure by which runs of a scenario are compared, and medians over many runs.
//!
//! `compare` makes text of it, `page` makes pictures. It measures nothing.

use crate::report::{Cost, Line, Run, is_contended};

/// What kind of figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Server CPU per echo.
    Echo,
    /// Server CPU per echo at a fixed rate.
    Paced,
    /// Server CPU per delivery.
    Delivery,
    /// Server CPU per connection that came and went.
    Connection,
    /// Server CPU per operation of the control plane.
    Control,
    /// Resident server memory per idle connection.
    Memory,
}

impl Unit {
    /// All of them.
    pub const ALL: [Unit; 6] =
        [Unit::Echo, Unit::Paced, Unit::Delivery, Unit::Connection, Unit::Control, Unit::Memory];

    /// What the values are.
    pub fn value(self) -> &'static str {
        match self {
            Unit::Echo | Unit::Paced => "server CPU ns/message",
            Unit::Delivery => "server CPU ns/delivery",
            Unit::Connection => "server CPU ns/connection",
            Unit::Control => "server CPU ns/operation",
            Unit::Memory => "server RSS bytes/connection",
        }
    }

    /// What the rates beside them are.
    pub fn rate(self) -> &'static str {
        match self {
            Unit::Echo | Unit::Paced => "messages/s",
            Unit::Delivery => "deliveries/s",
            Unit::Connection => "connections/s",
            Unit::Control => "operations/s",
            Unit::Memory => "handshakes/s",
        }
    }
}

/// A run in one number, and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub unit: Unit,
    pub scenario: String,
    pub contender: String,
    pub value: f64,
    pub rate: f64,
    /// Nobody else used the cores.
    pub quiet: bool,
    pub generator_bound: bool,
    /// An offered rate did not get through.
    pub missed_rate: bool,
}

/// What was run, in a few words. Runs of one scenario can be compared.
pub fn scenario(line: &Line) -> String {
    if let Some(title) = &line.title {
        return title.clone();
    }
    match &line.run {
        Run::Echo(run) => match &run.open_loop {
            Some(open) => format!(
                "{} connections at {:.0}/s, {} B {}",
                run.connections,
                open.offered_per_second,
                run.payload,
                run.kind.name()
            ),
            None => format!(
                "{} connections x {}, {} B {}",
                run.connections,
                run.depth,
                run.payload,
                run.kind.name()
            ),
        },
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
    match run {
        Run::Echo(run) => &run.label,
        Run::Idle(run) => &run.label,
        Run::Churn(run) => &run.label,
        Run::Fanout(run) => &run.label,
        Run::Control(run) => &run.label,
        Run::Abuse(run) => &run.label,
    }
}

impl Figure {
    /// The figure of a run; `None` if the server was not watched, or if the run has none.
    pub fn of(line: &Line) -> Option<Figure> {
        match &line.run {
            Run::Echo(echo) => {
                let unit = if echo.open_loop.is_some() { Unit::Paced } else { Unit::Echo };
                let figure = Figure::new(unit, line);
                let server = echo.server.as_ref();
                figure.with_cost(echo.messages_per_second, &echo.client, server)
            }
            Run::Fanout(fanout) => {
                let figure = Figure::new(Unit::Delivery, line);
                let server = fanout.server.as_ref();
                figure.with_cost(fanout.deliveries_per_second, &fanout.client, server)
            }
            Run::Churn(churn) => {
                let figure = Figure::new(Unit::Connection, line);
                let server = churn.server.as_ref();
                figure.with_cost(churn.connections_per_second, &churn.client, server)
            }
            Run::Control(control) => {
                let figure = Figure::new(Unit::Control, line);
                let server = control.server.as_ref();
                figure.with_cost(control.operations_per_second, &control.client, server)
            }
            Run::Idle(idle) => {
                let (value, rate) =
                    (idle.server?.rss_bytes_per_connection, idle.handshakes_per_second);
                Some(Figure { value, rate, ..Figure::new(Unit::Memory, line) })
            }
            Run::Abuse(_) => None,
        }
    }

    fn new(unit: Unit, line: &Line) -> Figure {
        let (scenario, contender) = (scenario(line), contender(&line.run).to_owned());
        let missed_rate = match &line.run {
            Run::Echo(run) => run.open_loop.as_ref().is_some_and(|open| !open.reached),
            Run::Fanout(run) => run.reached == Some(false),
            _ => false,
        };
        let generator_bound = match &line.run {
            Run::Echo(run) => run.generator_bound,
            Run::Fanout(run) => run.generator_bound,
            Run::Churn(run) => run.generator_bound,
            Run::Control(run) => run.generator_bound,
            Run::Idle(_) | Run::Abuse(_) => false,
        };
        let (value, rate, quiet) = (0.0, 0.0, true);
        Figure { unit, scenario, contender, value, rate, quiet, generator_bound, missed_rate }
    }

    fn with_cost(self, rate: f64, client: &Cost, server: Option<&Cost>) -> Option<Figure> {
        let value = server?.cpu_ns_per_message;
        let quiet = !is_contended(client, server);
        Some(Figure { value, rate, quiet, ..self })
    }
}

/// The middle value; the mean of the two in the middle; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

/// The lowest and the highest value; 0 of none.
pub fn spread(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().min_by(f64::total_cmp);
    let high = values.iter().copied().max_by(f64::total_cmp);
    (low.unwrap_or(0.0), high.unwrap_or(0.0))
}

/// The place of `name` among `names`, which it joins if it is new.
pub fn place(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 3.0));
    }
}
