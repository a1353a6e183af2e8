//! Frame headers, the mask, UTF-8.

use criterion::{BenchmarkId, Criterion, Throughput};
use ringwire::engine::bench::unmask_by_words;
use ringwire::proto::frame::{FrameHeader, Opcode, server_header};
use ringwire::proto::mask::{unmask, unmask_seeing_ascii};
use ringwire::proto::utf8::Utf8Validator;
use std::hint::black_box;

const SIZES: [usize; 8] = [16, 125, 255, 512, 1_024, 16 << 10, 128 << 10, 1 << 20];
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub fn benches(criterion: &mut Criterion) {
    headers(criterion);
    masks(criterion);
    texts(criterion);
}

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame header");
    for bytes in [125, 1_000, 1 << 20] {
        let (mut frame, length) = server_header(Opcode::Text, true, bytes);
        frame[1] |= 0x80;
        let frame = [&frame[..length], &KEY].concat();
        group.bench_function(BenchmarkId::new("parse", bytes), |b| {
            b.iter(|| FrameHeader::parse(black_box(&frame), 0));
        });
        group.bench_function(BenchmarkId::new("write", bytes), |b| {
            b.iter(|| server_header(Opcode::Text, true, black_box(bytes)));
        });
    }
}

/// `chosen` is what the engine calls: below 256 bytes the words, above AVX2 where there is any.
fn masks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let source = vec![0x5a_u8; size];
        let mut bytes = source.clone();
        group.bench_function(BenchmarkId::new("memcpy", size), |b| {
            b.iter(|| black_box(&mut bytes[..]).copy_from_slice(black_box(&source)));
        });
        group.bench_function(BenchmarkId::new("words", size), |b| {
            b.iter(|| unmask_by_words(black_box(&mut bytes), black_box(KEY)));
        });
        group.bench_function(BenchmarkId::new("chosen", size), |b| {
            b.iter(|| unmask(black_box(&mut bytes), black_box(KEY), 0));
        });
        group.bench_function(BenchmarkId::new("chosen, seeing ASCII", size), |b| {
            b.iter(|| unmask_seeing_ascii(black_box(&mut bytes), black_box(KEY), 0));
        });
    }
}

/// The name alone is what the session calls: from some length on AVX-512 where there is any.
fn texts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for (name, pattern) in [("ascii", "Straight-line code. "), ("mixed", "aé€😀")] {
        for size in SIZES {
            let text = pattern.repeat(size.div_ceil(pattern.len()));
            let end = (0..=size).rev().find(|end| text.is_char_boundary(*end));
            let text = &text[..end.unwrap_or(0)];
            agrees_with_std(text.as_bytes());
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| checked(black_box(text.as_bytes())));
            });
            group.bench_function(BenchmarkId::new(format!("{name}, simdutf8"), size), |b| {
                b.iter(|| simdutf8::basic::from_utf8(black_box(text.as_bytes())).is_ok());
            });
            group.bench_function(BenchmarkId::new(format!("{name}, std"), size), |b| {
                b.iter(|| std::str::from_utf8(black_box(text.as_bytes())).is_ok());
            });
        }
    }
}

fn checked(bytes: &[u8]) -> bool {
    let mut validator = Utf8Validator::new();
    validator.push(bytes).and_then(|()| validator.finish()).is_ok()
}

/// What is fast must also be right: whole, cut short, and broken in the middle.
fn agrees_with_std(text: &[u8]) {
    let mut broken = text.to_vec();
    broken[text.len() / 2] = 0xff;
    for bytes in [text, &text[..text.len() - 1], &broken] {
        assert_eq!(checked(bytes), std::str::from_utf8(bytes).is_ok());
    }
}
