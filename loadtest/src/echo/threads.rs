//! The threads of an echo run: each opens its share of the connections, and all begin together.
//!
//! `echo` calls [`run`]; what one thread does is its session's. A thread is a ring, so that a
//! server of many cores can be kept busy.

use std::sync::mpsc;
use std::thread;

use anyhow::{Result, anyhow};

use super::window::Window;
use super::{Plan, Session};
use crate::handshake::Target;

/// What one thread has of the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// The number of its first connection among all.
    pub first: u32,
    pub connections: u32,
    /// Messages per second, of an open loop.
    pub rate: Option<f64>,
    /// Another thread draws the progress, or nobody.
    pub quiet: bool,
}

/// Runs the plan on as many threads as it says.
pub(super) fn run(plan: &Plan, target: &Target) -> Result<Vec<Window>> {
    let (opened, all_open) = mpsc::channel();
    thread::scope(|scope| {
        let threads: Vec<_> = shares(plan)
            .map(|share| {
                let opened = opened.clone();
                let (starter, started) = mpsc::channel::<()>();
                let work = move || {
                    let session = Session::open(plan, share, target);
                    // The receiver outlives the threads.
                    let _ = opened.send(session.is_ok());
                    let session = session?;
                    // Without a start another thread has failed, and says why.
                    started.recv().is_ok().then(|| session.drive()).transpose()
                };
                (scope.spawn(work), starter)
            })
            .collect();
        if (0..threads.len()).all(|_| all_open.recv() == Ok(true)) {
            for (_, starter) in &threads {
                // They wait for it.
                let _ = starter.send(());
            }
        }
        let (threads, starters): (Vec<_>, Vec<_>) = threads.into_iter().unzip();
        drop(starters);
        let ended = threads.into_iter().filter_map(|thread| match thread.join() {
            Ok(outcome) => outcome.map_err(|error| plan.subject.explain(error)).transpose(),
            Err(_) => Some(Err(anyhow!("a thread of the generator failed"))),
        });
        ended.collect()
    })
}

fn shares(plan: &Plan) -> impl Iterator<Item = Share> {
    let (connections, threads) = (plan.connections, plan.threads);
    let begin =
        move |index: u32| (u64::from(connections) * u64::from(index) / u64::from(threads)) as u32;
    let (rate, quiet) = (plan.rate, plan.quiet);
    (0..threads).map(move |index| {
        let count = begin(index + 1) - begin(index);
        Share {
            first: begin(index),
            connections: count,
            rate: rate.map(|rate| rate * f64::from(count) / f64::from(connections)),
            quiet: quiet || index > 0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        plan: Plan,
    }

    #[test]
    fn shares_are_even_and_all_of_it() {
        let arguments = "x ws://h/ --connections 10 --threads 3 --rate 1000".split(' ');
        let shares: Vec<Share> = shares(&Line::parse_from(arguments).plan).collect();
        let counts: Vec<_> = shares.iter().map(|share| (share.first, share.connections)).collect();
        assert_eq!(counts, [(0, 3), (3, 3), (6, 4)]);
        let rates = shares.iter().filter_map(|share| share.rate).sum::<f64>();
        assert!((rates - 1000.0).abs() < 1e-6, "{rates}");
        assert_eq!(shares.iter().filter(|share| !share.quiet).count(), 1);
    }
}
