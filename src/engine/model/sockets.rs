//! What is told about connections: to operators, to the status page, to whoever lists them. Plain
//! data that a shard fills in and any thread may keep; nothing here reaches back into a shard.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// One connection, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketInfo {
    /// What `websocket_id` says.
    pub id: String,
    /// A small number for people: the place in the tables, counted from 1 and used again.
    pub number: u64,
    /// The shard that serves it.
    pub shard: usize,
    /// Its slot in that shard.
    pub slot: u32,
    /// The path its route was declared with; `None` before the request has come.
    pub route: Option<Arc<str>>,
    /// What it is doing.
    pub status: SocketStatus,
    /// Who the peer is; `None` over a Unix socket, and on kernels before 6.7.
    pub peer: Option<SocketAddr>,
    /// The session it belongs to.
    pub session_id: Option<String>,
    /// Time since it was accepted.
    pub opened: Duration,
    /// Time since something happened: since a message went either way where it is shared, since
    /// the last byte came otherwise.
    pub idle: Duration,
    /// How long it may be idle; `None`: for ever.
    pub timeout: Option<Duration>,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Whole messages received.
    pub messages_in: u64,
    /// Messages written.
    pub messages_out: u64,
    /// Messages that a full mailbox has dropped ([`MailboxPolicy`](crate::engine::MailboxPolicy)).
    pub messages_dropped: u64,
    /// What was received and nobody has read: what it costs in memory.
    pub inbox_bytes: usize,
    /// The same, in messages.
    pub inbox_messages: usize,
    /// Bytes written that have not been sent.
    pub outbox_bytes: usize,
    /// Who may read it, where it is shared and held.
    pub lease: Option<LeaseInfo>,
}

/// The right to read a shared socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// The number of the holder; a later holder has a higher one.
    pub fence: u64,
    /// When it ends unless it is used; `None`: when its holder drops it.
    pub expires_in: Option<Duration>,
}

macro_rules! names {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$doc])* $variant,)+ }

        impl $type {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name, as in lists and queries.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                let found = Self::ALL.iter().copied().find(|value| value.as_str() == text);
                found.ok_or(UnknownName { known: concat!($($name, " "),+) })
            }
        }
    };
}

names! {
    /// What a connection is doing.
    SocketStatus {
        /// Its request is being received or decided about.
        Handshake = "handshake",
        /// Open and dedicated to its handler.
        WebSocket = "websocket",
        /// Open, shared, and held: by a lease or by a running `server`.
        Shared = "shared",
        /// Open, shared, and nobody holds it.
        Unattended = "unattended",
        /// On its way out, or gone and asked for by the id, for what it has left to be read.
        Closing = "closing",
    }
}

names! {
    /// By what a list of connections is sorted.
    SocketOrder {
        /// By place in the tables, which is the order without sorting.
        Number = "number",
        /// By id.
        Id = "id",
        /// By route.
        Route = "route",
        /// By what it is doing.
        Status = "status",
        /// By address of the peer.
        Peer = "peer",
        /// By time since something happened.
        Idle = "idle_ms",
        /// By age.
        Opened = "opened_ms",
        /// By bytes received.
        BytesIn = "bytes_in",
        /// By bytes sent.
        BytesOut = "bytes_out",
        /// By messages received.
        MessagesIn = "messages_in",
        /// By messages written.
        MessagesOut = "messages_out",
        /// By what waits in both directions.
        QueueBytes = "queue_bytes",
    }
}

/// A name that is not one of those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be one of: {known}")]
pub struct UnknownName {
    known: &'static str,
}

/// Which connections to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketQuery {
    /// How many at most. Default 100; more than 1,000 are 1,000.
    pub limit: usize,
    /// Where to go on; only without `sort`.
    pub cursor: Option<SocketCursor>,
    /// Those of this route only, by the path it was declared with.
    pub route: Option<String>,
    /// Those of this status only.
    pub status: Option<SocketStatus>,
    /// Those only whose id, route, peer or session contains this.
    pub text: Option<String>,
    /// The order. A list that is not sorted is the quickest.
    pub sort: Option<SocketOrder>,
    /// The largest first.
    pub descending: bool,
    /// How many of the sorted ones to leave out. More than 10,000 are 10,000.
    pub offset: usize,
}

impl Default for SocketQuery {
    fn default() -> Self {
        Self {
            limit: 100,
            cursor: None,
            route: None,
            status: None,
            text: None,
            sort: None,
            descending: false,
            offset: 0,
        }
    }
}

/// Where a list goes on. As text: `SHARD.SLOT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCursor {
    pub(in crate::engine) shard: u32,
    pub(in crate::engine) slot: u32,
}

impl fmt::Display for SocketCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.shard, self.slot)
    }
}

/// A text that no list has given as its cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor that a list has given")]
pub struct NoCursor;

impl FromStr for SocketCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (shard, slot) = text.split_once('.').ok_or(NoCursor)?;
        let parse = |number: &str| number.parse().map_err(|_| NoCursor);
        Ok(Self { shard: parse(shard)?, slot: parse(slot)? })
    }
}

/// A part of a list of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketPage {
    /// The connections.
    pub sockets: Vec<SocketInfo>,
    /// Where the list goes on; `None`: this is its end.
    pub next_cursor: Option<SocketCursor>,
    /// How many connections there are that the query is about.
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_cursors_are_read_back() {
        for status in SocketStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(*status));
        }
        for order in SocketOrder::ALL {
            assert_eq!(order.as_str().parse(), Ok(*order));
        }
        let error = "free".parse::<SocketStatus>().unwrap_err().to_string();
        assert!(error.contains("unattended"), "{error}");
        let cursor = SocketCursor { shard: 3, slot: 70_000 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for foreign in ["", ".", "1", "1.", "-1.2", "1.2.3", "4294967296.0"] {
            assert_eq!(foreign.parse::<SocketCursor>(), Err(NoCursor), "{foreign}");
        }
    }
}
