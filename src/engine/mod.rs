//! The engine: what it can be told, and where it listens.
pub mod listener;
pub mod settings;
