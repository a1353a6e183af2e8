//! The configuration of the program: defaults, then a TOML file, then the environment, then flags.
//!
//! Owns the typed [`Config`] and the rules that tie several keys together. The program calls
//! [`load`] once before anything starts; the engine never sees a `Config`, only the [`Settings`]
//! made from it. Nothing here opens a socket or asks the kernel for anything but the file.

mod admin;
mod injected;
mod keys;
mod kinds;
mod layers;
mod routes;
mod sessions;
mod written;

pub use admin::{Admin, Secret, TokenError};
pub use keys::default_toml;
pub use layers::{Flag, Source, load, set_by_runtime};
pub use routes::RouteSection;
pub use sessions::Sessions;

use crate::engine::{
    AddressRange, Limits, ListenAddress, OriginPolicy, ReceiveBuffers, RingSettings, Settings,
    Timeouts,
};
use crate::proto::origin::canonical;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Everything `ringwire serve` can be told. Units are in the names of the fields; the meaning of
/// each is said by [`default_toml`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the table in `keys` says it, and `config --print-default` prints it"
)]
pub struct Config {
    #[serde(with = "written::addresses")]
    pub listen: Vec<ListenAddress>,
    pub shards: usize,
    pub connections_max: u32,
    pub legacy_drafts: bool,
    pub origins: Origins,
    pub limits: LimitsSection,
    pub timeouts: TimeoutsSection,
    pub ring: RingSection,
    pub sessions: Sessions,
    pub admin: Admin,
    pub log: Log,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<RouteSection>,
}

/// Section `[origins]`: which pages may connect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the table in `keys` says it, and `config --print-default` prints it"
)]
pub struct Origins {
    pub allowed: Vec<String>,
    pub required: bool,
}

/// Section `[limits]`: sizes and counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the table in `keys` says it, and `config --print-default` prints it"
)]
pub struct LimitsSection {
    pub connections_per_address_max: u16,
    #[serde(with = "written::addresses")]
    pub trusted_addresses: Vec<AddressRange>,
    pub request_head_bytes_max: usize,
    pub message_bytes_max: u64,
    pub message_fragments_max: u32,
    pub inbox_bytes_max: usize,
    pub inbox_messages_max: usize,
    pub inbox_growth_bytes_max: usize,
    pub memory_max: u64,
    pub outbox_high_water_bytes: usize,
    pub socket_send_buffer_bytes: usize,
    pub log_lines_per_second_max: u32,
}

/// Section `[timeouts]`, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the table in `keys` says it, and `config --print-default` prints it"
)]
pub struct TimeoutsSection {
    pub request_head_ms: u64,
    pub ping_interval_ms: u64,
    pub pong_ms: u64,
    pub stall_ms: u64,
    pub message_ms: u64,
    pub close_ms: u64,
    pub close_max_ms: u64,
    pub linger_ms: u64,
    pub drain_delay_ms: u64,
    pub drain_spread_ms: u64,
    pub drain_ms: u64,
}

/// Section `[ring]`: the ring of each shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the table in `keys` says it, and `config --print-default` prints it"
)]
pub struct RingSection {
    pub submission_entries: u32,
    pub completion_entries: u32,
    #[serde(with = "written::buffers")]
    pub buffers: ReceiveBuffers,
    pub buffer_pool_bytes: usize,
    pub buffer_count: u16,
    pub send_waitall: bool,
}

/// Section `[log]`: what goes to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the table in `keys` says it, and `config --print-default` prints it"
)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Why a configuration was not accepted: one line with the place, the cause and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the value was given; `None` for a default.
    pub place: Option<Source>,
    /// What is wrong and what is allowed, without line breaks.
    pub message: String,
}

impl ConfigError {
    /// The exit code for this error: 2 where it is the command line that is wrong, otherwise 78,
    /// configuration (sysexits.h). A file that a flag names is configuration.
    pub fn exit_code(&self) -> u8 {
        match self.place {
            Some(Source::Flag(_)) => 2,
            _ => 78,
        }
    }
}

/// Values that do not go together.
struct Contradiction {
    /// The keys that have them; the first one is looked at where all come from the same layer.
    keys: &'static [&'static str],
    /// What is wrong and what to do.
    message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Default for Config {
    fn default() -> Self {
        Self::of(&Settings::default())
    }
}

macro_rules! default_from_config {
    ($($section:ident: $type:ty),*) => {
        $(impl Default for $type {
            fn default() -> Self {
                Config::default().$section
            }
        })*
    };
}

default_from_config!(limits: LimitsSection, timeouts: TimeoutsSection, ring: RingSection);

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

impl Config {
    /// The configuration that makes `settings`, with the default log.
    fn of(settings: &Settings) -> Self {
        let Settings { limits, timeouts, ring, .. } = settings;
        Self {
            listen: settings.listen.clone(),
            shards: settings.shards,
            connections_max: settings.connections_max.unwrap_or(0),
            legacy_drafts: settings.legacy_drafts,
            origins: Origins {
                allowed: settings.origins.allowed.clone(),
                required: settings.origins.required,
            },
            limits: LimitsSection {
                connections_per_address_max: limits.connections_per_address_max,
                trusted_addresses: limits.trusted_addresses.clone(),
                request_head_bytes_max: limits.request_head_bytes_max,
                message_bytes_max: limits.message_bytes_max,
                message_fragments_max: limits.message_fragments_max,
                inbox_bytes_max: limits.inbox_bytes_max,
                inbox_messages_max: limits.inbox_messages_max,
                inbox_growth_bytes_max: limits.inbox_growth_bytes_max,
                memory_max: limits.memory_max,
                outbox_high_water_bytes: limits.outbox_high_water_bytes,
                socket_send_buffer_bytes: limits.socket_send_buffer_bytes,
                log_lines_per_second_max: limits.log_lines_per_second_max,
            },
            timeouts: TimeoutsSection {
                request_head_ms: as_millis(timeouts.request_head),
                ping_interval_ms: as_millis(timeouts.ping_interval),
                pong_ms: as_millis(timeouts.pong),
                close_ms: as_millis(timeouts.close),
                stall_ms: as_millis(timeouts.stall),
                message_ms: as_millis(timeouts.message),
                close_max_ms: as_millis(timeouts.close_max),
                linger_ms: as_millis(timeouts.linger),
                drain_delay_ms: as_millis(timeouts.drain_delay),
                drain_spread_ms: as_millis(timeouts.drain_spread),
                drain_ms: as_millis(timeouts.drain),
            },
            ring: RingSection {
                submission_entries: ring.submission_entries,
                completion_entries: ring.completion_entries,
                buffers: ring.buffers,
                buffer_pool_bytes: ring.buffer_pool_bytes,
                buffer_count: ring.buffer_count,
                send_waitall: ring.send_waitall,
            },
            sessions: Sessions::default(),
            admin: Admin::default(),
            log: Log::default(),
            route: Vec::new(),
        }
    }

    /// What the engine is told.
    pub fn to_settings(&self) -> Settings {
        let Self { limits, timeouts, ring, .. } = self;
        Settings {
            listen: self.listen.clone(),
            shards: self.shards,
            connections_max: (self.connections_max > 0).then_some(self.connections_max),
            legacy_drafts: self.legacy_drafts,
            origins: OriginPolicy {
                allowed: self.origins.allowed.clone(),
                required: self.origins.required,
            },
            limits: Limits {
                connections_per_address_max: limits.connections_per_address_max,
                trusted_addresses: limits.trusted_addresses.clone(),
                request_head_bytes_max: limits.request_head_bytes_max,
                message_bytes_max: limits.message_bytes_max,
                message_fragments_max: limits.message_fragments_max,
                inbox_bytes_max: limits.inbox_bytes_max,
                inbox_messages_max: limits.inbox_messages_max,
                inbox_growth_bytes_max: limits.inbox_growth_bytes_max,
                memory_max: limits.memory_max,
                outbox_high_water_bytes: limits.outbox_high_water_bytes,
                socket_send_buffer_bytes: limits.socket_send_buffer_bytes,
                log_lines_per_second_max: limits.log_lines_per_second_max,
            },
            timeouts: Timeouts {
                request_head: Duration::from_millis(timeouts.request_head_ms),
                ping_interval: Duration::from_millis(timeouts.ping_interval_ms),
                pong: Duration::from_millis(timeouts.pong_ms),
                close: Duration::from_millis(timeouts.close_ms),
                stall: Duration::from_millis(timeouts.stall_ms),
                message: Duration::from_millis(timeouts.message_ms),
                close_max: Duration::from_millis(timeouts.close_max_ms),
                linger: Duration::from_millis(timeouts.linger_ms),
                drain_delay: Duration::from_millis(timeouts.drain_delay_ms),
                drain_spread: Duration::from_millis(timeouts.drain_spread_ms),
                drain: Duration::from_millis(timeouts.drain_ms),
            },
            ring: RingSettings {
                submission_entries: ring.submission_entries,
                completion_entries: ring.completion_entries,
                buffers: ring.buffers,
                buffer_pool_bytes: ring.buffer_pool_bytes,
                buffer_count: ring.buffer_count,
                send_waitall: ring.send_waitall,
            },
        }
    }

    /// The rules that the range of a single key cannot say.
    fn check(&self) -> Result<(), Contradiction> {
        let limits = &self.limits;
        if limits.message_bytes_max < limits.inbox_bytes_max as u64 {
            let message = format!(
                "`limits.message_bytes_max` ({}) is less than `limits.inbox_bytes_max` ({}); a \
                 message must be allowed to fill an inbox",
                limits.message_bytes_max, limits.inbox_bytes_max
            );
            let keys = &["limits.message_bytes_max", "limits.inbox_bytes_max"];
            return Err(Contradiction { keys, message });
        }
        let timeouts = &self.timeouts;
        if timeouts.drain_spread_ms > timeouts.drain_ms {
            let message = format!(
                "`timeouts.drain_spread_ms` ({}) is more than `timeouts.drain_ms` ({}); the last \
                 Close must leave before the drain ends",
                timeouts.drain_spread_ms, timeouts.drain_ms
            );
            let keys = &["timeouts.drain_spread_ms", "timeouts.drain_ms"];
            return Err(Contradiction { keys, message });
        }
        let ring = &self.ring;
        if ring.completion_entries < ring.submission_entries {
            let message = format!(
                "`ring.completion_entries` ({}) is less than `ring.submission_entries` ({}); the \
                 kernel wants at least as many",
                ring.completion_entries, ring.submission_entries
            );
            let keys = &["ring.completion_entries", "ring.submission_entries"];
            return Err(Contradiction { keys, message });
        }
        self.sessions.check()?;
        self.admin.check()?;
        self.check_lists()
    }

    fn check_lists(&self) -> Result<(), Contradiction> {
        for (index, address) in self.listen.iter().enumerate() {
            if self.listen[..index].contains(address) && !is_port_zero(address) {
                let message = format!("`listen` names {address} twice; keep one of them");
                return Err(Contradiction { keys: &["listen"], message });
            }
        }
        if let Some(origin) = self.origins.allowed.iter().find(|origin| !is_origin(origin)) {
            let message = format!(
                "`origins.allowed` has `{}`, which no browser can send; write it like \
                 https://example.org or https://example.org:8443, without a path",
                origin.escape_debug()
            );
            return Err(Contradiction { keys: &["origins.allowed"], message });
        }
        Ok(())
    }
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn is_port_zero(address: &ListenAddress) -> bool {
    matches!(address, ListenAddress::Tcp(address) if address.port() == 0)
}

/// Whether a browser could send `text` as `Origin`, if it were spelt as browsers do. `null` is left
/// out on purpose: every sandboxed page sends it.
fn is_origin(text: &str) -> bool {
    text != "null" && canonical(text).is_some()
}

#[cfg(test)]
mod tests;
