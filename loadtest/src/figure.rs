//! The one figure by which runs of a scenario are compared, and medians over many runs.
//!
//! `compare` makes text of it, `page` makes pictures. It measures nothing.

use crate::report::{Cost, Run, is_contended};

/// What kind of figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Server CPU per echo.
    Echo,
    /// Server CPU per delivery.
    Delivery,
    /// Server CPU per connection that came and went.
    Connection,
    /// Resident server memory per idle connection.
    Memory,
}

impl Unit {
    /// All of them.
    pub const ALL: [Unit; 4] = [Unit::Echo, Unit::Delivery, Unit::Connection, Unit::Memory];

    /// What the values are.
    pub fn value(self) -> &'static str {
        match self {
            Unit::Echo => "server CPU ns/message",
            Unit::Delivery => "server CPU ns/delivery",
            Unit::Connection => "server CPU ns/connection",
            Unit::Memory => "server RSS bytes/connection",
        }
    }

    /// What the rates beside them are.
    pub fn rate(self) -> &'static str {
        match self {
            Unit::Echo => "messages/s",
            Unit::Delivery => "deliveries/s",
            Unit::Connection => "connections/s",
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
}

impl Figure {
    /// The figure of a run; `None` if the server was not watched, or if the run has none.
    pub fn of(run: &Run) -> Option<Figure> {
        match run {
            Run::Echo(run) => {
                let scenario = match &run.open_loop {
                    Some(open) => format!(
                        "{} at {:.0}/s, {} B",
                        run.connections, open.offered_per_second, run.payload
                    ),
                    None => format!("{} x {}, {} B", run.connections, run.depth, run.payload),
                };
                let figure = Figure::new(Unit::Echo, scenario, &run.label);
                figure.with_cost(run.messages_per_second, &run.client, run.server.as_ref())
            }
            Run::Fanout(run) => {
                let pace = match run.offered_per_second {
                    Some(offered) => format!(" at {offered:.0}/s"),
                    None => String::new(),
                };
                let scenario = format!(
                    "{} to {}{pace}, {} B",
                    run.publishers, run.subscribers, run.payload_bytes
                );
                let figure = Figure::new(Unit::Delivery, scenario, &run.label);
                figure.with_cost(run.deliveries_per_second, &run.client, run.server.as_ref())
            }
            Run::Churn(run) => {
                let end = if run.rst { "reset" } else { "close" };
                let scenario = format!("{} at a time, {} B, {end}", run.concurrency, run.payload);
                let figure = Figure::new(Unit::Connection, scenario, &run.label);
                figure.with_cost(run.connections_per_second, &run.client, run.server.as_ref())
            }
            Run::Idle(run) => {
                let scenario = format!("{} idle", run.connections);
                let figure = Figure::new(Unit::Memory, scenario, &run.label);
                let value = run.server?.rss_bytes_per_connection;
                Some(Figure { value, rate: run.handshakes_per_second, ..figure })
            }
            Run::Abuse(_) => None,
        }
    }

    fn new(unit: Unit, scenario: String, contender: &str) -> Figure {
        let contender = contender.to_owned();
        let (value, rate, quiet, generator_bound) = (0.0, 0.0, true, false);
        Figure { unit, scenario, contender, value, rate, quiet, generator_bound }
    }

    fn with_cost(self, rate: f64, client: &Cost, server: Option<&Cost>) -> Option<Figure> {
        let value = server?.cpu_ns_per_message;
        let quiet = !is_contended(client, server);
        let generator_bound = crate::report::is_generator_bound(client, server);
        Some(Figure { value, rate, quiet, generator_bound, ..self })
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
