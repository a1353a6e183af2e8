//! What the engine writes to the log: one line per connection that has ended, and no line per
//! frame. Of what a peer has sent nothing is written but its close code; what a handler fails with
//! is in the application's words.
//!
//! What peers can cause again and again is limited: so many lines a second for each reason, and of
//! the others how many they were.

use crate::engine::connection::Connection;
use crate::engine::connection::context::Context;
use crate::engine::model::ended::Closer;
use crate::engine::model::quota::Quota;
use crate::engine::model::tallies::Refusals;
use std::cell::RefCell;
use std::net::SocketAddr;

/// The target of a line after which the process ends at once: whoever keeps lines back writes them
/// out when it comes.
pub const LAST_WORDS: &str = "ringwire::last_words";

/// Places of the reasons before those of refusals.
const OPENED: usize = 0;
pub(in crate::engine) const HANDLER_FAILED: usize = 1;
const REMEDY: usize = 2;
const REFUSED: usize = 3;

/// How many lines there were of each reason.
#[derive(Default)]
pub(in crate::engine) struct Quotas(RefCell<[Quota; REFUSED + Refusals::KINDS]>);

impl Context {
    /// Whether there may be a line for this reason; if so, how many there were not since the last.
    pub(in crate::engine) fn may_log(&self, reason: usize) -> Option<u64> {
        let max = self.settings.limits.log_lines_per_second_max;
        // A share of it, at least one; zero stays without limit.
        let share = max.div_ceil(self.shards.max(1) as u32);
        let second = self.now.get().as_millis() / 1_000;
        self.log_quotas.0.borrow_mut().get_mut(reason)?.take(second, share)
    }

    /// What the operator can do about a refusal, in words that are the same for every peer.
    #[cold]
    pub(in crate::engine) fn log_remedy(&self, remedy: &'static str) {
        let Some(more) = self.may_log(REMEDY) else { return };
        if more > 0 {
            tracing::warn!(target: "ringwire::refusal", more, "and {more} more");
        }
        tracing::warn!(target: "ringwire::refusal", "{remedy}");
    }

    /// Tells of the lines that nobody has heard of, because the shard ends.
    pub(in crate::engine) fn log_rest(&self) {
        let mut quotas = self.log_quotas.0.borrow_mut();
        let more: u64 = quotas.iter_mut().map(Quota::rest).sum();
        if more > 0 {
            tracing::info!(target: "ringwire::access", more, "and {more} more");
        }
    }
}

/// The access line of a connection that is gone.
pub(in crate::engine) fn access(connection: &Connection, context: &Context) {
    let (status, counts) = (connection.status, connection.counts());
    // Who only looks whether the port is open, as load balancers do every second.
    let only_looked = status == 0 && counts.bytes_in == 0;
    let enabled = match only_looked {
        true => tracing::enabled!(target: "ringwire::access", tracing::Level::DEBUG),
        false => tracing::enabled!(target: "ringwire::access", tracing::Level::INFO),
    };
    if !enabled {
        return;
    }
    let reason = if status == 101 { OPENED } else { REFUSED + Refusals::kind(status) };
    let Some(more) = context.may_log(reason) else { return };
    if more > 0 {
        tracing::info!(target: "ringwire::access", status, more, "and {more} more");
    }
    let (code, by) = match connection.ended() {
        Some(ended) => (ended.code.0, ended.by),
        None => (0, Closer::Server),
    };
    let ms = context.now.get().since(connection.opened()).as_millis() as u64;
    if only_looked {
        let peer = Peer(connection.peer(context));
        return tracing::debug!(target: "ringwire::access", %peer, status, ms, "closed unasked");
    }
    tracing::info!(
        target: "ringwire::access",
        peer = %Peer(connection.peer(context)),
        route = context.paths.pattern(connection.route),
        status,
        code,
        by = ?by,
        ms,
        bytes_in = counts.bytes_in,
        bytes_out = counts.bytes_out,
        messages_in = counts.messages_in,
        messages_out = counts.messages_out,
        unsent_bytes = counts.unsent_bytes,
        "closed"
    );
}

struct Peer(Option<SocketAddr>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("-"),
        }
    }
}
