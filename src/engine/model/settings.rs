//! What can be set about an engine, with the defaults of `proto::limits`. Filled in by `api`, read
//! by the launch and, unchanged from then on, by every shard.

use crate::engine::model::ids::Ids;
use crate::proto::limits;
use crate::proto::origin::canonical;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Everything an engine can be told before it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where to listen. Default: `127.0.0.1:9001`.
    pub listen: Vec<ListenAddress>,
    /// Shards: threads with a ring each. 0, the default: one per core this process may use. May
    /// exceed the cores, because a ring's table of connections is limited by `RLIMIT_NOFILE`. More
    /// than 256 are 256: as many as the id of a WebSocket can name.
    pub shards: usize,
    /// Connections of the whole process at most. `None`, the default: what the limits of this
    /// process allow.
    pub connections_max: Option<u32>,
    /// Accept the protocol versions 7 and 8 (HyBi-07 to -12) beside 13. Default: no.
    pub legacy_drafts: bool,
    /// Which pages may connect.
    pub origins: OriginPolicy,
    /// Sizes and counts.
    pub limits: Limits,
    /// Times.
    pub timeouts: Timeouts,
    /// The ring of each shard.
    pub ring: RingSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 9001)))],
            shards: 0,
            connections_max: None,
            legacy_drafts: false,
            origins: OriginPolicy::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            ring: RingSettings::default(),
        }
    }
}

impl Settings {
    /// The TCP ports, if nobody but this host can reach them.
    pub(in crate::engine) fn loopback_ports(&self) -> Vec<u16> {
        let tcp = self.listen.iter().filter_map(|address| match address {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix(_) => None,
        });
        let mut ports = Vec::new();
        for address in tcp {
            if !address.ip().to_canonical().is_loopback() {
                return Vec::new();
            }
            ports.push(address.port());
        }
        ports
    }

    /// Shards there will be on so many cores.
    pub(in crate::engine) fn shards_of(&self, cores: usize) -> usize {
        let shards = if self.shards == 0 { cores } else { self.shards };
        shards.min(Ids::SHARDS_MAX)
    }
}

/// Which `Origin` a browser may connect from (RFC 6455 §10.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPolicy {
    /// Origins allowed beside that of the request's own `Host`: `https://example.org`, in any
    /// spelling of which a browser makes the same origin. One that no browser can send keeps the
    /// engine from starting.
    ///
    /// Where every address of [`Settings::listen`] is one of loopback, a page that came under another
    /// name straight to such a port (DNS rebinding) is foreign unless its origin stands here. Proxies
    /// are not concerned: they listen at another port, or send `X-Forwarded-For` and the like.
    pub allowed: Vec<String>,
    /// Refuse a request without `Origin`. Default: no, because programs send none.
    pub required: bool,
}

/// An origin among those allowed that no browser can send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no browser can send the origin `{}`; write it like https://example.org or \
     https://example.org:8443, without a path",
    .0.escape_debug()
)]
pub struct OriginError(pub(crate) String);

/// Puts the origins into the form in which they are compared.
pub(in crate::engine) fn make_canonical(origins: &mut [String]) -> Result<(), OriginError> {
    for origin in origins {
        let canonical = canonical(origin).ok_or_else(|| OriginError(origin.clone()))?;
        *origin = canonical;
    }
    Ok(())
}

/// Sizes and counts of one connection (and, where said, of one shard).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the whole process. See [`limits::CONNECTIONS_PER_ADDRESS_MAX`]. 0: as many as there are.
    /// Not kept where the kernel does not tell who a peer is (before 6.7).
    pub connections_per_address_max: u16,
    /// Addresses that may have as many connections as there are, because many people are behind
    /// each of them. Default: loopback, and the networks that are not routed on the Internet, where
    /// proxies and the bridges of containers are.
    pub trusted_addresses: Vec<AddressRange>,
    /// See [`limits::REQUEST_HEAD_BYTES_MAX`].
    pub request_head_bytes_max: usize,
    /// See [`limits::MESSAGE_BYTES_MAX`].
    pub message_bytes_max: u64,
    /// See [`limits::MESSAGE_FRAGMENTS_MAX`].
    pub message_fragments_max: u32,
    /// See [`limits::INBOX_BYTES_MAX`].
    pub inbox_bytes_max: usize,
    /// See [`limits::INBOX_MESSAGES_MAX`].
    pub inbox_messages_max: usize,
    /// Of a shard. See [`limits::INBOX_GROWTH_BYTES_MAX`].
    pub inbox_growth_bytes_max: usize,
    /// Bytes of memory that the process may have. 0, the default: there is no limit. See
    /// [`MemoryLevel`](crate::engine::MemoryLevel) for what happens when it comes near.
    pub memory_max: u64,
    /// See [`limits::OUTBOX_HIGH_WATER_BYTES`].
    pub outbox_high_water_bytes: usize,
    /// `SO_SNDBUF` of every connection (socket(7)), which the kernel doubles. 0, the default: the
    /// kernel sizes it as it goes.
    pub socket_send_buffer_bytes: usize,
    /// Of the process. 0: as many as come. See [`limits::LOG_LINES_PER_SECOND_MAX`].
    pub log_lines_per_second_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_address_max: limits::CONNECTIONS_PER_ADDRESS_MAX,
            trusted_addresses: AddressRange::near().collect(),
            request_head_bytes_max: limits::REQUEST_HEAD_BYTES_MAX,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            message_fragments_max: limits::MESSAGE_FRAGMENTS_MAX,
            inbox_bytes_max: limits::INBOX_BYTES_MAX,
            inbox_messages_max: limits::INBOX_MESSAGES_MAX,
            inbox_growth_bytes_max: limits::INBOX_GROWTH_BYTES_MAX,
            memory_max: 0,
            outbox_high_water_bytes: limits::OUTBOX_HIGH_WATER_BYTES,
            socket_send_buffer_bytes: 0,
            log_lines_per_second_max: limits::LOG_LINES_PER_SECOND_MAX,
        }
    }
}

/// Times of one connection, and of the end of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// See [`limits::REQUEST_HEAD_TIMEOUT`].
    pub request_head: Duration,
    /// See [`limits::PING_INTERVAL`]. Zero: no pings.
    pub ping_interval: Duration,
    /// See [`limits::PONG_TIMEOUT`].
    pub pong: Duration,
    /// See [`limits::STALL_TIMEOUT`].
    pub stall: Duration,
    /// See [`limits::MESSAGE_TIMEOUT`]. Zero: no limit.
    pub message: Duration,
    /// See [`limits::CLOSE_TIMEOUT`].
    pub close: Duration,
    /// See [`limits::CLOSE_TIMEOUT_MAX`].
    pub close_max: Duration,
    /// See [`limits::LINGER_TIMEOUT`].
    pub linger: Duration,
    /// How long a server that a signal asked to end goes on as before, but says that it is not ready,
    /// so that load balancers have looked before newcomers are refused. Default 0.
    pub drain_delay: Duration,
    /// Over which time a drain spreads its Close frames (1001). Default 2 s.
    pub drain_spread: Duration,
    /// After which time a drain cuts what is left. Default 10 s.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_head: limits::REQUEST_HEAD_TIMEOUT,
            ping_interval: limits::PING_INTERVAL,
            pong: limits::PONG_TIMEOUT,
            stall: limits::STALL_TIMEOUT,
            message: limits::MESSAGE_TIMEOUT,
            close: limits::CLOSE_TIMEOUT,
            close_max: limits::CLOSE_TIMEOUT_MAX,
            linger: limits::LINGER_TIMEOUT,
            drain_delay: Duration::ZERO,
            drain_spread: Duration::from_secs(2),
            drain: Duration::from_secs(10),
        }
    }
}

/// What is special about the WebSockets of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteOptions {
    /// Whether its sockets are shared ones, as if `Opening::set_shared_connection` had been called
    /// before `on_pre_server`, which may still decide otherwise. Default: no.
    pub shared_connection: bool,
    /// What a full mailbox does: that of a shared socket that nobody holds.
    pub mailbox: MailboxPolicy,
    /// How long a shared socket may go without a message either way, and without being opened,
    /// before it is closed (1001). Default 900 s; zero: for ever.
    pub session_timeout: Duration,
    /// Whether every WebSocket belongs to a cookie session, which is made at the handshake if there
    /// is none: see `Opening::session` and `WebSocket::session`. Default: no.
    pub session: bool,
    /// Origins allowed here instead of [`OriginPolicy::allowed`], beside that of the request's own
    /// `Host`. Default: none, which means those.
    pub origins_allowed: Vec<String>,
}

impl Default for RouteOptions {
    fn default() -> Self {
        Self {
            shared_connection: false,
            mailbox: MailboxPolicy::default(),
            session_timeout: limits::SESSION_TIMEOUT,
            session: false,
            origins_allowed: Vec::new(),
        }
    }
}

/// What happens when more arrives for a shared socket that nobody holds than its mailbox takes
/// ([`Limits::inbox_bytes_max`], [`Limits::inbox_messages_max`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MailboxPolicy {
    /// It is not read any more, and TCP holds the peer up. Nothing is lost.
    #[default]
    StopReading,
    /// The oldest messages are dropped, and counted. A message that alone is larger than the
    /// mailbox ends the conversation (1009).
    DropOldest,
    /// The conversation is ended (1013).
    Close,
}

/// Sizes of a shard's ring. The defaults suit everybody; tests make them tiny.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// Entries of the submission queue, a power of two.
    pub submission_entries: u32,
    /// Entries of the completion queue, a power of two; halved at start until the memlock limit
    /// allows it.
    pub completion_entries: u32,
    /// How receive buffers are provided.
    pub buffers: ReceiveBuffers,
    /// Bytes of receive buffers per shard. Default 2 MiB, which fits the second-level cache: 16 of
    /// 128 KiB, or 512 of 4 KiB.
    pub buffer_pool_bytes: usize,
    /// Receive buffers per shard; 0, the default: as many as `buffer_pool_bytes` holds.
    pub buffer_count: u16,
    /// Send with `MSG_WAITALL`, so that a send completes once. Off only in tests.
    pub send_waitall: bool,
}

/// How the ring provides buffers to receive into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveBuffers {
    /// Incremental where the self-test at start passes, else classic.
    #[default]
    Auto,
    /// 16 buffers that the kernel fills bit by bit (`IOU_PBUF_RING_INC`, kernel 6.12).
    Incremental,
    /// 4 KiB buffers, one per receive.
    Classic,
}

impl Default for RingSettings {
    fn default() -> Self {
        Self {
            submission_entries: 4_096,
            completion_entries: 65_536,
            buffers: ReceiveBuffers::Auto,
            buffer_pool_bytes: 2 << 20,
            buffer_count: 0,
            send_waitall: true,
        }
    }
}

/// An address, or all that begin with the same bits: `192.0.2.1`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressRange(IpNet);

/// Networks that are not routed on the Internet: RFC 1122, 1918, 3927, 6598; RFC 4193, 4291.
const NEAR: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1",
    "fc00::/7",
    "fe80::/10",
];

impl AddressRange {
    /// Whether the address is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip)
    }

    fn near() -> impl Iterator<Item = Self> {
        NEAR.iter().filter_map(|text| text.parse().ok())
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        range.map(|range: IpNet| Self(range.trunc())).map_err(|_| {
            format!("`{text}` is no range of addresses: give IP or IP/BITS, such as 10.0.0.0/8")
        })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where to listen: `HOST:PORT`, or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A TCP address. Port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Bytes of the path of a Unix socket (unix(7): 108 with the NUL).
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("a Unix socket needs a path: unix:/run/ringwire.sock".into()),
            Some(path) if path.len() > SOCKET_PATH_BYTES_MAX => {
                Err(format!("a Unix socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes"))
            }
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                format!("`{text}` is not an address: give IP:PORT, [IPv6]:PORT or unix:/path")
            }),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
