//! The shard's own machinery: deadlines, the executor, wakes and commands from other threads.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use ringwire::clock::Moment;
use ringwire::engine::bench::{Mailbox, MailboxReader, Tasks, Wheel};
use std::hint::black_box;
use std::thread;
use std::time::Instant;

/// Deadlines ahead: the next bucket, and the ping interval.
const DELAYS_MS: [u64; 2] = [5, 25_000];

pub fn benches(criterion: &mut Criterion) {
    timers(criterion);
    tasks(criterion);
    mailbox(criterion);
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer wheel");
    for delay in DELAYS_MS {
        let mut wheel = Wheel::default();
        wheel.schedule(0, Moment::from_millis(delay));
        group.bench_function(BenchmarkId::new("next", delay), |b| b.iter(|| wheel.next()));
        group.bench_function(BenchmarkId::new("nothing is due", delay), |b| {
            b.iter(|| wheel.expire(black_box(Moment::from_millis(1))));
        });
    }
    const ENTRIES: u32 = 1_000;
    group.throughput(Throughput::Elements(u64::from(ENTRIES)));
    group.bench_function("schedule and expire", |b| {
        b.iter_batched_ref(
            Wheel::default,
            |wheel| {
                for slot in 0..ENTRIES {
                    wheel.schedule(slot, Moment::from_millis(u64::from(slot)));
                }
                let due = wheel.expire(Moment::from_millis(u64::from(2 * ENTRIES)));
                assert_eq!(due, ENTRIES as usize);
            },
            BatchSize::LargeInput,
        );
    });
}

fn tasks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wake and poll");
    for count in [1, 16, 1_000] {
        group.throughput(Throughput::Elements(count as u64));
        let mut tasks = Tasks::new(count);
        group.bench_function(BenchmarkId::new("by the engine", count), |b| {
            b.iter(|| {
                tasks.wake();
                tasks.run();
            });
        });
        group.bench_function(BenchmarkId::new("by the list of other threads", count), |b| {
            b.iter(|| {
                tasks.wake_remotely();
                tasks.run();
            });
        });
    }
}

/// Commands on their way to a shard that does not sleep, so that no doorbell is rung.
fn mailbox(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mailbox");
    let (mailbox, mut reader) = (Mailbox::default(), MailboxReader::default());
    for count in [1, 16, 1_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("send and take", count), |b| {
            b.iter(|| {
                (0..count).for_each(|_| mailbox.send());
                assert_eq!(reader.take(&mailbox), count);
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("another thread sends, this one takes", |b| {
        b.iter_custom(|commands| {
            let started = Instant::now();
            thread::scope(|scope| {
                scope.spawn(|| (0..commands).for_each(|_| mailbox.send()));
                let mut taken = 0;
                while taken < commands {
                    taken += reader.take(&mailbox) as u64;
                }
            });
            started.elapsed()
        });
    });
}
