//! What the engine writes to the log: one line per connection that has ended, and no line per
//! frame. Nothing of what a peer chose is written but its close code.

use super::connection::{Closer, Connection};
use super::core::Core;
use super::routes::Routes;
use std::net::SocketAddr;

/// The access line of a connection that is gone.
pub(super) fn access(connection: &Connection, core: &Core, routes: &Routes) {
    let (code, by) = match connection.ended() {
        Some(ended) => (ended.code.0, ended.by),
        None => (0, Closer::Server),
    };
    let counts = connection.counts();
    tracing::info!(
        target: "ringwire::access",
        peer = %Peer(connection.peer(core)),
        route = routes.pattern(connection.route),
        status = connection.status,
        code,
        by = ?by,
        ms = core.now.get().since(connection.opened()).as_millis() as u64,
        bytes_in = counts.bytes_in,
        bytes_out = counts.bytes_out,
        messages_in = counts.messages_in,
        messages_out = counts.messages_out,
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
