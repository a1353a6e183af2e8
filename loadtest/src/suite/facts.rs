//! What is to be said about the setting: the machine, and the versions of everybody.
//!
//! `mod` asks once, before the first run.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::contender::{Contender, Kind, Programs};
use super::plan::Fit;
use super::table::{Table, WARMUP_MS};

const CONTENDERS: &str = "loadtest/contenders";

/// Name and value, in the order in which they are told.
pub fn of_machine(fit: &Fit, table: &Table) -> Vec<(String, String)> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default().trim().to_owned();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = kib_of("MemTotal:").unwrap_or(0) as f64 / f64::from(1 << 20);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load: Vec<String> = read("/proc/loadavg").split(' ').take(3).map(str::to_owned).collect();
    let facts = [
        (
            "machine",
            format!(
                "{}, {cores} cores, {memory:.0} GiB of memory",
                model.map_or("unknown", |model| model.1)
            ),
        ),
        ("kernel", output("uname", &["-sr"])),
        ("congestion control", read("/proc/sys/net/ipv4/tcp_congestion_control")),
        ("open files of a process", format!("{} at most", files_max())),
        ("commit", output("git", &["describe", "--always", "--dirty"])),
        ("date", output("date", &["-u", "+%Y-%m-%d"])),
        ("load", format!("{} before the first run", load.join(" "))),
        (
            "runs",
            format!(
                "{} rounds of {} s each ({} ms at fixed rates), {} s of warm-up, servers on core 0, \
                 generator on core 1; all on both in control and, servers under SCHED_BATCH, with \
                 more idle connections than a shard takes",
                fit.rounds,
                fit.seconds_ms as f64 / 1000.0,
                table.open_ms,
                WARMUP_MS as f64 / 1000.0
            ),
        ),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What the program of a contender says of itself, or its package.
pub fn version(contender: &Contender, programs: &Programs) -> String {
    let own = |program: &Path| output(&program.to_string_lossy(), &["--version"]);
    match &contender.kind {
        Kind::Floor(_) => own(&programs.loadtest),
        Kind::Ringwire => own(&programs.ringwire),
        Kind::Other(path) => own(path),
        Kind::Bun => {
            let bun = format!("{CONTENDERS}/bun/node_modules/.bin/bun");
            format!("bun {}", output(&bun, &["--version"]))
        }
        Kind::Node => node(),
        Kind::NginxProxy => format!("{}, {}", nginx(), node()),
        Kind::Nchan => {
            let shown = ["-W", "-f", "${Package} ${Version}", "libnginx-mod-nchan"];
            output("dpkg-query", &shown)
        }
        Kind::Rust => {
            let lock = fs::read_to_string(format!("{CONTENDERS}/rust/Cargo.lock"));
            let lock = lock.unwrap_or_default();
            let name = format!("name = \"{}\"", contender.name);
            let after = lock.lines().skip_while(|line| *line != name).nth(1);
            let version = after.and_then(|line| line.split('"').nth(1)).unwrap_or("unknown");
            format!("{} {version}", contender.name)
        }
    }
}

fn node() -> String {
    let version = |package: &str| {
        let file = format!("{CONTENDERS}/node-ws/node_modules/{package}/package.json");
        let text = fs::read_to_string(file).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        json["version"].as_str().unwrap_or("unknown").to_owned()
    };
    let (ws, bufferutil) = (version("ws"), version("bufferutil"));
    format!("ws {ws}, bufferutil {bufferutil}, Node.js {}", output("node", &["--version"]))
}

/// It says its version on standard error.
fn nginx() -> String {
    let output = Command::new("nginx").arg("-v").output();
    let text = output
        .map_or(String::new(), |output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
    text.trim_start_matches("nginx version: ").to_owned()
}

/// The first line of what a program says.
fn output(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().ok();
    let output = output.filter(|output| output.status.success());
    let text = output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
    });
    if text.is_empty() { "unknown".to_owned() } else { text }
}

/// A line of /proc/meminfo.
pub fn kib_of(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many files a process may open.
pub fn files_max() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(u32::MAX, |limit| limit.try_into().unwrap_or(u32::MAX))
}
