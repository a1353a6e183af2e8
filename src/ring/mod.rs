//! The ring: what this host offers.
pub mod probe;
