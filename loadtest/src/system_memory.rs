//! The memory of the whole machine: what the kernel keeps for connections is in no process.
//!
//! `idle` takes a snapshot before and after. From `/proc/meminfo` and `/proc/slabinfo` (proc(5)),
//! the latter for root alone. Others on the machine are in the figures too.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Slabs that grew less than this per connection are not told.
const SLAB_BYTES_MIN: f64 = 16.0;

/// The machine at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    free_bytes: u64,
    available_bytes: u64,
    slab_bytes: u64,
    /// Of the objects in all slabs that somebody uses.
    object_bytes: u64,
    /// Bytes of every slab cache.
    caches: BTreeMap<String, u64>,
}

/// What was taken between two moments, per connection.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Growth {
    /// Less `MemFree`.
    pub used_bytes_per_connection: f64,
    /// Less `MemAvailable`, which counts dentries and inodes as free.
    pub unavailable_bytes_per_connection: f64,
    /// More `Slab`.
    pub slab_bytes_per_connection: f64,
    /// More objects in use in slabs, whether or not these had room left from before, so that it
    /// can be compared when connections are few; 0 if the kernel shows them to root alone.
    #[serde(default)]
    pub object_bytes_per_connection: f64,
    /// The slab caches that grew most; empty if the kernel shows them to root alone.
    pub slabs: Vec<Slab>,
}

/// A slab cache that grew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slab {
    pub name: String,
    pub bytes_per_connection: f64,
}

impl Snapshot {
    /// Reads the machine.
    pub fn take() -> Result<Snapshot> {
        let memory = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        // Without permission there is no list.
        let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        Ok(Snapshot::read(&memory, &slabs))
    }

    fn read(memory: &str, slabs: &str) -> Snapshot {
        let bytes = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        Snapshot {
            free_bytes: bytes("MemFree:"),
            available_bytes: bytes("MemAvailable:"),
            slab_bytes: bytes("Slab:"),
            object_bytes: slabs.lines().filter_map(objects).sum(),
            caches: slabs.lines().filter_map(cache).collect(),
        }
    }

    /// What was taken since `before`, over `connections`.
    pub fn since(&self, before: &Snapshot, connections: f64) -> Growth {
        let each = |more: u64, less: u64| (more as f64 - less as f64) / connections;
        let mut slabs: Vec<Slab> = self
            .caches
            .iter()
            .map(|(name, bytes)| Slab {
                name: name.clone(),
                bytes_per_connection: each(*bytes, before.caches.get(name).copied().unwrap_or(0)),
            })
            .filter(|slab| slab.bytes_per_connection >= SLAB_BYTES_MIN)
            .collect();
        slabs.sort_by(|one, other| other.bytes_per_connection.total_cmp(&one.bytes_per_connection));
        Growth {
            used_bytes_per_connection: each(before.free_bytes, self.free_bytes),
            unavailable_bytes_per_connection: each(before.available_bytes, self.available_bytes),
            slab_bytes_per_connection: each(self.slab_bytes, before.slab_bytes),
            object_bytes_per_connection: each(self.object_bytes, before.object_bytes),
            slabs,
        }
    }
}

/// Name and bytes of a line of `/proc/slabinfo`, version 2.1.
fn cache(line: &str) -> Option<(String, u64)> {
    let (objects, slab_data) = line.split_once(": slabdata")?;
    let mut fields = objects.split_whitespace();
    let name = fields.next()?;
    let pages_per_slab: u64 = fields.nth(4)?.parse().ok()?;
    let slabs: u64 = slab_data.split_whitespace().nth(1)?.parse().ok()?;
    Some((name.to_owned(), slabs * pages_per_slab * rustix::param::page_size() as u64))
}

/// Bytes of the objects in use of a line of `/proc/slabinfo`, version 2.1.
fn objects(line: &str) -> Option<u64> {
    let mut fields = line.split_once(": slabdata")?.0.split_whitespace().skip(1);
    let in_use: u64 = fields.next()?.parse().ok()?;
    let object_bytes: u64 = fields.nth(1)?.parse().ok()?;
    Some(in_use * object_bytes)
}

impl Growth {
    /// Prints for people.
    pub fn print(&self) {
        println!(
            "machine   {:.0} bytes per connection by MemFree, both ends ({:.0} by MemAvailable), \
             {:.0} of them slabs, {:.0} objects in these",
            self.used_bytes_per_connection,
            self.unavailable_bytes_per_connection,
            self.slab_bytes_per_connection,
            self.object_bytes_per_connection
        );
        for slab in &self.slabs {
            println!("{:<10}{:>8.0} bytes {}", "", slab.bytes_per_connection, slab.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_spread_over_the_connections() {
        let memory = |free: u32, slab: u32| {
            format!(
                "MemTotal: 9 kB\nMemFree: {free} kB\nMemAvailable:  {free} kB\nSlab: {slab} kB\n"
            )
        };
        let slabs = |count: u32, in_use: u32| {
            format!(
                "slabinfo - version: 2.1\n# name <active_objs> : tunables : slabdata\n\
                 TCP {in_use} 13 2496 13 8 : tunables 0 0 0 : slabdata {count} {count} 0\n\
                 tiny 5 13 8 512 1 : tunables 0 0 0 : slabdata 1 1 0\n"
            )
        };
        let before = Snapshot::read(&memory(5_000, 100), &slabs(2, 5));
        let after = Snapshot::read(&memory(4_000, 600), &slabs(12, 105));
        let growth = after.since(&before, 100.0);
        assert_eq!(growth.used_bytes_per_connection, 10_240.0);
        assert_eq!(growth.slab_bytes_per_connection, 5_120.0);
        assert_eq!(growth.object_bytes_per_connection, 2_496.0);
        let page_bytes = rustix::param::page_size() as f64;
        let grown = 10.0 * 8.0 * page_bytes / 100.0;
        assert_eq!(growth.slabs, [Slab { name: "TCP".to_owned(), bytes_per_connection: grown }]);
        assert!(Snapshot::take().unwrap().free_bytes > 0);
    }
}
