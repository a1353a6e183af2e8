//! Which connections a list is about, and in which order they come.

use crate::engine::model::sockets::{SocketInfo, SocketOrder, SocketStatus};
use std::cmp::Ordering;

/// Which connections a list is about.
pub(in crate::engine) struct Filter {
    pub(in crate::engine) route: Option<String>,
    pub(in crate::engine) status: Option<SocketStatus>,
    pub(in crate::engine) text: Option<String>,
    pub(in crate::engine) sort: Option<(SocketOrder, bool)>,
}

impl Filter {
    /// Whether it admits everything.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.route.is_none() && self.status.is_none() && self.text.is_none()
    }

    /// Puts the first `count` in order, and drops the others.
    pub(in crate::engine) fn sort(&self, sockets: &mut Vec<SocketInfo>, count: usize) {
        let Some((order, descending)) = self.sort else { return };
        sockets.sort_by(|a, b| {
            let ordering = compare(order, a, b);
            // Among equals the order of the tables, in both directions: pages must not overlap.
            let ordering = if descending { ordering.reverse() } else { ordering };
            ordering.then_with(|| place(a).cmp(&place(b)))
        });
        sockets.truncate(count);
    }
}

fn place(socket: &SocketInfo) -> (usize, u32) {
    (socket.shard, socket.slot)
}

fn compare(order: SocketOrder, a: &SocketInfo, b: &SocketInfo) -> Ordering {
    match order {
        SocketOrder::Number => a.number.cmp(&b.number),
        SocketOrder::Id => a.id.cmp(&b.id),
        SocketOrder::Route => a.route.cmp(&b.route),
        SocketOrder::Status => a.status.as_str().cmp(b.status.as_str()),
        SocketOrder::Peer => a.peer.cmp(&b.peer),
        SocketOrder::Idle => a.idle.cmp(&b.idle),
        SocketOrder::Opened => a.opened.cmp(&b.opened),
        SocketOrder::BytesIn => a.bytes_in.cmp(&b.bytes_in),
        SocketOrder::BytesOut => a.bytes_out.cmp(&b.bytes_out),
        SocketOrder::MessagesIn => a.messages_in.cmp(&b.messages_in),
        SocketOrder::MessagesOut => a.messages_out.cmp(&b.messages_out),
        SocketOrder::QueueBytes => queue_bytes(a).cmp(&queue_bytes(b)),
    }
}

fn queue_bytes(socket: &SocketInfo) -> usize {
    socket.inbox_bytes + socket.outbox_bytes
}
