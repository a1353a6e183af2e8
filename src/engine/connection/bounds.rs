//! The mailbox of a shared socket: its inbox, and what a holder was handed of it and has not read.
//! When more may come, and what a full one does while nobody holds the socket.
//!
//! Called on the shard, where a connection is settled or takes frames in. Moves nothing to a
//! holder: that is [`exchange`](crate::engine::connection::exchange).

use crate::engine::connection::Connection;
use crate::engine::connection::context::Context;
use crate::engine::connection::inbox::Inbox;
use crate::engine::connection::state::Flag;
use crate::engine::model::settings::MailboxPolicy;
use crate::engine::shared::state::SharedState;
use crate::proto::CloseCode;

impl Connection {
    /// Whether the mailbox, the part of it that the holder has included, takes more.
    pub(in crate::engine) fn has_room(&self, state: &SharedState, context: &Context) -> bool {
        let limits = &context.settings.limits;
        let bytes = self.talk.inbox.bytes() + state.linked_bytes as usize;
        let messages = self.talk.inbox.messages() + state.linked_messages as usize;
        bytes < limits.inbox_bytes_max && messages < limits.inbox_messages_max
    }

    /// Whether an open shared socket should be read now.
    pub(in crate::engine) fn wants_shared_receive(&self, context: &Context) -> bool {
        let table = context.shared.borrow();
        let Some(state) = table.find(self.id.slot) else { return false };
        if !state.is_attended() && context.paths.mailbox(self.route) != MailboxPolicy::StopReading {
            return true;
        }
        // A holder that waits has taken everything it can: it needs more.
        self.has_room(state, context)
            || self.reading.is_some_and(|read| {
                !self.talk.inbox.is_readable(read.len(), self.flags.has(Flag::BinaryData))
            })
    }

    /// Keeps a mailbox that nobody reads within its bounds.
    pub(in crate::engine) fn keep_bounds(&mut self, state: &mut SharedState, context: &Context) {
        let policy = context.paths.mailbox(self.route);
        if policy == MailboxPolicy::StopReading {
            return;
        }
        let limits = &context.settings.limits;
        loop {
            let bytes = self.talk.inbox.bytes() + state.linked_bytes as usize;
            let messages = self.talk.inbox.messages() + state.linked_messages as usize;
            if bytes <= limits.inbox_bytes_max && messages <= limits.inbox_messages_max {
                break;
            }
            if policy == MailboxPolicy::Close {
                self.start_close(CloseCode::TRY_AGAIN_LATER, "the mailbox is full", context);
                break;
            }
            if messages == 1 || !self.drop_oldest(state) {
                let reason = "the message is larger than the mailbox";
                self.start_close(CloseCode::TOO_BIG, reason, context);
                self.talk.inbox = Inbox::new();
                break;
            }
            state.dropped = state.dropped.saturating_add(1);
        }
        self.account_with(state.linked_bytes as usize, context);
    }

    /// `false`: there is no whole message to drop.
    fn drop_oldest(&mut self, state: &mut SharedState) -> bool {
        if let Some(link) = &state.link {
            let mut shared = link.lock();
            let dropped = shared.ready.drop_front();
            state.linked_bytes = u32::try_from(shared.bytes()).unwrap_or(u32::MAX);
            state.linked_messages = u16::try_from(shared.ready.messages()).unwrap_or(u16::MAX);
            if dropped {
                return true;
            }
        }
        self.talk.inbox.take(usize::MAX, true).is_some()
    }
}
