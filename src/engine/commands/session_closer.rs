//! Closes the sockets of sessions that are no more, from any thread.

use crate::engine::commands::Notice;
use crate::engine::commands::mailbox::Mailbox;
use crate::engine::model::slot_id::SlotId;
use crate::sessions::SocketKey;
use std::sync::Arc;

/// Closes the sockets of sessions that are no more, from any thread.
pub(crate) struct SessionCloser(Vec<Arc<Mailbox>>);

impl SessionCloser {
    pub(in crate::engine) fn new(mailboxes: &[Arc<Mailbox>]) -> Self {
        Self(mailboxes.to_vec())
    }

    /// With 1008 and this reason.
    pub(crate) fn close(&self, socket: SocketKey, reason: &'static str) {
        let SocketKey { shard, slot, generation } = socket;
        if let Some(mailbox) = self.0.get(shard as usize) {
            mailbox.notify(Notice::EndSession(SlotId { slot, generation }, reason));
        }
    }
}
