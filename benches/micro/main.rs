//! Micro-benchmarks: the parts of the engine one by one, and whole sessions in memory.
//!
//! `cargo bench --bench micro`, with a part of a name behind it to run only some.

mod engine;
mod handshake;
mod payload;
mod session;
#[path = "../support/mod.rs"]
mod support;

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion::criterion_group!(
    benches,
    handshake::benches,
    payload::benches,
    session::benches,
    engine::benches
);
criterion::criterion_main!(benches);
