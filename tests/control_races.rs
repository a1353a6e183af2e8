//! Sockets driven from other processes, over real sockets: clients in several languages in turn,
//! workers that race and workers that are killed, and the shell.
//!
//! The sizes are those of a quick run. The whole, on a quiet machine:
//!
//! ```sh
//! SOCKETS=1000 RACES=10 KILLS=1000 cargo test --release --test control_races -- --nocapture
//! ```

#[path = "control_races/killing.rs"]
mod killing;
#[path = "control_races/racing.rs"]
mod racing;
#[path = "control_races/shell.rs"]
mod shell;
#[path = "control_races/stand.rs"]
mod stand;
#[path = "control_races/trouble.rs"]
mod trouble;
#[path = "control_races/turns.rs"]
mod turns;

/// A size of a test: what the environment says, or that of a quick run.
fn size(name: &str, quick: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => quick,
    }
}
